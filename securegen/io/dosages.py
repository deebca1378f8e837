"""What the readers of PLINK2, VCF and BGEN files share: dosages on a public grid, a selection, a stream that goes forward.

Dosages come as multiples of 1/16384, plink2's own resolution, whatever the file stores: an imputed cohort that plink2
converted from one format to another gives the same integers. Hard calls come as they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from securegen.errors import InputError
from securegen.io.arrays import DEFAULT_GRID, LARGEST_GRID
from securegen.model import GenotypeBlock, IntArray, Samples, Variants

RESOLUTION = 1 << 14
MISSING = np.uint16(65535)
CELLS = 1 << 22  # dosages that are decoded at a time


def to_units(dosage: np.ndarray) -> np.ndarray:
    """(…) float64 dosages in [0, 2], NaN where missing -> uint16 multiples of 1/16384, rounded half up, 65535 missing.

    >>> to_units(np.array([0.0, 0.25, 2.0, np.nan])).tolist()
    [0, 4096, 32768, 65535]
    """
    missing = np.isnan(dosage)
    units = np.floor(np.where(missing, 0.0, dosage) * RESOLUTION + 0.5).astype(np.uint16)
    units[missing] = MISSING
    return units


def hard_units(dosage: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Hard calls 0, 1, 2 in the units of `to_units`."""
    return np.where(missing, MISSING, dosage.astype(np.uint16) * np.uint16(RESOLUTION))


class DosageSource(Protocol):
    """One opened file. path: for messages; fractional: False when the file cannot hold fractional dosages."""

    @property
    def path(self) -> Path: ...
    @property
    def fractional(self) -> bool: ...
    def read(self, records: IntArray, alleles: IntArray, samples: IntArray) -> np.ndarray:
        """(V, N) copies of an ALT (1 is the first) of records of the file: uint16 multiples of 1/16384, 65535 where missing."""
        ...

    def release(self) -> None:
        """Close the file; the next read opens it again."""
        ...

    def apart(self) -> DosageSource:
        """The same file with a place of its own, for who reads it beside another."""
        ...


