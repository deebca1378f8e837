"""P-values combined as Cauchy variables (Liu et al. 2019)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

_FAR = 15.0  # −log10 P from which tan((½ − p)π) is 1/(πp) to float64


@njit(cache=True, nogil=True)
def cauchy(log10p: np.ndarray, weights: np.ndarray, largest: float) -> float:
    """−log10 of the P of Σ w tan((½ − p)π), for (k,) −log10 p and weights ≥ 0, p at most `largest`; of one weight
    its p."""
    total, top, count, only = 0.0, -np.inf, 0, 0.0
    for i in range(len(log10p)):
        if weights[i] > 0:
            total += weights[i]
            top = max(top, log10p[i])
            only = log10p[i]
            count += 1
    if count == 1:
        return only
    far = top > _FAR
    t = 0.0
    for i in range(len(log10p)):
        if weights[i] > 0:
            w = weights[i] / total
            if far:
                t += w * 10.0 ** (log10p[i] - top)
            else:
                t += w * math.tan((0.5 - min(10.0 ** -log10p[i], largest)) * math.pi)
    if far:
        return top + math.log10(t)
    p = math.atan(1 / t) / math.pi if t > 0 else 0.5 - math.atan(t) / math.pi
    return -math.log10(p)
