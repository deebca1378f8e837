"""A cohort made of another: what it has of that one. Whoever recodes, cuts or counts otherwise says the rest."""

from __future__ import annotations

from dataclasses import dataclass

from securegen.model import GenotypeReader, Samples, Variants, boundaries_of


@dataclass(frozen=True)
class ReaderAround:
    """What a cohort has of the one that it is made of, unless it says otherwise."""

    reader: GenotypeReader

    @property
    def samples(self) -> Samples:
        return self.reader.samples

    @property
    def variants(self) -> Variants:
        return self.reader.variants

    @property
    def dosage_grid(self) -> int:
        return self.reader.dosage_grid

    @property
    def dosage_max(self) -> int:
        return self.reader.dosage_max

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First row of every file, and the number of rows."""
        return boundaries_of(self.reader)
