"""Missing genotypes at the mean of the called ones: exact integers of the sums, and their one conversion to float64.

With n people called and S = Σg over them, a missing call counts S/n. For a column x that sum is Σgx + (S/n)·Σmx, kept as
the integer n·Σgx + S·Σmx, and of squares n²·Σg²x + S²·Σmx. Sites add these integers, so nobody's missing calls are
summed apart; every engine makes the same ones, and the same float64 numbers of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from securegen.model import ImputedSums, IntArray, Sums


def exactly(n: IntArray, g: IntArray, s: IntArray, m: IntArray) -> IntArray:
    """n·g + s·m. n, s: (V,); g, m: (V,) or (V, C). Returns int64 where every term surely fits, else Python integers."""
    if g.ndim == 2:
        n, s = n[:, None], s[:, None]
    largest = [int(np.abs(v).max(initial=0)) for v in (n, g, s, m)]
    if largest[0] * largest[1] + largest[2] * largest[3] >= 1 << 63:
        n, g, s, m = (v.astype(object) for v in (n, g, s, m))
    out: np.ndarray = n * g + s * m
    return out


def squared(s: IntArray) -> IntArray:
    """s², (V,); int64 where every one surely fits, else Python integers."""
    return exactly(s, s, s * 0, s * 0)


def spread(n: IntArray, square: IntArray, s: IntArray) -> IntArray:
    """n·Σg² − (Σg)², (V,) each; int64 where every term surely fits, else Python integers."""
    return exactly(n, square, -s, s)


def filled(row: IntArray, n: IntArray, s: IntArray, x: IntArray) -> IntArray:
    """(V,) Σ over missing calls of s/n·x, each rounded half up to a whole number.

    row, x: (C,), the variant and the column's value of each missing call; n, s: (V,). What one site adds of its people
    says nothing of x modulo n.
    """
    largest = [int(np.abs(v).max(initial=1)) for v in (n, s, x)]
    if 2 * max(largest[0], largest[1]) * max(largest[2], 1) >= 1 << 62:
        n, s, x = (v.astype(object) for v in (n, s, x))
    top, bottom = s[row], np.maximum(n, 1)[row]
    values = (2 * top * x + bottom) // (2 * bottom)
    out = np.zeros(len(n), np.int64)
    np.add.at(out, row, values.astype(np.int64))
    return out


def as_float(numerator: IntArray, denominator: IntArray) -> np.ndarray:
    """numerator/denominator as float64: whole part and remainder apart, so that a whole quotient below 2^53 is exact.

    numerator: int64 or Python integers, denominator: positive int64. The result depends on the numbers alone.
    """
    whole = numerator // denominator
    rest = numerator - whole * denominator
    out: np.ndarray = whole.astype(np.float64) + rest.astype(np.float64) / denominator.astype(np.float64)
    return out


def linear_sums(sums: Sums, samples: int, *, coded: bool = False) -> ImputedSums:
    """What linear regression reads. sums: over intercept, covariates and phenotype; q: Σg², or coded, of a genetic model's 0
    and 1, whose squares they are, Σ of the alleles."""
    n, s = samples - sums.m[:, 0], sums.g[:, 0]
    cross = exactly(n, sums.g[:, 1:], s, sums.m[:, 1:])
    if coded:
        return ImputedSums(sums.start, n, s, cross, s, pairs=sums.mm, alleles=sums.q[:, 0])
    return ImputedSums(sums.start, n, s, cross, sums.q[:, 0], pairs=sums.mm)


def quadratic_sums(sums: Sums, samples: int) -> ImputedSums:
    """As `linear_sums`, with n²·Σg²x + S²·Σmx of the columns after the intercept whose Σg²x is in q."""
    found = linear_sums(sums, samples)
    n, s = found.called, found.dosage
    weighted = exactly(n * n, sums.q[:, 1:], squared(s), sums.m[:, 1 : sums.q.shape[1]])
    return replace(found, weighted=weighted, pairs=None)


def alleles(called: IntArray, copies: int, single: Sequence[IntArray]) -> IntArray:
    """(V,) alleles of the called people, who have `copies` each; single: (V,) those of them who have one less."""
    return copies * called - single[0] if single else copies * called


def frequency(dosage: IntArray, called: IntArray, grid: int, copies: int, single: Sequence[IntArray]) -> np.ndarray:
    """(V,) float64: sum of dosages over the sum of the largest ones, NaN where nobody is called."""
    most = alleles(called, copies, single)
    return np.where(called > 0, dosage / (float(grid) * np.maximum(most, 1)), np.nan)


def score_sums(
    sums: Sums, samples: int, cases: int, grid: int, copies: int = 2, single: Sequence[IntArray] = (), *,
    coded: bool = False,
) -> ImputedSums:  # fmt: skip
    """What the score test reads. sums: over indicator, case, r, w and each w·c; q: Σ w g², or coded, of a genetic model's 0
    and 1, Σ of the alleles of everybody and of cases. single: people, and cases."""
    n, s = samples - sums.m[:, 0], sums.g[:, 0]
    cross = exactly(n, sums.g[:, 2:], s, sums.m[:, 2:])
    squares = sums.g[:, 3] if coded else sums.q[:, 0]
    weighted = exactly(n * n, squares, squared(s), sums.m[:, 3])
    count, in_cases = (sums.q[:, 0], sums.q[:, 1]) if coded else (s, sums.g[:, 1])
    major = 2 * count > grid * alleles(n, copies, single)
    largest = grid * alleles(cases - sums.m[:, 1], copies, single[1:])
    minor = np.where(major, largest - in_cases, in_cases)
    return ImputedSums(sums.start, n, s, cross, weighted, minor_in_cases=minor, alleles=count if coded else None)
