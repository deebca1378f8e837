"""What a table of results releases of its people: how many they are, which sums over them, and which rows matter most.

Every table of this program, and of plink2, regenie and GWAS-SSF where it has frequencies or effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from securegen.errors import InputError
from securegen.model import FloatArray, IntArray, TextArray
from securegen.results.cells import numbers
from securegen.results.read import read_own, read_results

_GENOTYPES = ("HOM_A1_CT", "HET_A1_CT", "TWO_AX_CT")


@dataclass(frozen=True)
class ReleasedGroup:
    """People whose allele frequencies a table has. people, copies: (M,) called people, copies of the rarer allele."""

    name: str
    people: IntArray
    copies: IntArray


@dataclass(frozen=True)
class ReleasedTable:
    """id: (M,) of the variants with numbers; order: (M,) places, the most significant first; groups: of frequencies, none
    where the table has no frequencies; genotypes: they are counts of genotypes; effects: a signed statistic is there; people:
    (M,) of it; chisq: (M,) float64, N times the share of the trait's variance that the variant explains, 0 where it is not
    told; cases: share of cases, NaN where the trait has more values."""

    path: str
    id: TextArray
    order: IntArray
    people: IntArray
    groups: tuple[ReleasedGroup, ...]
    genotypes: bool
    effects: bool
    chisq: FloatArray
    cases: float

    def __len__(self) -> int:
        return len(self.id)


def read_released(path: str | Path) -> ReleasedTable:
    """Read a table. Raises InputError where it is not a table of results, or has neither frequencies nor effects."""
    name = str(path).removesuffix(".gz").removesuffix(".zst")
    frame = _numbers(read_own(path), path) if name.endswith((".afreq", ".hardy")) else read_results(path)
    if set(_GENOTYPES) <= set(frame.columns):
        return _of_genotypes(str(path), frame)
    if "ALT_FREQS" in frame:
        return _of_frequencies(str(path), frame)
    if {"A1_CASE_CT", "A1_CTRL_CT", "CASE_CT", "CTRL_CT"} <= set(frame.columns):
        return _of_counts(str(path), frame)
    return _of_association(str(path), frame)


def _of_association(path: str, frame: pd.DataFrame) -> ReleasedTable:
    effect = next((c for c in ("U", "BETA", "OR", "T_STAT", "Z_STAT") if c in frame), None)
    if "OBS_CT" not in frame or not ("A1_FREQ" in frame or effect):
        raise InputError(
            f"{path} has no frequencies (A1_FREQ, ALT_FREQS, or counts of alleles) and no effects (U, BETA) with OBS_CT: a "
            "test of membership by such sums does not apply to it. That says nothing of other tests"
        )
    told = [frame[c].notna().to_numpy() for c in ("A1_FREQ", effect) if c in frame]
    frame = frame[(frame["OBS_CT"].to_numpy(float) > 0) & np.logical_or.reduce(told)]
    people = _whole(frame, "OBS_CT")
    groups = []
    if "A1_FREQ" in frame:
        frequency = np.nan_to_num(frame["A1_FREQ"].to_numpy(float))
        _refuse_outside(frequency, path, "A1_FREQ")
        groups.append(ReleasedGroup("everybody", people, _minor(np.rint(2 * people * frequency), people)))
    cases = np.nan
    if "CASE_CT" in frame and len(frame):
        cases = float((frame["CASE_CT"] / frame["OBS_CT"]).median())
    return ReleasedTable(
        path, frame["ID"].to_numpy(object), _order(frame), people, tuple(groups), False, effect is not None,
        _chisq(frame, people), cases,
    )  # fmt: skip


def _of_counts(path: str, frame: pd.DataFrame) -> ReleasedTable:
    frame = frame[(frame["CASE_CT"] > 0) & (frame["CTRL_CT"] > 0)].dropna(subset=["A1_CASE_CT", "A1_CTRL_CT"])
    groups = []
    for name, column in (("cases", "CASE"), ("controls", "CTRL")):
        people, copies = _whole(frame, f"{column}_CT"), _whole(frame, f"A1_{column}_CT")
        _refuse_outside(copies / (2 * people), path, f"A1_{column}_CT")
        groups.append(ReleasedGroup(name, people, _minor(copies, people)))
    people = groups[0].people + groups[1].people
    share = float(np.median(groups[0].people / people)) if len(frame) else np.nan
    return ReleasedTable(
        path,
        frame["ID"].to_numpy(object),
        _order(frame),
        people,
        tuple(groups),
        False,
        False,
        _chisq(frame, people),
        share,
    )


def _of_frequencies(path: str, frame: pd.DataFrame) -> ReleasedTable:
    frame = frame[frame["OBS_CT"] > 1].dropna(subset=["ALT_FREQS"])
    alleles, frequency = _whole(frame, "OBS_CT"), frame["ALT_FREQS"].to_numpy(float)
    _refuse_outside(frequency, path, "ALT_FREQS")
    people = alleles // 2
    group = ReleasedGroup("everybody", people, _minor(np.rint(alleles * frequency), people))
    return _without_trait(path, frame, people, group, genotypes=False)


def _of_genotypes(path: str, frame: pd.DataFrame) -> ReleasedTable:
    frame = frame.dropna(subset=list(_GENOTYPES))
    hom, het, other = (_whole(frame, c) for c in _GENOTYPES)
    people = hom + het + other
    frame, seen = frame[people > 0], people > 0
    people, copies = people[seen], (2 * hom + het)[seen]
    group = ReleasedGroup("everybody", people, _minor(copies, people))
    return _without_trait(path, frame, people, group, genotypes=True)


def _without_trait(
    path: str, frame: pd.DataFrame, people: IntArray, group: ReleasedGroup, *, genotypes: bool
) -> ReleasedTable:
    order = np.argsort(-group.copies, kind="stable")
    nothing = np.zeros(len(frame))
    return ReleasedTable(path, frame["ID"].to_numpy(object), order, people, (group,), genotypes, False, nothing, np.nan)


def _chisq(frame: pd.DataFrame, people: IntArray) -> FloatArray:
    """Of a Wald or t statistic T, N·T²/(N + T²); of a score test its χ²."""
    for first, second in (("U", "V"), ("CHISQ", ""), ("T_STAT", ""), ("Z_STAT", ""), ("BETA", "SE"), ("LOG10_P", "")):
        if {first, second} - {""} <= set(frame.columns):
            break
    value = frame[first].to_numpy(float)
    if first == "CHISQ":
        square = value
    elif first == "LOG10_P":  # a table whose effects have no errors
        square = stats.chi2.isf(10 ** -np.minimum(value, 300), 1)
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            root = frame[second].to_numpy(float) if second else np.ones(len(frame))
            square = value**2 / root if first == "U" else (value / root) ** 2
    square = np.where(np.isfinite(square), square, 0.0)
    out: FloatArray = square if first in ("U", "CHISQ") else people * square / (people + square)
    return out


def _numbers(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    """Columns of counts and frequencies as numbers."""
    for column in (*_GENOTYPES, "ALT_FREQS", "OBS_CT"):
        if column in frame:
            frame[column] = numbers(frame[column], path, column)
    return frame


def _whole(frame: pd.DataFrame, column: str) -> IntArray:
    out: IntArray = np.rint(frame[column].to_numpy(float)).astype(np.int64)
    return out


def _minor(copies: np.ndarray, people: IntArray) -> IntArray:
    copies = copies.astype(np.int64)
    out: IntArray = np.minimum(copies, 2 * people - copies)
    return out


def _order(frame: pd.DataFrame) -> IntArray:
    significance = np.nan_to_num(frame["LOG10_P"].to_numpy(float), nan=-1.0)
    out: IntArray = np.argsort(-significance, kind="stable")
    return out


def _refuse_outside(frequency: np.ndarray, path: str, column: str) -> None:
    wrong = (frequency < 0) | (frequency > 1)
    if wrong.any():
        raise InputError(
            f"{path}: {column} gives a frequency of {frequency[wrong.argmax()]:g}: between 0 and 1 is expected"
        )
