"""Kinship of all pairs by KING-robust, whose estimate needs no allele frequencies (Manichaikul et al. 2010).

Over autosomal variants that both samples have: φ = ½ − Σ (g_i − g_j)² / (4 min(H_i, H_j)), H the heterozygotes of each. About
0.5 for one person twice, 0.25 for parents and children, 0.125, 0.0625 for each degree further; people of different
ancestries have less than 0.

Who learns what: this is for whoever has the genotypes. Sites of a study each look at their own people.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from securegen.errors import DesignError
from securegen.kernels.pair_counts import (
    BOTH_HET,
    CALLED,
    COUNTS,
    HET_FIRST,
    HET_SECOND,
    OPPOSITE,
    add_pair_counts,
    genotype_bits,
)
from securegen.model import GenotypeReader, Progress, iterate_blocks, no_progress

BLOCK = 4096  # variants
COUNT_BYTES = 1 << 28  # of counts in memory; more pairs are more passes over the genotypes
SECOND_DEGREE = 0.0884  # half way, in powers of two, between second and third degree


@dataclass(frozen=True)
class Pairs:
    """Pairs (i, j) of samples, j < i. first, second: (P,) int64; variants: that both have; both_het, opposite: counts among
    them, (P,) int64; kinship: (P,) float64, NaN where one of them has no heterozygote."""

    first: np.ndarray
    second: np.ndarray
    variants: np.ndarray
    both_het: np.ndarray
    opposite: np.ndarray
    kinship: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def at_least(self, least: float) -> Pairs:
        """Those with at least that kinship."""
        index = np.flatnonzero(self.kinship >= least)
        return Pairs(*(values[index] for values in vars(self).values()))


def pairs(
    reader: GenotypeReader, *, count_bytes: int = COUNT_BYTES, progress: Progress = no_progress
) -> Iterator[Pairs]:
    """Every pair of samples, those of one first sample at a time.

    reader: hard calls of autosomes. Memory: count_bytes and a block. Raises DesignError for fractional dosages.
    """
    if reader.dosage_grid != 1 or reader.dosage_max != 2:
        raise DesignError(
            "kinship counts genotypes, and these are dosages: give hard calls, or the hard calls of the file"
        )
    samples, variants = len(reader.samples), len(reader.variants)
    rows = max(1, count_bytes // (samples * COUNTS * 4))
    passes = -(-max(samples - 1, 0) // rows)
    for number, first in enumerate(range(1, samples, rows)):
        counts = np.zeros((min(rows, samples - first), samples, COUNTS), np.uint32)
        for block in iterate_blocks(reader, BLOCK):
            add_pair_counts(genotype_bits(block.dosage, block.missing), first, counts)
            progress(number * variants + block.start + len(block), passes * variants)
        for r in range(len(counts)):
            yield _pairs(first + r, counts[r, : first + r])


def _pairs(i: int, counts: np.ndarray) -> Pairs:
    c = counts.astype(np.int64)
    both, opposite = c[:, BOTH_HET], c[:, OPPOSITE]
    fewer = np.minimum(c[:, HET_FIRST], c[:, HET_SECOND])
    squares = c[:, HET_FIRST] + c[:, HET_SECOND] - 2 * both + 4 * opposite  # Σ (g_i − g_j)²
    kinship = np.where(fewer > 0, 0.5 - squares / (4 * np.maximum(fewer, 1)), np.nan)
    return Pairs(np.full(i, i), np.arange(i), c[:, CALLED], both, opposite, kinship)


def unrelated(samples: int, related: Iterable[Pairs]) -> np.ndarray:
    """(N,) bool: samples of whom no two are such a pair. Who has most relatives goes first, of equals the last in the file.

    >>> p = Pairs(np.array([1, 2]), np.array([0, 1]), *np.zeros((3, 2), int), np.array([.25, .25]))
    >>> unrelated(3, [p]).tolist()
    [True, False, True]
    """
    relatives: dict[int, set[int]] = {}
    for part in related:
        for i, j in zip(part.first.tolist(), part.second.tolist(), strict=True):
            relatives.setdefault(i, set()).add(j)
            relatives.setdefault(j, set()).add(i)
    out = np.ones(samples, bool)
    while relatives:
        last = max(relatives, key=lambda i: (len(relatives[i]), i))
        out[last] = False
        for other in relatives.pop(last):
            relatives[other].discard(last)
            if not relatives[other]:
                del relatives[other]
    return out
