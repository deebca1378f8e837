"""Exact test of Hardy–Weinberg equilibrium from genotype counts (Wigginton, Cutler and Abecasis 2005)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TIE = 1 + 1e-11  # configurations this close to the observed one count as equally likely


def exact_test(het: np.ndarray, hom_a: np.ndarray, hom_b: np.ndarray) -> np.ndarray:
    """Natural logarithm of the two-sided exact p-value for each variant: (V,) int64 counts -> (V,) float64.

    Sums the probabilities of every heterozygote count that is no more likely than the observed one, given the allele
    counts. The logarithm does not underflow. No calls: 0 (p = 1).
    """
    return _exact(het.astype(np.int64), hom_a.astype(np.int64), hom_b.astype(np.int64))


@njit(cache=True, nogil=True)
def _exact(het, hom_a, hom_b):
    out = np.zeros(len(het), np.float64)
    for j in range(len(het)):
        n = het[j] + hom_a[j] + hom_b[j]
        rare = 2 * min(hom_a[j], hom_b[j]) + het[j]
        if n == 0 or rare == 0:
            continue
        observed = het[j]
        # probabilities relative to the observed configuration, outward from it, in both directions
        total, tail = 1.0, 1.0
        log_scale = 0.0  # total and tail are times e^log_scale
        for direction in (-1, 1):
            p, h = math.exp(-log_scale), observed
            a, b = (rare - h) // 2, n - h - (rare - h) // 2
            while True:
                if direction < 0:
                    if h < 2:
                        break
                    p *= h * (h - 1.0) / (4.0 * (a + 1.0) * (b + 1.0))
                    h, a, b = h - 2, a + 1, b + 1
                else:
                    if a < 1 or b < 1:
                        break
                    p *= 4.0 * a * b / ((h + 2.0) * (h + 1.0))
                    h, a, b = h + 2, a - 1, b - 1
                total += p
                if p <= math.exp(-log_scale) * TIE:
                    tail += p
                if total > 1e200:
                    total, tail, p = total * 1e-200, tail * 1e-200, p * 1e-200
                    log_scale += 200 * math.log(10.0)
                if p <= tail * 1e-18:  # past the mode and past every tie
                    break
        out[j] = min(math.log(tail) - math.log(total), 0.0) if tail > 0.0 else -log_scale - math.log(total)
    return out
