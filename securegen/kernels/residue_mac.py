"""Fused multiply-accumulate of CKKS ciphertexts in residues."""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit, prange, uint64


def mac_parts(g0, g1, c0, c1, primes, out) -> None:
    """out += Σ_groups (g0, g1) × (c0, c1), size-3 products modulo each prime.

    g0, g1: (k, T, G, L) uint32; c0, c1: (k, T, G, J, L) uint32; primes: (k,) uint64 below 2^30;
    out: (k, T, J, 3, L) uint64, canonical residues in and out.
    """
    _mac(g0, g1, c0, c1, primes, out)


def add_parts(g0, g1, primes, out) -> None:
    """out += Σ_groups (g0, g1). out: (k, T, 2, L) uint64, canonical residues."""
    for i, half in enumerate((g0, g1)):
        total = out[:, :, i] + half.sum(axis=2, dtype=np.uint64)
        out[:, :, i] = total % primes[:, None, None]


@njit(cache=True, parallel=True, nogil=True)
def _mac(g0, g1, c0, c1, primes, out):
    k, tiles, groups, lanes = g0.shape
    columns = c0.shape[3]
    for task in prange(k * tiles):
        p, t = task // tiles, task % tiles
        q = primes[p]
        inv = (2.0 - 2.0**-39) / float64(q)  # biased down: a quotient one too large would wrap below zero
        for j in range(columns):
            a0 = out[p, t, j, 0].copy()
            a1 = out[p, t, j, 1].copy()
            a2 = out[p, t, j, 2].copy()
            whole = groups - groups % 4
            for i in range(0, whole, 4):
                for l in range(lanes):
                    s0, s1, s2 = a0[l], a1[l], a2[l]
                    for u in range(4):
                        x0, x1 = uint64(g0[p, t, i + u, l]), uint64(g1[p, t, i + u, l])
                        y0, y1 = uint64(c0[p, t, i + u, j, l]), uint64(c1[p, t, i + u, j, l])
                        s0 += x0 * y0
                        s1 += x0 * y1 + x1 * y0
                        s2 += x1 * y1
                    a0[l] = s0 - uint64(int64(float64(int64(s0 >> uint64(1))) * inv)) * q
                    a1[l] = s1 - uint64(int64(float64(int64(s1 >> uint64(1))) * inv)) * q
                    a2[l] = s2 - uint64(int64(float64(int64(s2 >> uint64(1))) * inv)) * q
            for i in range(whole, groups):
                for l in range(lanes):
                    x0, x1 = uint64(g0[p, t, i, l]), uint64(g1[p, t, i, l])
                    y0, y1 = uint64(c0[p, t, i, j, l]), uint64(c1[p, t, i, j, l])
                    a0[l] = (a0[l] + x0 * y0) % q
                    a1[l] = (a1[l] + x0 * y1 + x1 * y0) % q
                    a2[l] = (a2[l] + x1 * y1) % q
            for l in range(lanes):
                out[p, t, j, 0, l] = a0[l] % q
                out[p, t, j, 1, l] = a1[l] % q
                out[p, t, j, 2, l] = a2[l] % q
