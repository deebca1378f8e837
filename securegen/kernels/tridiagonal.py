"""Eigenvalues of a symmetric matrix by way of a tridiagonal one whose first basis vector is 1/√m."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

EPSILON = 2.0**-53


@njit(cache=True, nogil=True)
def _reflect(a, v, w):
    """HAH of a symmetric matrix (n, n), H = I − 2vvᵀ of a unit vector. w: (n,), overwritten."""
    n = len(v)
    w[:] = 0.0
    for i in range(n):
        row, x = a[i], v[i]
        for j in range(n):
            w[j] += row[j] * x
    half = 0.0
    for i in range(n):
        half += v[i] * w[i]
    for i in range(n):
        w[i] = 2 * (w[i] - half * v[i])
    for i in range(n):
        row, x, y = a[i], v[i], w[i]
        for j in range(n):
            row[j] -= x * w[j] + y * v[j]


@njit(cache=True, nogil=True)
def tridiagonal(k):
    """Diagonal and the one beside it of K in a basis whose first vector is 1/√m."""
    a, m = k.copy(), len(k)
    vector, work = np.empty(m), np.empty(m)
    for column in range(-1, m - 2):
        done = max(column, 0)  # rows and columns that are tridiagonal already
        v = vector[: m - done]
        first = 0 if column < 0 else 1
        size = 0.0
        for i in range(len(v)):
            v[i] = 1.0 if column < 0 else 0.0 if i < first else a[done, done + i]
            size += v[i] * v[i]
        size = math.sqrt(size)
        if size == 0.0:
            continue
        v[first] += size if v[first] >= 0 else -size
        norm = 0.0
        for i in range(len(v)):
            norm += v[i] * v[i]
        norm = math.sqrt(norm)
        for i in range(len(v)):
            v[i] /= norm
        _reflect(a[done:, done:], v, work[: m - done])
    diagonal, beside = np.empty(m), np.empty(m - 1)
    for i in range(m):
        diagonal[i] = a[i, i]
        if i:
            beside[i - 1] = a[i, i - 1]
    return diagonal, beside


@njit(cache=True, nogil=True)
def eigenvalues(diagonal, beside):
    """Of a symmetric tridiagonal matrix, with the first component of each eigenvector: QL steps of rotations (Golub, Welsch
    1969); both arrays are overwritten."""
    n = len(diagonal)
    d, e, first = diagonal, np.zeros(n), np.zeros(n)
    e[: n - 1] = beside
    first[0] = 1.0
    largest = max(np.abs(d).max(), np.abs(e).max())
    for start in range(n):
        for _ in range(60):
            m = start
            while m < n - 1 and abs(e[m]) > EPSILON * max(1e-3 * largest, math.sqrt(abs(d[m] * d[m + 1]))):
                m += 1
            if m == start:
                break
            g = (d[start + 1] - d[start]) / (2 * e[start])
            r = math.sqrt(g * g + 1.0)
            g = d[m] - d[start] + e[start] / (g + (r if g >= 0 else -r))
            s, c, p = 1.0, 1.0, 0.0
            i = m - 1
            while i >= start:
                f, b = s * e[i], c * e[i]
                r = math.sqrt(f * f + g * g)
                e[i + 1] = r
                if r == 0.0:
                    d[i + 1] -= p
                    e[m] = 0.0
                    break
                s, c = f / r, g / r
                g = d[i + 1] - p
                r = (d[i] - g) * s + 2 * c * b
                p = s * r
                d[i + 1] = g + p
                g = c * r - b
                first[i], first[i + 1] = c * first[i] - s * first[i + 1], s * first[i] + c * first[i + 1]
                i -= 1
            if i >= start:
                continue
            d[start] -= p
            e[start] = g
            e[m] = 0.0
    return d, first
