"""The score test of one variant person by person: what its corrections begin with.

g̃ = g − C(CᵀWC)⁻¹CᵀWg, U = Σ g̃(y − μ), V = Σ w g̃²; C has an intercept, so that counting the other allele only turns the sign
of g̃.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from securegen.design.null_people import NullPeople
from securegen.stats.firth_null import firth_null

FEW = 20  # carriers, whose outcomes are all summed: a million
HOLDS = 0.1  # of a copy: what a carrier has of a dosage
SPARSE = 0.5  # share of dosages that are 0, from which on regenie sums over carriers alone


@dataclass(frozen=True)
class Correction:
    """Corrected statistics of one variant, an effect per copy. log10p: −log10 P."""

    beta: float
    se: float
    chisq: float
    log10p: float


@dataclass(frozen=True, eq=False, repr=False)
class Variant:
    """One variant of the analysed people: x: (n,) g̃ of the minor allele; carriers: (n,) bool, where regenie's approximation
    sums over them alone, else None; few: (n,) bool, the called people with more than `HOLDS` of a copy, where every outcome of
    these can be summed, else None; u, v: of x; minor: minor alleles; sign: −1 where A1 is the major allele."""

    x: np.ndarray
    carriers: np.ndarray | None
    u: float
    v: float
    minor: float
    sign: float
    few: np.ndarray | None = None


class NullFit:
    """A null model, prepared for many variants."""

    def __init__(self, null: NullPeople) -> None:
        self.people, self.cases, self.mean = null.people, null.cases, null.mean
        self.weight = null.mean * (1 - null.mean)
        self.residual = null.cases - null.mean
        self._root = np.sqrt(self.weight)
        self._basis = np.linalg.qr(null.covariates * self._root[:, None])[0]
        self._null = null

    def variant(self, dosage: np.ndarray, missing: np.ndarray | None, most: float, *, fast: bool) -> Variant:
        """dosage: (n,) float64, of which `missing` take the mean of the others; most: the largest that a person has; fast:
        carriers alone, as regenie does by default where at least half of the dosages are 0."""
        g = dosage
        called = np.ones(len(g), bool) if missing is None else ~missing
        mean = float(g[called].mean())
        g = np.where(called, g, mean)
        minor, sign = mean, 1.0
        if mean > most / 2:
            g, minor, sign = most - g, most - mean, -1.0
        y = g * self._root
        y = y - self._basis @ (self._basis.T @ y)
        x = y / self._root
        holders = called & (g > HOLDS)
        few = holders if not fast and int(holders.sum()) <= FEW else None
        carriers = g != 0 if fast and int((g == 0).sum()) >= SPARSE * len(g) else None
        return Variant(
            x, carriers, float((x * self.residual).sum()), float((y * y).sum()), minor * int(called.sum()), sign, few
        )

    @cached_property
    def firth_logits(self) -> np.ndarray:
        """(n,) linear predictor of the null model under Firth's penalty, whose coefficients are kept for every variant."""
        return firth_null(self.cases, self._null.covariates, self._null.offset, self.mean)
