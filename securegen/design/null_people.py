"""What a null model says of each person: what corrections of a score test need beside sums, at whoever has the genotypes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design.fixedpoint import PRECISE_BITS


@dataclass(frozen=True, eq=False, repr=False)
class NullPeople:
    """The null model of a binary phenotype, person by person.

    people: (n,) int64, rows of the stored samples that are analysed; cases: (n,) bool; centred: (n, K) int64 covariates in
    scales of 2^-30, intercept first, the others less their means under the weights μ(1 − μ); mean: (n,) float64 μ; firth: (n,)
    float64 logits of the model under Firth's penalty, None where they are not needed.
    """

    people: np.ndarray
    cases: np.ndarray
    centred: np.ndarray
    mean: np.ndarray
    firth: np.ndarray | None = None

    @property
    def covariates(self) -> np.ndarray:
        """(n, K) float64."""
        out: np.ndarray = self.centred / float(1 << PRECISE_BITS)
        return out

    @property
    def penalised(self) -> np.ndarray:
        """(n,) float64 `firth`. Raises ValueError where there is none."""
        if self.firth is None:
            raise ValueError("a null model without Firth's penalty")
        return self.firth
