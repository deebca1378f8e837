"""Number-theoretic transform modulo primes below 2^30, in SEAL's order.

Output j is the polynomial at ψ^(2·bitreverse(j)+1), ψ the smallest primitive 2n-th root of unity. So the pointwise
product of two transforms is the transform of the product modulo X^n + 1. (Longa and Naehrig 2016; butterflies in
`butterfly`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit, uint64

from securegen.kernels import butterfly
from securegen.kernels.emit import words
from securegen.kernels.threads import over_range

SMALLEST = 16  # two vectors of 8 residues
LEAST = 24  # rows worth a thread


@dataclass(frozen=True, eq=False)
class NttTables:
    """n, q, and roots for both directions: (n,) uint64, w + 2^32·floor(w·2^32/q); n_inverse likewise, one number."""

    n: int
    q: int
    roots: np.ndarray
    inverse_roots: np.ndarray
    n_inverse: int


@lru_cache(maxsize=64)
def ntt_tables(n: int, q: int, pack: int = 1) -> NttTables:
    """Tables for ring dimension n (a power of two, at least 16) and prime q, 1 mod 2n, below 2^30.

    pack: the root is the power `pack` of ψ for the ring dimension n·pack, so that the transform is that of
    polynomials in X^pack of the larger ring.

    >>> tables = ntt_tables(16, 97)
    >>> a = np.arange(16, dtype=np.uint64).reshape(1, 1, 16)
    >>> forward(a, (tables,)); inverse(a, (tables,))
    >>> a.ravel().tolist() == list(range(16))
    True
    """
    if q >= 1 << 30 or q % (2 * n) != 1 or n & (n - 1) or n < SMALLEST:
        raise ValueError(f"there is no transform of {n} numbers modulo {q} here")
    if pack > 1:
        psi = pow(int(ntt_tables(n * pack, q).roots[n * pack // 2]) & 0xFFFFFFFF, pack, q)
        return _tables(n, q, psi)
    generator = next(x for x in range(2, q) if pow(x, n * ((q - 1) // (2 * n)), q) == q - 1)
    root = pow(generator, (q - 1) // (2 * n), q)
    square, candidate, psi = root * root % q, root, root
    for _ in range(n - 1):
        candidate = candidate * square % q
        psi = min(psi, candidate)
    return _tables(n, q, psi)


def _tables(n: int, q: int, psi: int) -> NttTables:
    bits = n.bit_length() - 1
    order = [int(format(i, f"0{bits}b")[::-1], 2) for i in range(n)]
    with_quotient = lambda w: w | (w << 32) // q << 32

    def powers(base: int) -> np.ndarray:
        table = [1] * n
        for i in range(1, n):
            table[i] = table[i - 1] * base % q
        return np.array([with_quotient(table[i]) for i in order], np.uint64)

    return NttTables(n, q, powers(psi), powers(pow(psi, -1, q)), with_quotient(pow(n, -1, q)))


@lru_cache(maxsize=16)
def stack_tables(tables: tuple[NttTables, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """primes (k,), roots (k, n), inverse roots (k, n) and n⁻¹ (k,) of several tables, uint64."""
    return (
        np.array([t.q for t in tables], np.uint64), np.stack([t.roots for t in tables]),
        np.stack([t.inverse_roots for t in tables]), np.array([t.n_inverse for t in tables], np.uint64),
    )  # fmt: skip


def forward(a: np.ndarray, tables: tuple[NttTables, ...]) -> None:
    """Transform (R, k, n) uint64 in place, row (r, p) modulo tables[p].q; canonical residues in and out."""
    _check(a, tables)
    primes, roots, _, _ = stack_tables(tables)
    over_range(a.shape[0] * a.shape[1], lambda i, j: _forward(a, primes, roots, i, j), least=LEAST)


def inverse(a: np.ndarray, tables: tuple[NttTables, ...]) -> None:
    """Inverse of `forward`, in place."""
    _check(a, tables)
    primes, _, roots, factors = stack_tables(tables)
    over_range(a.shape[0] * a.shape[1], lambda i, j: _inverse(a, primes, roots, factors, i, j), least=LEAST)


def _check(a: np.ndarray, tables: tuple[NttTables, ...]) -> None:
    if a.dtype != np.uint64 or a.ndim != 3 or a.shape[1:] != (len(tables), tables[0].n) or not a.flags.c_contiguous:
        raise ValueError(f"{a.dtype} of shape {a.shape} cannot be transformed modulo {len(tables)} primes")


@njit(nogil=True)
def forward_line(x, roots, q):
    """Transform one row, (n,) uint32, in place: values below 4q in, canonical residues out."""
    n = len(x)
    base, table, vector = uint64(x.ctypes.data), uint64(roots.ctypes.data), 2 * words()
    if n < 2 * vector:
        butterfly.forward_smallest(base, uint64(n), table, q)
        return
    t, m = n >> 1, 1
    while t >= vector:
        for i in range(m):
            butterfly.forward_stage(base + uint64(8 * i * t), uint64(t), roots[m + i], q)
        t, m = t >> 1, m << 1
    butterfly.forward_short_stages(base, uint64(n), table, q)


@njit(nogil=True)
def inverse_line(x, roots, factor, q):
    """Inverse transform of one row, (n,) uint32, in place: values below 2q in, canonical residues out."""
    n = len(x)
    base, table, vector = uint64(x.ctypes.data), uint64(roots.ctypes.data), 2 * words()
    if n < 2 * vector:
        butterfly.inverse_smallest(base, uint64(n), table, q)
    else:
        butterfly.inverse_short_stages(base, uint64(n), table, q)
    t, m = vector, n // (2 * vector)
    while m >= 1:
        for i in range(m):
            butterfly.inverse_stage(base + uint64(8 * i * t), uint64(t), roots[m + i], q)
        t, m = t << 1, m >> 1
    butterfly.scale(base, uint64(n), factor, q)


@njit(nogil=True)
def forward_row(x, roots, q):
    """`forward_line` of uint64, in place: values below 4q in, canonical residues out."""
    address, n = uint64(x.ctypes.data), uint64(len(x))
    butterfly.narrow(address, n)
    forward_line(x.view(np.uint32)[: len(x)], roots, q)
    butterfly.widen(address, n)


@njit(nogil=True)
def inverse_row(x, roots, factor, q):
    """`inverse_line` of uint64, in place: values below 2q in, canonical residues out."""
    address, n = uint64(x.ctypes.data), uint64(len(x))
    butterfly.narrow(address, n)
    inverse_line(x.view(np.uint32)[: len(x)], roots, factor, q)
    butterfly.widen(address, n)


@njit(cache=True, nogil=True)
def _forward(a, primes, roots, first, last):
    k = a.shape[1]
    for row in range(first, last):
        p = row % k
        forward_row(a[row // k, p], roots[p], primes[p])


@njit(cache=True, nogil=True)
def _inverse(a, primes, roots, factors, first, last):
    k = a.shape[1]
    for row in range(first, last):
        p = row % k
        inverse_row(a[row // k, p], roots[p], factors[p], primes[p])
