"""Clumps of a table of results, as plink makes them: the smallest P takes the variants near it that it is correlated with.

Variants with P ≤ p1 are taken in order of P. One that no earlier clump has is an index variant; its clump are all variants of the
table that are in none yet, less than `kb` away, with r² above the limit. r² of hard calls is that of plink 1.9, by
haplotype frequencies (`stats.haplotypes`); of dosages the squared correlation.

Who learns what: whoever runs this has the genotypes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.kernels.integer_sums import integer_sums, squared_sums
from securegen.kernels.variant_pairs import pair_counts, variant_bits
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, Progress, no_progress
from securegen.stats.haplotypes import haplotype_r2
from securegen.structure.ld import refuse_inexact
from securegen.study import checks
from securegen.vocabulary import canonical_chromosome

BLOCK = 512  # variants
LIMITS = (0.05, 0.01, 0.001, 0.0001)  # between which the P of a clump are counted


@dataclass(frozen=True)
class Rules:
    """p1: of index variants; p2: below which a variant of a clump is named; r2: above it, it belongs to one; kb: nearer."""

    p1: float = 1e-4
    p2: float = 0.01
    r2: float = 0.5
    kb: float = 250.0

    def __post_init__(self) -> None:
        for name, low, high in (("p1", 0.0, 1.0), ("p2", 0.0, 1.0), ("r2", 0.0, 1.0), ("kb", 0.0, 1e9)):
            checks.number(name, getattr(self, name), low, high)


@dataclass(frozen=True, eq=False, repr=False)
class Clump:
    """index: the index variant; others: (K,) int64 the variants that it took, in file order; r2: (K,) of them with it."""

    index: int
    others: np.ndarray
    r2: np.ndarray

    def counts(self, log10p: np.ndarray) -> tuple[int, ...]:
        """How many of the others have P of 0.05 or more, and in the intervals below that `LIMITS` bound."""
        cuts = -np.log10(np.array(LIMITS))
        place = np.searchsorted(cuts, log10p[self.others], side="left")
        return tuple(np.bincount(place, minlength=len(LIMITS) + 1).tolist())


def clumps(
    reader: GenotypeReader, log10p: np.ndarray, rules: Rules, *, progress: Progress = no_progress
) -> list[Clump]:
    """The clumps of the variants of a reader, by P of their index variants, of equals the first in the file.

    log10p: (M,) −log10 P, NaN where a variant is not in the table. Memory: a block. Raises DesignError for dosages too fine for
    exact products.
    """
    refuse_inexact(reader)
    chromosome = np.array([canonical_chromosome(c) for c in reader.variants.chromosome], dtype=object)
    position = reader.variants.position
    reach = rules.kb * 1000 * (1 - 1e-12)  # a whole number of bp may come out above itself
    free = np.isfinite(log10p)
    with np.errstate(divide="ignore"):
        able = np.flatnonzero(free & (np.where(free, log10p, 0) >= -np.log10(rules.p1)))
    out = []
    for done, index in enumerate(able[np.argsort(-log10p[able], kind="stable")].tolist()):
        progress(done + 1, len(able))
        if not free[index]:
            continue
        free[index] = False
        near = free & (np.abs(position - position[index]) < reach) & (chromosome == chromosome[index])
        candidates = np.flatnonzero(near)
        r2 = r2_with(reader, index, candidates)
        taken = r2 > rules.r2  # NaN, of a constant, never is
        out.append(Clump(index, candidates[taken], r2[taken]))
        free[candidates[taken]] = False
    return out


def r2_with(reader: GenotypeReader, index: int, others: np.ndarray) -> np.ndarray:
    """(K,) r² of one variant with others, NaN where one of the two is constant."""
    own = reader.read(index, index + 1)
    out = np.full(len(others), np.nan)
    if not len(others):
        return out
    for start in range(int(others.min()), int(others.max()) + 1, BLOCK):
        stop = min(start + BLOCK, int(others.max()) + 1)
        here = np.flatnonzero((others >= start) & (others < stop))
        if len(here):
            block, rows = reader.read(start, stop), others[here] - start
            missing = None if block.missing is None else np.ascontiguousarray(block.missing[rows])
            part = GenotypeBlock(start, np.ascontiguousarray(block.dosage[rows]), missing)
            hard = reader.dosage_grid == 1 and reader.dosage_max == 2
            out[here] = haplotype_r2(_tables(own, part)) if hard else _squared(own, part)
    return out


def _tables(own: GenotypeBlock, part: GenotypeBlock) -> np.ndarray:
    """(K, 3, 3) people by copies of the first variant and of each of the others."""
    least: IntArray = pair_counts(variant_bits(own.dosage, own.missing), variant_bits(part.dosage, part.missing))[0]
    least[:, :2] -= least[:, 1:]  # exactly so many, of at least so many
    least[:, :, :2] -= least[:, :, 1:]
    return least


def _squared(own: GenotypeBlock, part: GenotypeBlock) -> np.ndarray:
    """(K,) squared correlations over the people who have both calls."""
    g = own.dosage[0].astype(np.int64)
    called = np.ones(len(g), bool) if own.missing is None else ~own.missing[0]
    x = np.stack([called, g, g * g], axis=1).astype(np.int64)
    lost = 0 if part.missing is None else integer_sums(part.missing, x)
    n, first, first2 = (np.broadcast_to(x.sum(axis=0), (len(part), 3)) - lost).T
    sums = integer_sums(part.dosage, x)
    second, both, second2 = sums[:, 0], sums[:, 1], squared_sums(part.dosage, x[:, :1])[:, 0]
    spread = (n * first2 - first * first).astype(np.float64) * (n * second2 - second * second)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (n * both - first * second) / np.sqrt(spread)
    return np.where(spread > 0, r * r, np.nan)
