"""Phenotype and covariate tables as plink2 (`#FID IID …`, `#IID …`) and regenie (`FID IID …`) write them.

A table whose header has tabs is separated by tabs, so that an empty cell is a missing value; any other by blanks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.text import count, fields_of, iterate_lines, refuse_separator
from securegen.model import Samples
from securegen.vocabulary import is_missing

Choose = Callable[[Sequence[str]], Sequence[str]]  # names of a table's columns -> those that are kept
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
        chosen = expand_names(names, list(self.columns), self.path)
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
            if regenie := re.fullmatch(r"(.*)\{(\d+):(\d+)\}", name):
                stem, low, high = regenie.groups()
                hint = f"; write {stem}{low}-{stem}{high}"
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
    """A sample table. Raises InputError where an id appears twice, by the places: errors reach logs, which hold no ids."""
    seen: dict[tuple[str, str], int] = {}
    for i, key in enumerate(zip(fid, iid, strict=True), 1):
        if (first := seen.setdefault(key, i)) != i:
            raise InputError(f"{path}: persons {first} and {i} have the same id, which appears more than once")
    return Samples(fid, iid, founder) if sex is None else Samples(fid, iid, founder, sex)


def _numbered(path: str | Path) -> Iterator[tuple[int, str]]:
    """Lines that are not empty, with their numbers; comments (##) before the first of them are left out."""
    begun = False
    for number, line in enumerate(iterate_lines(path), 1):
        if line.strip() and (begun or not line.startswith("##")):
            begun = True
            yield number, line


def _cells_by_tab(line: str, width: int) -> list[str]:
    """Cells between tabs, without blanks around them; empty ones past the width (trailing tabs) do not count."""
    cells = [cell.strip(" ") for cell in line.split("\t")] if " " in line else line.split("\t")
    while len(cells) > width and not cells[-1]:
        cells.pop()
    return cells


def _header(number: int, header: str, path: str | Path) -> tuple[list[str], bool]:
    """The names of a table, and whether tabs alone separate its cells."""
    names = fields_of(header)
    refuse_separator(names, path, number)
    if names[0] == "Unnamed:" and names[1:2] == ["0"]:
        raise InputError(f"{path}, line {number}: column 1 is pandas' index (Unnamed: 0): write to_csv(index=False)")
    _id_columns(names, path, number)
    by_tab = _cells_by_tab(header.rstrip("\t "), 0)
    if "\t" in header.strip() and any(" " in name for name in by_tab):  # blanks in names, or both separators
        if all(len(fields_of(line)) == len(names) and "\t\t" not in line.strip() for _, line in _numbered(path)):
            by_tab = names
        else:
            wrong = next(name for name in by_tab if " " in name)
            raise InputError(
                f"{path}, line {number}: the name {wrong!r} holds a blank: write {wrong.replace(' ', '_')!r}"
            )
    if "" in by_tab:
        index = " (pandas: to_csv(index=False))" if not by_tab[0] else ""
        raise InputError(f"{path}, line {number}: column {by_tab.index('') + 1} has no name{index}")
    return names, "\t" in header.strip()


def _split(
    lines: Iterable[tuple[int, str]], width: int, tabs: bool, path: str | Path
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with its line. Raises InputError naming the first line of another width."""
    mixed: list[int] = []
    blanks_inside = False
    for at, (number, line) in enumerate(lines, 1):
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
        yield number, cells
    if mixed and blanks_inside:
        raise InputError(f"{path}, line {mixed[0]}: the header is separated by tabs, this line by blanks: use tabs")


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


def read_table(path: str | Path, choose: Choose | None = None) -> Table:
    """Read a phenotype or covariate table.

    choose: names of the header -> those of columns to keep, in their order; None for all. A line at a time is read, and no
    cell of another column is kept.

    Fields are separated by tabs or blanks. The header line starts with `#FID IID`, `#IID`, `FID IID` or `IID`; a column
    FID is an id wherever it stands.
    Raises InputError (file, line, what was expected) for a missing header, ragged rows and duplicate ids.
    """
    lines = _numbered(path)
    first, text = next(lines, (0, ""))
    if not text:
        raise InputError(f"{path} is empty")
    header, tabs = _header(first, text, path)
    ids = _id_columns(header, path, first)
    names = {name: i for i, name in enumerate(header) if i not in ids.values()}
    free = [name for i, name in enumerate(header) if i not in ids.values()]
    if repeated := {n for n in free if free.count(n) > 1}:
        raise InputError(f"{path}: column {', '.join(sorted(repeated))} appears more than once")
    wanted = free if choose is None else list(choose(free))
    seen: dict[tuple[str, ...], int] = {}
    kept: dict[str, list[str]] = {name: [] for name in wanted}
    for number, cells in _split(lines, len(header), tabs, path):
        key = tuple(cells[i] for i in ids.values())
        if key in seen:
            raise InputError(f"{path}: the person of line {seen[key]} is there again, on line {number}")
        if any(text.split() != [text] or text[0] in "\"'" for text in key):
            raise InputError(f"{path}, line {number}: the id is empty, quoted or holds a blank")
        seen[key] = number
        for name, column in kept.items():
            column.append(cells[names[name]])
    if not seen:
        raise InputError(f"{path} has a header but no rows")
    people = dict(zip(ids, (_texts(column) for column in zip(*seen, strict=True)), strict=True))
    columns = {name: _texts(column) for name, column in kept.items()}
    return Table(str(path), people.get("FID"), people["IID"], columns, np.array(list(seen.values()), np.int64))


def read_header(path: str | Path) -> list[str]:
    """The names of a table's columns, its ids aside. Raises InputError."""
    first, text = next(_numbered(path), (0, ""))
    if not text:
        raise InputError(f"{path} is empty")
    header, _ = _header(first, text, path)
    return [name for i, name in enumerate(header) if i not in _id_columns(header, path, first).values()]


def _texts(values: Sequence[str]) -> np.ndarray:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def all_of(path: str | Path, chosen: Sequence[str]) -> Choose:
    """To keep the columns of these names; ranges are not read. Raises UsageError for one that is not there."""

    def choose(columns: Sequence[str]) -> Sequence[str]:
        absent = [name for name in chosen if name not in columns]
        if absent:
            raise UsageError(f"{path} has no column {absent[0]}; it has {', '.join(columns)}")
        return chosen

    return choose


def read_ids(path: str | Path) -> list[tuple[str, ...]]:
    """Rows of a `--keep` or `--remove` file: (FID, IID) or (IID,); a header line (FID IID, IID or IID FID) is skipped."""
    lines = list(_numbered(path))
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
    return [fields_of(line)[0] for line in iterate_lines(path) if line.strip()]
