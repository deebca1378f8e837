"""Exact integer sums of dosages against design columns: the inner loop of the plain engine."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

LEAST = 16  # variants worth a thread


def integer_sums(dosage: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_i g_ji x_ik: (V, N) int8, int16 or bool and (N, J) int64 -> (V, J) int64. The caller rules out overflow.

    >>> integer_sums(np.array([[0, 1, 2]], np.int8), np.array([[5, 1], [7, 1], [-9, 1]])).tolist()
    [[-11, 3]]
    """
    return _threaded(dosage, x, False)


def squared_sums(dosage: np.ndarray, x: np.ndarray, alleles: np.ndarray | None = None) -> np.ndarray:
    """Σ_i g_ji² x_ik, shapes as `integer_sums`; with alleles, which a genetic model's 0 and 1 are made of, Σ of these."""
    return _threaded(dosage, x, True) if alleles is None else _threaded(alleles, x, False)


def pair_sums(missing: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Σ_i m_ji x_ik x_il for k <= l, row by row: (V, N) bool and (N, J) int64 -> (V, J(J+1)/2) int64."""
    if missing.dtype != bool or x.dtype != np.int64 or missing.shape[1] != len(x):
        raise ValueError(f"{missing.dtype} {missing.shape} and {x.dtype} {x.shape} do not fit")
    x = np.ascontiguousarray(x)
    out = np.zeros((len(missing), x.shape[1] * (x.shape[1] + 1) // 2), np.int64)
    over_range(len(missing), lambda first, last: _pairs(missing[first:last], x, out[first:last]), least=LEAST)
    return out


def _threaded(dosage: np.ndarray, x: np.ndarray, square: bool) -> np.ndarray:
    if dosage.dtype not in (np.int8, np.int16, bool) or x.dtype != np.int64 or dosage.shape[1] != len(x):
        raise ValueError(f"{dosage.dtype} {dosage.shape} and {x.dtype} {x.shape} do not fit")
    stored = dosage.view(np.int8) if dosage.dtype == bool else dosage
    # 32 bits where they hold every value: half as much to read
    small = x.size == 0 or (x.min() >= -(1 << 31) and x.max() < 1 << 31)
    columns = np.ascontiguousarray(x.T, dtype=np.int32 if small else np.int64)
    out = np.empty((len(dosage), x.shape[1]), np.int64)
    over_range(len(out), lambda first, last: _sums(stored[first:last], columns, square, out[first:last]), least=LEAST)
    return out


@njit(cache=True, nogil=True)
def _sums(dosage, xt, square, out):
    variants, samples = dosage.shape
    columns = xt.shape[0]
    for v in range(variants):
        g = dosage[v]
        for k in range(columns):
            x = xt[k]
            total = np.int64(0)
            if square:
                for i in range(samples):
                    total += np.int64(g[i]) * np.int64(g[i]) * np.int64(x[i])
            else:
                for i in range(samples):
                    total += np.int64(g[i]) * np.int64(x[i])
            out[v, k] = total


@njit(cache=True, nogil=True)
def _pairs(missing, x, out):
    variants, samples = missing.shape
    columns = x.shape[1]
    for v in range(variants):
        for i in range(samples):
            if missing[v, i]:
                at = 0
                for k in range(columns):
                    for l in range(k, columns):
                        out[v, at] += x[i, k] * x[i, l]
                        at += 1
