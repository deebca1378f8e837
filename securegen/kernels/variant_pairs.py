"""Sums over the people who have both calls of two variants, by bits: the inner loop of correlations of hard calls."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

WORD = 64  # people of a word
# Of a pair: n, Σg, Σh, Σg², Σh², Σgh
SUMS = 6
_WORDS, _TILE = 256, 32  # words and variants whose bits stay in cache


def variant_bits(dosage: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """(V, N) int8 of hard calls and (V, N) bool -> (V, 3, ⌈N/64⌉) uint64: who is called, has a copy, has two, a bit each."""
    if dosage.dtype != np.int8:
        raise ValueError(f"hard calls are int8, not {dosage.dtype}")
    variants, samples = dosage.shape
    out = np.zeros((variants, 3, -(-samples // WORD) * 8), np.uint8)
    called = np.ones(dosage.shape, bool) if missing is None else ~missing
    for place, has in enumerate((called, (dosage > 0) & called, (dosage == 2) & called)):
        packed = np.packbits(has, axis=1)
        out[:, place, : packed.shape[1]] = packed
    return out.view(np.uint64)


def pair_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, 3, W) and (B, 3, W) uint64 of `variant_bits` of the same people -> (A, B, 6) int64.

    >>> bits = variant_bits(np.array([[0, 1, 2], [2, 2, 1]], np.int8), None)
    >>> pair_sums(bits[:1], bits[1:])[0, 0].tolist()
    [3, 3, 5, 5, 9, 4]
    """
    if a.dtype != np.uint64 or b.dtype != np.uint64 or a.ndim != 3 or a.shape[1:] != b.shape[1:] or a.shape[1] != 3:
        raise ValueError(f"{a.dtype} {a.shape} and {b.dtype} {b.shape} do not fit")
    out = np.zeros((len(a), len(b), SUMS), np.int64)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    over_range(len(a), lambda first, last: _add(a[first:last], b, out[first:last]), least=_TILE)
    return out


@njit(cache=True, nogil=True)
def _ones(x):
    """Bits of a word; a compiler knows this form as one instruction."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True)
def _add(a, b, out):
    words = a.shape[2]
    for start in range(0, words, _WORDS):
        stop = min(start + _WORDS, words)
        for tile in range(0, len(b), _TILE):
            for i in range(len(a)):
                for j in range(tile, min(tile + _TILE, len(b))):
                    _pair(a[i, :, start:stop], b[j, :, start:stop], out[i, j])


@njit(cache=True, nogil=True)
def _pair(a, b, out):
    zero = np.uint64(0)
    n, g1, g2, h1, h2, both = zero, zero, zero, zero, zero, zero
    for w in range(a.shape[1]):
        ac, a1, a2 = a[0, w], a[1, w], a[2, w]
        bc, b1, b2 = b[0, w], b[1, w], b[2, w]
        n += _ones(ac & bc)
        g1 += _ones(a1 & bc)
        g2 += _ones(a2 & bc)
        h1 += _ones(b1 & ac)
        h2 += _ones(b2 & ac)
        both += _ones(a1 & b1) + _ones(a1 & b2) + _ones(a2 & b1) + _ones(a2 & b2)
    out[0] += np.int64(n)
    out[1] += np.int64(g1 + g2)
    out[2] += np.int64(h1 + h2)
    out[3] += np.int64(g1) + 3 * np.int64(g2)
    out[4] += np.int64(h1) + 3 * np.int64(h2)
    out[5] += np.int64(both)
