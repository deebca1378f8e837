"""The nouns of the package, as frozen dataclasses. No maths, no files.

Axes: V variants of a block (M of all), N samples, J columns of a design, K covariates with the intercept.
A *block* is a run of consecutive variants.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from securegen.errors import UsageError
from securegen.vocabulary import ADDITIVE

IntArray = np.ndarray
FloatArray = np.ndarray
TextArray = np.ndarray  # of dtype object, holding str
Progress = Callable[[int, int], None]  # steps done, steps in all


def no_progress(done: int, total: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Variants:
    """Variant table in file order; `effect_allele` is the counted one (PLINK1: column 5 of the bim).

    chromosome, id, effect_allele, other_allele: (M,) object arrays of str; position: (M,) int64, base pairs.
    """

    chromosome: TextArray
    position: IntArray
    id: TextArray
    effect_allele: TextArray
    other_allele: TextArray

    def __len__(self) -> int:
        return len(self.id)

    def take(self, index: IntArray | slice) -> Variants:
        return Variants(
            self.chromosome[index], self.position[index], self.id[index],
            self.effect_allele[index], self.other_allele[index],
        )  # fmt: skip

    def digest(self) -> str:
        """SHA-256 over every field of every variant, in order."""
        h = hashlib.sha256()
        for row in zip(self.chromosome, self.position, self.id, self.effect_allele, self.other_allele, strict=True):
            h.update("\t".join(map(str, row)).encode() + b"\n")
        return h.hexdigest()


@dataclass(frozen=True)
class Samples:
    """Sample table in file order. fid, iid: (N,) object arrays of str; founder: (N,) bool (no parent is named); sex: (N,)
    int8, 1 male, 2 female, 0 unknown, of everybody where no sexes are given."""

    fid: TextArray
    iid: TextArray
    founder: np.ndarray
    sex: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.sex is None:
            object.__setattr__(self, "sex", np.zeros(len(self.iid), np.int8))

    def __len__(self) -> int:
        return len(self.iid)

    def take(self, index: IntArray | slice) -> Samples:
        return Samples(self.fid[index], self.iid[index], self.founder[index], self.sex[index])


@dataclass(frozen=True)
class GenotypeBlock:
    """Dosages of consecutive variants.

    dosage: (V, N) int8 or int16, copies of the effect allele × the reader's dosage grid, 0 where missing;
    missing: (V, N) bool, or None when nothing is missing; start: index of the first variant; alleles: where `dosage` is
    what a genetic model makes of it, 0 or 1, (V, N) int8 the copies themselves, else None.
    """

    start: int
    dosage: IntArray
    missing: np.ndarray | None
    alleles: IntArray | None = None

    def __len__(self) -> int:
        return len(self.dosage)

    @property
    def squares(self) -> IntArray:
        """(V, N) int32, what `Sums.q` sums: squares of the dosages, or the alleles of a genetic model's 0 and 1, whose squares
        they are themselves."""
        out: IntArray = self.dosage.astype(np.int32) ** 2 if self.alleles is None else self.alleles.astype(np.int32)
        return out


class GenotypeReader(Protocol):
    """What every genotype format offers. Reading a block never needs more memory than that block.

    dosage_grid: units of a stored dosage in one copy of the effect allele; dosage_max: the largest dosage that may be
    stored, in these units (2 * dosage_grid for genotypes of two alleles, more where a row sums several variants).
    """

    @property
    def samples(self) -> Samples: ...
    @property
    def variants(self) -> Variants: ...
    @property
    def dosage_grid(self) -> int: ...
    @property
    def dosage_max(self) -> int: ...
    def read(self, start: int, stop: int) -> GenotypeBlock: ...


class SelectableReader(GenotypeReader, Protocol):
    """A reader of which samples and variants can be chosen: every file format, and arrays."""

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> SelectableReader:
        """The same cohort with only these rows (index arrays into the current samples and variants)."""
        ...

    def on_grid(self, grid: int | None) -> SelectableReader:
        """The same cohort with dosages in steps of 1/grid; None: 1 where every dosage is an integer, else 1/256."""
        ...


@dataclass(frozen=True)
class AnnouncedCohort:
    """Samples and variants of a cohort whose genotypes are elsewhere: enough for a design; `read` refuses."""

    samples: Samples
    variants: Variants
    dosage_grid: int
    dosage_max: int
    coding: str = ADDITIVE

    def read(self, start: int, stop: int) -> GenotypeBlock:
        raise UsageError("these genotypes are elsewhere: with another party, or in the files of its sites")


def boundaries_of(reader: GenotypeReader) -> tuple[int, ...]:
    """First row of every file of a cohort, and the number of rows."""
    found: tuple[int, ...] = getattr(reader, "boundaries", (0, len(reader.variants)))
    return found


def coding_of(reader: GenotypeReader) -> str:
    """The genetic model that a reader's dosages are recoded by, of `vocabulary.CODINGS`."""
    found: str = getattr(reader, "coding", ADDITIVE)
    return found


