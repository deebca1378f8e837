"""Quality control: indicators of founders, of everybody, and of those in the Hardy–Weinberg test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import Analysis, Design
from securegen.errors import DesignError
from securegen.model import Columns


@dataclass(frozen=True)
class QcModel:
    """Quality control. samples: everybody; founders: whose frequencies count; tested: in the Hardy–Weinberg test."""

    phenotype: str
    samples: int
    founders: int
    tested: int
    covariates: tuple[str, ...] = ()
    bits: int = 1


def qc_design(
    founders: np.ndarray, tested: np.ndarray, everybody: np.ndarray | None = None, *, total: fp.SumOverSites = fp.pooled
) -> Design:
    """Design of quality control: frequencies over founders, missingness over everybody, Hardy–Weinberg over `tested`.

    founders, tested: (N,) bool; everybody: (N,) bool, None for all. Equal sets share a column, but not at one of
    several sites, where others' need not be equal. Raises DesignError when nobody is left in one of them.
    """
    everybody = np.ones_like(founders) if everybody is None else everybody
    sets = {"founders": founders, "everybody": everybody, "Hardy-Weinberg": tested}
    counts = total([int(s.sum()) for s in sets.values()])
    columns: list[np.ndarray] = []
    index = []
    for (name, people), count in zip(sets.items(), counts, strict=True):
        if count == 0:
            raise DesignError(f"quality control: no sample is left for {name}")
        known = columns if total is fp.pooled else []
        same = next((i for i, c in enumerate(known) if np.array_equal(c, people)), len(columns))
        if same == len(columns):
            columns.append(people)
        index.append(same)
    squared = tuple(i == index[2] for i in range(len(columns)))
    design = Columns(tuple(f"QC:{i}" for i in range(len(columns))), np.stack(columns, 1).astype(np.int64), squared)
    model = QcModel("QC", counts[1], counts[0], counts[2])
    return Design(design, (Analysis("qc", "QC", tuple(index), (0,), model),))
