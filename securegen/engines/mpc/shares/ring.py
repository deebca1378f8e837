"""Products of integer matrices mod 2^64 and 2^32: gᵀ y, the one expensive operation of the MPC protocols.

The arithmetic is `kernels.integer_matmul`; here the operands that come from messages are checked first.
"""

from __future__ import annotations

import numpy as np

from securegen.kernels import integer_matmul


def matmul_mod64(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y mod 2^64. g: (N, M) int8, int16 or uint64; y: (N, K) uint64. Returns (M, K) uint64.

    Raises ValueError when shapes or dtypes do not fit.
    """
    _check(g, y, np.dtype(np.uint64))
    return integer_matmul.matmul_mod64(g, y, threads=threads)


def matmul_mod32(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y mod 2^32. g: (N, M) int8, int16 or uint32; y: (N, K) uint32. Returns (M, K) uint32."""
    _check(g, y, np.dtype(np.uint32))
    return integer_matmul.matmul_mod32(g, y, threads=threads)


def matmul_ring(g: np.ndarray, y: np.ndarray, *, threads: int = 1) -> np.ndarray:
    """gᵀ y in the ring of y's dtype (uint64 or uint32); g: integers of any dtype."""
    if g.dtype not in (np.int8, np.int16, y.dtype):
        g = g.astype(np.int64).astype(y.dtype)
    return (matmul_mod64 if y.dtype == np.uint64 else matmul_mod32)(g, y, threads=threads)


def matmul_chunks(g: np.ndarray, y: np.ndarray, rows: int, *, threads: int = 1) -> np.ndarray:
    """`matmul_ring` of every `rows` samples alone: (M, chunks·K), chunk by chunk.

    >>> matmul_chunks(np.ones((3, 1), np.int8), np.ones((3, 1), np.uint32), 2).tolist()
    [[2, 1]]
    """
    starts = range(0, len(g), rows)
    return np.concatenate([matmul_ring(g[i : i + rows], y[i : i + rows], threads=threads) for i in starts], axis=1)


def _check(g: np.ndarray, y: np.ndarray, ring: np.dtype) -> None:
    if g.ndim != 2 or y.ndim != 2 or len(g) != len(y) or y.dtype != ring:
        raise ValueError(f"g {g.dtype} {g.shape} and y {y.dtype} {y.shape} have no product in the ring of {ring}")
    if g.dtype not in (np.int8, np.int16, ring):
        raise ValueError(f"g is {g.dtype}; expected int8, int16 or {ring}")
