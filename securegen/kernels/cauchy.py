"""P-values combined as Cauchy variables (Liu et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_FAR = 300.0  # −log10 P from which the terms are scaled down: P is 0 in float64 soon


@njit(cache=True, nogil=True)
def cauchy(log10p: np.ndarray, weights: np.ndarray, largest: float) -> float:
    """−log10 of the P of Σ w tan((½ − p)π), for (k,) −log10 p and weights ≥ 0, p at most `largest`; of one weight
    its p, of none NaN.

    The tangent is 1/tan(πp): ½ − p has lost the digits of a small p."""
    total, top, count, only = 0.0, -np.inf, 0, np.nan
    for i in range(len(log10p)):
        if weights[i] > 0:
            total += weights[i]
            top = max(top, log10p[i])
            only = log10p[i]
            count += 1
    if count <= 1:
        return only
    down = max(top - _FAR, 0.0)
    t = 0.0
    for i in range(len(log10p)):
        if weights[i] > 0:
            if log10p[i] > _FAR:
                term = 10.0 ** (log10p[i] - down) / math.pi
            else:
                term = 10.0**-down / math.tan(min(10.0 ** -log10p[i], largest) * math.pi)
            t += weights[i] / total * term
    p = math.atan(1 / t) / math.pi if t > 0 else 0.5 - math.atan(t) / math.pi
    return down - math.log10(p)
