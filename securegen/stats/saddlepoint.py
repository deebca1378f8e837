"""The saddlepoint approximation of a score statistic's two tails, in logarithms: right where P is 1e-300.

S = U/√V is a sum over people of g̃(y − μ)/√V with y Bernoulli of mean μ. Its cumulant function is
K(t) = Σ log(1 − μ + μ e^{t g̃/√V}) − t μ g̃/√V; at K'(t) = s, with w = √(2(ts − K)) and v = t√K'', P(S ≥ s) is
Φ(−w − log(v/w)/w) (Barndorff-Nielsen 1990, Dey et al. 2017). P is the sum of the tails beyond |s| on both sides. Of few
carriers every outcome is summed instead (`few_carriers`): one more case among them moves S by more than the curve bends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securegen.kernels.cumulants import tilted_sums
from securegen.stats.corrected import Correction, NullFit, Variant
from securegen.stats.few_carriers import log_tails
from securegen.stats.pvalue import chisq_1_inverse

Array = NDArray[np.float64]
STEPS = 200
SETTLED = 1e-10  # of t, of which ts − K depends to the second order, and ln K″ to the first
NEAR = 1e-3  # |s| below it: w and v are 0/0, the skewness alone is left
EDGE = 1e-12  # relative: at the largest value that S has


@dataclass(frozen=True, eq=False, repr=False)
class _Sum:
    """A sum of x(y − μ) over people, with a normal remainder of variance `rest`. x, mean: (n,)."""

    x: Array
    mean: Array
    rest: float

    def at(self, t: float) -> tuple[float, float, float]:
        """K(t), K′(t) and K″(t)."""
        k, first, second = tilted_sums(self.x, self.mean, t)
        return k + t * t / 2 * self.rest, first + t * self.rest, second + self.rest

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
    t, k, curvature = _saddlepoint(own, s)
    w = np.sqrt(2 * (t * s - k))
    v = t * np.sqrt(curvature)
    return float(special.log_ndtr(-w - np.log(v / w) / w))


def _saddlepoint(own: _Sum, s: float) -> tuple[float, float, float]:
    """t > 0 with K′(t) = s, K(t) and K″(t): Newton's method for ln K′ inside a bracket, since far out K′ grows as an exponential.

    It begins where a sum of this skewness has its saddlepoint, s = t + skewness·t²/2.
    """
    low, high = 0.0, np.inf
    t = 2 * s / (1 + np.sqrt(1 + 2 * max(own.skewness, 0.0) * s))
    for _ in range(STEPS):
        k, slope, curvature = own.at(t)
        if slope < s:
            low = t
        else:
            high = t
        there = t + np.log(s / slope) * slope / curvature if curvature > 0 and slope > 0 else np.inf
        if not low < there < high:
            there = 2 * t if high == np.inf else (low + high) / 2
        there = min(there, 4 * t)
        if abs(there - t) <= SETTLED * t:
            break
        t = there
    return float(t), k, curvature


def saddlepoint(fit: NullFit, variant: Variant) -> Correction:
    """P from both tails, χ² and the effect that have it; SE stays the score test's."""
    root = float(np.sqrt(variant.v))
    s = abs(variant.u) / root
    x, mean, rest = variant.x / root, fit.mean, 0.0
    if variant.few is not None:
        upper, lower = log_tails(x, mean, variant.few, s)
    else:
        if (m := variant.carriers) is not None:
            rest = max(1 - float((fit.weight[m] * x[m] ** 2).sum()), 0.0)
            x, mean = x[m], mean[m]
        upper, lower = log_tail(x, mean, s, rest), log_tail(-x, mean, s, rest)
    log_p = min(np.logaddexp(upper, lower), 0.0)
    log10p = -float(log_p) / np.log(10)
    chisq = float(chisq_1_inverse(np.array([log10p]))[0])
    z = np.sign(variant.u) * np.sqrt(chisq)
    return Correction(variant.sign * z / root, 1 / root, chisq, log10p)
