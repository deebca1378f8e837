"""PLINK1 filesets (bed, bim, fam) through bed-reader, in blocks of variants."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.errors import InputError
from securegen.io.dosages import check_grid
from securegen.io.tables import beside, iterate_lines, unique_samples
from securegen.model import GenotypeBlock, Samples, Variants


def _fields(path: Path, count: int, what: str) -> np.ndarray:
    rows = [line.split() for line in iterate_lines(path) if line.strip()]
    for number, fields in enumerate(rows, 1):
        if len(fields) != count:
            raise InputError(f"{path}, line {number}: {len(fields)} fields, a {what} file has {count}")
    if not rows:
        raise InputError(f"{path} is empty")
    return np.array(rows, dtype=object)


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
    bed, bim_path, fam_path = Path(base + ".bed"), beside(base + ".bim"), beside(base + ".fam")
    bim, fam = _fields(bim_path, 6, "bim"), _fields(fam_path, 6, "fam")
    try:
        position = bim[:, 3].astype(np.int64)
    except ValueError:
        raise InputError(f"{bim_path}: column 4 must be a base-pair position") from None
    try:
        size, magic = bed.stat().st_size, bed.open("rb").read(3)
    except OSError as error:
        raise InputError(f"{bed} cannot be read: {error.strerror}") from None
    expected = 3 + len(bim) * ((len(fam) + 3) // 4)
    if magic != b"\x6c\x1b\x01":
        raise InputError(f"{bed} is not a variant-major PLINK1 bed file (its first bytes are {magic.hex()})")
    if size != expected:
        raise InputError(f"{bed} has {size} bytes, {expected} expected for {len(fam)} samples × {len(bim)} variants")
    founder = (fam[:, 2] == "0") & (fam[:, 3] == "0")
    samples = unique_samples(fam[:, 0], fam[:, 1], founder, fam_path)
    variants = Variants(bim[:, 0], position, bim[:, 1], bim[:, 4], bim[:, 5])
    return PlinkReader(bed, samples, variants, np.arange(len(fam)), np.arange(len(bim)), len(fam), len(bim))
