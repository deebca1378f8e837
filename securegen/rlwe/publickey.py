"""Public-key encryption: encryptions of zero that hide how a reply was computed, and of messages.

b = −a·s + e, where `a` is expanded (SHAKE-256, rejection) from a nonce that the *other* party chose: with an `a` of the
key holder's own choice, a·u + e₁ would hide nothing from it. An encryption is (b·u + e₀ + m, a·u + e₁), u ternary and
errors centred binomial, all fresh; it decrypts with noise e·u + e₀ + e₁·s. (Lyubashevsky, Peikert and Regev 2010.)

Who learns what: without s, nothing about m (RLWE, 128 bits). The key holder sees m and the noise, which is a linear
equation in (u, e₀, e₁): whoever must hide more than m adds flooding. Randomness comes from the operating system.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import int64, njit, uint16, uint32, uint64

from securegen.errors import ArtefactError
from securegen.kernels.ntt import forward, forward_row, inverse_row, stack_tables
from securegen.kernels.residue_mac import reduce_wide, wide_constants
from securegen.kernels.threads import over_range
from securegen.randomness import fresh_key, keystream
from securegen.rlwe.arithmetic import count_ones, less_once, times
from securegen.rlwe.encryptor import ERROR_BYTES
from securegen.rlwe.residues import ring_tables
from securegen.rlwe.ring import ERROR_MAX, ERROR_SD, Ring

NONCE_BYTES = 32


@dataclass(frozen=True)
class EncryptionKey:
    """Anybody encrypts with it. nonce: what `a` is expanded from; b: (k, n) uint64, NTT form."""

    ring: Ring
    nonce: bytes
    b: np.ndarray

    @property
    def a(self) -> np.ndarray:
        """(k, n) uint64, NTT form."""
        return expand_a(self.nonce, self.ring)


def expand_a(nonce: bytes, ring: Ring) -> np.ndarray:
    """`a` of a nonce, (k, n) uint64 uniform below each prime, NTT form: SHAKE-256, 30 bits, rejection."""
    if len(nonce) != NONCE_BYTES:
        raise ArtefactError(f"a nonce has {len(nonce)} bytes, {NONCE_BYTES} expected")
    seed = hashlib.sha256(b"securegen encryption key" + nonce).digest()
    out = np.empty((len(ring.primes), ring.n), np.uint64)
    for i, p in enumerate(ring.primes):
        size = 8 * ring.n
        while True:
            stream = hashlib.shake_256(b"securegen joint a" + bytes([i]) + seed).digest(size)
            words = np.frombuffer(stream, "<u4") & np.uint32((1 << 30) - 1)
            kept = words[words < p]
            if len(kept) >= ring.n:
                out[i] = kept[: ring.n]
                break
            size *= 2
    return out


def _centred_binomial(count: int, key: bytes) -> np.ndarray:
    """(count,) int64: ones among 21 bits of a key's stream less ones among 21 others; |x| ≤ 21, variance 10.5."""
    bits = np.unpackbits(keystream(key, 0, 6 * count).reshape(count, 6), axis=1).astype(np.int64)
    found: np.ndarray = bits[:, :ERROR_MAX].sum(axis=1) - bits[:, ERROR_MAX : 2 * ERROR_MAX].sum(axis=1)
    return found


def noise_certain(ring: Ring) -> int:
    """Largest |e·u + e₀ + e₁·s|, whatever is drawn."""
    return (2 * ring.n + 1) * ERROR_MAX


def noise_sd(ring: Ring) -> float:
    """Standard deviation of e·u + e₀ + e₁·s for ternary u and s."""
    found: float = ERROR_SD * (4 * ring.n / 3 + 1) ** 0.5
    return found


def _residues(values: np.ndarray, ring: Ring) -> np.ndarray:
    """(C, n) small int64 -> (C, k, n) uint64, NTT form; no branch on the values."""
    q = np.array(ring.primes, np.int64)[:, None]
    out: np.ndarray = (values[:, None, :] + ((values >> 63)[:, None, :] & q)).astype(np.uint64)
    forward(out, ring_tables(ring))
    return out


