"""Genotypes where a male, or everybody, has one copy: X, Y and MT as plink2 counts them.

X: males 0 or 2 (model 2), or 0 or 1 (model 1). Y: males alone, 0 or 1. MT: everybody, 0 or 1. A heterozygous call lies half way
everywhere. A pseudoautosomal region is autosomal where it is named so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from securegen.errors import UsageError
from securegen.io.reader_around import ReaderAround
from securegen.io.text import count
from securegen.model import GenotypeBlock, GenotypeReader, Variants, coding_of
from securegen.study.inputs import Log, silent
from securegen.vocabulary import ADDITIVE, canonical_chromosome

AUTOSOMAL, X, Y, MT = range(4)
NAMES = ("autosomes", "X", "Y", "MT")
_KINDS = {"X": X, "Y": Y, "MT": MT}
MALE, FEMALE = 1, 2
# Last position of PAR1 and first of PAR2 (GRC; plink2's --split-par)
PAR = {"b37": (2_699_520, 154_931_044), "b38": (2_781_479, 155_701_383)}


def kinds_of(variants: Variants) -> np.ndarray:
    """(M,) int8: AUTOSOMAL, X, Y or MT of each variant; 25, XY, PAR1 and PAR2 are autosomal by name."""
    names = {name: _KINDS.get(canonical_chromosome(name), AUTOSOMAL) for name in dict.fromkeys(variants.chromosome)}
    return np.array([names[c] for c in variants.chromosome], np.int8)


def split_par(variants: Variants, build: str) -> Variants:
    """The table in which the ends of X are PAR1 and PAR2, as they lie in b37 or b38."""
    x = kinds_of(variants) == X
    end, start = PAR[build]
    chromosome = variants.chromosome.copy()
    chromosome[x & (variants.position <= end)] = "PAR1"
    chromosome[x & (variants.position >= start)] = "PAR2"
    return replace(variants, chromosome=chromosome)


def present_on(kind: int, sex: np.ndarray) -> np.ndarray:
    """(N,) bool: who can be analysed on chromosomes of a kind."""
    of = {Y: (MALE,), X: (MALE, FEMALE)}.get(kind)
    return np.ones(len(sex), bool) if of is None else np.isin(sex, of)


def halves(kind: int, xchr_model: int) -> bool:
    """Whether the dosages of this kind are stored in half steps: one copy, where two were counted."""
    return kind in (Y, MT) or (kind == X and xchr_model == 1)


@dataclass(frozen=True)
class KindsReader(ReaderAround):
    """A cohort whose dosages are counted otherwise on some chromosomes. kinds: (M,) of `kinds_of`; log: what is told of calls
    that should not be, once for each chromosome."""

    kinds: np.ndarray
    log: Log = field(default=silent, kw_only=True, repr=False)
    _told: set[int] = field(default_factory=set, kw_only=True, repr=False, compare=False)

    @property
    def coding(self) -> str:
        return coding_of(self.reader)

    def say_heterozygous(self, block: GenotypeBlock) -> None:
        """Tell of males with a heterozygous call, which counts half way, on X and Y of a block of the cohort's calls."""
        kinds = self.kinds[block.start : block.start + len(block)]
        for kind in {X, Y} - self._told if self.dosages_are_calls else ():
            rows = np.flatnonzero(kinds == kind)
            half = (self.samples.sex == MALE)[None, :] & (block.dosage[rows] == 1)
            if half.any():
                self._told.add(kind)
                first = self.variants.id[block.start + int(rows[half.any(axis=1).argmax()])]
                end = block.start + len(block)
                hint = (
                    "are the ends of X among them (--split-par), or is a sex wrong?" if kind == X else "is a sex wrong?"
                )
                self.log(
                    f"WARNING: {NAMES[kind]}: males have {count(int(half.sum()), 'heterozygous call')} among the first {end:,} "
                    f"variants (first {first}), which count half way, as in plink2: {hint}"
                )

    @property
    def dosages_are_calls(self) -> bool:
        """Whether a dosage of 1 is a heterozygous call: not of imputed dosages, or under a genetic model."""
        return self.reader.dosage_grid == 1 and self.coding == ADDITIVE


def refuse_wide(dosage_max: int, grid: int) -> None:
    """Raise UsageError where a dosage of `dosage_max` units does not fit the 16 bits it is stored in. grid: of the files."""
    if dosage_max > np.iinfo(np.int16).max:
        finest = grid // 2 ** int(np.ceil(np.log2((dosage_max + 1) / (1 << 15))))
        raise UsageError(
            f"`dosage_grid` {grid} is too fine for X, Y and MT, where half a copy is counted: {finest} or less, or leave these "
            "chromosomes out (`chr` 1-22)"
        )


@dataclass(frozen=True)
class PloidyReader(KindsReader):
    """A cohort with the dosages of its X, Y and MT as a design wants them. kinds: (M,) of `kinds_of`; xchr_model: 1 or 2.

    Where `halves` says so, a stored dosage is in units of 1/(2·dosage_grid).
    """

    xchr_model: int = 2

    def __post_init__(self) -> None:
        refuse_wide(self.dosage_max, self.dosage_grid)

    @cached_property
    def dosage_max(self) -> int:
        doubled = self.xchr_model == 1 and bool((self.kinds == X).any())
        return self.reader.dosage_max * (2 if doubled else 1)

    def read(self, start: int, stop: int) -> GenotypeBlock:
        block = self.reader.read(start, stop)
        kinds = self.kinds[start:stop]
        if not kinds.any():
            return block
        self.say_heterozygous(block)
        dosage = block.dosage
        male = self.samples.sex == MALE
        if self.xchr_model == 1 and (on_x := kinds == X).any():
            wide = np.int8 if self.dosage_max < 1 << 7 else np.int16
            dosage = np.where(on_x[:, None] & ~male[None, :], 2 * dosage.astype(np.int16), dosage).astype(wide)
        return replace(block, dosage=dosage)


def as_genotypes(reader: GenotypeReader) -> GenotypeReader:
    """The same cohort, with 0 to 2 copies for everybody where dosages of X are counted by sex: what tells people apart."""
    return replace(reader, xchr_model=2) if isinstance(reader, PloidyReader) else reader


def counting_copies(reader: GenotypeReader, xchr_model: int) -> GenotypeReader:
    """The cohort as designs for several chromosomes want it: as it is where nothing is on X, Y and MT, or it is recoded."""
    kinds = kinds_of(reader.variants)
    return PloidyReader(reader, kinds, xchr_model) if kinds.any() and not isinstance(reader, PloidyReader) else reader


def xchr_model_of(reader: GenotypeReader) -> int | None:
    """How males on X count in a cohort that `counting_copies` returned; None where nothing is on X."""
    return reader.xchr_model if isinstance(reader, PloidyReader) and (reader.kinds == X).any() else None
