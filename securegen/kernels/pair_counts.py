"""Counts of genotypes that two samples share, by bits: the inner loop of kinship."""

from __future__ import annotations

import numpy as np
from numba import njit

from securegen.kernels.bit_count import ones
from securegen.kernels.threads import over_range

WORD = 64  # variants of a word
CALLED, HET_FIRST, HET_SECOND, BOTH_HET, OPPOSITE = range(5)  # the counts of a pair
COUNTS = 5
_TILE = 64  # samples whose bits stay in cache


def genotype_bits(dosage: np.ndarray, missing: np.ndarray | None) -> np.ndarray:
    """(V, N) int8 of hard calls and (V, N) bool -> (3, N, ⌈V/64⌉) uint64: who has no copy, one, two, a bit a variant."""
    if dosage.dtype != np.int8:
        raise ValueError(f"hard calls are int8, not {dosage.dtype}")
    variants, samples = dosage.shape
    words = -(-variants // WORD)
    out = np.zeros((3, samples, words * 8), np.uint8)
    for copies in range(3):
        has = dosage == copies
        if missing is not None:
            has &= ~missing
        packed = np.packbits(has.T, axis=1)
        out[copies, :, : packed.shape[1]] = packed
    return out.view(np.uint64)


def add_pair_counts(bits: np.ndarray, first: int, counts: np.ndarray) -> None:
    """Add the counts of pairs (first + r, j) with j < first + r to counts (R, N, 5) uint32.

    Of a pair, over variants that both have: how many; heterozygotes of its first, and of its second sample; both
    heterozygous; homozygous for different alleles (IBS0).
    """
    _, samples, _ = bits.shape
    if counts.dtype != np.uint32 or counts.shape[1:] != (samples, COUNTS) or first + len(counts) > samples:
        raise ValueError(f"{counts.dtype} {counts.shape} and bits of {samples} samples do not fit")
    over_range(len(counts), lambda a, b: _add(bits, first + a, counts[a:b]), least=1)


@njit(cache=True, nogil=True)
def _add(bits, first, counts):
    none, one, two = bits[0], bits[1], bits[2]
    words = bits.shape[2]
    for start in range(0, first + len(counts), _TILE):
        for r in range(len(counts)):
            i = first + r
            for j in range(start, min(start + _TILE, i)):
                called, het_i, het_j, both, opposite = (
                    np.uint64(0),
                    np.uint64(0),
                    np.uint64(0),
                    np.uint64(0),
                    np.uint64(0),
                )
                for w in range(words):
                    a0, a1, a2 = none[i, w], one[i, w], two[i, w]
                    b0, b1, b2 = none[j, w], one[j, w], two[j, w]
                    a, b = a0 | a1 | a2, b0 | b1 | b2
                    called += ones(a & b)
                    het_i += ones(a1 & b)
                    het_j += ones(b1 & a)
                    both += ones(a1 & b1)
                    opposite += ones((a0 & b2) | (a2 & b0))
                c = counts[r, j]
                c[0] += np.uint32(called)
                c[1] += np.uint32(het_i)
                c[2] += np.uint32(het_j)
                c[3] += np.uint32(both)
                c[4] += np.uint32(opposite)