def iterate_blocks(reader: GenotypeReader, size: int) -> Iterator[GenotypeBlock]:
    """Yield the cohort of `reader` in blocks of `size` variants; the last of each of its files may be shorter."""
    for first, last in itertools.pairwise(boundaries_of(reader)):
        for start in range(first, last, size):
            yield reader.read(start, min(start + size, last))


def variants_with_missing(reader: GenotypeReader) -> np.ndarray:
    """(M,) bool: which variants have a missing call, in one pass over the genotypes."""
    out = np.zeros(len(reader.variants), bool)
    for part in iterate_blocks(reader, 1024):
        if part.missing is not None:
            out[part.start : part.start + len(part)] = part.missing.any(axis=1)
    return out


@dataclass(frozen=True)
class Columns:
    """The integer design columns an engine sums over.

    names: J names; values: (N, J) int64, zero for samples that are not analysed; squared: J flags, True where
    Σ g² x is needed beside Σ g x (and Σ m x, m = 1 where the genotype is missing, which is always summed).
    """

    names: tuple[str, ...]
    values: IntArray
    squared: tuple[bool, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.dtype != np.int64:
            raise ValueError("columns are a matrix of int64")
        if not self.values.shape[1] == len(self.names) == len(self.squared):
            raise ValueError("a column has a name and a mark")

    @property
    def squared_index(self) -> list[int]:
        return [j for j, flag in enumerate(self.squared) if flag]

    def people(self, j: int) -> np.ndarray:
        """(N,) bool: in whom column j is not 0."""
        found: np.ndarray = self.values[:, j] != 0
        return found


@dataclass(frozen=True)
class Sums:
    """Exact integer sums of one block of V variants over samples.

    g: (V, J) int64, Σ_i g_ij x_ik; m: (V, J) int64, Σ_i m_ij x_ik; q: (V, Jq) int64, Σ_i g_ij² x_ik for the Jq columns
    flagged `squared`, in order, or Σ of the alleles where dosages are a genetic model's (`GenotypeBlock.squares`);
    mm: (V, J(J+1)/2) int64, Σ_i m_ij x_ik x_il for k <= l row by row, or None where the engine does not sum it; withheld:
    (V,) bool, rows of zeros that their owner does not let be seen, None for none.
    """

    start: int
    g: IntArray
    m: IntArray
    q: IntArray
    mm: IntArray | None = None
    withheld: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.g)


@dataclass(frozen=True)
class ImputedSums:
    """Exact integer sums of one analysis over V variants, missing calls at the mean S/n of the n called people's dosages.

    called: n; dosage: S = Σg; cross: (V, C) n·Σgx + S·Σmx for each column x after the indicator (of the score test, after
    the case column); square: Σg² over called people, of the score test n²·Σwg² + S²·Σmw; cross and square are int64 or
    hold Python integers. minor_in_cases: minor alleles among called cases in dosage units; pairs: Σ m x_k x_l as
    `Sums.mm`, for complete cases, zero where the variant is to be imputed; alleles: Σ of the copies over called people where
    dosages are a genetic model's, None where they are copies; weighted: (V, W) n²·Σg²x + S²·Σmx of further columns x, as
    cross; single: called people who have one copy less than others, where some have.
    """

    start: int
    called: IntArray
    dosage: IntArray
    cross: IntArray
    square: IntArray
    minor_in_cases: IntArray | None = None
    pairs: IntArray | None = None
    alleles: IntArray | None = None
    weighted: IntArray | None = None
    single: IntArray | None = None

    def __len__(self) -> int:
        return len(self.called)

    @property
    def copies(self) -> IntArray:
        """(V,) Σ of the copies of A1 over called people, in dosage units."""
        return self.dosage if self.alleles is None else self.alleles


@dataclass(frozen=True)
class OpenedSums:
    """Sums of V variants that several parties opened, each analysis apart.

    withheld: (V,) bool, rows that nobody may see; parts: test and phenotype of an analysis -> what it reads, zeros where
    withheld, and (V,) bool, rows that are withheld from it.
    """

    start: int
    size: int
    withheld: np.ndarray
    parts: dict[tuple[str, str], tuple[Sums | ImputedSums, np.ndarray]]

    def __len__(self) -> int:
        return self.size


Block = TypeVar("Block")


def watched(blocks: Iterable[Block], seen: Callable[[Block], None] | None) -> Iterator[Block]:
    """The same blocks; each is shown to `seen` first."""
    for block in blocks:
        if seen is not None:
            seen(block)
        yield block


def counted(blocks: Iterable[Sums], variants: int, progress: Progress | None) -> Iterator[Sums]:
    """The same blocks, with progress in variants."""
    done = 0
    for sums in blocks:
        yield sums
        done += len(sums)
        if progress is not None:
            progress(done, variants)
