"""Strata: runs of consecutive variants with one design, since the chromosomes of a study do not all have the same people,
covariates, null model or copies."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np

from securegen.design.columns import Analysis, Design
from securegen.model import Columns
from securegen.vocabulary import SEX_AND_MITOCHONDRIAL

AUTOSOMES = "autosomes"
Run = tuple[int, int]


class Placed(Protocol):
    """A block: the index of its first variant, and how many they are."""

    @property
    def start(self) -> int: ...
    def __len__(self) -> int: ...


T = TypeVar("T", bound=Placed)


@dataclass(frozen=True)
class Unanalysed:
    """A phenotype that has no design in a stratum: its rows are NA with this ERRCODE. samples, cases: who would be analysed,
    None where nobody may know; reason: in words."""

    test: str
    phenotype: str
    code: str
    samples: int | None
    cases: int | None
    reason: str


@dataclass(frozen=True, repr=False)
class Stratum:
    """Variants that share a design.

    runs: (start, stop) in ascending order; design: columns over the stored samples, and analyses; unit: steps of a stored
    dosage in 1/dosage_grid of a copy (2 where one copy is counted and two are stored); copies: the most that a person has,
    but for `Analysis.single`; refused: phenotypes that have no design here.
    """

    name: str
    runs: tuple[Run, ...]
    design: Design
    unit: int = 1
    copies: int = 2
    refused: tuple[Unanalysed, ...] = ()

    def __repr__(self) -> str:
        return f"Stratum({self.name}, {self.variants} variants, {len(self.design.columns.names)} columns)"

    @property
    def place(self) -> str:
        """X, Y or MT, or "": sums of two places are never of the same variant."""
        return self.name if self.name in SEX_AND_MITOCHONDRIAL else ""

    @property
    def variants(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    def analysis(self, test: str, phenotype: str) -> Analysis | None:
        """The analysis of that test and phenotype, where this stratum has it."""
        found = (a for a in self.design.analyses if (a.test, a.phenotype) == (test, phenotype))
        return next(found, None)

    def refusal(self, test: str, phenotype: str) -> Unanalysed | None:
        """Why it has none."""
        return next((r for r in self.refused if (r.test, r.phenotype) == (test, phenotype)), None)


def analyses_of(strata: Sequence[Stratum]) -> tuple[Analysis, ...]:
    """One analysis a table, quality control last: that of the first stratum which has it."""
    found = {(a.test, a.phenotype): a for s in reversed(strata) for a in s.design.analyses}
    order = dict.fromkeys((a.test, a.phenotype) for s in strata for a in s.design.analyses if a.association)
    order |= dict.fromkeys(found)
    return tuple(found[name] for name in order)


def alone(design: Design | None, variants: int) -> tuple[Stratum, ...]:
    """One stratum of all variants. design: None where nothing is analysed."""
    design = design or Design(Columns((), np.zeros((0, 0), np.int64), ()), ())
    return (Stratum(AUTOSOMES, ((0, variants),), design),)


def runs_where(which: np.ndarray) -> tuple[Run, ...]:
    """The runs of True in (M,) bool.

    >>> runs_where(np.array([True, True, False, True]))
    ((0, 2), (3, 4))
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], which, [False]]).astype(np.int8))).tolist()
    return tuple(zip(edges[::2], edges[1::2], strict=True))


def in_order(strata: Sequence[Stratum]) -> list[tuple[int, int, Stratum]]:
    """(start, stop, stratum) of every run, in file order."""
    found = [(start, stop, stratum) for stratum in strata for start, stop in stratum.runs]
    return sorted(found, key=lambda run: run[0])


def blocks_of(
    strata: Sequence[Stratum], size: int, boundaries: Sequence[int] = ()
) -> Iterator[tuple[Stratum, int, int]]:
    """Stratum, start and stop of blocks of `size` variants in file order; none crosses a run, nor a boundary of files."""
    for first, last, stratum in in_order(strata):
        edges = [first, *(b for b in boundaries if first < b < last), last]
        for low, high in itertools.pairwise(edges):
            for start in range(low, high, size):
                yield stratum, start, min(start + size, high)


def with_strata(blocks: Iterable[T], strata: Sequence[Stratum]) -> Iterator[tuple[Stratum, T]]:
    """Blocks in file order, each with its stratum. Raises ValueError for one that crosses a run."""
    runs = iter(in_order(strata))
    first, last, stratum = next(runs)
    for block in blocks:
        while block.start >= last:
            if (following := next(runs, None)) is None:
                raise ValueError(f"no stratum has variant {block.start}")
            first, last, stratum = following
        if block.start < first or block.start + len(block) > last:
            raise ValueError(f"the block of variant {block.start} lies in several strata")
        yield stratum, block
