"""Exact algebra of integers: products of columns and systems of equations without a rounded digit."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from securegen.errors import PlanError

Matrix = Sequence[Sequence[int]]
ROWS = 1 << 12  # whose products of 20-bit halves sum to less than 2^53
ALONE = 1 << 18  # multiplications up to which OpenBLAS starts no threads; they cost more than these products


def round_half_up(numerator: int, denominator: int) -> int:
    """The fraction as the nearest integer, halves upwards. denominator: above 0."""
    return (2 * numerator + denominator) // (2 * denominator)


def exact_gram(x: np.ndarray, y: np.ndarray) -> list[list[int]]:
    """xᵀy of int64 matrices (N, A) and (N, B) with |entries| <= 2^40, exactly, as Python integers.

    Split in 20-bit halves, a few thousand rows at a time, so that neither float64 nor int64 loses a bit for N < 2^22.
    """
    largest = max(max(int(a.max(initial=0)), -int(a.min(initial=0))) for a in (x, y))
    if largest > 1 << 40 or len(x) >= 1 << 22:
        raise PlanError(
            f"sums over {len(x)} samples of numbers up to 2^{largest.bit_length()} are not exact here: fewer than 2^22 "
            "samples and numbers up to 2^40 are; use fewer bits"
        )
    high, middle, low = (np.zeros((x.shape[1], y.shape[1]), np.int64) for _ in range(3))
    few = ALONE // max(x.shape[1] * y.shape[1], 1)
    rows = min(few, ROWS) if few >= 64 else ROWS
    for first in range(0, len(x), rows):  # floating point is exact below 2^53, whatever the order
        (xh, xl), (yh, yl) = (_halves(a[first : first + rows]) for a in (x, y))
        high += (xh.T @ yh).astype(np.int64)
        middle += (xh.T @ yl + xl.T @ yh).astype(np.int64)
        low += (xl.T @ yl).astype(np.int64)
    result = high.astype(object) * (1 << 40) + middle.astype(object) * (1 << 20) + low.astype(object)
    return [[int(v) for v in row] for row in result.reshape(x.shape[1], y.shape[1])]


def exact_cross(x: np.ndarray, wide: np.ndarray) -> list[int]:
    """xᵀw of an int64 matrix (N, K) with |entries| <= 2^40 and (N,) Python integers of any size, exactly."""
    out, rest, place = [0] * x.shape[1], wide, 0
    while len(rest) and any(rest):
        low = rest & ((1 << 40) - 1) if max(rest.max(), -rest.min()) >= 1 << 40 else rest
        part = exact_gram(x, np.asarray(low, np.int64)[:, None])
        out = [v + (row[0] << place) for v, row in zip(out, part, strict=True)]
        rest, place = (rest - low) >> 40, place + 40
    return out


def _halves(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """a = high·2^20 + low, 0 <= low < 2^20, as float64."""
    return (a >> 20).astype(np.float64), (a & ((1 << 20) - 1)).astype(np.float64)


def combination(x: np.ndarray, weights: Sequence[int]) -> np.ndarray:
    """Σ_k x_ik w_k exactly, as (N,) Python integers: x (N, K) int64 with |entries| <= 2^40, K < 2^22, any weights.

    Split in 20-bit digits so that int64 never overflows.
    """
    if max(int(x.max(initial=0)), -int(x.min(initial=0))) > 1 << 40 or x.shape[1] >= 1 << 22:
        raise PlanError("values beyond 2^40 are not summed exactly")
    high, low = x >> 20, x & ((1 << 20) - 1)
    out, place = np.zeros(len(x), dtype=object), 0
    rest = [int(w) for w in weights]
    while any(rest):
        last = all(-(1 << 20) <= w < 1 << 20 for w in rest)
        digits = np.array(rest if last else [w & ((1 << 20) - 1) for w in rest], np.int64)
        out += ((high @ digits).astype(object) * (1 << 20) + (low @ digits).astype(object)) * (1 << place)
        rest, place = ([] if last else [w >> 20 for w in rest]), place + 20
    return out


def fraction_free(a: Sequence[Sequence[int]], b: Sequence[Sequence[int]]) -> tuple[list[list[int]], int]:
    """Integers N and d > 0 with A⁻¹B = N/d, by elimination in which every division is exact (Bareiss).

    Raises ZeroDivisionError when A is singular.
    """
    k = len(a)
    rows = [[*map(int, a[i]), *map(int, b[i])] for i in range(k)]
    before = 1
    for i in range(k):
        pivot = next((r for r in range(i, k) if rows[r][i] != 0), None)
        if pivot is None:
            raise ZeroDivisionError("singular matrix")
        rows[i], rows[pivot] = rows[pivot], rows[i]
        head, top = rows[i][i], rows[i]
        for row in rows[i + 1 :]:
            factor = row[i]
            row[i + 1 :] = [(head * v - factor * w) // before for v, w in zip(row[i + 1 :], top[i + 1 :], strict=True)]
        before = head
    out: list[list[int]] = [[]] * k
    for i in reversed(range(k)):
        row, below = rows[i], out[i + 1 :]
        out[i] = [
            (before * value - sum(u * other[j] for u, other in zip(row[i + 1 : k], below, strict=True))) // row[i]
            for j, value in enumerate(row[k:])
        ]
    return (out, before) if before > 0 else ([[-v for v in row] for row in out], -before)


def share_left(gram: Matrix) -> Fraction:
    """The share of the last column's variance that the columns before it leave, from the Gram matrix of all of them. The
    first is the intercept; columns that others determine are passed over. Raises ZeroDivisionError without variance."""
    rows, before = [[int(v) for v in row] for row in gram], 1
    last = len(rows) - 1
    variance = Fraction(rows[0][0] * rows[last][last] - rows[0][last] ** 2, rows[0][0])
    for i in range(last):
        head, top = rows[i][i], rows[i]
        if head == 0:  # of a positive semidefinite matrix: so is its row
            continue
        for row in rows[i + 1 :]:
            factor = row[i]
            row[i + 1 :] = [(head * v - factor * w) // before for v, w in zip(row[i + 1 :], top[i + 1 :], strict=True)]
        before = head
    return Fraction(rows[last][last], before) / variance
