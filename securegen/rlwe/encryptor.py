"""Symmetric RLWE encryption: c0 = −a·s + e + NTT(2^scale · m), c1 = a, where `a` is kept as a 16-byte public seed.

Trust model. Who has (seed, c0) and not s learns nothing about m (RLWE, 128 bits by the ring), on three conditions:
1. The error is drawn from a key of its own, which the operating system gives for this call and which nobody keeps.
   Were it drawn from the public seed, c0 would be a linear equation for s.
2. No seed is used for two messages under one key. It is drawn afresh at every call, from the operating system, never
   from a key, a counter or the data: two messages with equal `a` and s would have their difference in the clear, up to e. Strands
   share `a` and have different s (see `strands`).
3. Time does not depend on m, e or s: no branch, no division and no table is addressed by them.

The error is centred binomial with 21 + 21 bits: standard deviation √10.5 = 3.24 and at most 21, as SEAL's.
(Lyubashevsky, Peikert and Regev 2010; Alkim et al. 2016 for the binomial; docs/explanation/encryptor.md has the argument.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numba import njit, uint64

from securegen.kernels import masked_lines
from securegen.kernels.masked_lines import OFFSET
from securegen.kernels.memory import aligned
from securegen.kernels.ntt import forward_line, ntt_tables, stack_tables
from securegen.kernels.threads import over_range
from securegen.randomness import fresh_key, keystream
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

ERROR_BYTES = 6  # a coefficient: 42 of 48 bits
CENTRE = 21
PIECE = 16  # ciphertexts whose error bits are in memory at a time
LINES = 1 << 16  # coefficients of several strands that stay in the second cache
MOST_DIGITS = 16
INTEGERS = tuple(np.dtype(f"i{size}") for size in (1, 2, 4, 8))


def encrypt_block(
    key_residues: np.ndarray, messages: np.ndarray, scale_log2: int, ring: Ring
) -> tuple[bytes, np.ndarray]:
    """Encrypt (C, n) coefficients, of any signed integer type, at 2^scale_log2 under a fresh seed.

    key_residues: (k, n) uint64, the secret key modulo the primes, NTT form. Returns the public seed and c0,
    (k, T, C, L) uint32; c1 is `uniform.expand_uniform(seed, C, ring)`. A message m stands for m·2^scale modulo the
    product of the primes, for every int64. The threads are Numba's.
    """
    seed, c0 = encrypt_strands(key_residues[None], messages[:, None], scale_log2, ring)
    return seed, c0[:, :, :, 0]


def encrypt_strands(secrets: np.ndarray, messages: np.ndarray, scale_log2: int, ring: Ring) -> tuple[bytes, np.ndarray]:
    """Encrypt (G, S, n) coefficients under a fresh seed, the S strands of a group with one `a` (see `strands`).

    secrets: (S, k, n) uint64, different keys. Returns the public seed and c0, (k, T, G, S, L) uint32; `a` is
    `uniform.expand_uniform(seed, G, ring)`.
    """
    return next(encrypt_parts(secrets, [messages], scale_log2, ring))


def encrypt_parts(
    secrets: np.ndarray, parts: Iterable[np.ndarray], scale_log2: int, ring: Ring
) -> Iterator[tuple[bytes, np.ndarray]]:
    """As `encrypt_strands` of all strands together, which come in parts (G, S_i, n): a part is encrypted when it is asked
    for. All have the same seed and the same `a`; strand after strand has the next key, so that no key has two."""
    return encrypt_digits(secrets, (messages[:, :, None] for messages in parts), (1,), scale_log2, ring)


def encrypt_digits(
    secrets: np.ndarray, parts: Iterable[np.ndarray], digit_bits: Sequence[int], scale_log2: int, ring: Ring,
    *, room: Callable[[tuple[int, ...]], np.ndarray] = aligned,
) -> Iterator[tuple[bytes, np.ndarray]]:  # fmt: skip
    """As `encrypt_parts` of messages Σ_l 2^(w_l)·digit_l, whose digits come as (G, S_i, D, n) signed integers.

    digit_bits: the width of every digit, the lowest first; w_l is the sum of the widths before it. A digit may be any value of
    its type. room: makes the array of a shape that c0 is written into.
    """
    seed, first = fresh_key(), 0
    weights = [scale_log2 + sum(digit_bits[:l]) for l in range(len(digit_bits))]
    for digits in parts:
        last = first + digits.shape[1]
        yield seed, _encrypt_with(seed, fresh_key(), secrets[first:last], digits, weights, ring, room=room)
        first = last


def _encrypt_with(
    seed: bytes, error_key: bytes, secrets: np.ndarray, digits: np.ndarray, weights_log2: Sequence[int], ring: Ring,
    *, room: Callable[[tuple[int, ...]], np.ndarray] = aligned,
) -> np.ndarray:  # fmt: skip
    """c0 for given keys: for known-answer vectors and attack tests. Everything else calls `encrypt_strands`."""
    groups, strands, count, n = digits.shape
    k = len(ring.primes)
    if n != ring.n or digits.dtype not in INTEGERS or min(weights_log2) < 0 or len(weights_log2) != count:
        raise ValueError(
            f"messages of {digits.dtype} {digits.shape} at 2^{list(weights_log2)} do not fit a ring of dimension {ring.n}"
        )
    if count > MOST_DIGITS:
        raise ValueError(f"{count} digits, {MOST_DIGITS} at most")
    if secrets.shape != (strands, k, n) or secrets.dtype != np.uint64:
        raise ValueError(f"keys of shape {secrets.shape}, {(strands, k, n)} expected")
    a = expand_uniform(seed, groups, ring)
    out = room((*a.shape[:3], strands, ring.lanes))
    primes, roots, _, _ = stack_tables(tuple(ntt_tables(n, p) for p in ring.primes))
    if digits.dtype == np.int8 and min(ring.primes) < 1 << 29:
        digits = digits.astype(np.int16)
    bits = 8 * digits.dtype.itemsize
    constants = np.array([_constants(p, weights_log2, bits) for p in ring.primes], np.uint64)
    factors = np.array([_factors(p, weights_log2, bits) for p in ring.primes], np.uint64)
    digits, keys, together = np.ascontiguousarray(digits), secrets.astype(np.uint32), max(1, PIECE // max(strands, 1))
    per_group = n * strands
    address = np.uint64(digits.ctypes.data)

    def encrypt(first: int, last: int) -> None:
        lines = np.empty((2, min(strands, max(1, LINES // n)), n), np.uint32)
        for start in range(first, last, together):
            stop = min(start + together, last)
            coins = per_group * (stop - start)
            drawn = keystream(error_key, 0, ERROR_BYTES * coins, offset=ERROR_BYTES * per_group * start)
            wide, narrow = drawn[: 4 * coins].view("<u4"), drawn[4 * coins :].view("<u2")
            shape = (stop - start, strands, n)
            coins_of = wide.reshape(shape), narrow.reshape(shape)
            _encrypt(address, count, bits, *coins_of, keys, primes, roots, constants, factors, a, lines, out, start)
            drawn[:] = 0
        lines[:] = 0

    over_range(groups, encrypt, least=together)
    keys[:] = 0
    return out


def _constants(q: int, weights_log2: Sequence[int], bits: int) -> tuple[int, ...]:
    """Public numbers for one prime: the offsets of the digits and the centre of the error, to be taken away; `wide_constants`;
    Barrett's shift and factor. A digit x of so many bits, more than 8, is lifted as x + 2^(bits−1)."""
    offset = OFFSET * (1 + (1 << 15)) if bits == 8 else sum(1 << (bits - 1 + w) for w in weights_log2)
    constant = (-offset - CENTRE) % q
    r, size = (1 << 32) % q, q.bit_length()
    return constant, r, (r << 32) // q, (1 << 32) // q, size, (1 << 2 * size) // q


