"""Exact polygenic scores of people in the clear: the oracle of every engine, and the integers engines hand over.

Who learns what: whoever runs `plain_scores` sees genotypes, weights and scores. Use it on your own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from securegen.errors import UsageError
from securegen.model import GenotypeReader, IntArray
from securegen.scores.copies import CopiesReader
from securegen.scores.plan import AlleleCounts, ScorePlan

BLOCK: Final = 1024
GENOTYPES: Final = 1 << 23  # of a block, whose copies as int64 are the largest memory of a run


@dataclass(frozen=True)
class ExactScores:
    """Integers that scores are released from, of N samples and S scores. Those of parts of the variants add up.

    score: (N, S) int64 in units of 2^-exponent / dosage_grid; alleles: (N, S) int64 that each is averaged over; allele_count,
    named_dosage: (N,) int64 alleles called, and dosage in units of 1 / dosage_grid, None from an engine without them.
    """

    names: tuple[str, ...]
    exponent: tuple[int, ...]
    dosage_grid: int
    score: IntArray
    alleles: IntArray
    allele_count: IntArray | None
    named_dosage: IntArray | None


@dataclass(frozen=True)
class ScoreSums:
    """Exact integers of N samples under a plan.

    values: (N, C) int64, or (N, S) from an engine that leaves the counts out; constants are included. absent: (N,) bool,
    people without the variants on Y, where the plan has some.
    """

    plan: ScorePlan
    values: IntArray
    absent: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.values.dtype != np.int64:
            raise ValueError("scores are sums of int64")
        if self.values.shape[1] not in (len(self.plan.names), len(self.plan.constant)):
            raise ValueError(f"{self.values.shape[1]} columns of sums, the plan has {len(self.plan.constant)}")

    @property
    def has_counts(self) -> bool:
        return bool(self.values.shape[1] > len(self.plan.names))

    @property
    def score(self) -> IntArray:
        """(N, S) int64, in units of 2^−k / D."""
        return self.values[:, : len(self.plan.names)]

    @property
    def exact(self) -> ExactScores:
        """The integers, without the plan."""
        plan, counts = self.plan, (self.allele_count, self.named_dosage) if self.has_counts else (None, None)
        alleles = np.stack([self.denominator(s) for s in range(len(plan.names))], axis=1)
        return ExactScores(plan.names, plan.exponent, plan.dosage_grid, self.score, alleles, *counts)

    @property
    def named_dosage(self) -> IntArray:
        """(N,) int64, in units of 1/D."""
        return self.values[:, self.plan.named_column]

    @property
    def allele_count(self) -> IntArray:
        """(N,) int64, alleles called at the plan's variants."""
        called = self._copies(len(self.plan.variant)) - self.values[:, self.plan.missing_column]
        return called if self.plan.copies is not None else 2 * called

    def denominator(self, s: int) -> IntArray:
        """(N,) int64 alleles score s is averaged over: all of its file's, or the called ones without imputation."""
        file = self.plan.file_of[s]
        column = self.plan.missing_column + 1 + file
        total = np.full(len(self.values), self._copies(self.plan.variants_of[file], column), np.int64)
        if self.plan.imputation == "none":
            total -= self.values[:, column]
        elif self.plan.absent is not None and self.absent is not None:
            total -= self.absent * self.plan.absent[column]
        return total if self.plan.copies is not None else 2 * total

    def _copies(self, variants: int, column: int | None = None) -> int:
        """Copies of all variants, or of those of a file by its column of missing calls; variants where all have two."""
        if self.plan.copies is None:
            return variants
        return int(self.plan.copies.sum() if column is None else self.plan.missing_weight[:, column].sum())


def count_alleles(reader: GenotypeReader, variant: IntArray, *, block: int = BLOCK) -> AlleleCounts:
    """Σg, Σt and calls of the given variants (ascending), over all samples of the reader. Memory: one block."""
    grid, n = reader.dosage_grid, len(reader.samples)
    counts = np.zeros((3, len(variant)), np.int64)
    for rows, dosage, missing in _blocks(reader, variant, block):
        counts[0, rows] = dosage.sum(axis=1, dtype=np.int64)
        counts[1, rows] = second_copies(dosage, grid).sum(axis=1, dtype=np.int64)
        counts[2, rows] = n if missing is None else n - missing.sum(axis=1, dtype=np.int64)
    return AlleleCounts(variant, counts[0], counts[1], counts[2], n)


def second_copies(dosage: np.ndarray, grid: int) -> np.ndarray:
    """max(dosage − grid, 0), the stream t: 1 on homozygotes of the effect allele where the grid is 1. Same dtype."""
    out: np.ndarray = np.maximum(dosage - dosage.dtype.type(grid), dosage.dtype.type(0))
    return out


def _blocks(
    reader: GenotypeReader, variant: IntArray, block: int
) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
    """Yield (rows of `variant`, dosage, missing or None) block by block, reading only blocks with a wanted variant."""
    block = max(1, min(block, GENOTYPES // max(1, len(reader.samples))))
    for start in range(0, len(reader.variants), block):
        first, last = np.searchsorted(variant, (start, start + block))
        if first == last:
            continue
        low, high = int(variant[first]), int(variant[last - 1]) + 1
        part, at = reader.read(low, high), variant[first:last] - low
        missing = None if part.missing is None else part.missing[at]
        yield slice(int(first), int(last)), part.dosage[at], missing


def plain_scores(reader: GenotypeReader, plan: ScorePlan, *, block: int = BLOCK) -> ScoreSums:
    """The integers of every sample of a cohort in the clear. Memory: one block of variants. The oracle of all engines.

    Nothing wraps: `plan_scores` bounds the sum of absolute values of every term.
    """
    if reader.dosage_grid != plan.dosage_grid:
        raise UsageError(f"the plan is for a dosage grid of {plan.dosage_grid}, the cohort has {reader.dosage_grid}")
    total = np.tile(plan.constant, (len(reader.samples), 1))
    for rows, dosage, missing in _blocks(reader, plan.variant, block):
        total += dosage.T.astype(np.int64) @ plan.dosage_weight[rows]
        if plan.second_weight is not None:
            total += second_copies(dosage, plan.dosage_grid).T.astype(np.int64) @ plan.second_weight[rows]
        if missing is not None:
            total += missing.T.astype(np.int64) @ plan.missing_weight[rows]
    if total.shape != (len(reader.samples), len(plan.constant)):
        raise ValueError(f"scores of shape {total.shape} for {len(reader.samples)} people")
    absent = None
    if plan.absent is not None and isinstance(reader, CopiesReader):
        absent = reader.absent
        total[absent] += plan.absent
    return ScoreSums(plan, total, absent)
