"""Number-theoretic transform modulo primes below 2^31, in SEAL's order.

Output j is the polynomial at ψ^(2·bitreverse(j)+1), ψ the smallest primitive 2n-th root of unity. Multiplications by
roots use a precomputed quotient (Shoup); butterflies are lazy, values stay below 4q until the last pass (Harvey 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit, prange, uint64


@dataclass(frozen=True, eq=False)
class NttTables:
    """n, q, and (n,) uint64 arrays of roots and their Shoup quotients floor(root·2^32/q)."""

    n: int
    q: int
    roots: np.ndarray
    roots_shoup: np.ndarray
    inverse_roots: np.ndarray
    inverse_roots_shoup: np.ndarray
    n_inverse: int


@lru_cache(maxsize=64)
def ntt_tables(n: int, q: int) -> NttTables:
    """Tables for ring dimension n (a power of two) and prime q, 1 mod 2n, below 2^31."""
    assert q < 1 << 31 and q % (2 * n) == 1 and n & (n - 1) == 0
    generator = next(x for x in range(2, q) if pow(x, (q - 1) // 2, q) == q - 1)
    root = pow(generator, (q - 1) // (2 * n), q)
    assert pow(root, n, q) == q - 1
    square, candidate, psi = root * root % q, root, root
    for _ in range(n - 1):
        candidate = candidate * square % q
        psi = min(psi, candidate)
    bits = n.bit_length() - 1
    order = [int(format(i, f"0{bits}b")[::-1], 2) if bits else 0 for i in range(n)]

    def powers(base: int) -> tuple[np.ndarray, np.ndarray]:
        table = [1] * n
        for i in range(1, n):
            table[i] = table[i - 1] * base % q
        values = [table[i] for i in order]
        return np.array(values, np.uint64), np.array([(v << 32) // q for v in values], np.uint64)

    return NttTables(n, q, *powers(psi), *powers(pow(psi, -1, q)), pow(n, -1, q))


def _stack(tables: tuple[NttTables, ...], inverse: bool) -> tuple[np.ndarray, ...]:
    q = np.array([t.q for t in tables], np.uint64)
    if inverse:
        roots = np.stack([t.inverse_roots for t in tables])
        shoup = np.stack([t.inverse_roots_shoup for t in tables])
        last = np.array([(t.n_inverse, (t.n_inverse << 32) // t.q) for t in tables], np.uint64)
        return roots, shoup, q, last
    return np.stack([t.roots for t in tables]), np.stack([t.roots_shoup for t in tables]), q


def forward(a: np.ndarray, tables: tuple[NttTables, ...]) -> None:
    """Transform (R, k, n) uint64 in place, row (r, p) modulo tables[p].q; canonical residues in and out."""
    assert a.dtype == np.uint64 and a.ndim == 3 and a.shape[1] == len(tables) and a.flags.c_contiguous
    _forward(a, *_stack(tables, inverse=False))


def inverse(a: np.ndarray, tables: tuple[NttTables, ...]) -> None:
    """Inverse of `forward`, in place."""
    assert a.dtype == np.uint64 and a.ndim == 3 and a.shape[1] == len(tables) and a.flags.c_contiguous
    _inverse(a, *_stack(tables, inverse=True))


@njit(inline="always")
def _shoup(x, w, quotient, q):
    """x·w mod q up to one q too large, for x < 2^32."""
    return x * w - ((x * quotient) >> uint64(32)) * q


@njit(cache=True, parallel=True, nogil=True)
def _forward(a, roots, shoup, primes):
    rows, k, n = a.shape
    for row in prange(rows * k):
        x, p = a[row // k, row % k], row % k
        q = primes[p]
        two_q = q + q
        t, m = n, 1
        while m < n:
            t >>= 1
            for i in range(m):
                w, ws = roots[p, m + i], shoup[p, m + i]
                start = 2 * i * t
                for j in range(start, start + t):
                    u, v = x[j], _shoup(x[j + t], w, ws, q)
                    u = u - two_q if u >= two_q else u
                    x[j], x[j + t] = u + v, u + two_q - v
            m <<= 1
        for j in range(n):
            u = x[j]
            u = u - two_q if u >= two_q else u
            x[j] = u - q if u >= q else u


@njit(cache=True, parallel=True, nogil=True)
def _inverse(a, roots, shoup, primes, last):
    rows, k, n = a.shape
    for row in prange(rows * k):
        x, p = a[row // k, row % k], row % k
        q = primes[p]
        two_q = q + q
        t, m = 1, n
        while m > 1:
            h = m >> 1
            start = 0
            for i in range(h):
                w, ws = roots[p, h + i], shoup[p, h + i]
                for j in range(start, start + t):
                    u, v = x[j], x[j + t]
                    s = u + v
                    x[j] = s - two_q if s >= two_q else s
                    x[j + t] = _shoup(u + two_q - v, w, ws, q)
                start += 2 * t
            t <<= 1
            m = h
        for j in range(n):
            u = _shoup(x[j], last[p, 0], last[p, 1], q)
            x[j] = u - q if u >= q else u
