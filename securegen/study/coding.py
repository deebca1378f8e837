"""Genetic models: hard calls recoded to 0 and 1 where genotypes are in the clear, before missing calls are imputed.

dominant: one copy of A1 or two count 1; recessive: two; hetonly: one. As plink2's `--glm` and regenie's `--test` have them.
The copies stay beside, for frequencies and quality control.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.errors import UsageError
from securegen.io.reader_around import ReaderAround
from securegen.model import GenotypeBlock, IntArray, SelectableReader
from securegen.study.inputs import Log
from securegen.vocabulary import ADDITIVE

_COUNTED = {"dominant": np.greater_equal, "recessive": np.greater, "hetonly": np.equal}  # of the copies and 1


@dataclass(frozen=True)
class Coded(ReaderAround):
    """The cohort of `reader`, hard calls, as `coding` counts them; its largest dosage is that of the copies, which are summed
    too."""

    coding: str

    def read(self, start: int, stop: int) -> GenotypeBlock:
        block = self.reader.read(start, stop)
        counted = _COUNTED[self.coding](block.dosage, 1)
        if block.missing is not None:
            counted &= ~block.missing
        return GenotypeBlock(block.start, counted.view(np.int8), block.missing, block.dosage)


@dataclass(frozen=True)
class Recoded(Coded):
    """As `Coded`, of which samples and variants can be chosen."""

    reader: SelectableReader

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> Recoded:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        return Recoded(self.reader.select(samples, variants), self.coding)

    def on_grid(self, grid: int | None) -> Recoded:
        """The same cohort. Raises UsageError for a grid of fractional dosages."""
        return Recoded(hard_calls(self.reader.on_grid(grid), self.coding), self.coding)


def hard_calls(reader: SelectableReader, coding: str) -> SelectableReader:
    """The same reader. Raises UsageError where its dosages are not 0, 1 and 2."""
    if reader.dosage_grid > 1:
        raise UsageError(
            f"`{coding}` needs hard calls; these are fractional dosages, which plink2 and regenie recode in two ways: take "
            "`vcf_field` GT of a VCF, or the calls that plink2 --hard-call-threshold 0.1 --make-bed makes of them"
        )
    if reader.dosage_max > 2:
        raise UsageError(
            f"`{coding}` needs genotypes of two alleles; these rows count up to {reader.dosage_max} copies"
        )
    return reader


def recoded(reader: SelectableReader, coding: str, log: Log) -> SelectableReader:
    """The cohort as a genetic model counts it, aloud. Raises UsageError as `hard_calls`."""
    if coding == ADDITIVE:
        return reader
    log(f"--{coding}: {TOLD[coding]}")
    return Recoded(hard_calls(reader, coding), coding)


TOLD = {
    "dominant": "one copy of A1 or two count 1, TEST DOM; A1_FREQ and filters are of the alleles",
    "recessive": "two copies of A1 count 1, TEST REC; A1_FREQ and filters are of the alleles",
    "hetonly": "one copy of A1 counts 1, two count 0, TEST HET; A1_FREQ and filters are of the alleles",
}
