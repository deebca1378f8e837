"""Quality control: indicators of founders, of everybody, and of those in the Hardy–Weinberg test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import Analysis, Design
from securegen.errors import DesignError
from securegen.model import Columns
from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class QcModel:
    """Quality control. samples: everybody; founders: whose frequencies count; tested: in the Hardy–Weinberg test.

    males: on X, males among founders, females and males among tested, else empty; unit: steps there of a female's stored
    dosage in a copy over those of a male's; coding: the genetic model of the dosages.
    """

    phenotype: str
    samples: int
    founders: int
    tested: int
    covariates: tuple[str, ...] = ()
    bits: int = 1
    males: tuple[int, ...] = ()
    unit: int = 1
    coding: str = ADDITIVE


def qc_design(
    founders: np.ndarray, tested: np.ndarray, everybody: np.ndarray | None = None, *,
    total: fp.SumOverSites = fp.pooled, coding: str = ADDITIVE,
) -> Design:  # fmt: skip
    """Design of quality control: frequencies over founders, missingness over everybody, Hardy–Weinberg over `tested`.

    founders, tested: (N,) bool; everybody: (N,) bool, None for all. Equal sets share a column, but not at one of
    several sites, where others' need not be equal. Raises DesignError when nobody is left in one of them.
    """
    everybody = np.ones_like(founders) if everybody is None else everybody
    sets = {"founders": founders, "everybody": everybody, "Hardy-Weinberg": tested}
    counts = total([int(s.sum()) for s in sets.values()])
    for name, count in zip(sets, counts, strict=True):
        if count == 0:
            raise DesignError(f"quality control: no sample is left for {name}")
    model = QcModel("QC", counts[1], counts[0], counts[2], coding=coding)
    return _design(list(sets.values()), (2,), model, share=total is fp.pooled)


def qc_design_of(
    founders: np.ndarray, tested: np.ndarray, present: np.ndarray, *, total: fp.SumOverSites = fp.pooled
) -> Design:
    """As `qc_design`, of those alone who have the chromosome, who may be nobody. present: (N,) bool."""
    sets = [founders & present, present, tested & present]
    counts = total([int(s.sum()) for s in sets])
    return _design(sets, (2,), QcModel("QC", counts[1], counts[0], counts[2]), share=total is fp.pooled)


def qc_design_x(
    founders: np.ndarray, tested: np.ndarray, everybody: np.ndarray, sex: np.ndarray, unit: int, *,
    total: fp.SumOverSites = fp.pooled, coding: str = ADDITIVE,
) -> Design:  # fmt: skip
    """As `qc_design`, on X, where males have one allele; sex: (N,), 1 male, 2 female. People of unknown sex have two, and
    are in no Hardy–Weinberg test."""
    male, female = sex == 1, sex == 2
    sets = [founders, everybody, founders & male, tested & female, tested & male]
    founder_count, samples, *males = total([int(s.sum()) for s in sets])
    model = QcModel("QC", samples, founder_count, sum(males[1:]), males=tuple(males), unit=unit, coding=coding)
    return _design(sets, (2, 3, 4), model, share=total is fp.pooled)


def _design(sets: Sequence[np.ndarray], squared: Sequence[int], model: QcModel, *, share: bool = True) -> Design:
    """Columns of sets of people; equal ones are one column where `share` says so. squared: of which Σg² is read; where a genetic
    model recodes dosages, Σ of the alleles is, of all."""
    squared = squared if model.coding == ADDITIVE else range(len(sets))
    columns: list[np.ndarray] = []
    index = []
    for people in sets:
        known = columns if share else []
        same = next((i for i, c in enumerate(known) if np.array_equal(c, people)), len(columns))
        if same == len(columns):
            columns.append(people)
        index.append(same)
    marked = tuple(i in {index[s] for s in squared} for i in range(len(columns)))
    place = {column: i for i, column in enumerate(i for i, flag in enumerate(marked) if flag)}
    design = Columns(tuple(f"QC:{i}" for i in range(len(columns))), np.stack(columns, 1).astype(np.int64), marked)
    squares = tuple(place[index[s]] for s in squared)
    return Design(design, (Analysis("qc", "QC", tuple(index), squares, model),))
