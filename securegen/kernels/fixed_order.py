"""Products and eigenvectors in float64 whose every bit follows from their inputs: on every machine, with any number of threads.

Sums are added in one order, only + − × ÷ and √ are used, which IEEE 754 defines to the bit, and nothing is contracted to a
fused multiplication. BLAS and LAPACK promise none of this: of equal eigenvalues two machines may turn the vectors otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

SWEEPS = 60  # far more than any matrix takes: convergence is quadratic at the end
UNIT = 2.0**-53


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a b, (n, k) and (k, m) float64: each entry is summed from the first of k to the last."""
    out = np.zeros((len(a), b.shape[1]))
    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    over_range(len(a), lambda first, last: _product(a[first:last], b, out[first:last]), least=256)
    return out


def inner(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """aᵀ b, (n, k) and (n, m) float64: each entry is summed from the first of n to the last."""
    if b.shape[1] > a.shape[1]:
        return np.ascontiguousarray(inner(b, a).T)  # the long side is the inner loop; no entry changes
    out = np.zeros((b.shape[1], a.shape[1]))
    a, b = np.ascontiguousarray(a, np.float64), np.ascontiguousarray(b, np.float64)
    over_range(len(out), lambda first, last: _inner(a, b, first, last, out))
    return np.ascontiguousarray(out.T)


def eigen(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n,) from the largest, and vectors (n, n) in columns, of a symmetric matrix: cyclic Jacobi rotations.

    Raises ValueError for a matrix that is not symmetric to the bit, or not finite. (Golub and Van Loan, section 8.5.)

    >>> values, vectors = eigen(np.array([[2.0, 1.0], [1.0, 2.0]]))
    >>> values.round(12).tolist(), abs(vectors).round(6).tolist()
    ([3.0, 1.0], [[0.707107, 0.707107], [0.707107, 0.707107]])
    """
    a = np.array(matrix, np.float64, order="C")
    if a.ndim != 2 or not np.isfinite(a).all() or not np.array_equal(a, a.T):
        raise ValueError(f"a matrix of shape {a.shape} is not finite and symmetric")
    largest = float(np.abs(a).max(initial=0.0))
    scale = 2.0 ** math.frexp(largest)[1] if largest else 1.0  # exact, and no square over- or underflows
    a /= scale
    rows = np.eye(len(a))
    if not _rotate(a, rows):
        raise ValueError("the rotations of a symmetric matrix did not end")
    values = np.diag(a) * scale
    order = np.argsort(-values, kind="stable")
    return values[order], np.ascontiguousarray(rows[order].T)


@njit(cache=True, nogil=True)
def _product(a, b, out):
    for r in range(len(a)):
        for k in range(len(b)):
            x = a[r, k]
            for j in range(b.shape[1]):
                out[r, j] += x * b[k, j]


@njit(cache=True, nogil=True)
def _inner(a, b, first, last, out):
    for r in range(len(a)):
        for j in range(first, last):
            x = b[r, j]
            for i in range(a.shape[1]):
                out[j, i] += x * a[r, i]


@njit(cache=True, nogil=True)
def _rotate(a, rows):
    """Make `a` diagonal; rows: becomes its eigenvectors. Whether all off the diagonal is below the rounding of the largest."""
    n = len(a)
    norm = 0.0
    for i in range(n):
        for j in range(n):
            norm += a[i, j] * a[i, j]
    least = UNIT * math.sqrt(norm) / max(n, 1)
    for _ in range(SWEEPS):
        done = True
        for p in range(n - 1):
            for q in range(p + 1, n):
                x = a[p, q]
                if not abs(x) > least:
                    continue
                done = False
                apart = (a[q, q] - a[p, p]) / (2.0 * x)
                t = 1.0 / (abs(apart) + math.sqrt(1.0 + apart * apart))
                if apart < 0:
                    t = -t
                c = 1.0 / math.sqrt(1.0 + t * t)
                s = c * t
                a[p, p] -= t * x
                a[q, q] += t * x
                dp, dq = a[p, p], a[q, q]
                _turn(a[p], a[q], c, s)
                a[p, p], a[q, q], a[p, q], a[q, p] = dp, dq, 0.0, 0.0
                for k in range(n):
                    a[k, p], a[k, q] = a[p, k], a[q, k]
                _turn(rows[p], rows[q], c, s)
        if done:
            return True
    return False


@njit(cache=True, nogil=True)
def _turn(x, y, c, s):
    for k in range(len(x)):
        left, right = x[k], y[k]
        x[k] = c * left - s * right
        y[k] = s * left + c * right
