"""Exact test of Hardy–Weinberg equilibrium from genotype counts (Wigginton, Cutler and Abecasis 2005)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

TIE = 1 + 1e-11  # configurations this close to the observed one count as equally likely
STEP = 1e200


def exact_test(het: np.ndarray, hom_a: np.ndarray, hom_b: np.ndarray) -> np.ndarray:
    """Natural logarithm of the two-sided exact p-value for each variant: (V,) int64 counts -> (V,) float64.

    Sums the probabilities of every heterozygote count that is no more likely than the observed one, given the allele
    counts. The logarithm does not underflow. No calls: 0 (p = 1).
    """
    out: np.ndarray = _exact(het.astype(np.int64), hom_a.astype(np.int64), hom_b.astype(np.int64))
    return out


@njit(cache=True, nogil=True)
def _exact(het, hom_a, hom_b):
    out = np.zeros(len(het), np.float64)
    for j in range(len(het)):
        n = het[j] + hom_a[j] + hom_b[j]
        rare = 2 * min(hom_a[j], hom_b[j]) + het[j]
        if n == 0 or rare == 0:
            continue
        # probabilities over that of the observed configuration, outward from it, as p·10^(200 exponent)
        total, top, tail = 1.0, 0, 1.0
        for direction in (-1, 1):
            p, exponent, h = 1.0, 0, het[j]
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
                if p > STEP:
                    p, exponent = p / STEP, exponent + 1
                elif exponent > 0 and p < 1.0:
                    p, exponent = p * STEP, exponent - 1
                if exponent > top:
                    total, top = total / STEP, exponent
                if exponent == top:
                    total += p
                elif exponent == top - 1:
                    total += p / STEP
                if exponent == 0 and p <= TIE:
                    tail += p
                # past the mode and past every tie
                if exponent == 0 and p <= tail * 1e-18:
                    break
        out[j] = min(math.log(tail) - math.log(total) - top * math.log(STEP), 0.0)
    return out
