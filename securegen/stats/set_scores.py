"""Scores of the variants of one set and their covariance, from exact integer sums over people.

S = g̃ᵀe and K = g̃ᵀ(I − P)g̃ of a quantitative trait, e in units of its null model's standard deviation, P the projection on the
covariates; S = g̃ᵀ(y − μ) and K weighted by μ(1 − μ) of a binary one. Missing calls are at the variant's mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design.linear import LinearModel
from securegen.design.logistic import ScoreModel
from securegen.kernels.carrier_sums import SetProducts
from securegen.stats import algebra
from securegen.stats.linear import CORRELATED


@dataclass(frozen=True)
class SetScores:
    """Of k rows, in copies: scores (k,), covariance (k, k), variance (k,) before the covariates are taken out; mean (k,)
    copies of who is called."""

    scores: np.ndarray
    covariance: np.ndarray
    variance: np.ndarray
    mean: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """(k,) bool: rows that vary, and that the covariates do not determine."""
        v = np.diag(self.covariance)
        with np.errstate(invalid="ignore"):
            out: np.ndarray = np.isfinite(self.mean) & (v > CORRELATED * self.variance) & (self.variance > 0)
        return out

    def take(self, rows: np.ndarray) -> SetScores:
        return SetScores(self.scores[rows], self.covariance[np.ix_(rows, rows)], self.variance[rows], self.mean[rows])


def weight_column(model: LinearModel | ScoreModel) -> int:
    """Which column of the analysis weighs people in products of two rows: the indicator, or w."""
    return 3 if isinstance(model, ScoreModel) else 0


class SetModel:
    """A model, prepared for many sets. Raises ValueError for a linear one without the variance of its null model."""

    def __init__(self, model: LinearModel | ScoreModel) -> None:
        self.samples, k = model.samples, len(model.covariates) + 1
        if isinstance(model, ScoreModel):
            gram, cross, self._units = model.weight_gram, model.residual_cross, np.array(model.weight_units)
            self._trait, self._trait_unit, self._first = 2, model.residual_unit, 3
        elif model.null_variance is None:
            raise ValueError("set tests need the variance of the null model")
        else:
            gram = tuple(tuple(map(float, row)) for row in model.gram)
            cross, self._units = tuple(map(float, model.cty)), np.ones(k)
            self._trait, self._trait_unit, self._first = k, 1.0, 0
        lower, scale, _ = algebra.cholesky(gram)
        identity = np.eye(k)
        self._onto = np.array(algebra.forward(lower, scale, [identity[i] for i in range(k)]))  # (DL)⁻¹
        self._cross = self._onto @ np.array(cross)
        self._intercept = gram[0][0]
        self._deviation = 1.0 if isinstance(model, ScoreModel) else float(np.sqrt(model.null_variance or 1.0))

    def scores(self, sums: SetProducts, grid: int) -> SetScores:
        """Of sums with the columns of the analysis, and products weighed by `weight_column`. grid: dosage units a copy."""
        n = self.samples - sums.mx[:, 0]
        mean = np.where(n > 0, sums.gx[:, 0] / np.maximum(n, 1), np.nan)
        fill = np.where(n > 0, mean, 0.0)
        x, products = sums.gx.astype(np.float64), sums.gg.astype(np.float64)
        if sums.mx[:, 0].any():
            x += fill[:, None] * sums.mx
            crossed = sums.gm * fill
            products += crossed + crossed.T + sums.mm * np.outer(fill, fill)
        products *= self._units[0]
        on = x[:, self._first : self._first + len(self._units)] * self._units
        z = on @ self._onto.T
        u = (x[:, self._trait] * self._trait_unit - z @ self._cross) / self._deviation
        variance = np.diag(products) - on[:, 0] ** 2 / self._intercept
        return SetScores(u / grid, (products - z @ z.T) / grid**2, variance / grid**2, mean / grid)
