"""What a null model says of each person: what corrections of a score test need beside sums, at whoever has the genotypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design.fixedpoint import PRECISE_BITS


@dataclass(frozen=True, eq=False, repr=False)
class NullPeople:
    """The null model of a binary phenotype, person by person.

    people: (n,) int64, rows of the stored samples that are analysed; cases: (n,) bool; precise: (n, K) int64 covariates in
    scales of 2^-30, intercept first; mean: (n,) float64 μ; offset: (n,) float64 logits of a whole-genome model, None for none.
    """

    people: np.ndarray
    cases: np.ndarray
    precise: np.ndarray
    mean: np.ndarray
    offset: np.ndarray | None = None

    @property
    def covariates(self) -> np.ndarray:
        """(n, K) float64."""
        out: np.ndarray = self.precise / float(1 << PRECISE_BITS)
        return out
