"""Products of integer matrices mod 2^64 and 2^32: gᵀ y, the one expensive operation of the MPC protocols.

Integers wrap silently, which is the arithmetic of the ring. A strip of columns of g stays in cache while four samples
are added at a time; threads take strips of their own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

_STRIP = 128


def matmul_mod64(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y mod 2^64. g: (N, M) int8, int16 or uint64; y: (N, K) uint64. Returns (M, K) uint64.

    >>> int(matmul_mod64(np.array([[-1]], np.int8), np.array([[5]], np.uint64))[0, 0]) == 2**64 - 5
    True
    """
    return _matmul(g, y, np.dtype(np.uint64), threads)


def matmul_mod32(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y mod 2^32. g: (N, M) int8, int16 or uint32; y: (N, K) uint32. Returns (M, K) uint32."""
    return _matmul(g, y, np.dtype(np.uint32), threads)


def matmul_ring(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y in the ring of y's dtype (uint64 or uint32); g: integers of any dtype."""
    if g.dtype not in (np.int8, np.int16, y.dtype):
        g = g.astype(np.int64).astype(y.dtype)
    return _matmul(g, y, y.dtype, threads)


def _matmul(g: np.ndarray, y: np.ndarray, ring: np.dtype, threads: int) -> np.ndarray:
    if g.ndim != 2 or y.ndim != 2 or len(g) != len(y) or y.dtype != ring:
        raise ValueError(f"g {g.dtype} {g.shape} and y {y.dtype} {y.shape} have no product in the ring of {ring}")
    if g.dtype not in (np.int8, np.int16, ring):
        raise ValueError(f"g is {g.dtype}; expected int8, int16 or {ring}")
    signed = np.dtype(f"i{ring.itemsize}")
    g = np.ascontiguousarray(g if g.dtype.kind == "i" else g.view(signed))
    y = np.ascontiguousarray(y).view(signed)
    samples, variants = g.shape
    out = np.zeros((variants, y.shape[1]), signed)
    kernel = _kernel64 if ring.itemsize == 8 else _kernel32
    strips = range(0, variants, _STRIP)
    if threads <= 1 or len(strips) < 2:
        kernel(g, y, out, 0, variants)
    else:
        bounds = np.linspace(0, len(strips), threads + 1).astype(int) * _STRIP
        with ThreadPoolExecutor(threads) as pool:
            jobs = [
                pool.submit(kernel, g, y, out, int(a), min(int(b), variants))
                for a, b in zip(bounds, bounds[1:], strict=False)
            ]
            for job in jobs:
                job.result()
    return out.view(ring)


def _make(word):
    @numba.njit(cache=True, nogil=True)
    def kernel(g, y, out, first, last):
        samples, columns = y.shape
        for start in range(first, last, _STRIP):
            stop = min(last, start + _STRIP)
            width = stop - start
            total = np.zeros((columns, _STRIP), word)
            whole = samples // 4 * 4
            for n in range(0, whole, 4):
                g0, g1, g2, g3 = g[n, start:stop], g[n + 1, start:stop], g[n + 2, start:stop], g[n + 3, start:stop]
                for k in range(columns):
                    y0, y1, y2, y3 = y[n, k], y[n + 1, k], y[n + 2, k], y[n + 3, k]
                    row = total[k]
                    for m in range(width):
                        row[m] += word(g0[m]) * y0 + word(g1[m]) * y1 + word(g2[m]) * y2 + word(g3[m]) * y3
            for n in range(whole, samples):
                for k in range(columns):
                    for m in range(width):
                        total[k, m] += word(g[n, start + m]) * y[n, k]
            for k in range(columns):
                for m in range(width):
                    out[start + m, k] += total[k, m]

    return kernel


_kernel64 = _make(numba.int64)
_kernel32 = _make(numba.int32)
