"""Genotypes under other tables of people or variants: a chromosome or a sex that something else than the file says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.io.filesets import apart
from securegen.model import GenotypeBlock, IntArray, Samples, SelectableReader, Variants, boundaries_of, coding_of


@dataclass(frozen=True)
class Relabelled:
    """The cohort of `reader` with these samples and variants, which are as many and in the same order."""

    reader: SelectableReader
    samples: Samples
    variants: Variants

    @property
    def dosage_grid(self) -> int:
        return self.reader.dosage_grid

    @property
    def dosage_max(self) -> int:
        return self.reader.dosage_max

    @property
    def coding(self) -> str:
        return coding_of(self.reader)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First row of every file, and the number of rows."""
        return boundaries_of(self.reader)

    def read(self, start: int, stop: int) -> GenotypeBlock:
        return self.reader.read(start, stop)

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> Relabelled:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        people = self.samples if samples is None else self.samples.take(np.asarray(samples))
        rows = self.variants if variants is None else self.variants.take(np.asarray(variants))
        return Relabelled(self.reader.select(samples, variants), people, rows)

    def apart(self) -> Relabelled:
        """See `io.filesets.apart`."""
        return Relabelled(apart(self.reader), self.samples, self.variants)

    def on_grid(self, grid: int | None) -> Relabelled:
        """The same cohort in steps of 1/grid."""
        return Relabelled(self.reader.on_grid(grid), self.samples, self.variants)
