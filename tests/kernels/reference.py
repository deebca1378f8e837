"""What every kernel computes, in Python integers and plain NumPy: slow, obvious, and the oracle of its tests."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

P61 = (1 << 61) - 1


def bit_reverse(index: int, bits: int) -> int:
    return int(format(index, f"0{bits}b")[::-1], 2)


def smallest_root(n: int, q: int) -> int:
    """The smallest ψ with ψ^n = −1 modulo the prime q, by trying all of them."""
    return next(x for x in range(2, q) if pow(x, n, q) == q - 1)


def ntt(a: np.ndarray, q: int) -> np.ndarray:
    """(n,) -> the polynomial at ψ^(2·bitreverse(j)+1) for j < n."""
    n, psi = len(a), smallest_root(len(a), q)
    points = [pow(psi, 2 * bit_reverse(j, n.bit_length() - 1) + 1, q) for j in range(n)]
    return np.array([sum(int(c) * pow(x, i, q) for i, c in enumerate(a)) % q for x in points], np.uint64)


def negacyclic_product(a: np.ndarray, b: np.ndarray, q: int) -> np.ndarray:
    """a·b modulo X^n + 1 and q."""
    n = len(a)
    full = np.zeros(2 * n, object)
    for i, x in enumerate(a.astype(object)):
        full[i : i + n] += x * b.astype(object)
    return np.array([int(v) % q for v in full[:n] - full[n:]], np.uint64)


def mac(g: np.ndarray, c: np.ndarray, primes: np.ndarray, out: np.ndarray) -> None:
    """out (k, T, J, 3, L) += Σ_groups g (k, T, G, 2, L) × c (k, T, G, J, 2, L)."""
    x, y = g.astype(object)[:, :, :, None], c.astype(object)
    x0, x1, y0, y1 = x[..., 0, :], x[..., 1, :], y[..., 0, :], y[..., 1, :]
    terms = np.stack([(x0 * y0).sum(2), (x0 * y1 + x1 * y0).sum(2), (x1 * y1).sum(2)], axis=3)
    out[...] = _remainder(out.astype(object) + terms, primes)


def mac_plain(g: np.ndarray, p: np.ndarray, primes: np.ndarray, out: np.ndarray) -> None:
    """out (k, T, J, 2, L) += Σ_groups g (k, T, G, 2, L) × p (k, T, G, J, L)."""
    terms = (g.astype(object)[:, :, :, None] * p.astype(object)[:, :, :, :, None]).sum(2)
    out[...] = _remainder(out.astype(object) + terms, primes)


def matmul_residues(rows: np.ndarray, columns: np.ndarray, primes: np.ndarray, out: np.ndarray) -> None:
    """out (k, T, R, Q, L) += Σ_groups rows (k, T, G, R, L) × columns (k, T, G, Q, L)."""
    terms = (rows.astype(object)[:, :, :, :, None] * columns.astype(object)[:, :, :, None]).sum(2)
    out[...] = _remainder(out.astype(object) + terms, primes)


def fold(values: np.ndarray, pack: int, q: int) -> np.ndarray:
    """(n,) values at the roots ζ, SEAL's order -> (n/b,): Σ P(ζ) ζ^(1−b) / b over each run of b roots."""
    n, psi = len(values), smallest_root(len(values), q)
    roots = [pow(psi, 2 * bit_reverse(j, n.bit_length() - 1) + 1, q) for j in range(n)]
    terms = [int(v) * pow(x, 1 - pack, q) * pow(pack, -1, q) for v, x in zip(values, roots, strict=True)]
    return np.array([sum(terms[u : u + pack]) % q for u in range(0, n, pack)], np.uint64)


def _remainder(values: np.ndarray, primes: np.ndarray) -> np.ndarray:
    shape = (len(primes),) + (1,) * (values.ndim - 1)
    out: np.ndarray = (values % primes.astype(object).reshape(shape)).astype(np.uint64)
    return out


def integer_sums(dosage: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(V, N), (N, J) -> (V, J) in Python integers."""
    out: np.ndarray = dosage.astype(object) @ x.astype(object)
    return out


def pair_sums(missing: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(V, N), (N, J) -> (V, J(J+1)/2): Σ m x_k x_l, k <= l."""
    rows, columns = np.triu_indices(x.shape[1])
    return integer_sums(missing.astype(int), x[:, rows].astype(object) * x[:, columns].astype(object))


def matmul(g: np.ndarray, y: np.ndarray, bits: int) -> np.ndarray:
    """gᵀy modulo 2^bits: (N, M), (N, K) -> (M, K) Python integers."""
    out: np.ndarray = (g.astype(object).T @ y.astype(object)) % (1 << bits)
    return out


def dot61(a: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Σ_j a_j s_jk modulo 2^61 − 1: (V,), (V, J) -> (J,)."""
    out: np.ndarray = (a.astype(object) @ s.astype(object)) % P61
    return out


def round_residues(residues: np.ndarray, primes: Sequence[int], scale_log2: int) -> list[int]:
    """(k, X) residues of x, in (−q/2, q/2] -> round(x/2^s), half up."""
    q = math.prod(primes)
    out = []
    for column in residues.T:
        x = sum(int(r) * (q // p) * pow(q // p, -1, p) for r, p in zip(column, primes, strict=True)) % q
        x = x - q if x > q // 2 else x
        out.append((x + (1 << scale_log2 >> 1)) >> scale_log2)
    return out
