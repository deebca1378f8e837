"""Polynomials as residues: the NTT tables of a ring, messages at a scale, and tiles in memory."""

from __future__ import annotations

import numpy as np

from securegen.kernels.ntt import NttTables, forward, ntt_tables
from securegen.rlwe.ring import Ring


def ring_tables(ring: Ring) -> tuple[NttTables, ...]:
    """The tables of the number-theoretic transform, one per prime of the ring."""
    return tuple(ntt_tables(ring.n, p) for p in ring.primes)


def scaled_residues(messages: np.ndarray, scale_log2: int, ring: Ring) -> np.ndarray:
    """(C, n) int64 -> (C, k, n) uint64 residues of 2^scale · message, in NTT form."""
    out = np.empty((len(messages), len(ring.primes), ring.n), np.uint64)
    for i, p in enumerate(ring.primes):
        # message mod p and 2^scale mod p are below 2^31, so their product fits
        out[:, i] = (messages % p) * pow(2, scale_log2, p) % p
    forward(out, ring_tables(ring))
    return out


def to_tiles(residues: np.ndarray, ring: Ring) -> np.ndarray:
    """(C, k, n) residues -> (k, T, C, L) uint32."""
    c, k, n = residues.shape
    return np.ascontiguousarray(residues.reshape(c, k, ring.tiles, ring.lanes).transpose(1, 2, 0, 3).astype(np.uint32))


def from_tiles(tiles: np.ndarray, ring: Ring) -> np.ndarray:
    """(k, T, …, L) -> (…, k, n) uint64."""
    moved = np.moveaxis(tiles, (0, 1), (-3, -2)).astype(np.uint64)
    return np.ascontiguousarray(moved).reshape(*moved.shape[:-3], len(ring.primes), ring.n)
