"""Counts of people by their copies of two variants, by bits: the inner loop of correlations of hard calls."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.bit_count import ones
from securegen.kernels.threads import over_range

WORD = 64  # people of a word
_WORDS, _TILE = 256, 32  # words and variants whose bits stay in cache


def variant_bits(dosage: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """(V, N) int8 of hard calls and (V, N) bool -> (V, 3, ⌈N/64⌉) uint64: who is called, has a copy or two, has two."""
    if dosage.dtype != np.int8:
        raise ValueError(f"hard calls are int8, not {dosage.dtype}")
    variants, samples = dosage.shape
    out = np.zeros((variants, 3, -(-samples // WORD) * 8), np.uint8)
    called = np.ones(dosage.shape, bool) if missing is None else ~missing
    for place, has in enumerate((called, (dosage > 0) & called, (dosage == 2) & called)):
        packed = np.packbits(has, axis=1)
        out[:, place, : packed.shape[1]] = packed
    return out.view(np.uint64)


def pair_counts(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(A, 3, W) and (B, 3, W) uint64 of `variant_bits` of the same people -> (A, B, 3, 3) int64, how many have both calls and at
    least so many copies of the one and of the other.

    >>> bits = variant_bits(np.array([[0, 1, 2], [2, 2, 1]], np.int8), None)
    >>> pair_counts(bits[:1], bits[1:])[0, 0].tolist()
    [[3, 3, 2], [2, 2, 1], [1, 1, 0]]
    """
    if a.dtype != np.uint64 or b.dtype != np.uint64 or a.ndim != 3 or a.shape[1:] != b.shape[1:] or a.shape[1] != 3:
        raise ValueError(f"{a.dtype} {a.shape} and {b.dtype} {b.shape} do not fit")
    out = np.zeros((len(a), len(b), 3, 3), np.int64)
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    if len(a) < len(b):  # the longer one is shared among threads
        over_range(len(b), lambda first, last: _add(a, b[first:last], out[:, first:last]), least=_TILE)
    else:
        over_range(len(a), lambda first, last: _add(a[first:last], b, out[first:last]), least=_TILE)
    return out


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
    cc, c1, c2, oc, o1, o2, tc, t1, t2 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    for w in range(a.shape[1]):
        ac, a1, a2 = a[0, w], a[1, w], a[2, w]
        bc, b1, b2 = b[0, w], b[1, w], b[2, w]
        cc += ones(ac & bc)
        c1 += ones(ac & b1)
        c2 += ones(ac & b2)
        oc += ones(a1 & bc)
        o1 += ones(a1 & b1)
        o2 += ones(a1 & b2)
        tc += ones(a2 & bc)
        t1 += ones(a2 & b1)
        t2 += ones(a2 & b2)
    out[0, 0] += np.int64(cc)
    out[0, 1] += np.int64(c1)
    out[0, 2] += np.int64(c2)
    out[1, 0] += np.int64(oc)
    out[1, 1] += np.int64(o1)
    out[1, 2] += np.int64(o2)
    out[2, 0] += np.int64(tc)
    out[2, 1] += np.int64(t1)
    out[2, 2] += np.int64(t2)
