"""Cholesky factorisation and substitution with explicit loops over the K columns.

Entries are floats or (V,) arrays (one matrix for each variant); every operation is elementwise, so a variant's result
does not depend on which other variants share its block, and two engines print the same digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Entry = Any  # float or (V,) float64
SINGULAR = 1e-9  # smallest pivot of a correlation matrix


def cholesky(a: Sequence[Sequence[Entry]]) -> tuple[list[list[Entry]], list[Entry], Entry]:
    """Factor D⁻¹AD⁻¹ = LLᵀ, D = √diag(A): returns L, D and whether the factorisation holds (bool or (V,) bool).

    Where a pivot is not above 1e-9 the matrix is singular for that variant; its numbers mean nothing then.
    """
    k = len(a)
    good: Entry = True
    scale: list[Entry] = []
    for i in range(k):
        good = good & (a[i][i] > 0)
        scale.append(np.sqrt(np.where(a[i][i] > 0, a[i][i], 1.0)))
    lower: list[list[Entry]] = [[0.0] * k for _ in range(k)]
    for i in range(k):
        for j in range(i + 1):
            s = a[i][j] / (scale[i] * scale[j])
            for m in range(j):
                s = s - lower[i][m] * lower[j][m]
            if i == j:
                good = good & (s > SINGULAR)
                lower[i][i] = np.sqrt(np.where(s > SINGULAR, s, 1.0))
            else:
                lower[i][j] = s / lower[j][j]
    return lower, scale, good


def forward(lower: list[list[Entry]], scale: list[Entry], b: Sequence[Entry]) -> list[Entry]:
    """z with (DL) z = b."""
    z: list[Entry] = []
    for i in range(len(b)):
        s = b[i] / scale[i]
        for m in range(i):
            s = s - lower[i][m] * z[m]
        z.append(s / lower[i][i])
    return z


def backward(lower: list[list[Entry]], scale: list[Entry], z: Sequence[Entry]) -> list[Entry]:
    """x with (DL)ᵀ x = z, so that A x = b where z = forward(…, b)."""
    k = len(z)
    x: list[Entry] = [0.0] * k
    for i in reversed(range(k)):
        s = z[i]
        for m in range(i + 1, k):
            s = s - lower[m][i] * x[m]
        x[i] = s / lower[i][i]
    return [x[i] / scale[i] for i in range(k)]


def dot(a: Sequence[Entry], b: Sequence[Entry]) -> Entry:
    """Σ aᵢbᵢ, added in order."""
    total: Entry = 0.0
    for x, y in zip(a, b, strict=True):
        total = total + x * y
    return total
