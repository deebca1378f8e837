"""Exact arithmetic modulo the Mersenne prime 2^61 − 1: the linear checks of verified results (Freivalds 1979)."""

from __future__ import annotations

import numpy as np
from numba import int64, njit, uint64

from securegen.kernels.threads import over_range

P61 = (1 << 61) - 1
LIMB = 31  # bits of the lower part of r; the upper one has 30
WIDTH = 1024  # samples whose accumulators stay in the first cache


def weighted_sums(dosage: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Σ_j r_j g_ji mod 2^61−1: (V, N) int8, int16 or int32 and (V,) uint64 below the modulus -> (N,) uint64.

    >>> weighted_sums(np.array([[2, 0], [1, 1]], np.int8), np.array([P61 - 1, 3], np.uint64)).tolist()
    [1, 3]
    """
    if dosage.dtype not in (np.int8, np.int16, np.int32) or r.dtype != np.uint64 or len(r) != len(dosage):
        raise ValueError(f"{len(r)} weights of {r.dtype} for {dosage.dtype} {dosage.shape}")
    largest = max(int(dosage.max(initial=0)), -int(dosage.min(initial=0)))
    # rows·largest·2^31 < 2^63 between two reductions
    rows = 1 << (63 - LIMB - largest.bit_length())
    out = np.zeros(dosage.shape[1], np.uint64)
    over_range(len(out), lambda first, last: _weighted(dosage, r, rows, first, last, out), least=WIDTH)
    return out


def dot(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Σ_j a_j s_jk mod 2^61−1: (V,) uint64 below the modulus and (V, J) int64, signed -> (J,) uint64.

    >>> dot(np.array([P61 - 1, 3], np.uint64), np.array([[1], [-1]])).tolist() == [P61 - 4]
    True
    """
    if a.dtype != np.uint64 or s.dtype != np.int64 or len(a) != len(s):
        raise ValueError(f"{len(a)} weights of {a.dtype} for {s.dtype} {s.shape}")
    out: np.ndarray = _dot(a, s)
    return out


@njit(inline="always")
def _fold(x):
    """x mod p for any 64-bit x."""
    x = (x & uint64(P61)) + (x >> uint64(61))
    return x - uint64(P61) if x >= uint64(P61) else x


@njit(inline="always")
def _multiply(a, b):
    """a·b mod p for a, b below 2^61."""
    mask = uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & mask, a >> uint64(32), b & mask, b >> uint64(32)
    low = a0 * b0
    mid = a0 * b1 + (low >> uint64(32))
    mid2 = a1 * b0 + (mid & mask)
    high = a1 * b1 + (mid >> uint64(32)) + (mid2 >> uint64(32))
    low = (mid2 << uint64(32)) | (low & mask)
    return _fold((low & uint64(P61)) + ((low >> uint64(61)) | (high << uint64(3))))


@njit(inline="always")
def _signed(x):
    """x mod p for a signed x."""
    if x >= 0:
        return _fold(uint64(x))
    negative = _fold(uint64(0) - uint64(x))
    return uint64(P61) - negative if negative else negative


@njit(cache=True, nogil=True)
def _weighted(dosage, r, rows, first_sample, last_sample, out):
    variants = len(dosage)
    for lo in range(first_sample, last_sample, WIDTH):
        hi = min(last_sample, lo + WIDTH)
        for first in range(0, variants, rows):
            low, high = np.zeros(hi - lo, np.int64), np.zeros(hi - lo, np.int64)
            for j in range(first, min(first + rows, variants)):
                r0, r1 = int64(r[j] & uint64((1 << LIMB) - 1)), int64(r[j] >> uint64(LIMB))
                g = dosage[j, lo:hi]
                for i in range(len(g)):
                    low[i] += int64(g[i]) * r0
                    high[i] += int64(g[i]) * r1
            for i in range(hi - lo):
                x = _signed(low[i]) + _multiply(_signed(high[i]), uint64(1 << LIMB))
                out[lo + i] = _fold(out[lo + i] + x)


@njit(cache=True, nogil=True)
def _dot(a, s):
    rows, columns = s.shape
    out = np.zeros(columns, np.uint64)
    for j in range(rows):
        for k in range(columns):
            out[k] = _fold(out[k] + _multiply(a[j], _signed(s[j, k])))
    return out
