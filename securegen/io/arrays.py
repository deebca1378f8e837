"""Genotypes that are in memory already: hard calls or fractional dosages (imputation) as an array.

Sums are exact integers, so fractional dosages are rounded once, to multiples of 1/D of a public grid D. D = 1 for hard
calls; docs/howto/missing-genotypes.md says what a grid costs in precision and in ciphertext bits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from securegen.errors import InputError
from securegen.model import GenotypeBlock, Samples, Variants

DEFAULT_GRID = 256
LARGEST_GRID = 1 << 13  # 2D fits int16


@dataclass(frozen=True)
class ArrayReader:
    """A cohort in memory. units: (M, N) int8 or int16, dosage × dosage_grid, −1 where missing."""

    units: np.ndarray
    samples: Samples
    variants: Variants
    dosage_grid: int = 1

    @property
    def dosage_max(self) -> int:
        return 2 * self.dosage_grid

    def __post_init__(self) -> None:
        if self.units.shape != (len(self.variants), len(self.samples)):
            raise ValueError(
                f"dosages of shape {self.units.shape} for {len(self.variants)} variants and {len(self.samples)} people"
            )

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Dosages of variants start..stop-1."""
        part = self.units[start:stop]
        missing = part < 0
        if missing.any():
            return GenotypeBlock(start, np.where(missing, part.dtype.type(0), part), missing)
        return GenotypeBlock(start, part, None)

    def select(self, samples: np.ndarray | None = None, variants: np.ndarray | None = None) -> ArrayReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        out = self
        if samples is not None:
            out = replace(out, units=out.units[:, samples], samples=out.samples.take(samples))
        if variants is not None:
            out = replace(out, units=out.units[variants], variants=out.variants.take(variants))
        return out

    def on_grid(self, grid: int | None) -> ArrayReader:
        """The same cohort in steps of 1/grid (None: as it is). Raises InputError for a coarser grid than its own."""
        if grid is None or grid == self.dosage_grid:
            return self
        if grid % self.dosage_grid or grid > LARGEST_GRID:
            raise InputError(f"dosage grid {grid}: this cohort is rounded to 1/{self.dosage_grid} already")
        units = np.where(self.units < 0, np.int16(-1), self.units * np.int16(grid // self.dosage_grid))
        return replace(self, units=units, dosage_grid=grid)


def from_arrays(
    dosage: np.ndarray,
    samples: Samples | Sequence[str],
    *,
    variants: Variants | Mapping[str, Any],
    grid: int | None = None,
) -> ArrayReader:
    """A cohort from an array of dosages.

    dosage: (M, N) integers or floats in [0, 2], copies of the effect allele, NaN where missing; samples: a Samples, or N
    ids; variants: a Variants, or its fields by name (a pandas frame will do). grid: power of two D ≤ 8192, dosages are
    rounded to 1/D; 1 whenever every dosage is an integer, else 256 by default.
    Raises InputError: shapes that do not match, a dosage outside [0, 2], repeated ids, a grid that is not allowed.

    >>> cohort = from_arrays(np.array([[0, 1.25, 2], [np.nan, 1, 1]]), ["a", "b", "c"], variants={
    ...     "chromosome": ["1", "1"], "position": [10, 20], "id": ["v1", "v2"], "effect_allele": ["A", "C"],
    ...     "other_allele": ["G", "T"]})
    >>> cohort.dosage_grid, cohort.read(0, 2).dosage.tolist(), cohort.read(1, 2).missing.tolist()
    (256, [[0, 320, 512], [0, 256, 256]], [[True, False, False]])
    """
    people = samples if isinstance(samples, Samples) else _people(samples)
    table = variants if isinstance(variants, Variants) else _table(variants)
    dosage = np.asarray(dosage)
    if dosage.shape != (len(table), len(people)):
        raise InputError(
            f"dosages have shape {dosage.shape}, {(len(table), len(people))} expected: a row for each of {len(table)} "
            f"variants, a column for each of {len(people)} samples"
        )
    if dosage.dtype.kind not in "iufb":
        raise InputError(f"dosages have dtype {dosage.dtype}, integers or floats expected")
    missing = np.isnan(dosage) if dosage.dtype.kind == "f" else np.zeros(dosage.shape, bool)
    wrong = ~missing & ~((dosage >= 0) & (dosage <= 2))
    if wrong.any():
        j, i = np.argwhere(wrong)[0]
        raise InputError(f"variant {table.id[j]}, sample {i + 1}: a dosage is outside [0, 2]; missing ones are NaN")
    known = np.where(missing, 0, dosage)
    units = _grid(known, grid)
    scaled = np.rint(known * units).astype(np.int8 if units == 1 else np.int16)
    return ArrayReader(np.where(missing, scaled.dtype.type(-1), scaled), people, table, units)


def _grid(dosage: np.ndarray, grid: int | None) -> int:
    if grid is not None and (grid < 1 or grid > LARGEST_GRID or grid & (grid - 1)):
        raise InputError(f"dosage grid {grid}: a power of two from 1 to {LARGEST_GRID} is expected")
    if (dosage == np.rint(dosage)).all():
        return 1
    if grid == 1:
        raise InputError("dosage grid 1 is for hard calls; these are fractional dosages")
    return grid or DEFAULT_GRID


def _people(ids: Sequence[str]) -> Samples:
    iid = np.array([str(i) for i in ids], dtype=object)
    if len(set(iid)) < len(iid):
        raise InputError("a sample id appears more than once")
    return Samples(np.full(len(iid), "0", dtype=object), iid, np.ones(len(iid), bool))


def _table(fields: Mapping[str, Any]) -> Variants:
    names = ("chromosome", "position", "id", "effect_allele", "other_allele")
    absent = [n for n in names if n not in fields]
    if absent:
        raise InputError(f"variants lack {', '.join(absent)}")
    text = {n: np.array([str(v) for v in fields[n]], dtype=object) for n in names if n != "position"}
    given = np.asarray(fields["position"])
    if given.dtype.kind == "f" and not (np.isfinite(given) & (given == np.rint(given))).all():
        at = int((~(np.isfinite(given) & (given == np.rint(given)))).argmax())
        raise InputError(f"variant {text['id'][at]}: position {given[at]} is not a whole number")
    try:
        position = given.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"positions are whole numbers, not {given.dtype}") from None
    if len({len(position), *map(len, text.values())}) > 1:
        raise InputError("the fields of the variants have different lengths")
    return Variants(text["chromosome"], position, text["id"], text["effect_allele"], text["other_allele"])
