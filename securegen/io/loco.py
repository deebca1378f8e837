"""Predictions of a whole-genome model, as regenie's step 1 writes them: X_pred.list names a X_k.loco for each phenotype.

A .loco file has a line of people as FID_IID and 23 lines, a chromosome each, of the sum of all other chromosomes' predictions:
in units of the phenotype's residual standard deviation for a quantitative trait, on the logit scale for a binary one. A
chromosome that the model did not hold has the sum of all. NA stands for people that the phenotype lacks.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.io.text import beside, fields_of, iterate_lines
from securegen.model import FloatArray, Samples

_BLANKS: Final = re.compile(r"[ \t]+")
CHROMOSOMES: Final = tuple(str(n) for n in range(1, 24))  # 23 is X
LARGEST: Final = 1e6  # of a prediction in standard deviations, or of a logit: beyond it the file is another one


@dataclass(frozen=True)
class Offsets:
    """Predictions of one phenotype for the samples of a cohort.

    values: (23, N) float64, row c − 1 without chromosome c, NaN where the file has none for a sample; path: of the .loco;
    unknown: people of the file who are not in the cohort.
    """

    path: Path
    values: FloatArray
    unknown: int

    def of(self, chromosome: str) -> FloatArray:
        """(N,) float64 for variants of a chromosome, 1 to 22 or X (23)."""
        row: FloatArray = self.values[CHROMOSOMES.index("23" if chromosome == "X" else chromosome)]
        return row


def read_prediction_list(path: str | Path) -> dict[str, Path]:
    """Phenotype -> .loco file, of a list as regenie writes it. A relative name is looked for from the list's own folder,
    then from here. Raises InputError naming the line."""
    out: dict[str, Path] = {}
    for number, line in enumerate(iterate_lines(path), 1):
        if not line.strip():
            continue
        phenotype, *rest = _BLANKS.split(line.strip(" \t"), maxsplit=1)
        if not rest:
            raise InputError(f"{path}, line {number}: a phenotype and a .loco file are expected, not {line.strip()!r}")
        if phenotype in out:
            raise InputError(f"{path}, line {number}: phenotype {phenotype} has a file already")
        (name,) = rest
        found = [p for p in (beside(Path(path).parent / name), beside(name)) if os.path.exists(p)]
        if not found:
            raise InputError(f"{path}, line {number}: there is no file {name}, beside the list or here")
        if not all(p.samefile(found[0]) for p in found):
            raise InputError(
                f"{path}, line {number}: {found[0]} is there, and {found[1]} too: which one is meant? Write the whole path"
            )
        same = next((known for known, other in out.items() if other.samefile(found[0])), None)
        if same is not None:
            raise InputError(
                f"{path}, line {number}: {name} is the file of phenotype {same} already; predictions are those of one phenotype"
            )
        out[phenotype] = found[0]
    if not out:
        raise InputError(f"{path} names no phenotype: each line is a phenotype and a .loco file")
    return out


def read_offsets(path: str | Path, samples: Samples) -> Offsets:
    """The predictions in a .loco file (plain or .gz) for these samples, matched by FID_IID; IID alone where the cohort has no
    family ids. Raises InputError for a file of another form, and when it knows none of the samples."""
    lines = iterate_lines(path)
    header = fields_of(next(lines, ""))
    if not header or header[0] != "FID_IID":
        raise InputError(f"{path} is not a .loco file of regenie: its first line does not begin with FID_IID")
    where, unknown = _places(header[1:], samples, path)
    values = np.full((len(CHROMOSOMES), len(samples)), np.nan)
    column = np.flatnonzero(where >= 0)
    seen: set[str] = set()
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        fields = fields_of(line)
        chromosome = fields[0]
        if chromosome not in CHROMOSOMES or chromosome in seen:
            raise InputError(
                f"{path}, line {number} begins with {chromosome!r}: each chromosome from 1 to 23 has one line"
            )
        if len(fields) != len(header):
            raise InputError(f"{path}, line {number} has {len(fields)} fields, the first line {len(header)}")
        seen.add(chromosome)
        values[int(chromosome) - 1, where[column]] = _numbers(fields[1:], path, number)[column]
    lacking = [c for c in CHROMOSOMES if c not in seen]
    if lacking:
        raise InputError(f"{path} has no line for chromosome {', '.join(lacking)}: it is cut short")
    return Offsets(Path(path), values, unknown)


def _places(people: Sequence[str], samples: Samples, path: str | Path) -> tuple[np.ndarray, int]:
    """(P,) index of the sample that each column of the file is, −1 for strangers; and how many are strangers."""
    if len(set(people)) < len(people):
        twice = next(i for i, p in enumerate(people) if p in people[:i])
        raise InputError(f"{path} has two columns for one person: column {twice + 2} is one of them")
    names = _names(people, samples, path)
    where = np.array([names.get(p, -1) for p in people], np.int64)
    known = where[where >= 0]
    if not len(known):
        raise InputError(
            f"{path}: none of its {len(people)} people is in the genotype file: compare its columns with FID_IID there"
        )
    if len(set(known.tolist())) < len(known):
        raise InputError(f"{path}: two of its columns are the same sample of the genotype file")
    return where, int((where < 0).sum())


def _names(people: Sequence[str], samples: Samples, path: str | Path) -> dict[str, int]:
    """The samples by the name that the file has for them: FID_IID; without family ids IID, or 0_IID, or IID_IID."""
    without = bool((samples.fid == "0").all())
    ways = (lambda f, i: i, lambda f, i: f"0_{i}", lambda f, i: f"{i}_{i}") if without else (lambda f, i: f"{f}_{i}",)
    found: list[dict[str, int]] = []
    for way in ways:
        names: dict[str, int] = {}
        for k, (fid, iid) in enumerate(zip(samples.fid, samples.iid, strict=True)):
            if names.setdefault(way(fid, iid), k) != k:
                raise InputError(
                    f"{path}: person {k + 1} and another of the genotype file have one name when FID and IID are joined by _"
                )
        if any(p in names for p in people):
            found.append(names)
    if len(found) > 1:
        first, other = (next(i for i, p in enumerate(people) if p in names) + 2 for names in found[:2])
        raise InputError(
            f"{path}: column {first} is an IID of the genotype file, which has no family ids, and column {other} may be an IID "
            "in another way: whom the columns name is not clear; use a genotype file with both ids"
        )
    return found[0] if found else {}


def _numbers(fields: list[str], path: str | Path, number: int) -> FloatArray:
    try:
        if any("_" in f for f in fields):  # Python's own notation
            raise ValueError
        out = np.array([np.nan if f == "NA" else float(f) for f in fields], np.float64)
    except ValueError:
        raise InputError(f"{path}, line {number} holds something that is neither a number nor NA") from None
    if np.isinf(out).any() or (np.abs(out) > LARGEST).any():
        raise InputError(f"{path}, line {number} holds a prediction beyond {LARGEST:g}: it is not a .loco file")
    return out
