"""The saddlepoint approximation of a score statistic's two tails, in logarithms: right where P is 1e-300.

S = U/√V is a sum over people of g̃(y − μ)/√V with y Bernoulli of mean μ. Its cumulant function is
K(t) = Σ log(1 − μ + μ e^{t g̃/√V}) − t μ g̃/√V; at K'(t) = s, with w = √(2(ts − K)) and v = t√K'', P(S ≥ s) is
Φ(−w − log(v/w)/w) (Barndorff-Nielsen 1990, Dey et al. 2017). P is the sum of the tails beyond |s| on both sides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securegen.stats.corrected import Correction, NullFit, Variant
from securegen.stats.pvalue import chisq_1_inverse

Array = NDArray[np.float64]
STEPS = 200
NEAR = 1e-3  # |s| below it: w and v are 0/0, the skewness alone is left
EDGE = 1e-12  # relative: at the largest value that S has


@dataclass(frozen=True, eq=False, repr=False)
class _Sum:
    """A sum of x(y − μ) over people, with a normal remainder of variance `rest`. x, mean: (n,)."""

    x: Array
    mean: Array
    rest: float

    def cumulant(self, t: float) -> float:
        a = t * self.x
        up = a > 0
        small = np.exp(-np.abs(a))
        # log(1 − μ + μ e^a) − μ a, each in the form that does not overflow
        high = a + np.log(self.mean + (1 - self.mean) * small)
        low = np.log1p(self.mean * np.expm1(np.minimum(a, 0)))
        near = np.abs(a) < 1
        low = np.where(near, np.log1p(self.mean * np.expm1(np.where(near, a, 0))), low)
        return float((np.where(up & ~near, high, low) - self.mean * a).sum()) + t * t / 2 * self.rest

    def slopes(self, t: float) -> tuple[float, float]:
        """K' and K''."""
        small = np.exp(-np.abs(t * self.x))
        one, other = np.where(t * self.x > 0, 1.0, small), np.where(t * self.x > 0, small, 1.0)
        tilted = self.mean * one / (self.mean * one + (1 - self.mean) * other)
        first = self.x * (tilted - self.mean)
        return float(first.sum()) + t * self.rest, float((self.x**2 * tilted * (1 - tilted)).sum()) + self.rest

    @property
    def skewness(self) -> float:
        return float((self.x**3 * self.mean * (1 - self.mean) * (1 - 2 * self.mean)).sum())

    @property
    def most(self) -> float:
        """The largest value of the sum."""
        return np.inf if self.rest > 0 else float(np.maximum(self.x, 0).sum() - (self.x * self.mean).sum())

    def log_at_most(self) -> float:
        """Log of the probability of that value."""
        sure = np.where(self.x > 0, np.log(self.mean), np.where(self.x < 0, np.log1p(-self.mean), 0.0))
        return float(sure.sum())


def log_tail(x: Array, mean: Array, s: float, rest: float = 0.0) -> float:
    """ln P(Σ x(y − μ) ≥ s) for s ≥ 0; the variance of the sum is about 1. −inf beyond its largest value."""
    from scipy import special

    own = _Sum(x, mean, rest)
    if s > own.most * (1 + EDGE):
        return -np.inf
    if s >= own.most * (1 - EDGE):
        return own.log_at_most()
    if s < NEAR:
        return float(special.log_ndtr(-s - own.skewness / 6))
    t = _saddlepoint(own, s)
    w = np.sqrt(2 * (t * s - own.cumulant(t)))
    v = t * np.sqrt(own.slopes(t)[1])
    return float(special.log_ndtr(-w - np.log(v / w) / w))


def _saddlepoint(own: _Sum, s: float) -> float:
    """t > 0 with K'(t) = s, by Newton's method inside a bracket."""
    low, high, t = 0.0, np.inf, s
    for _ in range(STEPS):
        slope, curvature = own.slopes(t)
        if slope < s:
            low = t
        else:
            high = t
        there = t + (s - slope) / curvature if curvature > 0 else np.inf
        if not low < there < high:
            there = 2 * t if high == np.inf else (low + high) / 2
        there = min(there, 4 * t)
        if abs(there - t) <= 1e-13 * t:
            return float(there)
        t = there
    return float(t)


def saddlepoint(fit: NullFit, variant: Variant) -> Correction:
    """P from both tails, χ² and the effect that have it; SE stays the score test's."""
    root = float(np.sqrt(variant.v))
    s = abs(variant.u) / root
    x, mean, rest = variant.x / root, fit.mean, 0.0
    if (m := variant.carriers) is not None:
        rest = max(1 - float((fit.weight[m] * x[m] ** 2).sum()), 0.0)
        x, mean = x[m], mean[m]
    log_p = min(np.logaddexp(log_tail(x, mean, s, rest), log_tail(-x, mean, s, rest)), 0.0)
    log10p = -float(log_p) / np.log(10)
    chisq = float(chisq_1_inverse(np.array([log10p]))[0])
    z = np.sign(variant.u) * np.sqrt(chisq)
    return Correction(variant.sign * z / root, 1 / root, chisq, log10p)
