"""Chinese remaindering of residues to rounded integers, whole or in signed digits (Garner), exactly.

(Knuth, The Art of Computer Programming 2, 4.3.2.) A sum that packs several, Σ_l 2^(w_l) S_l with |S_l| below half of its
digit, is read from the bottom: digit l is the balanced remainder, in [−2^(B−1), 2^(B−1)), and the top digit is the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numba import int64, njit, uint64

from securegen.kernels.threads import over_range

LEAST = 1024  # numbers worth a thread
LIMIT = 1 << 30  # of a prime
WIDEST = 62  # bits of a digit


def round_residues(residues: np.ndarray, primes: Sequence[int], scale_log2: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, X) uint64 residues of x -> (round(x/2^s), |x/2^s − round|): (X,) int64 and (X,) float64.

    x is the representative in (−q/2, q/2], q the product of the primes; rounding is half up. A quotient that does not
    fit int64 comes back as the lowest int64, with distance 1. The distance is right to 2^-s.
    """
    values, distance = unpack_sums(residues, primes, scale_log2, (WIDEST,))
    return values[:, 0], distance


def unpack_sums(
    residues: np.ndarray, primes: Sequence[int], scale_log2: int, digit_bits: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """As `round_residues`, the rounded integer in D signed digits: (X, D) int64, the lowest first, and (X,) float64.

    digit_bits: width of every digit, 1 to 62; the top digit takes all the rest, and where that does not fit int64 it is the
    lowest int64, with distance 1.

    >>> primes = (1073692673, 1073668097, 1073651713)
    >>> packed = ((-5 << 20) + 7 << 20) - 3 << 9
    >>> residues = np.array([[(packed + 1) % q] for q in primes], np.uint64)
    >>> unpack_sums(residues, primes, 9, (20, 20, 20))
    (array([[-3,  7, -5]]), array([0.00195312]))
    """
    k, count = len(primes), len(digit_bits)
    if residues.ndim != 2 or residues.shape[0] != k or scale_log2 < 1:
        raise ValueError(f"residues of shape {residues.shape} modulo {k} primes cannot be rounded at 2^{scale_log2}")
    if not count or not all(1 <= bits <= WIDEST for bits in digit_bits) or max(primes) >= LIMIT:
        raise ValueError(f"digits of {tuple(digit_bits)} bits cannot be read modulo primes up to {max(primes)}")
    # Shoup's pairs of p_j^-1 mod p_i, and a multiple of p_i that every p_j lies below
    inverses, quotients, above = np.zeros((k, k), np.uint64), np.zeros((k, k), np.uint64), np.zeros(k, np.uint64)
    for i, p in enumerate(primes):
        above[i] = -(-LIMIT // p) * p
        for j in range(i):
            inverses[j, i] = w = pow(primes[j], -1, p)
            quotients[j, i] = (w << 32) // p
    q, starts = math.prod(primes), [sum(digit_bits[:i]) for i in range(count)]
    length = max(q.bit_length(), scale_log2 + starts[-1] + 64) // 32 + 2
    limbs = lambda v: np.array([(v >> (32 * i)) & 0xFFFFFFFF for i in range(length)], np.uint64)  # noqa: E731
    # half a unit, so that cutting rounds, and half of every digit but the top, so that digits are read unsigned
    bias = sum(1 << (scale_log2 + s + bits - 1) for s, bits in zip(starts, digit_bits[:-1], strict=False))
    arguments = (
        np.ascontiguousarray(residues), np.array(primes, np.uint64), inverses, quotients, above, limbs(q), limbs(q // 2),
        limbs(bias + (1 << (scale_log2 - 1))), scale_log2, np.array(starts, np.int64), np.array(digit_bits, np.int64),
    )  # fmt: skip
    values, distance = np.empty((residues.shape[1], count), np.int64), np.empty(residues.shape[1], np.float64)
    over_range(len(values), lambda first, last: _unpack(*arguments, values, distance, first, last), least=LEAST)
    return values, distance


@njit(inline="always")
def _bits(limb, at):
    """64 bits from a place on; zeros beyond the last limb."""
    word, shift = at // 32, uint64(at % 32)
    low = limb[word] | (limb[word + 1] << uint64(32) if word + 1 < len(limb) else uint64(0))
    high = limb[word + 2] if word + 2 < len(limb) else uint64(0)
    return (low >> shift) | ((high << uint64(32)) << (uint64(32) - shift)) if shift else low


@njit(cache=True, nogil=True)
def _unpack(
    residues, primes, inverses, quotients, above, q, half_q, bias, scale, starts, widths, values, distance, first, last
):
    k, length, count = len(residues), len(q), len(starts)
    mask, half, one = uint64(0xFFFFFFFF), uint64(32), uint64(1)
    digits, limb = np.empty(k, np.uint64), np.empty(length, np.uint64)
    for x in range(first, last):
        for i in range(k):  # mixed-radix digits
            p = primes[i]
            d = residues[i, x] % p
            for j in range(i):
                y = d + above[i] - digits[j]  # below 2^32
                d = y * inverses[j, i] - ((y * quotients[j, i]) >> half) * p
                d = d - p if d >= p else d
            digits[i] = d
        limb[:] = 0
        for i in range(k - 1, -1, -1):  # Horner
            carry = digits[i]
            for m in range(min(k - i, length)):
                t = limb[m] * primes[i] + carry
                limb[m], carry = t & mask, t >> half
            if k - i < length:
                limb[k - i] = carry
        negative = False
        for m in range(length - 1, -1, -1):
            if limb[m] != half_q[m]:
                negative = limb[m] > half_q[m]
                break
        carry = uint64(0)
        for m in range(length):  # modulo 2^(32·length), with the sign at the top
            t = limb[m] + bias[m] + carry + ((one << uint64(33)) - q[m] if negative else uint64(0))
            limb[m] = t & mask
            carry = (t >> half) - (uint64(2) if negative else uint64(0))
        for l in range(count - 1):
            at = scale + starts[l]
            digit = _bits(limb, at) & ((one << uint64(widths[l])) - one)
            values[x, l] = int64(digit) - (int64(1) << (widths[l] - 1))
        at = scale + starts[count - 1]
        top = int64(_bits(limb, at))
        sign, fits = uint64(0) if top >= 0 else mask, True
        end = at + 64
        for m in range(end // 32, length):
            seen = ~((one << uint64(end % 32)) - one) & mask if m == end // 32 else mask
            fits &= (limb[m] ^ sign) & seen == uint64(0)
        fraction = 0.0
        word, bit = scale // 32, uint64(scale % 32)
        for m in range(word + 1):
            part = limb[m] & ((one << bit) - one) if m == word else limb[m]
            fraction += float(part) * 2.0 ** (32 * m - scale)
        values[x, count - 1] = top if fits else np.int64(-(2**63))
        distance[x] = abs(fraction - 0.5) if fits and top != np.int64(-(2**63)) else 1.0
