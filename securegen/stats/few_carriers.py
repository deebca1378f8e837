"""The two tails of a score statistic of few carriers: every outcome of these, and a saddlepoint approximation for the others.

S = Σ x(y − μ) is a sum over carriers, of 2^m values with known probabilities, and a sum R over the others, whose x is what
covariates say of g: small, and many. P(S ≥ s) = Σ P(carriers' sum is a)·P(R ≥ s − a). The tail of R is the normal
distribution's at r* = w + log(v/w)/w, a smooth function of its argument along the curve K'(t): it is computed at some t, and
interpolated. All in logarithms: right where P is 1e-300.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from securegen.kernels.cumulants import tilted_sums

Array = NDArray[np.float64]
_POINTS, _REACH = 25, 8.0  # of the curve of R, in standard deviations at t = 0
_TIE = 1e-9  # outcomes closer than that are the observed one
_NEGLIGIBLE = 60.0  # ln of a share: a million outcomes below it change no digit


def outcomes(x: Array, mean: Array) -> tuple[Array, Array]:
    """Every value of Σ x(y − μ) of m people, and ln of its probability: (2^m,) each."""
    value, log_p = np.zeros(1), np.zeros(1)
    with np.errstate(divide="ignore"):
        absent, there = np.log1p(-mean), np.log(mean)
    for i in range(len(x)):
        value = np.concatenate([value - x[i] * mean[i], value + x[i] * (1 - mean[i])])
        log_p = np.concatenate([log_p + absent[i], log_p + there[i]])
    return value, log_p


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

    def log_tail(self, r: Array, sign: float) -> Array:
        """ln P(sign·R ≥ r); where R is nobody's, half at 0."""
        from scipy import interpolate, special

        if not self.deviation > 0:
            out: Array = np.where(np.abs(r) <= _TIE, -np.log(2), np.where(r < 0, 0.0, -np.inf))
            return out
        z = sign * r / self.deviation
        low, high = self._s[0], self._s[-1]
        inside = interpolate.PchipInterpolator(self._s, self._star)
        slope = inside.derivative()
        star = (
            inside(np.clip(z, low, high)) + np.minimum(z - low, 0) * slope(low) + np.maximum(z - high, 0) * slope(high)
        )
        tail: Array = special.log_ndtr(-sign * star)
        return tail


def log_tails(x: Array, mean: Array, carriers: np.ndarray, s: float) -> tuple[float, float]:
    """ln P(S ≥ s) and ln P(S ≤ −s). x, mean: (n,) float64; carriers: (n,) bool, few: 2^m outcomes are summed."""
    from scipy import special

    value, log_p = outcomes(x[carriers], mean[carriers])
    others = OtherPeople(x[~carriers], mean[~carriers])
    near = np.concatenate([np.arange(0, 40, 0.25), 40 * 2.0 ** np.arange(60)]) * max(others.deviation, _TIE)
    grid = np.concatenate([-near[:0:-1], near])
    found = []
    for sign in (1.0, -1.0):
        r = s - sign * value
        roughly = log_p + np.interp(r, grid, others.log_tail(grid, sign))
        kept = roughly >= roughly.max() - _NEGLIGIBLE
        found.append(float(special.logsumexp(log_p[kept] + others.log_tail(r[kept], sign))))
    return found[0], found[1]
