"""Symmetric RLWE encryption: c0 = −a·s + e + NTT(2^scale · m), c1 = a, where `a` is kept as a 16-byte public seed.

Trust model. Who has (seed, c0) and not s learns nothing about m (RLWE, 128 bits by the ring), on three conditions:
1. The error is drawn from a key of its own, which the operating system gives for this call and which nobody keeps.
   Were it drawn from the public seed, c0 would be a linear equation for s.
2. No seed is used for two messages under one key. It is drawn afresh at every call, from the operating system, never
   from a key, a counter or the data: two messages with equal `a` and s would have their difference in the clear, up to e. Strands
   share `a` and have different s (see `strands`).
3. Time does not depend on m, e or s: no branch, no division and no table is addressed by them.

The error is centred binomial with 21 + 21 bits: standard deviation √10.5 = 3.24 and at most 21, as SEAL's.
(Lyubashevsky, Peikert and Regev 2010; Alkim et al. 2016 for the binomial; docs/encryptor.md has the argument.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numba import njit, uint16, uint32, uint64

from securegen.kernels.ntt import forward_row, ntt_tables, stack_tables
from securegen.kernels.threads import over_range
from securegen.randomness import fresh_key, keystream
from securegen.rlwe.arithmetic import count_ones, less_once, times
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_uniform

ERROR_BYTES = 6  # a coefficient: 42 of 48 bits
CENTRE = 21
PIECE = 16  # ciphertexts whose error bits are in memory at a time


def encrypt_block(
    key_residues: np.ndarray, messages: np.ndarray, scale_log2: int, ring: Ring
) -> tuple[bytes, np.ndarray]:
    """Encrypt (C, n) int64 coefficients at 2^scale_log2 under a fresh seed.

    key_residues: (k, n) uint64, the secret key modulo the primes, NTT form. Returns the public seed and c0,
    (k, T, C, L) uint32; c1 is `uniform.expand_uniform(seed, C, ring)`. A message m stands for m·2^scale modulo the
    product of the primes, for every int64. The threads are Numba's.
    """
    seed, c0 = encrypt_strands(key_residues[None], messages[:, None], scale_log2, ring)
    return seed, c0[:, :, :, 0]


def encrypt_strands(secrets: np.ndarray, messages: np.ndarray, scale_log2: int, ring: Ring) -> tuple[bytes, np.ndarray]:
    """Encrypt (G, S, n) int64 coefficients under a fresh seed, the S strands of a group with one `a` (see `strands`).

    secrets: (S, k, n) uint64, different keys. Returns the public seed and c0, (k, T, G, S, L) uint32; `a` is
    `uniform.expand_uniform(seed, G, ring)`.
    """
    return next(encrypt_parts(secrets, [messages], scale_log2, ring))


def encrypt_parts(
    secrets: np.ndarray, parts: Iterable[np.ndarray], scale_log2: int, ring: Ring
) -> Iterator[tuple[bytes, np.ndarray]]:
    """As `encrypt_strands` of all strands together, which come in parts (G, S_i, n): a part is encrypted when it is asked
    for. All have the same seed and the same `a`; strand after strand has the next key, so that no key has two."""
    seed, first = fresh_key(), 0
    for messages in parts:
        last = first + messages.shape[1]
        yield seed, _encrypt_with(seed, fresh_key(), secrets[first:last], messages, scale_log2, ring)
        first = last


def _encrypt_with(
    seed: bytes, error_key: bytes, secrets: np.ndarray, messages: np.ndarray, scale_log2: int, ring: Ring
) -> np.ndarray:
    """c0 for given keys: for known-answer vectors and attack tests. Everything else calls `encrypt_strands`."""
    groups, strands, n = messages.shape
    k = len(ring.primes)
    if n != ring.n or messages.dtype != np.int64 or scale_log2 < 0:
        raise ValueError(
            f"messages of {messages.dtype} {messages.shape} at 2^{scale_log2} are none of a ring of dimension {ring.n}"
        )
    if secrets.shape != (strands, k, n) or secrets.dtype != np.uint64:
        raise ValueError(f"keys of shape {secrets.shape}, {(strands, k, n)} expected")
    a = expand_uniform(seed, groups, ring)
    out = np.empty((*a.shape[:3], strands, ring.lanes), np.uint32)
    primes, roots, _, _ = stack_tables(tuple(ntt_tables(n, p) for p in ring.primes))
    constants = np.array([_constants(p, scale_log2) for p in ring.primes], np.uint64)
    flat = messages.reshape(groups * strands, n)

    def encrypt(first: int, last: int) -> None:
        for start in range(first, last, PIECE):
            stop = min(start + PIECE, last)
            size = ERROR_BYTES * n * (stop - start)
            bits = keystream(error_key, 0, size, offset=ERROR_BYTES * n * start)
            wide = bits[: size // 3 * 2].view("<u4").reshape(-1, n)
            narrow = bits[size // 3 * 2 :].view("<u2").reshape(-1, n)
            _encrypt(flat[start:stop], wide, narrow, secrets, primes, roots, constants, a, out, start)
            bits[:] = 0

    over_range(len(flat), encrypt, least=PIECE)
    return out


def _constants(q: int, scale_log2: int) -> tuple[int, ...]:
    """Public numbers for one prime. With x = m + 2^63 = high·2^32 + low, 2^scale·m = high·w1 + low·w0 + constant.

    w1, w0 with their quotients floor(w·2^32/q); the constant, less the centre of the error; Barrett's shift and factor.
    """
    w1, w0 = pow(2, 32 + scale_log2, q), pow(2, scale_log2, q)
    constant = (-pow(2, 63 + scale_log2, q) - CENTRE) % q
    bits = q.bit_length()
    return w1, (w1 << 32) // q, w0, (w0 << 32) // q, constant, bits, (1 << 2 * bits) // q


@njit(cache=True, nogil=True)
def _encrypt(messages, wide, narrow, secrets, primes, roots, constants, public, out, first):
    """Write c0 into out, (k, T, G, S, L) uint32, for the ciphertexts from number `first` on; c is strand c mod S of
    group c div S.

    messages: (c, n) int64; wide, narrow: (c, n) uint32 and uint16 of random bits; public: (k, T, G, L) uint32.
    """
    count, n = messages.shape
    k, tiles, _, strands, lanes = out.shape
    low_half = uint64(0xFFFFFFFF)
    error = np.empty(n, np.uint32)
    row = np.empty(n, np.uint64)
    for c in range(count):
        wide_bits, narrow_bits, message = wide[c], narrow[c], messages[c]
        group, strand = (first + c) // strands, (first + c) % strands
        key = secrets[strand]
        for j in range(n):  # 42 coins: their sum less 21 is a sum of 21 minus a sum of 21
            error[j] = count_ones(wide_bits[j]) + count_ones(uint32(narrow_bits[j] & uint16(0x3FF)))
        for p in range(k):
            q = primes[p]
            w1, w1_quotient, w0, w0_quotient = constants[p, 0], constants[p, 1], constants[p, 2], constants[p, 3]
            constant, bits, factor = constants[p, 4], constants[p, 5], constants[p, 6]
            for j in range(n):
                x = uint64(message[j]) + uint64(1 << 63)
                high, low = x >> uint64(32), x & low_half
                y = times(high, w1, w1_quotient, q) + times(low, w0, w0_quotient, q) + constant + uint64(error[j])
                row[j] = less_once(less_once(y, uint64(4) * q), uint64(2) * q)  # y is below 6q
            forward_row(row, roots[p], q)
            down, up = bits - uint64(1), bits + uint64(1)
            for t in range(tiles):
                a, s, r = public[p, t, group], key[p, t * lanes : (t + 1) * lanes], row[t * lanes : (t + 1) * lanes]
                result = out[p, t, group, strand]
                for l in range(lanes):
                    x = uint64(a[l]) * (s[l] & low_half)
                    # Barrett's quotient is at most 2 too small (Menezes et al. 1996, 14.42)
                    x -= (((x >> down) * factor) >> up) * q
                    x = less_once(less_once(x, uint64(2) * q), q)
                    result[l] = uint32(less_once(r[l] + q - x, q))