@dataclass(frozen=True)
class DosageReader:
    """A cohort in a file, or a part of it. The effect allele is an ALT: a record with several is a row for each of them.

    sample_index, variant_index: people and records of the file that are read, in order; allele_index: which ALT of each
    record, 1 the first. dosage_grid 1 holds hard calls only.
    """

    source: DosageSource
    samples: Samples
    variants: Variants
    sample_index: IntArray
    variant_index: IntArray
    allele_index: IntArray
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of variants start..stop-1 as (V, N) int8, or int16 on a grid. Raises InputError."""
        stop = min(stop, len(self.variants))
        shape = (stop - start, len(self.samples))
        dosage, missing = np.empty(shape, np.int8 if self.dosage_grid == 1 else np.int16), np.zeros(shape, bool)
        for first, units in self._units(start, stop):
            rows = slice(first - start, first - start + len(units))
            missing[rows] = units == MISSING
            dosage[rows] = self._rounded(np.where(missing[rows], np.uint16(0), units), first)
        return GenotypeBlock(start, dosage, missing if missing.any() else None)

    def _units(self, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        step = max(1, CELLS // max(len(self.samples), 1))
        for first in range(start, stop, step):
            rows = slice(first, min(first + step, stop))
            yield first, self.source.read(self.variant_index[rows], self.allele_index[rows], self.sample_index)

    def _rounded(self, units: np.ndarray, first: int) -> np.ndarray:
        if units.size and units.max() > 2 * RESOLUTION:
            j, i = np.argwhere(units > 2 * RESOLUTION)[0]
            raise InputError(f"{self._place(first + j, i)}: a dosage above 2")
        if self.dosage_grid > 1:
            step = RESOLUTION // self.dosage_grid
            return (units + np.uint16(step // 2)) // np.uint16(step)
        if (units % RESOLUTION).any():
            raise InputError(f"{self.source.path} has fractional dosages: choose a grid first (on_grid)")
        return units // np.uint16(RESOLUTION)

    def _place(self, variant: int, sample: int) -> str:
        return f"{self.source.path}, variant {self.variants.id[variant]}, sample {sample + 1}"

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> DosageReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        out = self
        if samples is not None:
            out = replace(out, samples=out.samples.take(samples), sample_index=out.sample_index[samples])
        if variants is not None:
            index = {"variant_index": out.variant_index[variants], "allele_index": out.allele_index[variants]}
            out = replace(out, variants=out.variants.take(variants), **index)
        return out

    def release(self) -> None:
        """Close the file; the next read opens it again."""
        self.source.release()

    def apart(self) -> DosageReader:
        """See `DosageSource.apart`."""
        return replace(self, source=self.source.apart())

    def on_grid(self, grid: int | None) -> DosageReader:
        """The same cohort in steps of 1/grid. None reads until the first fractional dosage: 256 if there is one, else 1.

        Raises InputError for a grid of 1 and fractional dosages.
        """
        check_grid(1 if grid is None else grid)
        if grid in (None, 1) and self.source.fractional and self._has_fractions():
            if grid == 1:
                raise InputError(
                    f"{self.source.path} has fractional dosages, a dosage grid of 1 is for hard calls: choose another, such "
                    f"as `dosage_grid` {DEFAULT_GRID}"
                )
            grid = DEFAULT_GRID
        return replace(self, dosage_grid=grid or 1)

    def _has_fractions(self) -> bool:
        blocks = self._units(0, len(self.variants))
        return any(((units % RESOLUTION != 0) & (units != MISSING)).any() for _, units in blocks)


def opened(source: DosageSource, samples: Samples, records: Variants, multiallelic: str | None) -> DosageReader:
    """The whole of a file. records: its table, several ALT separated by commas; they become rows of their own, with the id,
    position and REF of the record as `bcftools norm -m-` gives them, unless multiallelic is "skip"."""
    several = np.array(["," in alt for alt in records.effect_allele], bool)
    variant, allele = np.arange(len(records)), np.ones(len(records), np.int64)
    if several.any() and multiallelic != "skip":
        alts = [str(alt).split(",") for alt in records.effect_allele]
        variant = np.repeat(variant, [len(a) for a in alts])
        allele = np.concatenate([np.arange(1, len(a) + 1) for a in alts])
        one = np.array([alt for a in alts for alt in a], dtype=object)
        records = replace(records.take(variant), effect_allele=one)
    return DosageReader(source, samples, records, np.arange(len(samples)), variant, allele)


def check_grid(grid: int) -> None:
    """Raise InputError unless the grid is a power of two that fits."""
    if grid < 1 or grid > LARGEST_GRID or grid & (grid - 1):
        raise InputError(f"dosage grid {grid}: a power of two from 1 to {LARGEST_GRID} is expected")


@dataclass
class ForwardFile:
    """Records of a file that is read from its beginning only: going back starts again.

    begin: opens the file and yields its records in order; path and count: for the error when it ends early.
    """

    begin: Callable[[], Iterator[Any]]
    path: Path
    count: int
    _records: Iterator[Any] | None = None
    _next: int = 0
    _last: Any = None  # the record before, of which another ALT may be wanted
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def release(self) -> None:
        """Close the file; the next read begins again."""
        with self._lock:
            if self._records is not None and hasattr(self._records, "close"):
                self._records.close()
            self._records = self._last = None

    def apart(self) -> ForwardFile:
        """See `DosageSource.apart`."""
        return ForwardFile(self.begin, self.path, self.count)

    def read(
        self, wanted: IntArray, alleles: IntArray, samples: IntArray, units: Callable[[Any, int], np.ndarray]
    ) -> np.ndarray:
        """(V, N) uint16: units(record, allele) of the records numbered `wanted`, in the columns `samples`. Raises InputError."""
        order = np.argsort(wanted, kind="stable")
        out = np.empty((len(wanted), len(samples)), np.uint16)
        with self._lock:
            for k in order.tolist():
                behind = self._next - (self._last is not None)
                if self._records is None or int(wanted[k]) < behind:
                    self._records, self._next = self.begin(), 0
                while self._next <= int(wanted[k]):
                    try:
                        self._last = next(self._records)
                    except StopIteration:
                        raise InputError(
                            f"{self.path} ends after {self._next} variants, {self.count} were there when it was opened"
                        ) from None
                    self._next += 1
                out[k] = units(self._last, int(alleles[k]))[samples]
        return out
