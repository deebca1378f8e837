"""Sums over people that the corrections of a score test read, every person's term rounded to 2^-32 before it is added.

The integers are the same whatever the order of the people, and add up over the parts of a cohort: of one owner, of several
sites, of threads. Exponentials and logarithms are `exact_functions`. 2^-32 is coarse on purpose: what sites open tells no
finer part of a person, and ln P is right to 2^-33 times the people.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit

from securegen.kernels.exact_functions import exp, ln
from securegen.kernels.threads import over_range

UNIT = float(1 << 32)
MOST_COPIES = float(1 << 7)  # of |x|
FARTHEST = float(1 << 11)  # logits a copy: beyond either, sums in int64 could overflow
PIECE, FEWEST_PIECES = 512, 16  # people whose terms are added in int64, and pieces for a thread


def takes(x: np.ndarray) -> bool:
    """Whether sums take these, up to `FARTHEST`."""
    return max(float(x.max(initial=0.0)), -float(x.min(initial=0.0))) <= MOST_COPIES


def centred_genotypes(dosage: np.ndarray, coefficients: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """(n,) g − γ₀ − Σ γ_k c_k: dosage (n,) float64; coefficients: (K,), the intercept's first; covariates: (K − 1, n)."""
    out = np.empty(len(dosage))
    _centred(dosage, coefficients, np.ascontiguousarray(covariates), out)
    return out


def score_terms(x: np.ndarray, mean: np.ndarray, residual: np.ndarray) -> list[int]:
    """Of Σ x(y − μ), y Bernoulli of mean μ, over n people, (n,) float64 each: the value with `residual` y − μ, variance, third
    cumulant, the largest value and the smallest one's negative. In units of 2^-32.

    >>> score_terms(np.array([1.0, -2.0]), np.array([0.5, 0.25]), np.array([0.5, -0.25]))
    [4294967296, 4294967296, -3221225472, 4294967296, 8589934592]
    """
    return _added(x, (mean, residual), 5, lambda first, last, out: _score(x, mean, residual, first, last, out))


def tilted_terms(x: np.ndarray, mean: np.ndarray, t: float) -> list[int]:
    """Of S = Σ x(y − μ), K(t) = ln E e^{tS} and its first two derivatives, in units of 2^-32. x, mean: (n,) float64, of which
    sums are right where `takes` says so.

    >>> tilted_terms(np.array([1.0, -1.0]), np.array([0.5, 0.5]), 0.0)
    [0, 0, 2147483648]
    """
    _refuse_far(t)
    return _added(x, (mean,), 3, lambda first, last, out: _tilted(x, mean, t, first, last, out))


def penalised_terms(x: np.ndarray, side: np.ndarray, logits: np.ndarray, b: float) -> list[int]:
    """Of a logistic model with logits η + xb, p its means: Σ x(y − p), Σ x²p(1 − p), Σ x³p(1 − p)(½ − p) and minus the log
    likelihood, in units of 2^-32. side: (n,) float64, 1 of cases and −1 of controls.

    >>> penalised_terms(np.array([1.0]), np.array([1.0]), np.array([0.0]), 0.0)
    [2147483648, 1073741824, 0, 2977044472]
    """
    _refuse_far(b)
    return _added(x, (side, logits), 4, lambda first, last, out: _penalised(x, side, logits, b, first, last, out))


def _refuse_far(t: float) -> None:
    if not abs(t) <= FARTHEST:
        raise ArithmeticError(f"a score statistic is not tilted by {t:g} logits a copy")


def _added(
    x: np.ndarray, others: tuple[np.ndarray, ...], width: int, work: Callable[[int, int, np.ndarray], object]
) -> list[int]:
    if x.ndim != 1 or any(v.dtype != np.float64 or v.shape != x.shape for v in (x, *others)):
        raise ValueError(f"columns of {len(x)} people in float64 do not fit each other")
    out = np.zeros((-(-len(x) // PIECE), width), np.int64)
    over_range(len(out), lambda first, last: work(first, last, out), least=FEWEST_PIECES)
    halves = (out >> 32).sum(axis=0).tolist(), (out & 0xFFFFFFFF).sum(axis=0).tolist()
    return [(high << 32) + low for high, low in zip(*halves, strict=True)]


@njit(cache=True, nogil=True)
def _centred(dosage, coefficients, covariates, out):
    for i in range(len(dosage)):
        out[i] = dosage[i] - coefficients[0]
    for k in range(len(covariates)):
        factor, column = coefficients[k + 1], covariates[k]
        for i in range(len(dosage)):
            out[i] -= factor * column[i]


@njit(cache=True, nogil=True)
def _score(x, mean, residual, first, last, out):
    for piece in range(first, last):
        for i in range(piece * PIECE, min((piece + 1) * PIECE, len(x))):
            m, v = mean[i], x[i]
            square = v * v * (m * (1.0 - m))
            out[piece, 0] += np.int64(np.rint(v * residual[i] * UNIT))
            out[piece, 1] += np.int64(np.rint(square * UNIT))
            out[piece, 2] += np.int64(np.rint(square * (1.0 - 2.0 * m) * v * UNIT))
            out[piece, 3] += np.int64(np.rint((max(v, 0.0) - v * m) * UNIT))
            out[piece, 4] += np.int64(np.rint((v * m - min(v, 0.0)) * UNIT))


@njit(cache=True, nogil=True)
def _tilted(x, mean, t, first, last, out):
    for piece in range(first, last):
        k0, k1, k2 = np.int64(0), np.int64(0), np.int64(0)
        for i in range(piece * PIECE, min((piece + 1) * PIECE, len(x))):
            m, v = mean[i], x[i]
            a = t * v
            small = exp(-abs(a))
            if a < 0.0:
                inside = (1.0 - m) + m * small
                share = m * small / inside
                term = ln(inside)
            else:
                inside = m + (1.0 - m) * small
                share = m / inside
                term = a + ln(inside)
            k0 += np.int64(np.rint((term - m * a) * UNIT))
            k1 += np.int64(np.rint(v * (share - m) * UNIT))
            k2 += np.int64(np.rint(v * v * (share * (1.0 - share)) * UNIT))
        out[piece, 0], out[piece, 1], out[piece, 2] = k0, k1, k2


@njit(cache=True, nogil=True)
def _penalised(x, side, logits, b, first, last, out):
    for piece in range(first, last):
        s0, s1, s2, s3 = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
        for i in range(piece * PIECE, min((piece + 1) * PIECE, len(x))):
            v = x[i]
            eta = logits[i] + v * b
            small = exp(-abs(eta))
            one = 1.0 / (1.0 + small)
            p = one if eta > 0.0 else small * one
            y = 1.0 if side[i] > 0.0 else 0.0
            square = v * v * (small * (one * one))
            s0 += np.int64(np.rint(v * (y - p) * UNIT))
            s1 += np.int64(np.rint(square * UNIT))
            s2 += np.int64(np.rint(square * v * (0.5 - p) * UNIT))
            s3 += np.int64(np.rint((max(-side[i] * eta, 0.0) + ln(1.0 + small)) * UNIT))
        out[piece, 0], out[piece, 1], out[piece, 2], out[piece, 3] = s0, s1, s2, s3
