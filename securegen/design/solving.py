"""Systems of integer equations whose rounded solution is certain: that of the rationals, in milliseconds.

A fixed-point solution is corrected by its exact residual, until a bound on the error decides every digit. What corrects
it is an inverse in double precision, of the matrix scaled to a unit diagonal. The bound is ‖x − x̂‖ ≤ ‖Y‖/(1 − ‖I − Y
S‖) · ‖residual‖ for the inverse Y of the scaled matrix S. What it cannot decide (a tie, a matrix that is singular to
double precision) is solved over the rationals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.exact import fraction_free, round_half_up

GUARD = (48, 112, 240)  # bits below the rounded digit, tried in turn
_UNIT = 2.0**-53


class Solver:
    """Solves A x = b for several b. a: k × k integers; what does not depend on b is done once."""

    def __init__(self, a: Sequence[Sequence[int]]) -> None:
        self._rows = [[int(v) for v in row] for row in a]
        self._exact = np.array(self._rows, dtype=object).reshape(len(a), len(a))
        self._inverse = _bounded_inverse(self._exact)

    def rounded(self, b: Sequence[int], bits: int) -> list[int]:
        """2^bits·A⁻¹b, each entry rounded half up as the exact rational is. Raises ZeroDivisionError when A is singular."""
        found = None if self._inverse is None else _decided(self._exact, b, bits, self._inverse)
        if found is not None:
            return found
        numerators, denominator = fraction_free(self._rows, [[v] for v in b])
        return [round_half_up(row[0] << bits, denominator) for row in numerators]


@dataclass(frozen=True)
class _Inverse:
    """scaled: float64 inverse Y of S = D A D; exponents: D = diag(2^-e); norm: a bound on the largest row sum of |S⁻¹|."""

    scaled: np.ndarray
    exponents: np.ndarray
    norm: float


def _bounded_inverse(a: np.ndarray) -> _Inverse | None:
    """None when double precision does not prove that the matrix is regular."""
    k = len(a)
    if any(a[i, i] <= 0 for i in range(k)):
        return None
    exponents = np.array([int(a[i, i]).bit_length() // 2 for i in range(k)])
    try:
        s = np.ldexp(a.astype(np.float64), -(exponents[:, None] + exponents))
        y = _inverse(s)
    except (OverflowError, ZeroDivisionError):
        return None

    def rows(m: np.ndarray) -> float:
        return float(np.abs(m).sum(axis=1).max(initial=0.0))

    # rounding of S, of the products and of their sums, twice over
    rest = rows(np.eye(k) - _times(y, s)) + 2 * (k + 3) * _UNIT * rows(_times(np.abs(y), np.abs(s)))
    return _Inverse(y, exponents, rows(y) / (1.0 - rest) * (1.0 + 1e-6)) if rest < 0.5 else None


def _inverse(s: np.ndarray) -> np.ndarray:
    """By elimination on the diagonal, which is what a positive definite matrix needs. The bound judges the result.

    Neither this nor `_times` calls BLAS, whose threads wait on each other for longer than such small matrices take.
    """
    s, y = s.copy(), np.eye(len(s))
    for i in range(len(s)):
        if not abs(s[i, i]) > 0.0:
            raise ZeroDivisionError
        y[i] /= s[i, i]
        s[i] /= s[i, i]
        factor = s[:, i].copy()
        factor[i] = 0.0
        s -= factor[:, None] * s[i]
        y -= factor[:, None] * y[i]
    return y


def _times(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out: np.ndarray = np.einsum("ij,jk->ik", a, b)
    return out


def _decided(a: np.ndarray, b: Sequence[int], bits: int, inverse: _Inverse) -> list[int] | None:
    """The rounded solution, None when the bound on the error leaves a digit open."""
    wanted = np.array([int(v) for v in b], dtype=object)
    x = np.zeros(len(wanted), dtype=object)
    below = GUARD[0]
    for guard in GUARD:
        x, below = x << (guard - below), guard  # x is in units of 2^-(bits + guard)
        target = wanted << (bits + guard)
        before = math.inf
        while True:
            residual = target - a.dot(x)
            try:
                scaled = np.ldexp(residual.astype(np.float64), -inverse.exponents)
            except OverflowError:
                return None
            error = inverse.norm * float(np.abs(scaled).max(initial=0.0)) * (1.0 + 1e-6)
            if not error < before / 2:
                break
            before = error
            step = np.ldexp(inverse.scaled @ scaled, -inverse.exponents)
            x = x + np.array([round(d) for d in step.tolist()], dtype=object)
        digits = [_digit(v, e, guard) for v, e in zip(x, np.ldexp(error, -inverse.exponents).tolist(), strict=True)]
        if None not in digits:
            return [d for d in digits if d is not None]
    return None


def _digit(value: int, error: float, guard: int) -> int | None:
    """value/2^guard rounded half up, None when value ± error rounds in two ways."""
    if not error < 2.0**guard:
        return None
    slack = math.ceil(error)
    low, high = (round_half_up(v, 1 << guard) for v in (value - slack, value + slack))
    return low if low == high else None
