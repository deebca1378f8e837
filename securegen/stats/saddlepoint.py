"""The saddlepoint approximation of a score statistic's two tails, in logarithms: right where P is 1e-300.

S = Σ x(y − μ) with y Bernoulli of mean μ has the cumulant function K(t) = Σ log(1 − μ + μ e^{tx}) − t μ x; at K'(t) = s, with
w = √(2(ts − K)) and v = t√K'', P(S ≥ s) is Φ(−w − log(v/w)/w) (Barndorff-Nielsen 1990, Dey et al. 2017). P is the sum of the
tails beyond |s| on both sides. t is found by Newton's method from K, K' and K'' alone, so that whoever sums these over
people takes the same steps. Of few carriers every outcome is summed instead (`few_carriers`): one more case among them moves
S by more than the curve bends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from securegen.kernels.exact_functions import exp, ln
from securegen.kernels.rounded_terms import FARTHEST, UNIT, tilted_terms
from securegen.stats.corrected import Correction, NullFit, Start, Variant
from securegen.stats.few_carriers import log_tails
from securegen.stats.pvalue import chisq_1_inverse

STEPS, FEWER_STEPS = 60, 10  # points of a tail at most; the latter where each is a round of several sites
SETTLED = 2.0**-12  # of t: from there a series to the third order reaches the saddlepoint
POINTS = 2.0**-30  # t are multiples of it
NEGLIGIBLE = 40.0  # of ln P: beside the other tail, e^-40 changes no digit
NEAR = 0.125  # |s|/√V below it: w and v are nearly 0/0, the skewness alone is left
EDGE = 1e-6  # relative: at the largest value that S has


@dataclass
class Tail:
    """The search for P(S ≥ s) beyond s ≥ 0, for S as it is (side 1) or turned (side −1).

    at: where K of S as it is, K' and K'' are wanted next, None at the end; log_p: ln P then, NaN where it was not found; bound:
    the least of the bounds ln P ≤ K(t) − ts so far (Chernoff); reached: s is the largest value; limit, steps: points
    at most, and so far."""

    s: float
    side: int
    variance: float
    third: float
    most: float
    rest: float = 0.0
    at: float | None = None
    log_p: float = math.nan
    limit: int = STEPS
    bound: float = 0.0
    reached: bool = False
    steps: int = 0
    _low: float = 0.0
    _high: float = math.inf
    _before: tuple[float, float] = field(default=(0.0, 0.0))

    def __post_init__(self) -> None:
        from scipy import special

        self._before = (0.0, self.variance)
        if not self.variance > 0:
            return
        z = self.s / math.sqrt(self.variance)
        if self.s > self.most * (1 + EDGE):
            self.log_p = -math.inf
        elif self.s >= self.most * (1 - EDGE):
            self.reached = True
        elif z < NEAR:
            self.log_p = float(special.log_ndtr(-z - self.third / self.variance**1.5 / 6 * (1 - z * z)))
        else:
            self._go(ln(1 + self._room(self.s) / self.variance))  # right where all carriers are alike

    def _room(self, s: float) -> float:
        """s, or s/(1 − s/most) where the sum ends: of m carriers of mean μ, mμ(1 − μ)(eᵗ − 1) for K' = s."""
        return s if self.most == math.inf else s * self.most / (self.most - s)

    def _go(self, t: float) -> None:
        t = min(round(t / POINTS) * POINTS, FARTHEST)
        self.at = self.side * t if self._low < t < self._high and self.steps < self.limit else None

    def take(self, k: float, first: float, second: float) -> None:
        """K, K' and K'' at `at`, of S as it is."""
        if self.at is None:
            raise ValueError("this search has ended")
        t, first = abs(self.at), self.side * first + abs(self.at) * self.rest
        k, second, self.steps = k + t * t / 2 * self.rest, second + self.rest, self.steps + 1
        self.bound = min(self.bound, k - t * self.s)
        if first < self.s:
            self._low = t
        else:
            self._high = t
        there = self._next(t, first, second)
        if not self._low < there < self._high:
            there = 2 * t if self._high == math.inf else (self._low + self._high) / 2
        there = min(there, 4 * t)
        if abs(there - t) <= SETTLED * t:
            self.at, self.log_p = None, self._end(t, k, first, second)
            return
        self._before = (t, second)
        self._go(there)

    def _next(self, t: float, first: float, second: float) -> float:
        """Newton's step for the logarithm of `_room` of K' as a function of that of eᵗ − 1: linear where carriers are alike."""
        if not (0 < first < self.most and second > 0):
            return math.nan
        odds = exp(t) - 1
        slope = second * self._room(first) / (first * first) * (odds / (1 + odds))
        move = ln(self._room(self.s) / self._room(first)) / slope
        return float(ln(1 + odds * exp(move)))

    def _end(self, t: float, k: float, first: float, second: float) -> float:
        """ln P from the point t beside the saddlepoint."""
        from scipy import special

        third = (second - self._before[1]) / (t - self._before[0])
        off = (self.s - first) / second
        off -= third * off * off / (2 * second)
        k += first * off + second * off * off / 2 + third * off**3 / 6
        t, second = t + off, second + third * off
        if not (t > 0 and second > 0 and t * self.s > k):
            return math.nan
        w, v = math.sqrt(2 * (t * self.s - k)), t * math.sqrt(second)
        return float(special.log_ndtr(-w - math.log(v / w) / w))


