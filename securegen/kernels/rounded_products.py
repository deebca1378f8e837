"""Weighted Gram matrices in fixed point: every product rounded to an integer by itself, so that sums over parts agree."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range


def rounded_products(weight: np.ndarray, x: np.ndarray, unit: float) -> list[int]:
    """Σ_r rint(w_r x_ri x_rj·unit) for i <= j, row by row: (n,) and (n, k) float64 -> k(k+1)/2 integers.

    The caller rules out sums beyond 2^63.

    >>> rounded_products(np.array([0.5, 1.0]), np.array([[1.0, 3.0], [2.0, 0.25]]), 4.0)
    [18, 8, 18]
    """
    if not weight.dtype == x.dtype == np.float64 or x.ndim != 2 or x.shape[0] != len(weight):
        raise ValueError(f"{x.dtype} columns of shape {x.shape} do not go with {len(weight)} {weight.dtype} weights")
    columns = np.ascontiguousarray(x.T)
    k = len(columns)
    out = np.zeros((k, k), np.int64)
    over_range(k, lambda first, last: _products(weight, columns, unit, first, last, out))
    return [int(v) for v in out[np.triu_indices(k)]]


@njit(cache=True, nogil=True)
def _products(weight, columns, unit, first, last, out):
    k, samples = columns.shape
    for i in range(first, last):
        left = weight * columns[i]
        for j in range(i, k):
            right = columns[j]
            total = np.int64(0)
            for r in range(samples):
                total += np.int64(np.rint(left[r] * right[r] * unit))
            out[i, j] = total
