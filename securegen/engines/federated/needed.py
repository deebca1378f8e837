"""Which numbers of a variant the analyses of a design read: what a site sums, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from securegen.catalogue import reads_of, record_of
from securegen.design.columns import Analysis

T = TypeVar("T")


def crossed(a: Analysis) -> tuple[int, ...]:
    """Columns x whose Σ g x it reads with missing calls at the mean."""
    return a.columns[record_of(a).reads.filled :]


def weights(a: Analysis) -> int | None:
    """The column of weights of a score test."""
    place = record_of(a).reads.weight
    return None if place is None else a.columns[place]


def _once(found: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class Sets:
    """Which numbers a design's analyses read.

    indicators: columns that say who is analysed; squared: those whose Σg² is needed; filled: (column, indicator) whose
    missing calls are filled; weighted: (column, indicator) whose Σ g² x is; quadratic: those whose Σ g² x is opened beside
    Σ g x; minor, counted: (case column, indicator) whose minor alleles, or called people and alleles, are needed; single:
    columns of people with one copy less, of whom calls alone are counted; apart: indicators of one sex; single_cases: case
    column -> (column of single people, of the cases among them); pairs: linear analyses of complete cases.
    """

    indicators: tuple[int, ...]
    squared: tuple[int, ...]
    filled: tuple[tuple[int, int], ...]
    weighted: tuple[tuple[int, int], ...]
    quadratic: tuple[tuple[int, int], ...]
    minor: tuple[tuple[int, int], ...]
    counted: tuple[tuple[int, int], ...]
    single: tuple[int, ...]
    apart: tuple[int, ...]
    single_cases: dict[int, tuple[int, int]]
    pairs: tuple[Analysis, ...]

    @staticmethod
    def of(analyses: Sequence[Analysis], complete: bool, *, rules: bool = False) -> Sets:
        """rules: Σ w (g − S/n)² is summed and not Σ w g beside Σ w g², which would tell the weights of each genotype."""
        indicators, squared, fill, weighted, quadratic, minor, counted, single = ([] for _ in range(8))
        single_cases: dict[int, tuple[int, int]] = {}
        apart: list[int] = []
        for a in analyses:
            c, first, reads, weight = a.columns, a.columns[0], reads_of(a), weights(a)
            indicators += [c[p] for p in reads.people]
            squared += [c[p] for p in reads.squared]
            if reads.filled is not None:
                fill += [(j, first) for j in crossed(a) if not (rules and j == weight)]
            if weight is not None:
                weighted.append((weight, first))
            quadratic += [(c[p], first) for p in reads.quadratic]
            if reads.minor is not None:
                minor.append((c[reads.minor], first))
                if a.single:
                    single_cases[c[reads.minor]] = (a.single[0][0], a.single[1][0])
            single += [a.single[0][0]] if a.single else []
            apart += c[2:] if not a.association and a.model.males else []
            counted += [(c[p], first) for p in reads.counted]
        pairs = tuple(a for a in analyses if complete and "complete" in record_of(a).missing)
        return Sets(
            _once(indicators), _once(squared), _once(fill), _once(weighted), _once(quadratic), _once(minor),
            _once(counted), _once(single), _once(apart), single_cases, pairs,
        )  # fmt: skip
