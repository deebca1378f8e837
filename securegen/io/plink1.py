"""PLINK1 filesets (bed, bim, fam) through bed-reader, in blocks of variants."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.dosages import check_grid
from securegen.io.fileset_tables import read_bim, read_fam
from securegen.io.formats import Format
from securegen.io.text import beside
from securegen.model import GenotypeBlock, Samples, Variants

MAGIC, SAMPLE_MAJOR = b"\x6c\x1b\x01", b"\x6c\x1b\x00"


PADDING_SEEN = 2000  # variants


def refuse_padding(bed: Path, people: int, variants: int) -> None:
    """Raise InputError when the last byte of a variant holds a genotype behind the last person, where zeros must stand.

    A fam that lost a line may still fit the size of the bed, and would give everybody the genotypes of another person.
    """
    spare = -people % 4
    if not spare:
        return
    width = (people + 3) // 4
    with bed.open("rb") as stream:
        head = np.frombuffer(stream.read(3 + min(variants, PADDING_SEEN) * width), np.uint8)[3:]
    if (head[width - 1 :: width] >> (8 - 2 * spare)).any():
        raise InputError(
            f"{bed} holds genotypes of more than the {people} people that its fam names: does the fam miss a line, its first "
            "perhaps?"
        )


@dataclass(frozen=True)
class PlinkReader:
    """A PLINK1 cohort, or a part of it. The effect allele is A1, column 5 of the bim.

    sample_index, variant_index: rows of the fam and of the bim that are read, in order.
    """

    path: Path
    samples: Samples
    variants: Variants
    sample_index: np.ndarray
    variant_index: np.ndarray
    stored_samples: int
    stored_variants: int
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of variants start..stop-1 as (V, N) int8, or int16 on a grid. Raises InputError when the bed is unreadable."""
        from bed_reader import open_bed

        index = (np.ascontiguousarray(self.sample_index), np.ascontiguousarray(self.variant_index[start:stop]))
        try:
            with open_bed(
                self.path, count_A1=True, iid_count=self.stored_samples, sid_count=self.stored_variants, properties={},
                num_threads=1,
            ) as bed:  # fmt: skip
                raw = bed.read(index=index, dtype="int8", order="F").T
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path} cannot be read: {error}") from None
        missing = raw == -127
        has_missing = bool(missing.any())
        dosage = np.where(missing, np.int8(0), raw) if has_missing else raw
        if self.dosage_grid > 1:
            dosage = dosage * np.int16(self.dosage_grid)
        return GenotypeBlock(start, dosage, missing if has_missing else None)

    def read_packed(self, start: int, stop: int) -> np.ndarray:
        """See `engines.set_sums.PackedReader`. Raises InputError when the bed is unreadable."""
        rows, width = self.variant_index[start:stop], (self.stored_samples + 3) // 4
        out = np.empty((len(rows), width), np.uint8)
        runs = np.flatnonzero(np.diff(rows) != 1) + 1
        try:
            with self.path.open("rb") as bed:
                for first, part in zip(rows[[0, *runs]] if len(rows) else (), np.split(out, runs), strict=False):
                    bed.seek(len(MAGIC) + int(first) * width)
                    if bed.readinto(part.reshape(-1).data) != part.size:
                        raise InputError(f"{self.path} cannot be read: it is shorter than when it was opened")
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error}") from None
        return out

    def select(self, samples: np.ndarray | None = None, variants: np.ndarray | None = None) -> PlinkReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        out = self
        if samples is not None:
            out = replace(out, samples=out.samples.take(samples), sample_index=out.sample_index[samples])
        if variants is not None:
            out = replace(out, variants=out.variants.take(variants), variant_index=out.variant_index[variants])
        return out

    def on_grid(self, grid: int | None) -> PlinkReader:
        """The same cohort in steps of 1/grid (None: 1), to be summed with others that have fractional dosages."""
        check_grid(1 if grid is None else grid)
        return replace(self, dosage_grid=grid or 1)


def read_plink(prefix: str | os.PathLike[str]) -> PlinkReader:
    """Open PREFIX.bed, .bim and .fam (the last two also as .gz or .zst). Genotypes are read later, block by block.

    Raises InputError for a missing, ragged or truncated file, and for duplicate sample ids.
    """
    base = str(prefix)
    base = base[:-4] if base.endswith(".bed") else base
    bed = Path(base + ".bed")
    variants, samples = read_bim(beside(base + ".bim")), read_fam(beside(base + ".fam"))
    try:
        with bed.open("rb") as stream:
            size, magic = os.fstat(stream.fileno()).st_size, stream.read(3)
    except OSError as error:
        packed = beside(bed)
        remedy = f"; {packed} is there: unpack it" if packed != bed else ""
        raise InputError(f"{bed} cannot be read: {error.strerror}{remedy}") from None
    expected = 3 + len(variants) * ((len(samples) + 3) // 4)
    if magic == SAMPLE_MAJOR:
        raise InputError(
            f"{bed} is sample-major (its third byte is 00), variant-major is read: plink --make-bed converts it"
        )
    if magic != MAGIC:
        raise InputError(f"{bed} is not a variant-major PLINK1 bed file (its first bytes are {magic.hex()})")
    if size != expected:
        raise InputError(
            f"{bed} has {size} bytes, {expected} expected for {len(samples)} samples × {len(variants)} variants"
        )
    refuse_padding(bed, len(samples), len(variants))
    people, rows = len(samples), len(variants)
    return PlinkReader(bed, samples, variants, np.arange(people), np.arange(rows), people, rows)


FORMAT = Format("bfile", "PLINK1 fileset PREFIX.bed, .bim, .fam.", read_plink, ends=("bed", "bim", "fam"))