def publish(secret: np.ndarray, nonce: bytes, ring: Ring, error_key: bytes) -> EncryptionKey:
    """The encryption key for one nonce of a secret key, (k, n) uint64 residues in NTT form.

    error_key: `KEY_BYTES` that nobody else knows, of this secret and nonce alone. One nonce, one key: of two with the same `a`
    the difference would tell that of their errors.
    """
    q = np.array(ring.primes, np.uint64)[:, None]
    e = _residues(_centred_binomial(ring.n, error_key)[None], ring)[0]
    b = (e + q - expand_a(nonce, ring) * secret % q) % q
    return EncryptionKey(ring, nonce, b)


def encrypt(key: EncryptionKey, messages: np.ndarray) -> np.ndarray:
    """(C, k, n) residues in NTT form -> (C, 2, k, n) uint64, NTT form, each with randomness of its own."""
    out = np.zeros((len(messages), 2, *messages.shape[1:]), np.uint64)
    out[:, 0] = messages
    add_zeros(key, out)
    return out


def add_zeros(key: EncryptionKey, both: np.ndarray) -> None:
    """Add a fresh encryption of zero to each pair of halves, in place: (C, 2, k, n) uint64, canonical, NTT form."""
    if both.shape[1:] != (2, len(key.ring.primes), key.ring.n) or both.dtype != np.uint64:
        raise ValueError(f"{both.dtype} of shape {both.shape} are not ciphertexts of this ring")
    q, roots, factors = _constants(key)
    _with_coins(key.ring, len(both), key.ring.n, lambda c, u, e: _add_zero(u, e, q, roots, factors, both[c]))


