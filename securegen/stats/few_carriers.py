"""The two tails of a score statistic of few carriers: every outcome of these, and a saddlepoint approximation for the others.

S = Σ x(y − μ) is a sum over carriers, of 2^m values with known probabilities, and a sum R over the others, whose x is what
covariates say of g: small, and many. P(S ≥ s) = Σ P(carriers' sum is a)·P(R ≥ s − a). The tail of R is the normal
distribution's at r* = w + log(v/w)/w, a smooth function of its argument along the curve K'(t): it is computed at some t, and
interpolated. Carriers are added one by one; outcomes that lie closer together than R can tell apart become one, of
their mean and variance, so there are some thousands at most, not 2^m. All in logarithms: right where P is 1e-300.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from securegen.kernels.cumulants import tilted_sums

Array = NDArray[np.float64]
_POINTS, _REACH = 25, 8.0  # of the curve of R, in standard deviations at t = 0
_TIE = 1e-9  # outcomes closer than that are the observed one
_NEAR = 1 / 32  # of R's deviation: outcomes closer than that become one
_MOST = 1 << 19  # outcomes kept; only where R is nobody's do they get so many


@dataclass(frozen=True, eq=False, repr=False)
class Outcomes:
    """Values that a sum has, (n,) each. variance: of those that became one; log_p: ln of the probability."""

    value: Array
    variance: Array
    log_p: Array

    def merged(self, near: float) -> Outcomes:
        """Those of one interval of length `near` become one."""
        order = np.argsort(self.value, kind="stable")
        order = order[self.log_p[order] > -np.inf]
        value, log_p = self.value[order], self.log_p[order]
        cell = np.floor(value / near)
        first = np.flatnonzero(np.diff(cell, prepend=-np.inf))
        size = np.diff(first, append=len(value))
        total = np.logaddexp.reduceat(log_p, first)
        share = np.exp(log_p - np.repeat(total, size))
        share /= np.repeat(np.add.reduceat(share, first), size)
        mean = value[first] + np.add.reduceat(share * (value - np.repeat(value[first], size)), first)
        off = value - np.repeat(mean, size)
        return Outcomes(mean, np.add.reduceat(share * (self.variance[order] + off * off), first), total)


def outcomes(x: Array, mean: Array, near: float) -> Outcomes:
    """The values of Σ x(y − μ) of m people, told apart by `near`, or by more where they are more than half a million."""
    out = Outcomes(np.zeros(1), np.zeros(1), np.zeros(1))
    with np.errstate(divide="ignore"):
        absent, there = np.log1p(-mean), np.log(mean)
    for i in range(len(x)):
        both = ((-x[i] * mean[i], absent[i]), (x[i] * (1 - mean[i]), there[i]))
        value = np.concatenate([out.value + move for move, _ in both])
        log_p = np.concatenate([out.log_p + chance for _, chance in both])
        out = Outcomes(value, np.tile(out.variance, 2), log_p).merged(near)
        while len(out.value) > _MOST:
            near *= 2
            out = out.merged(near)
    return out


class OtherPeople:
    """The tails of R = Σ x(y − μ) over many people, each of small x. x, mean: (n,) float64."""

    def __init__(self, x: Array, mean: Array) -> None:
        variance = float((x * x * mean * (1 - mean)).sum())
        self.deviation = variance**0.5
        if not self.deviation > 0:
            return
        t = np.linspace(-_REACH, _REACH, _POINTS) / self.deviation
        k, s, curvature = np.array([tilted_sums(x, mean, float(one)) for one in t]).T
        skew = float((x**3 * mean * (1 - mean) * (1 - 2 * mean)).sum()) / self.deviation**3
        with np.errstate(divide="ignore", invalid="ignore"):
            w = np.sign(t) * np.sqrt(np.maximum(2 * (t * s - k), 0))
            star = w + np.log(t * np.sqrt(curvature) / w) / w
        star[_POINTS // 2] = skew / 6  # where w and v are 0
        usable = np.isfinite(star)
        self._s, self._star = s[usable] / self.deviation, star[usable]

    def log_tail(self, r: Array, sign: float, variance: Array) -> Array:
        """ln P(sign·R ≥ r), of R with so much more variance; where R is nobody's, half at 0."""
        from scipy import interpolate, special

        if not self.deviation > 0:
            out: Array = np.where(np.abs(r) <= _TIE, -np.log(2), np.where(r < 0, 0.0, -np.inf))
            return out
        z = sign * r / np.sqrt(self.deviation**2 + variance)
        low, high = self._s[0], self._s[-1]
        inside = interpolate.PchipInterpolator(self._s, self._star)
        slope = inside.derivative()
        star = (
            inside(np.clip(z, low, high)) + np.minimum(z - low, 0) * slope(low) + np.maximum(z - high, 0) * slope(high)
        )
        tail: Array = special.log_ndtr(-sign * star)
        return tail


def log_tails(x: Array, mean: Array, carriers: np.ndarray, s: float) -> tuple[float, float]:
    """ln P(S ≥ s) and ln P(S ≤ −s). x, mean: (n,) float64; carriers: (n,) bool, few."""
    from scipy import special

    others = OtherPeople(x[~carriers], mean[~carriers])
    held = outcomes(x[carriers], mean[carriers], max(_NEAR * others.deviation, _TIE))
    upper, lower = (
        float(special.logsumexp(held.log_p + others.log_tail(s - sign * held.value, sign, held.variance)))
        for sign in (1.0, -1.0)
    )
    return upper, lower