class Tails:
    """Both searches of a variant. A tail that adds nothing to the other is 0."""

    def __init__(self, start: Start, rest: float = 0.0, *, limit: int = STEPS) -> None:
        """rest: of the variance, that of a normal remainder; limit: points of a tail at most."""
        ends = (start.most, start.least) if rest == 0 else (math.inf, math.inf)
        self.start = start
        self.both = [
            Tail(abs(start.u), side, start.v, side * start.third, end, rest, limit=limit)
            for side, end in zip((1, -1), ends, strict=True)
        ]

    @property
    def at(self) -> tuple[float | None, float | None]:
        """Where K, K' and K'' are wanted for either."""
        return self.both[0].at, self.both[1].at

    def take(self, *found: Sequence[float]) -> None:
        """K, K' and K'' at both; of one that has ended, whatever."""
        for tail, values in zip(self.both, found, strict=True):
            if tail.at is not None:
                tail.take(*values)
        for tail, other in (self.both, self.both[::-1]):
            if tail.at is not None and tail.bound < other.log_p - NEGLIGIBLE:
                tail.at, tail.log_p = None, -math.inf

    def correction(self) -> Correction | None:
        """At the end of both. None where a tail was not found."""
        return from_tails(self.start, self.both[0].log_p, self.both[1].log_p)


def from_tails(start: Start, upper: float, lower: float) -> Correction | None:
    """P from ln of both tails, χ² and the effect that have it; SE stays the score test's. None where a tail was not found."""
    if math.isnan(upper) or math.isnan(lower) or max(upper, lower) == -math.inf:
        return None
    log_p = min(float(np.logaddexp(upper, lower)), 0.0)
    log10p = -log_p / math.log(10)
    chisq = float(chisq_1_inverse(np.array([log10p]))[0])
    root = math.sqrt(start.v)
    return Correction(math.copysign(math.sqrt(chisq), start.u) / root, 1 / root, chisq, log10p)


def log_tail(x: np.ndarray, mean: np.ndarray, tail: Tail) -> float:
    """ln P at the end of one search over people here. x, mean: (n,) float64."""
    while tail.at is not None:
        tail.take(*(v / UNIT for v in tilted_terms(x, mean, tail.at)))
    return log_at_most(tail.side * x, mean) if tail.reached else tail.log_p


def search(x: np.ndarray, mean: np.ndarray, tails: Tails, *, singly: bool = True) -> None:
    """Both searches over people here. singly: as of `Variant`, at the largest value."""
    while any(t is not None for t in tails.at):
        tails.take(*([v / UNIT for v in tilted_terms(x, mean, t)] if t is not None else () for t in tails.at))
    for tail in tails.both:
        if tail.reached and singly:
            tail.log_p = log_at_most(tail.side * x, mean)


def log_at_most(x: np.ndarray, mean: np.ndarray) -> float:
    """ln of the probability of the largest value of Σ x(y − μ)."""
    with np.errstate(divide="ignore"):
        sure = np.where(x > 0, np.log(mean), np.where(x < 0, np.log1p(-mean), 0.0))
    return float(sure.sum())


def saddlepoint(fit: NullFit, variant: Variant) -> Correction | None:
    """P from both tails of the people here. None where it was not found."""
    start = variant.start
    if not start.v > 0:
        return None
    if variant.few is not None:
        # outcomes are told apart by less than the rounding of terms
        u, root = float((variant.x * fit.residual).sum()), math.sqrt(float((variant.x**2 * fit.weight).sum()))
        start = replace(start, u=u, v=root * root)
        return from_tails(start, *log_tails(variant.x / root, fit.mean, variant.few, abs(u) / root))
    x, mean, rest = variant.x, fit.mean, 0.0
    if (m := variant.carriers) is not None:
        rest = max(start.v - float((fit.weight[m] * x[m] ** 2).sum()), 0.0)
        x, mean = x[m], mean[m]
    tails = Tails(start, rest, limit=STEPS if variant.singly else FEWER_STEPS)
    search(x, mean, tails, singly=variant.singly)
    return tails.correction()