def hide(key: EncryptionKey, tiles: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """What is sent of ciphertexts + encryptions of zero where only the last `wanted` coefficients of first halves are.

    tiles: (k, T, C, 2, L) uint32, canonical, NTT form. Returns (C, k, wanted) uint64, coefficients, and (C, k, n) uint32,
    NTT form.
    """
    ring, count = key.ring, tiles.shape[2]
    if tiles.shape != (len(ring.primes), ring.tiles, count, 2, ring.lanes) or tiles.dtype != np.uint32:
        raise ValueError(f"{tiles.dtype} of shape {tiles.shape} are not ciphertexts of this ring")
    q, roots, factors = _constants(key)
    top, second = np.empty((count, len(q), wanted), np.uint64), np.empty((count, len(q), ring.n), np.uint32)
    _, _, inverse_roots, n_inverse = stack_tables(ring_tables(ring))
    last, reduction = last_coefficient(ring), wide_constants(q)
    _with_coins(
        ring, count, wanted,
        lambda c, u, e: _hide(u, e, q, reduction, roots, inverse_roots, n_inverse, factors, last, tiles, c, top[c], second[c]),
    )  # fmt: skip
    return top, second


def last_coefficient(ring: Ring) -> np.ndarray:
    """(k, n) uint64: its inner product with a polynomial in NTT form is the polynomial's coefficient n − 1.

    ψ^(−r(n−1)) = −ψ^r for odd r, so that is −1/n times the transform of X.
    """
    out = np.zeros((1, len(ring.primes), ring.n), np.uint64)
    out[:, :, 1] = 1
    forward(out, ring_tables(ring))
    q = np.array(ring.primes, np.uint64)[:, None]
    found: np.ndarray = out[0] * np.array([-pow(ring.n, -1, p) % p for p in ring.primes], np.uint64)[:, None] % q
    return found


def _constants(key: EncryptionKey) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Primes (k,), roots (k, n), and b and a with their quotients, (2, k, n)."""
    primes, roots, _, _ = stack_tables(ring_tables(key.ring))
    q = primes[:, None]
    half = np.uint64(32)
    return primes, roots, np.stack([w | (w << half) // q << half for w in (key.b, key.a)])


def _with_coins(ring: Ring, count: int, first: int, work: Callable[[int, np.ndarray, np.ndarray], None]) -> None:
    """work(c, u, e) for every c below count, in threads: u (n,) ternary and e (first + n,) errors, int64, fresh."""
    stream, pairs = fresh_key(), ring.n // 2  # bytes; n pairs of bits are needed of 2n, of which a quarter is rejected
    total = first + ring.n

    def run(start: int, stop: int) -> None:
        for c in range(start, stop):
            bits = keystream(stream, c, pairs + ERROR_BYTES * total)
            wide, narrow = bits[pairs : pairs + 4 * total].view("<u4"), bits[pairs + 4 * total :].view("<u2")
            u, e = np.empty(4 * pairs, np.int64), np.empty(total, np.int64)
            kept = _toss(bits[:pairs], wide, narrow, u, e)
            if kept < ring.n:
                raise RuntimeError("too few uniform words: the odds of this are below 2^-400")
            work(c, u[: ring.n], e)
            for secret in (bits, u, e):
                secret[:] = 0

    over_range(count, run)


@njit(cache=True, nogil=True)
def _toss(pairs, wide, narrow, u, e):
    """Fill u with uniform {−1, 0, 1} from pairs of bits, and e with 21 coins less 21 others; returns how many u.

    No branch or address depends on what is kept, but for which random pairs are skipped.
    """
    have = 0
    for byte in pairs:
        for shift in (0, 2, 4, 6):
            pair = (int64(byte) >> shift) & 3
            u[have] = pair - 1
            have += pair != 3
    for j in range(len(e)):
        e[j] = int64(count_ones(wide[j]) + count_ones(uint32(narrow[j] & uint16(0x3FF)))) - ERROR_MAX
    return have


@njit(inline="always")
def _lift(values, q, roots, out):
    """NTT of (n,) int64 with |values| < q."""
    for j in range(len(out)):
        out[j] = uint64(values[j] + ((values[j] >> 63) & int64(q)))
    forward_row(out, roots, q)


@njit(inline="always")
def _add_product(u, w, e, total, q):
    """total += u·w + e, all (n,), w with its quotient."""
    for j in range(len(u)):
        x = times(u[j], w[j] & uint64(0xFFFFFFFF), w[j] >> uint64(32), q) + e[j] + total[j]  # below 4q
        total[j] = less_once(less_once(x, uint64(2) * q), q)


@njit(cache=True, nogil=True)
def _add_zero(u, e, primes, roots, factors, both):
    """both (2, k, n) += (b·u + e₀, a·u + e₁)."""
    n = len(u)
    u_ntt, e_ntt = np.empty(n, np.uint64), np.empty(n, np.uint64)
    for p in range(len(primes)):
        _lift(u, primes[p], roots[p], u_ntt)
        for half in range(2):
            _lift(e[half * n : (half + 1) * n], primes[p], roots[p], e_ntt)
            _add_product(u_ntt, factors[half, p], e_ntt, both[half, p], primes[p])


@njit(cache=True, nogil=True)
def _hide(u, e, primes, reduction, roots, inverse_roots, n_inverse, factors, last, tiles, c, top, second):
    """top (k, w): the last coefficients of c0 + b·u, and e₀; second (k, n): c1 + a·u + e₁."""
    n, wanted = len(u), top.shape[1]
    u_ntt, e_ntt, zero = np.empty(n, np.uint64), np.empty(n, np.uint64), np.zeros(n, np.uint64)
    total = np.empty((2, n), np.uint64)
    lanes = tiles.shape[4]
    for p in range(len(primes)):
        q = primes[p]
        _lift(u, q, roots[p], u_ntt)
        _lift(e[wanted:], q, roots[p], e_ntt)
        for half in range(2):
            for t in range(tiles.shape[1]):
                for l in range(lanes):
                    total[half, t * lanes + l] = tiles[p, t, c, half, l]
        _add_product(u_ntt, factors[0, p], zero, total[0], q)
        _add_product(u_ntt, factors[1, p], e_ntt, total[1], q)
        for j in range(n):
            second[p, j] = total[1, j]
        if wanted == 1:
            low, high = uint64(0), uint64(0)
            for j in range(n):
                x = total[0, j] * last[p, j]
                low += x & uint64(0xFFFFFFFF)
                high += x >> uint64(32)
            r, r_quotient, one_quotient = reduction[p]
            carry, low = low >> uint64(32), low & uint64(0xFFFFFFFF)
            top[p, 0] = reduce_wide(high + carry, low, q, r, r_quotient, one_quotient)
        else:
            inverse_row(total[0], inverse_roots[p], n_inverse[p], q)
            for i in range(wanted):
                top[p, i] = total[0, n - wanted + i]
        for i in range(wanted):
            top[p, i] = less_once(top[p, i] + uint64(e[i] + ((e[i] >> 63) & int64(q))), q)
