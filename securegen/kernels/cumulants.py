"""Cumulant functions of sums of independent Bernoulli variables: the inner loop of saddlepoint approximations."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

PIECE = 4096  # people whose terms are added in their order; sums of pieces too, so that threads change no bit


def tilted_sums(x: np.ndarray, mean: np.ndarray, t: float) -> tuple[float, float, float]:
    """Of S = Σ x(y − μ) with y Bernoulli of mean μ, K(t) = ln E e^{tS} and its first two derivatives. x, mean: (n,) float64.

    A term is log1p(μ·expm1(a)) − μa, a = tx, or for a of 1 and more its form that does not overflow.

    >>> [round(v, 6) for v in tilted_sums(np.array([1.0, -1.0]), np.array([0.5, 0.5]), 0.0)]
    [0.0, 0.0, 0.5]
    """
    if x.dtype != np.float64 or mean.dtype != np.float64 or x.ndim != 1 or x.shape != mean.shape:
        raise ValueError(f"{x.dtype} {x.shape} and {mean.dtype} {mean.shape} do not fit")
    x, mean = np.ascontiguousarray(x), np.ascontiguousarray(mean)
    pieces = -(-len(x) // PIECE)
    out = np.zeros((pieces, 3))
    over_range(pieces, lambda first, last: _tilted(x, mean, t, first, last, out))
    total = out.sum(axis=0) if pieces < 2 else np.array([math.fsum(column) for column in out.T.tolist()])
    return float(total[0]), float(total[1]), float(total[2])


@njit(cache=True, nogil=True)
def _tilted(x, mean, t, first, last, out):
    for piece in range(first, last):
        k0, k1, k2 = 0.0, 0.0, 0.0
        for i in range(piece * PIECE, min((piece + 1) * PIECE, len(x))):
            m = mean[i]
            a = t * x[i]
            if a < 1.0:
                grown = math.expm1(a)
                term = math.log1p(m * grown)
                share = m * (1.0 + grown) / (1.0 + m * grown)
            else:
                small = math.exp(-a)
                inside = m + (1.0 - m) * small
                term = a + math.log(inside)
                share = m / inside
            k0 += term - m * a
            k1 += x[i] * (share - m)
            k2 += x[i] * x[i] * share * (1.0 - share)
        out[piece, 0], out[piece, 1], out[piece, 2] = k0, k1, k2
