"""Exact arithmetic modulo the Mersenne prime 2^61 − 1."""

from __future__ import annotations

import numpy as np
from numba import njit, prange, uint64

P61 = (1 << 61) - 1


def weighted_sums(dosage: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Σ_j r_j g_ji mod 2^61−1: (V, N) int8, int16 or int32, non-negative, and (V,) uint64 -> (N,) uint64."""
    return _weighted(dosage, r)


def dot(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Σ_j a_j s_jk mod 2^61−1: (V,) uint64 below the modulus and (V, J) int64, signed -> (J,) uint64."""
    return _dot(a, s)


@njit(inline="always")
def _mul(a, b):
    mask = uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & mask, a >> uint64(32), b & mask, b >> uint64(32)
    low = a0 * b0
    mid = a0 * b1 + (low >> uint64(32))
    mid2 = a1 * b0 + (mid & mask)
    high = a1 * b1 + (mid >> uint64(32)) + (mid2 >> uint64(32))
    low = (mid2 << uint64(32)) | (low & mask)
    x = (low & uint64(P61)) + ((low >> uint64(61)) | (high << uint64(3)))
    x = (x & uint64(P61)) + (x >> uint64(61))
    return x - uint64(P61) if x >= uint64(P61) else x


@njit(cache=True, parallel=True, nogil=True)
def _weighted(dosage, r):
    v, n = dosage.shape
    out = np.empty(n, np.uint64)
    width = 256
    for part in prange((n + width - 1) // width):
        lo, hi = part * width, min(n, part * width + width)
        acc = np.zeros(hi - lo, np.uint64)
        for j in range(v):
            for i in range(lo, hi):
                x = acc[i - lo] + _mul(r[j], uint64(dosage[j, i]))
                acc[i - lo] = x - uint64(P61) if x >= uint64(P61) else x
        out[lo:hi] = acc
    return out


@njit(cache=True, nogil=True)
def _dot(a, s):
    v, j = s.shape
    out = np.zeros(j, np.uint64)
    for row in range(v):
        for k in range(j):
            value = s[row, k]
            magnitude = uint64(value) if value >= 0 else uint64(-value)
            x = _mul(a[row], magnitude % uint64(P61))
            if value < 0 and x > uint64(0):
                x = uint64(P61) - x
            y = out[k] + x
            out[k] = y - uint64(P61) if y >= uint64(P61) else y
    return out