def _factors(q: int, weights_log2: Sequence[int], bits: int) -> list[int]:
    """What `masked_lines.lift` takes: 2^w with its quotient floor(2^w·2^32/q) for every digit; of 64 bits, for both halves; or
    what `lift_bytes` takes."""
    if bits == 8:
        parts = [divmod(pow(2, w, q), 1 << 15) for w in weights_log2] + [(0, 0)] * (len(weights_log2) % 2)
        pairs = zip(parts[::2], parts[1::2], strict=True)
        return [a | c << 16 | b << 32 | d << 48 for (b, a), (d, c) in pairs]
    powers = [pow(2, w + h, q) for w in weights_log2 for h in ((32, 0) if bits == 64 else (0,))]
    return [w | (w << 32) // q << 32 for w in powers]


_lift_16, _lift_32, _lift_64 = (masked_lines.lift(bits) for bits in (16, 32, 64))


@njit(cache=True, nogil=True)
def _encrypt(digits, count, bits, wide, narrow, keys, primes, roots, constants, factors, public, lines, out, first):
    """Write c0 into out, (k, T, G, S, L) uint32, for the groups from number `first` on, some strands at a time, so that
    what is written lies together.

    digits: address of (G, S, D, n) integers of so many bits, D: count; wide, narrow: (g, S, n) uint32 and uint16 of random
    bits; keys: (S, k, n) uint32; public: (k, T, G, L) uint32; lines: two rooms (s, n) uint32.
    """
    groups, strands, n = wide.shape
    k, tiles, _, _, lanes = out.shape
    errors, line = lines
    together = len(errors)
    size, many, width, message = uint64(n), uint64(count), uint64(lanes), uint64(count * n * bits // 8)
    for g in range(groups):
        group = first + g
        for start in range(0, strands, together):
            some = min(together, strands - start)
            for i in range(some):
                coins, few = uint64(wide[g, start + i].ctypes.data), uint64(narrow[g, start + i].ctypes.data)
                masked_lines.toss(coins, few, uint64(errors[i].ctypes.data), size)
            for p in range(k):
                q, (constant, r, r_quotient, one_quotient, length, factor) = primes[p], constants[p]
                down, up = length - uint64(1), length + uint64(1)
                for i in range(some):
                    place = digits + uint64(group * strands + start + i) * message
                    noise, target = uint64(errors[i].ctypes.data), uint64(line[i].ctypes.data)
                    w = uint64(factors[p].ctypes.data)
                    if bits == 8:
                        masked_lines.lift_bytes(place, noise, target, size, many, w, constant, q)
                    elif bits == 16:
                        _lift_16(place, noise, target, size, many, w, constant, q, r, r_quotient, one_quotient)
                    elif bits == 32:
                        _lift_32(place, noise, target, size, many, w, constant, q, r, r_quotient, one_quotient)
                    else:
                        _lift_64(place, noise, target, size, many, w, constant, q, r, r_quotient, one_quotient)
                    forward_line(line[i], roots[p], q)
                for t in range(tiles):
                    at, a = t * lanes, uint64(public[p, t, group].ctypes.data)
                    for i in range(some):
                        masked_lines.subtract_product(
                            uint64(line[i, at:].ctypes.data), uint64(keys[start + i, p, at:].ctypes.data), a,
                            uint64(out[p, t, group, start + i].ctypes.data), width, q, down, up, factor,
                        )  # fmt: skip
