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
from securegen.scores.plan import AlleleCounts, ScorePlan

BLOCK: Final = 1024


@dataclass(frozen=True)
class ScoreSums:
    """Exact integers of N samples under a plan.

    values: (N, C) int64, or (N, S) from an engine that leaves the counts out; constants are included.
    """

    plan: ScorePlan
    values: IntArray

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
    def named_dosage(self) -> IntArray:
        """(N,) int64, in units of 1/D."""
        return self.values[:, self.plan.named_column]

    @property
    def allele_count(self) -> IntArray:
        """(N,) int64, alleles called at the plan's variants."""
        return 2 * (len(self.plan.variant) - self.values[:, self.plan.missing_column])

    def denominator(self, s: int) -> IntArray:
        """(N,) int64 alleles score s is averaged over: all of its file's, or the called ones without imputation."""
        file = self.plan.file_of[s]
        total = np.full(len(self.values), self.plan.variants_of[file], np.int64)
        if self.plan.imputation == "none":
            total -= self.values[:, self.plan.missing_column + 1 + file]
        return 2 * total


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
    return ScoreSums(plan, total)
