"""Tables of people and of variants that lie beside PLINK's genotypes: fam and psam, bim and pvar.

A fam and a bim have no header, and a psam and a pvar may have none: then they are read as those.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.schema import shown
from securegen.io.tables import sex_codes, unique_samples
from securegen.io.text import count, fields_of, iterate_lines, refuse_quotes, refuse_separator, whole_number
from securegen.model import Samples, Variants
from securegen.vocabulary import is_missing

SEXES = frozenset({"0", "1", "2", "-9", "NA", "M", "F"})
FAM_WORDS = frozenset(
    {"FID", "IID", "PID", "MID", "PAT", "MAT", "SEX", "GENDER", "PHENO", "PHENOTYPE", "FATHER", "MOTHER", "FAMILY"}
    | {"INDIVIDUAL", "FAMILYID", "INDIVIDUALID", "AFF", "STATUS"}
)
EXPONENT = re.compile(r"[0-9.]+[eE][+-]?[0-9]+", re.ASCII)


def _fields(path: Path, counts: tuple[int, ...], what: str) -> np.ndarray:
    """(R, F) object array of the fields of every row, all of one length. Raises InputError naming file and line."""
    rows = list(map(fields_of, iterate_lines(path)))
    widths = set(map(len, rows))
    if not widths - {0}:
        raise InputError(f"{path} is empty")
    expected = next((n for n in counts if n in widths), counts[0])
    if widths == {expected}:
        return np.array(rows, dtype=object)
    for number, fields in enumerate(rows, 1):
        if len(fields) != expected and "".join(fields).strip():
            refuse_separator(fields, path, number)
            raise InputError(f"{path}, line {number}: {count(len(fields), 'field')}, a {what} file has {expected}")
    return np.array([fields for fields in rows if len(fields) == expected], dtype=object)


def refuse_header(people: np.ndarray, path: Path) -> None:
    """Raise InputError for a row of names among the (N, F) rows of a fam: it would be read as one more person."""
    for row in np.flatnonzero([sex not in SEXES for sex in people[:, 4]]).tolist():
        words = {word.lstrip("#").strip('"').upper() for word in people[row]}
        numbers = [f"{word}{i}" for word in ("V", "X", "") for i in range(people.shape[1] + 1)]
        known = words & FAM_WORDS
        if len(known) > 1 or (row == 0 and words <= set(numbers) and len(words) == people.shape[1]):
            raise InputError(
                f"{path}, line {row + 1}: a header ({' '.join(people[row])}), but a fam has none: remove the header line"
            )
    last = people[:, -1].tolist()
    if people.shape[1] > 5 and len(last) > 1 and not _number(last[0]) and all(_number(text) for text in last[1:]):
        raise InputError(
            f"{path}, line 1: the last field is {shown(last[0])}, on every other line a number: if line 1 is a header, remove it"
        )


def _number(text: str) -> bool:
    """Whether a phenotype of a fam is a number or missing."""
    try:
        float(text)
    except ValueError:
        return is_missing(text)
    return True


def read_fam(path: Path) -> Samples:
    """People of a fam. Raises InputError naming file and line."""
    fam = _fields(path, (6,), "fam")
    refuse_header(fam, path)
    refuse_quotes(fam[0], path, 1)
    return unique_samples(fam[:, 0], fam[:, 1], (fam[:, 2] == "0") & (fam[:, 3] == "0"), path, sex_codes(fam[:, 4]))


def read_bim(path: Path) -> Variants:
    """Variants of a bim, with or without centimorgans. Raises InputError naming file and line."""
    bim = _fields(path, (6, 5), "bim")
    refuse_quotes(bim[0], path, 1)
    place = bim.shape[1] - 3
    return Variants(bim[:, 0], _positions(bim, place, path), bim[:, 1], bim[:, place + 1], bim[:, place + 2])


def _positions(bim: np.ndarray, column: int, path: Path) -> np.ndarray:
    """(M,) int64 base-pair positions. Raises InputError naming the line and the text of another word."""
    texts = bim[:, column].tolist()
    if len(max(texts, key=len)) < 19 and "".join(texts).isascii() and all(map(str.isdecimal, texts)):
        return np.array(list(map(int, texts)), np.int64)  # as nearly every file has them
    out = [whole_number(text) for text in texts]
    if None in out:
        at = out.index(None)
        text = bim[at, column]
        hint = " (R: options(scipen=999))" if EXPONENT.fullmatch(text) else ""
        header = ": remove the header line" if at == 0 and text.isalpha() and not is_missing(text) else ""
        raise InputError(
            f"{path}, line {at + 1}: {shown(text)} is not a base-pair position, a whole number is expected{hint}{header}"
        )
    return np.array(out, dtype=np.int64)


def read_psam(path: Path) -> Samples:
    """People of a psam, or of a fam where it has no header. Raises InputError naming file and line."""
    header: list[str] | None = None
    rows: list[list[str]] = []
    for number, line in enumerate(iterate_lines(path), 1):
        if line.startswith(("#FID", "#IID")):
            if header is not None:
                raise InputError(f"{path}, line {number}: a second header line")
            header = fields_of(line[1:])
            if any(name.startswith("#") for name in header):
                raise InputError(
                    f"{path}, line {number}: only the first name of the header takes a # (found {line[:40]!r})"
                )
            if "IID" not in header or any(header.count(name) > 1 for name in header):
                raise InputError(
                    f"{path}, line {number}: the header names IID, and every column once (found {line[:40]!r})"
                )
        if line.startswith("#") or not line.strip():
            continue
        fields = fields_of(line)
        if header is None and len(fields) >= 4:
            header = ["FID", "IID", "PAT", "MAT", *(f"field{i}" for i in range(len(fields) - 4))]
        if header is None or len(fields) != len(header):
            refuse_separator(fields, path, number)
            expected = f"{len(header)} as in the header" if header else "a header line #FID IID … or #IID …"
            raise InputError(f"{path}, line {number}: {count(len(fields), 'field')}, expected {expected}")
        if not rows:
            refuse_quotes(fields, path, number)
        rows.append(fields)
    if header is None or not rows:
        raise InputError(f"{path} names nobody")
    cells = np.array(rows, dtype=object)
    if "field0" in header:  # a fam: nothing else names its columns
        refuse_header(cells, path)
    zeros = np.full(len(rows), "0", dtype=object)

    def column(name: str) -> np.ndarray:
        return cells[:, header.index(name)] if name in header else zeros

    founder = ((column("PAT") == "0") & (column("MAT") == "0")).astype(bool)
    sex = sex_codes(column("field0" if "field0" in header else "SEX"))
    return unique_samples(column("FID"), column("IID"), founder, path, sex)


def read_pvar(path: Path) -> Variants:
    """Variants of a pvar (plain, gzip or zstd), or of a bim's columns where it has no header.

    Several ALT alleles stay as written, with commas. `.` is written 0, PLINK1's missing allele.
    """
    at: dict[str, int] = {}
    width = 0
    positions: list[int] = []
    text: tuple[list[str], ...] = ([], [], [], [])
    for number, line in enumerate(iterate_lines(path), 1):
        if line.startswith("#"):
            if line.startswith("#CHROM"):
                if at:
                    raise InputError(f"{path}, line {number}: a header line below the first variant")
                at = {name: i for i, name in enumerate(fields_of(line[1:]))}
                width = len(at)
                if not {"CHROM", "POS", "ID", "REF", "ALT"} <= set(at):
                    refuse_separator(fields_of(line[1:]), path, number)
                    raise InputError(f"{path}, line {number}: the header must name #CHROM, POS, ID, REF and ALT")
            continue
        fields = fields_of(line)
        if not fields:
            continue
        if not at and len(fields) in (5, 6):
            at = {"CHROM": 0, "ID": 1, "POS": len(fields) - 3, "ALT": len(fields) - 2, "REF": len(fields) - 1}
            width = len(fields)
        if len(fields) != width and len(cells := line.split("\t")) == width:
            fields = cells  # a blank in INFO or in an id
        if at and len(fields) != width:
            raise InputError(
                f"{path}, line {number}: {count(len(fields), 'field')}, {width} expected as in the header or the first line"
            )
        if not positions:
            refuse_quotes(fields, path, number)
        try:
            place = whole_number(fields[at["POS"]])
            if place is None:
                raise ValueError
            chromosome, name, ref, alt = (fields[at[n]] for n in ("CHROM", "ID", "REF", "ALT"))
            if not (chromosome and name and ref and alt):
                raise ValueError
        except (KeyError, IndexError, ValueError):
            found = " ".join(fields[:5])
            hint = ": its header starts with #" if fields[0].upper() == "CHROM" else ""
            raise InputError(
                f"{path}, line {number}: not a variant with chromosome, position (a whole number), id, REF and ALT "
                f"(found {found[:60]!r}){hint}"
            ) from None
        positions.append(place)
        for column, value in zip(text, (chromosome, name, "0" if alt == "." else alt, ref), strict=True):
            column.append(value)
    if not positions:
        raise InputError(f"{path} has no variants")
    chromosomes, ids, alts, refs = (np.array(c, dtype=object) for c in text)
    return Variants(chromosomes, np.array(positions, np.int64), ids, alts, refs)
