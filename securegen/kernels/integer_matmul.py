"""Products of integer matrices modulo 2^64 and 2^32: gᵀy, the one expensive operation of the MPC protocols.

Machine integers wrap silently, which is the arithmetic of the ring. A strip of columns of g is added four rows at a time
to accumulators that stay in the first cache; threads take strips as they get free.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

STRIP = 256


def matmul_mod64(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀy mod 2^64. g: (N, M) int8, int16, int64 or uint64; y: (N, K) uint64. Returns (M, K) uint64.

    >>> int(matmul_mod64(np.array([[-1]], np.int8), np.array([[5]], np.uint64))[0, 0]) == 2**64 - 5
    True
    """
    return _matmul(g, y, np.dtype(np.uint64), threads)


def matmul_mod32(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀy mod 2^32. g: (N, M) int8, int16, int32 or uint32; y: (N, K) uint32. Returns (M, K) uint32."""
    return _matmul(g, y, np.dtype(np.uint32), threads)


def _matmul(g: np.ndarray, y: np.ndarray, ring: np.dtype, threads: int) -> np.ndarray:
    signed = np.dtype(f"i{ring.itemsize}")
    if not (g.ndim == y.ndim == 2 and len(g) == len(y) and y.dtype == ring):
        raise ValueError(f"{g.shape} and {y.dtype} {y.shape} cannot be multiplied in the ring of {ring}")
    if g.dtype not in (np.int8, np.int16, signed, ring):
        raise ValueError(f"{g.dtype} in the ring of {ring}")
    g = np.ascontiguousarray(g.view(signed) if g.dtype == ring else g)
    y = np.ascontiguousarray(y).view(signed)
    variants = g.shape[1]
    out = np.zeros((variants, y.shape[1]), signed)
    strips = -(-variants // STRIP)
    over_range(strips, lambda a, z: _strips(g, y, out, a * STRIP, min(z * STRIP, variants)), threads=threads)
    return out.view(ring)


@njit(cache=True, nogil=True)
def _strips(g, y, out, first, last):
    samples, columns = y.shape
    whole = samples - samples % 4
    for start in range(first, last, STRIP):
        width = min(STRIP, last - start)
        sums = np.zeros((columns, STRIP), y.dtype)
        for i in range(0, whole, 4):
            g0, g1 = g[i, start : start + width], g[i + 1, start : start + width]
            g2, g3 = g[i + 2, start : start + width], g[i + 3, start : start + width]
            for k in range(columns):
                row = sums[k]
                y0, y1, y2, y3 = y[i, k], y[i + 1, k], y[i + 2, k], y[i + 3, k]
                for j in range(width):
                    a, b, c, d = y.dtype.type(g0[j]), y.dtype.type(g1[j]), y.dtype.type(g2[j]), y.dtype.type(g3[j])
                    row[j] += a * y0 + b * y1 + c * y2 + d * y3
        for i in range(whole, samples):
            for k in range(columns):
                for j in range(width):
                    sums[k, j] += y.dtype.type(g[i, start + j]) * y[i, k]
        for k in range(columns):
            for j in range(width):
                out[start + j, k] = sums[k, j]
