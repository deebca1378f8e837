"""Chinese remaindering of residues to rounded 64-bit integers (Garner), exactly.

(Knuth, The Art of Computer Programming 2, 4.3.2.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import njit, uint64

from securegen.kernels.threads import over_range

LEAST = 1024  # numbers worth a thread
LIMBS = 10  # of 32 bits, enough for ten primes below 2^31


def round_residues(residues: np.ndarray, primes: Sequence[int], scale_log2: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, X) uint64 residues of x -> (round(x/2^s), |x/2^s − round|): (X,) int64 and (X,) float64.

    x is the representative in (−q/2, q/2], q the product of the primes; rounding is half up. A quotient that does not
    fit int64 comes back as the lowest int64, with distance 1. The distance is right to 2^-s.
    """
    k = len(primes)
    if residues.ndim != 2 or residues.shape[0] != k or k >= LIMBS or scale_log2 < 1:
        raise ValueError(f"residues of shape {residues.shape} modulo {k} primes cannot be rounded at 2^{scale_log2}")
    inverses = np.zeros((k, k), np.uint64)
    for i in range(k):
        for j in range(i):
            inverses[j, i] = pow(primes[j], -1, primes[i])
    limbs = lambda v: np.array([(v >> (32 * i)) & 0xFFFFFFFF for i in range(LIMBS)], np.uint64)  # noqa: E731
    q = math.prod(primes)
    value = np.empty(residues.shape[1], np.int64)
    distance = np.empty(residues.shape[1], np.float64)
    arguments = (
        np.ascontiguousarray(residues), np.array(primes, np.uint64), inverses, limbs(q), limbs(q // 2),
        limbs((1 << scale_log2) >> 1), scale_log2, value, distance,
    )  # fmt: skip
    over_range(len(value), lambda first, last: _round(*arguments, first, last), least=LEAST)
    return value, distance


@njit(cache=True, nogil=True)
def _round(residues, primes, inverses, q, half_q, half, scale, value, distance, first, last):
    k = len(residues)
    mask = uint64(0xFFFFFFFF)
    digits, limb = np.empty(k, np.uint64), np.empty(LIMBS, np.uint64)
    for x in range(first, last):
        for i in range(k):  # mixed-radix digits
            p = primes[i]
            d = residues[i, x] % p
            for j in range(i):
                d = (d + p - digits[j] % p) % p * inverses[j, i] % p
            digits[i] = d
        limb[:] = 0
        for i in range(k - 1, -1, -1):  # Horner
            carry = digits[i]
            for m in range(LIMBS):
                t = limb[m] * primes[i] + carry
                limb[m], carry = t & mask, t >> uint64(32)
        negative = False
        for m in range(LIMBS - 1, -1, -1):
            if limb[m] != half_q[m]:
                negative = limb[m] > half_q[m]
                break
        if negative:  # magnitude q − x
            borrow = uint64(0)
            for m in range(LIMBS):
                t = q[m] + (mask + uint64(1)) - limb[m] - borrow
                limb[m] = t & mask
                borrow = uint64(1) - (t >> uint64(32))
        # |x| + Δ/2, then the quotient's limbs; half up means half towards zero for negative x
        carry = uint64(0)
        for m in range(LIMBS):
            t = limb[m] + half[m] + carry
            limb[m], carry = t & mask, t >> uint64(32)
        if negative:
            borrow = uint64(1)
            for m in range(LIMBS):
                t = limb[m] + (mask + uint64(1)) - borrow
                limb[m] = t & mask
                borrow = uint64(1) - (t >> uint64(32))
        word, bit = scale // 32, uint64(scale % 32)
        quotient = uint64(0)
        overflow = False
        for m in range(word, LIMBS):
            part = limb[m] >> bit
            if m + 1 < LIMBS:
                part |= (limb[m + 1] << (uint64(32) - bit)) & mask
            if m - word < 2:
                quotient |= part << uint64(32 * (m - word))
            elif part != 0:
                overflow = True
        fraction = 0.0  # of (|x| + Δ/2)/Δ
        for m in range(word + 1):
            part = limb[m]
            if m == word:
                part &= (uint64(1) << bit) - uint64(1)
            fraction += float(part) * 2.0 ** (32 * m - scale)
        if overflow or quotient >> uint64(63):
            value[x], distance[x] = np.int64(-(2**63)), 1.0
        else:
            value[x] = -np.int64(quotient) if negative else np.int64(quotient)
            distance[x] = abs(fraction - 0.5)
