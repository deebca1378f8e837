"""Exact integer sums of dosages against design columns."""

from __future__ import annotations

import numpy as np
from numba import njit, prange


def integer_sums(dosage: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_i g_ji x_ik: (V, N) int8, int16 or bool and (N, J) int64 -> (V, J) int64. The caller rules out overflow."""
    stored = dosage.view(np.int8) if dosage.dtype == bool else dosage
    return _sums(stored, np.ascontiguousarray(x.T), False)


def squared_sums(dosage: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_i g_ji² x_ik, shapes as `integer_sums`."""
    return _sums(dosage, np.ascontiguousarray(x.T), True)


def pair_sums(missing: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_i m_ji x_ik x_il for k <= l, row by row: (V, N) bool and (N, J) int64 -> (V, J(J+1)/2) int64."""
    return _pairs(missing, x)


@njit(cache=True, parallel=True, nogil=True)
def _sums(dosage, xt, square):
    v, n = dosage.shape
    j = xt.shape[0]
    out = np.zeros((v, j), np.int64)
    for row in prange(v):
        for k in range(j):
            s = np.int64(0)
            if square:
                for i in range(n):
                    g = np.int64(dosage[row, i])
                    s += g * g * xt[k, i]
            else:
                for i in range(n):
                    s += np.int64(dosage[row, i]) * xt[k, i]
            out[row, k] = s
    return out


@njit(cache=True, parallel=True, nogil=True)
def _pairs(missing, x):
    v, n = missing.shape
    j = x.shape[1]
    out = np.zeros((v, j * (j + 1) // 2), np.int64)
    for row in prange(v):
        for i in range(n):
            if missing[row, i]:
                at = 0
                for k in range(j):
                    for m in range(k, j):
                        out[row, at] += x[i, k] * x[i, m]
                        at += 1
    return out
