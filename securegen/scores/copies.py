"""Genotypes as scores count copies on X, Y and MT, which is not as association does (plink2's `--score`).

X: two copies in everybody, so males 0 or 2. Y: one copy in males, none in others. MT: one copy. A heterozygous call lies half
way. A missing call has the frequency of the chromosome, in which a male has one allele of X.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.model import GenotypeBlock, IntArray
from securegen.scores.plan import AlleleCounts
from securegen.study.ploidy import MALE, MT, KindsReader, X, Y, refuse_wide

BLOCK = 1024


@dataclass(frozen=True)
class CopiesReader(KindsReader):
    """A cohort with dosages in steps of half a copy. Raises UsageError for a grid that leaves no room for the half."""

    def __post_init__(self) -> None:
        refuse_wide(self.dosage_max, self.reader.dosage_grid)

    @property
    def dosage_grid(self) -> int:
        return 2 * self.reader.dosage_grid

    @property
    def dosage_max(self) -> int:
        return 2 * self.reader.dosage_max

    @property
    def absent(self) -> np.ndarray:
        """(N,) bool: who has no Y."""
        out: np.ndarray = self.samples.sex != MALE
        return out

    def copies(self, variant: IntArray) -> IntArray:
        """(V,) int64: the most copies of these variants that a person has."""
        return np.where(np.isin(self.kinds[variant], (Y, MT)), 1, 2)

    def read(self, start: int, stop: int) -> GenotypeBlock:
        block = self.reader.read(start, stop)
        self.say_heterozygous(block)
        kinds = self.kinds[start:stop][:, None]
        male = (self.samples.sex == MALE)[None, :]
        wide = np.int8 if self.dosage_max < 1 << 7 else np.int16
        dosage = block.dosage.astype(wide) * np.where((kinds == Y) | (kinds == MT), 1, 2).astype(wide)
        missing = np.zeros(dosage.shape, bool) if block.missing is None else block.missing.copy()
        gone = (kinds == Y) & ~male
        return GenotypeBlock(block.start, np.where(missing | gone, 0, dosage), missing & ~gone)


def count_copies(reader: CopiesReader, variant: IntArray) -> AlleleCounts:
    """As `sums.count_alleles`, each person with as many alleles as their frequency counts. Memory: one block."""
    n, male = len(reader.samples), (reader.samples.sex == MALE).astype(np.int64)
    weights = {X: 2 - male, Y: male}
    counts = np.zeros((4, len(variant)), np.int64)
    for start in range(0, len(reader.variants), BLOCK):
        first, last = np.searchsorted(variant, (start, start + BLOCK))
        if first == last:
            continue
        low = int(variant[first])
        block = reader.read(low, int(variant[last - 1]) + 1)
        for j in range(int(first), int(last)):
            row = int(variant[j]) - low
            people = weights.get(int(reader.kinds[variant[j]]), np.ones(n, np.int64))
            dosage = block.dosage[row].astype(np.int64)
            called = people if block.missing is None else people * ~block.missing[row]
            second = np.maximum(dosage - reader.dosage_grid, 0)
            counts[:, j] = dosage @ people, second @ people, called.sum(), people.sum()
    return AlleleCounts(variant, counts[0], counts[1], counts[2], n, counts[3])
