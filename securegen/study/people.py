"""Joining people: phenotype and covariate rows to the samples of a genotype file, with counts of what was dropped."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.errors import DesignError, InputError
from securegen.governance.openings import FEWEST
from securegen.io.table_numbers import parse_numbers
from securegen.io.tables import MISSING_WORDS, Table
from securegen.model import Samples
from securegen.study.held import refuse_few
from securegen.vocabulary import LIKE_MISSING, MISSING_CATEGORY, is_missing

MANY_LOST = 0.1  # of the people with a phenotype, to missing covariates


@dataclass(frozen=True)
class Join:
    """row: (N,) row of the table for each sample, −1 where it has none; unknown: rows whose person has no genotype;
    pasted: rows matched by FID_IID."""

    row: np.ndarray
    unknown: int
    pasted: int = 0


def _lookup(samples: Samples, with_fid: bool, path: str) -> dict[tuple[str, ...], int]:
    keys = zip(samples.fid, samples.iid, strict=True) if with_fid else zip(samples.iid, strict=True)
    out: dict[tuple[str, ...], int] = {}
    for i, key in enumerate(keys):
        if key in out:
            raise InputError(
                f"{path} has no FID column, but the IID of person {i + 1} of the genotype file belongs to another of it, too"
            )
        out[key] = i
    return out


def join(samples: Samples, table: Table, fewest: int = 0) -> Join:
    """Match table rows to samples on (FID, IID), or on IID where the table has no FID column.

    A genotype file without family ids (FID 0, or ids written FID_IID as in a VCF) matches on IID or on FID_IID.
    fewest: people whom a policy wants, 0 without one. Raises InputError when nobody matches or an IID alone is not unique, and
    as `refuse_few`.
    """
    row = np.full(len(samples), -1, np.int64)
    with_fid = table.fid is not None and not (samples.fid == "0").all()
    lookup = _lookup(samples, with_fid, table.path)
    fids = table.fid if table.fid is not None else [""] * len(table.iid)
    unknown = pasted = 0
    for r, (fid, iid) in enumerate(zip(fids, table.iid, strict=True)):
        where = lookup.get((fid, iid) if with_fid else (iid,))
        if not with_fid and (other := lookup.get((f"{fid}_{iid}",))) is not None:
            if where is not None:
                raise InputError(two_people(f"{table.path}, line {table.line[r]}"))
            where = other
            pasted += 1
        if where is None:
            unknown += 1
        elif row[where] >= 0:
            raise InputError(
                f"{table.path}, line {table.line[r]}: this sample is matched by the row of line {table.line[row[where]]} already"
            )
        else:
            row[where] = r
    refuse_few(fewest, int((row >= 0).sum()), table.path)
    if (row < 0).all():
        raise InputError(
            f"{table.path}: none of its {len(table.iid)} people is in the genotype file: compare the ids of line "
            f"{table.line[0]} with those of its first person"
        )
    return Join(row, unknown, pasted)


CODING = "; cases and controls are written 2 and 1 (0 missing), or 1 and 0"


def column_values(
    table: Table, name: str, joined: Join, *, advice: str = "", missing_number: bool = True
) -> np.ndarray:
    """(N,) float64 of one numeric column in sample order, NaN where missing. advice, missing_number: as `parse_numbers`."""
    values = parse_numbers(table, name, advice=advice, missing_number=missing_number)
    return np.where(joined.row >= 0, values[np.maximum(joined.row, 0)], np.nan)


MISSING_CODES = (99.0, 999.0, 9999.0, 99999.0, -1.0, -8.0, -88.0, -99.0, -999.0, -9999.0, 88.0, 888.0, 8888.0)


def doubts(name: str, values: np.ndarray) -> list[str]:
    """What looks like a number and may be none: a usual code of missing values, far from all others; a sex of 0.

    values: (N,) float64, NaN where missing.

    >>> doubts("AGE", np.array([41.0, 52.0, 60.0, 999.0]))
    ['column AGE holds 999, far from all other values, 1 time: if it stands for a missing value, write NA']
    """
    known = values[~np.isnan(values)]
    out = []
    for code in MISSING_CODES:
        others = known[known != code]
        count = len(known) - len(others)
        if not count or len(others) < 2:
            continue
        low, high = float(others.min()), float(others.max())
        if high > low and (code > high + (high - low) or code < low - (high - low)):
            times = f"{count} time{'s' * (count != 1)}"
            out.append(
                f"column {name} holds {code:g}, far from all other values, {times}: if it stands for a missing value, write NA"
            )
    if name.upper() in ("SEX", "GENDER") and set(np.unique(known).tolist()) == {0.0, 1.0, 2.0}:
        out.append(
            f"column {name} holds 0, plink's code of an unknown sex, {int((known == 0).sum())} times: it is taken as a number"
        )
    return out


def category_columns(table: Table, name: str, joined: Join, fewest: int = 0) -> dict[str, np.ndarray]:
    """Indicator columns of a covariate of categories, by name NAME=LEVEL: (N,) float64, NaN where it is missing.

    The first level in alphabetical order is the reference and has no column; only levels of matched samples count.
    NONE is missing, as in plink2. Raises InputError for a cell that another program meant as missing, and for a number
    that is written in two ways.
    """
    text = table.columns[name]
    for row in joined.row[joined.row >= 0].tolist():
        if (text[row].lower() in LIKE_MISSING - {MISSING_CATEGORY}) or text[row].startswith(("#", '"')):
            raise InputError(
                f"{table.path}, line {table.line[row]}: category {name} holds {text[row]!r}; {MISSING_WORDS} or NONE, and "
                "categories stand without quotes"
            )

    def absent(cell: str) -> bool:
        return is_missing(cell) or cell.lower() == MISSING_CATEGORY

    values = np.array([text[r] if r >= 0 and not absent(text[r]) else None for r in joined.row], dtype=object)
    missing = np.array([v is None for v in values], bool)
    refuse_few(fewest, int((~missing).sum()), name)
    levels = sorted({v for v in values if v is not None})
    numbers: dict[float, str] = {}
    for level in levels:
        with contextlib.suppress(ValueError):
            if (first := numbers.setdefault(float(level), level)) != level:
                raise InputError(f"{table.path}: category {name} writes one number in two ways, {first} and {level}")
    return {f"{name}={level}": np.where(missing, np.nan, (values == level).astype(float)) for level in levels[1:]}


def two_people(path: str) -> str:
    """What to say of a row that two people of a genotype file without family ids may be."""
    return (
        f"{path}: is a person IID of the genotype file, or FID_IID? Both are there, and the file has no family ids: name people "
        "by IID alone, or use a genotype file with both ids"
    )


def match_people(samples: Samples, ids: Iterable[tuple[str, ...]], path: str = "the list") -> np.ndarray:
    """(N,) bool: sample is named by a (FID, IID) or (IID,) row; without family ids (a VCF) also by its IID or FID_IID.

    Raises InputError for a row that two people of a file without family ids may be.
    """
    wanted = set(ids)
    if (samples.fid == "0").all():
        there = set(samples.iid)
        for key in wanted:
            if len(key) == 2 and key[1] in there and "_".join(key) in there:
                raise InputError(two_people(path))
        wanted |= {(key[-1],) for key in wanted} | {("_".join(key),) for key in wanted}
    return np.array(
        [(f, i) in wanted or (i,) in wanted for f, i in zip(samples.fid, samples.iid, strict=True)], dtype=bool
    )


@dataclass(frozen=True)
class Phenotype:
    """One phenotype over all samples. values: (N,) float64, NaN where missing; binary: coded 0 = control, 1 = case; noise:
    that the values have, None where they are exact."""

    name: str
    values: np.ndarray
    binary: bool
    noise: AppliedNoise | None = None


def interpret_phenotype(name: str, values: np.ndarray, *, force_01: bool = False) -> Phenotype:
    """Decide case/control or quantitative by the values over the genotyped samples (NaN = missing).

    {1, 2} with 0 = missing: 1 control, 2 case. {0, 1}: control, case. Only one value, {1} or {0, 2}: DesignError.
    force_01 reads 0/1 although only one of them occurs. Anything else is quantitative.
    """
    seen = set(np.unique(values[~np.isnan(values)]).tolist())
    if force_01 and seen <= {0.0, 1.0} and seen:
        return Phenotype(name, values, True)
    if {1.0, 2.0} <= seen <= {0.0, 1.0, 2.0}:
        return Phenotype(name, np.where(values == 0, np.nan, values - 1), True)
    if seen == {0.0, 1.0}:
        return Phenotype(name, values, True)
    if not seen:
        raise DesignError(f"phenotype {name} is missing for every genotyped sample")
    if len(seen) == 1 or seen <= {0.0, 1.0, 2.0}:
        raise DesignError(
            f"phenotype {name} takes only the value(s) {of_many(values)}: expected cases and controls as 1/2 (0 missing) or 0/1, "
            "or a quantitative trait; `force_01` reads 0/1 by force"
        )
    return Phenotype(name, values, False)


def of_many(values: np.ndarray) -> str:
    """The values that occur, NaN = missing, for a log: of fewer than ten people only how many, since each is a person's.

    >>> of_many(np.array([1.0] * 12 + [23.4782]))
    '1, not said (1, each of fewer than 10 people)'
    """
    seen, people = np.unique(values[~np.isnan(values)], return_counts=True)
    few = int((people < FEWEST).sum())
    return ", ".join(
        [f"{v:g}" for v in seen[people >= FEWEST]]
        + [f"not said ({few}, each of fewer than {FEWEST} people)"] * bool(few)
    )


@dataclass(frozen=True)
class DropCounts:
    """Why samples of the genotype file are not analysed for one phenotype, and table rows nobody matched."""

    stored: int
    no_phenotype: int
    no_covariate: int
    analysed: int
    unknown_phenotype_rows: int
    unknown_covariate_rows: int

    def lines(self, name: str, kind: str) -> list[str]:
        """The counts in words, with a warning where covariates cost many people."""
        lost = f"{self.no_phenotype:,} without {name}, {self.no_covariate:,} with {name} but without a covariate"
        out = f"phenotype {name} ({kind}): {self.analysed:,} of {self.stored:,} people are analysed; left out: {lost}"
        rows = ((self.unknown_phenotype_rows, "phenotype"), (self.unknown_covariate_rows, "covariate"))
        strangers = " and ".join(f"{n:,} {what} row{'s' * (n != 1)}" for n, what in rows if n)
        lines = [out + (f"; ignored, of other people: {strangers}" if strangers else "")]
        had = self.analysed + self.no_covariate
        if self.no_covariate > MANY_LOST * had:
            lines.append(
                f"WARNING: {self.no_covariate:,} of {had:,} people with {name} ({self.no_covariate / had:.0%}) are lost "
                "because a covariate is missing: is the covariate table that of these people, and whole?"
            )
        return lines


def covariate_line(names: Sequence[str]) -> str:
    """The covariates in words.

    >>> covariate_line(["AGE", "SEX"])
    '2 covariates: AGE, SEX'
    """
    return f"{len(names)} covariate{'s' * (len(names) != 1)}: {', '.join(names)}"


def analysed_samples(
    phenotype: np.ndarray, covariates: np.ndarray, unknown: tuple[int, int] = (0, 0)
) -> tuple[np.ndarray, DropCounts]:
    """(N,) bool of samples with this phenotype and every covariate, and the counts of the others.

    phenotype: (N,) and covariates: (N, K−1), NaN where missing.
    """
    has_y, has_c = ~np.isnan(phenotype), ~np.isnan(covariates).any(axis=1)
    both = has_y & has_c
    counts = DropCounts(len(both), int((~has_y).sum()), int((has_y & ~has_c).sum()), int(both.sum()), *unknown)
    return both, counts


def group_by_samples(masks: Sequence[np.ndarray]) -> list[list[int]]:
    """Indices of equal masks together, in order of first appearance."""
    groups: dict[bytes, list[int]] = {}
    for i, mask in enumerate(masks):
        groups.setdefault(mask.tobytes(), []).append(i)
    return list(groups.values())
