"""Phenotype and covariate tables as plink2 (`#FID IID …`, `#IID …`) and regenie (`FID IID …`) write them.

A table whose header has tabs is separated by tabs, so that an empty cell is a missing value; any other by blanks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.schema import shown
from securegen.io.text import count, fields_of, lines_of, read_text, refuse_separator
from securegen.model import Samples
from securegen.vocabulary import LIKE_MISSING, MISSING_INPUT, MISSING_NUMBER, NO_NUMBER, is_missing

IDS: Final[tuple[str, ...]] = ("FID", "IID")
HEADER: Final = "the header must start with '#FID IID', '#IID' or 'FID IID'"
MISSING_WORDS: Final = "a missing value is written NA, nan, ., -9 or nothing"


@dataclass(frozen=True)
class Table:
    """Rows of people. fid: (R,) object array or None when the file has no FID column; iid: (R,) object array;
    columns: name -> (R,) object array of text as written; line: (R,) line numbers."""

    path: str
    fid: np.ndarray | None
    iid: np.ndarray
    columns: dict[str, np.ndarray]
    line: np.ndarray

    def select(self, names: Sequence[str] | None) -> Table:
        """Keep the named columns, in the order given; PC1-PC4 names a range. Raises UsageError for an unknown name."""
        if names is None:
            return self
        return self.exactly(expand_names(names, list(self.columns), self.path))

    def exactly(self, chosen: Sequence[str]) -> Table:
        """Keep the columns of these names, which are no ranges. Raises UsageError for an unknown name."""
        absent = [name for name in chosen if name not in self.columns]
        if absent:
            raise UsageError(f"{self.path} has no column {absent[0]}; it has {', '.join(self.columns)}")
        return Table(self.path, self.fid, self.iid, {n: self.columns[n] for n in chosen}, self.line)


def expand_names(names: Sequence[str], columns: Sequence[str], path: str) -> list[str]:
    """Names and ranges of names (FIRST-LAST, in the order of the file) as names, each once. Raises UsageError."""
    out: dict[str, None] = {}
    for name in names:
        cuts = [i for i, c in enumerate(name) if c == "-" and name[:i] in columns and name[i + 1 :] in columns]
        if name in columns:
            out[name] = None
        elif len(cuts) == 1:
            first, last = columns.index(name[: cuts[0]]), columns.index(name[cuts[0] + 1 :])
            if first > last:
                raise UsageError(
                    f"{path}: {columns[first]} stands after {columns[last]}: write {columns[last]}-{columns[first]}"
                )
            out |= dict.fromkeys(columns[first : last + 1])
        else:
            with_comma = [c for c in columns if "," in c or " " in c]
            hint = f"; names are separated by commas: rename {with_comma[0]!r} to choose it" if with_comma else ""
            raise UsageError(f"{path} has no column {name}; it has {', '.join(columns)}{hint}")
    return list(out)


SEXES = {"1": 1, "m": 1, "male": 1, "2": 2, "f": 2, "female": 2}


def sex_codes(words: Iterable[str]) -> np.ndarray:
    """(N,) int8 of 1 or M or male, 2 or F or female, in any case; 0 for every other word, as plink2 reads them.

    >>> sex_codes(["1", "F", "NA", "0", "Male"]).tolist()
    [1, 2, 0, 0, 1]
    """
    return np.array([SEXES.get(word.lower(), 0) for word in words], np.int8)


def unique_samples(
    fid: np.ndarray, iid: np.ndarray, founder: np.ndarray, path: Path, sex: np.ndarray | None = None
) -> Samples:
    """A sample table. Raises InputError naming an id that appears twice."""
    seen: set[tuple[str, str]] = set()
    for key in zip(fid, iid, strict=True):
        if key in seen:
            raise InputError(f"{path}: {' '.join(key)} appears more than once")
        seen.add(key)
    return Samples(fid, iid, founder) if sex is None else Samples(fid, iid, founder, sex)


def _numbered(path: str | Path) -> list[tuple[int, str]]:
    """Lines that are not empty, with their numbers; comments (##) before the first of them are left out."""
    out: list[tuple[int, str]] = []
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if line.strip() and (out or not line.startswith("##")):
            out.append((number, line))
    return out


def _cells_by_tab(line: str, width: int) -> list[str]:
    """Cells between tabs, without blanks around them; empty ones past the width (trailing tabs) are no cells."""
    cells = [cell.strip(" ") for cell in line.split("\t")] if " " in line else line.split("\t")
    while len(cells) > width and not cells[-1]:
        cells.pop()
    return cells


def _split(lines: list[tuple[int, str]], path: str | Path) -> list[list[str]]:
    """Fields of header and rows, all of one length. Raises InputError naming the first line of another."""
    number, header = lines[0]
    names = fields_of(header)
    refuse_separator(names, path, number)
    if names[0] == "Unnamed:" and names[1:2] == ["0"]:
        raise InputError(f"{path}, line {number}: column 1 is pandas' index (Unnamed: 0): write to_csv(index=False)")
    _id_columns(names, path, number)
    by_tab = _cells_by_tab(header.rstrip("\t "), 0)
    if "\t" in header.strip() and any(" " in name for name in by_tab):  # blanks in names, or both separators
        if all(len(fields_of(line)) == len(names) and "\t\t" not in line.strip() for _, line in lines):
            by_tab = names
        else:
            wrong = next(name for name in by_tab if " " in name)
            raise InputError(
                f"{path}, line {number}: the name {wrong!r} holds a blank: write {wrong.replace(' ', '_')!r}"
            )
    if "" in by_tab:
        index = " (pandas: to_csv(index=False))" if not by_tab[0] else ""
        raise InputError(f"{path}, line {number}: column {by_tab.index('') + 1} has no name{index}")
    width = len(names)
    tabs = "\t" in header.strip()
    rows = [names]
    mixed: list[int] = []
    blanks_inside = False
    for at, (number, line) in enumerate(lines[1:], 1):
        cells = _cells_by_tab(line, width) if tabs else fields_of(line)
        if len(cells) != width and tabs:
            other = fields_of(line)
            if len(other) == width and "\t\t" not in line and all(_plain(c) for c in other[2:]):
                cells = other  # a row with blanks in a table with tabs
                mixed.append(number)
        elif tabs:
            empty = "\t\t" in line or line.endswith("\t")
            blanks_inside = blanks_inside or ((empty or " " in line) and any(not c or " " in c for c in cells))
        if len(cells) != width:
            hint = ": R writes row names, use row.names=FALSE" if at == 1 and len(cells) == width + 1 else ""
            found = len(cells) if len(cells) > 1 else len(fields_of(line))
            raise InputError(f"{path}, line {number}: {count(found, 'field')}, the header has {width}{hint}")
        rows.append(cells)
    if mixed and blanks_inside:
        raise InputError(f"{path}, line {mixed[0]}: the header is separated by tabs, this line by blanks: use tabs")
    return rows


def _plain(cell: str) -> bool:
    """Whether a cell is a number or a missing value."""
    try:
        float(cell)
    except ValueError:
        return is_missing(cell)
    return True


def _id_columns(header: list[str], path: str | Path, line: int) -> dict[str, int]:
    """Where FID and IID stand. Raises InputError unless the header begins with one of them and IID is there."""
    names = [name.upper() for name in header]
    names[0] = names[0].lstrip("#")
    if any(name.lstrip("#") in IDS for name in names[1:] if name.startswith("#")):
        raise InputError(
            f"{path}, line {line}: only the first name of the header takes a # (found {' '.join(header[:3])})"
        )
    at: dict[str, int] = {name: names.index(name) for name in IDS if name in names}
    if names[0] not in IDS or "IID" not in at:
        raise InputError(f"{path}, line {line}: {HEADER} (found {' '.join(header[:3])[:60]!r})")
    if any(names.count(name) > 1 for name in IDS):
        raise InputError(f"{path}, line {line}: FID or IID appears more than once in the header")
    return at


def read_table(path: str | Path) -> Table:
    """Read a phenotype or covariate table.

    Fields are separated by tabs or blanks. The header line starts with `#FID IID`, `#IID`, `FID IID` or `IID`; a column
    FID is an id wherever it stands.
    Raises InputError (file, line, what was expected) for a missing header, ragged rows and duplicate ids.
    """
    lines = _numbered(path)
    if not lines:
        raise InputError(f"{path} is empty")
    first = lines[0][0]
    rows = _split(lines, path)
    header, body = rows[0], rows[1:]
    ids = _id_columns(header, path, first)
    where = [i for i in range(len(header)) if i not in ids.values()]
    names = [header[i] for i in where]
    repeated = {n for n in names if names.count(n) > 1}
    if repeated:
        raise InputError(f"{path}: column {', '.join(sorted(repeated))} appears more than once")
    if not body:
        raise InputError(f"{path} has a header but no rows")
    numbers = np.array([number for number, _ in lines[1:]], dtype=np.int64)
    seen: dict[tuple[str, ...], int] = {}
    for number, fields in zip(numbers.tolist(), body, strict=True):
        key = tuple(fields[i] for i in ids.values())
        if key in seen:
            raise InputError(f"{path}: {' '.join(key)} is on line {seen[key]} and again on line {number}")
        if any(text.split() != [text] or text[0] in "\"'" for text in key):
            raise InputError(f"{path}, line {number}: {' '.join(key)!r} is no id: it is empty, quoted or holds a blank")
        seen[key] = number
    cells = np.array(body, dtype=object).reshape(len(body), len(header))
    columns = {name: cells[:, i] for name, i in zip(names, where, strict=True)}
    fid = cells[:, ids["FID"]] if "FID" in ids else None
    return Table(str(path), fid, cells[:, ids["IID"]], columns, numbers)


def read_ids(path: str | Path) -> list[tuple[str, ...]]:
    """Rows of a `--keep` or `--remove` file: (FID, IID) or (IID,); a header line (FID IID, IID or IID FID) is skipped."""
    lines = _numbered(path)
    rows = [fields_of(line) for _, line in lines]
    if not rows:
        return []
    words = [word.lstrip("#").upper() for word in rows[0][:2]]
    header = words[0] in IDS
    wide = words[0] == "FID" or (len(words) > 1 and (not header or words[1] == "FID"))
    order = (1, 0) if header and words[0] == "IID" and wide else (0, 1)
    body = list(zip(lines, rows, strict=True))[header:]
    for (number, _), fields in body:
        if len(fields) < 1 + wide:
            raise InputError(f"{path}, line {number}: one field, the lines before have FID and IID")
        if not header and not wide and len(fields) > 1:
            raise InputError(f"{path}, line {number}: {len(fields)} fields, the lines before have an IID alone")
    return [tuple(fields[i] for i in order) if wide else (fields[0],) for _, fields in body]


def read_names(path: str | Path) -> list[str]:
    """First field of each line of an `--extract` or `--exclude` file."""
    return [fields_of(line)[0] for line in lines_of(read_text(path)) if line.strip()]


def count_missing_numbers(table: Table, name: str) -> int:
    """How many cells of a column hold the number -9."""
    return sum(is_missing(text) and text.lower() not in MISSING_INPUT for text in table.columns[name].tolist())


def parse_numbers(table: Table, name: str, *, advice: str = "", missing_number: bool = True) -> np.ndarray:
    """(R,) float64 of a column, NaN where missing (NA, nan, ., nothing; with missing_number also -9).

    advice: what to do about a word, at the end of the error. Raises InputError naming line and text.
    """
    texts = table.columns[name].tolist()
    with contextlib.suppress(ValueError):  # the whole column at once, where nothing is wrong
        missing = [text.lower() in MISSING_INPUT for text in texts]
        out = np.array([np.nan if m else float(text) for text, m in zip(texts, missing, strict=True)], np.float64)
        if (np.isfinite(out) | missing).all() and "_" not in "".join(texts):
            return np.where(out == MISSING_NUMBER, np.nan, out) if missing_number else out
    for i, text in enumerate(texts):
        if text.lower() in MISSING_INPUT:
            continue
        where = f"{table.path}, line {table.line[i]}: column {name} holds {shown(text)}, expected a number"
        try:
            if "_" in text:  # Python's own notation
                raise ValueError
            value = float(text)
        except ValueError:
            raise InputError(f"{where} or NA{_hint(text, advice)}") from None
        if not np.isfinite(value):
            raise InputError(where)
    raise InputError(f"{table.path}: column {name} cannot be read as numbers")


def _hint(text: str, advice: str) -> str:
    if text.lower() in LIKE_MISSING | NO_NUMBER or text.startswith("#") or not text.strip():
        return f"; {MISSING_WORDS}"
    if text[:1] in "\"'":
        return "; numbers stand without quotes"
    if "," in text:
        return "; decimals are written with a point, thousands without a mark"
    if "\N{MINUS SIGN}" in text or "\N{EN DASH}" in text:
        return "; the minus sign is written -"
    if text[:1].isdigit():
        return ""
    return advice or "; use --covar-categorical for a column of categories"
