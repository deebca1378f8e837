"""A part of a study's variants, for one step of many: `blocks` 3/22 is the third of 22 runs of variants in file order.

Designs are those of the whole study, whichever part is asked for: null models, scales and the variants of `condition` do
not depend on it. So the tables of all parts, one behind the other, are the table of one run (`results.join`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from securegen.design.strata import Stratum
from securegen.errors import UsageError
from securegen.io.reader_around import ReaderAround
from securegen.model import GenotypeBlock, GenotypeReader, Variants, boundaries_of, coding_of

MOST_PARTS = 1 << 16


@dataclass(frozen=True)
class RunPart:
    """The `number`-th of `of` parts, counted from 1.

    >>> part_of("3/22")
    RunPart(number=3, of=22)
    """

    number: int
    of: int

    def span(self, count: int, what: str = "variants") -> tuple[int, int]:
        """First and last + 1 of so many things. Raises UsageError where there are fewer of them than parts.

        >>> [part_of(f"{i}/3").span(8) for i in (1, 2, 3)]
        [(0, 2), (2, 5), (5, 8)]
        """
        if self.of > count:
            raise UsageError(f"`blocks` {self}: there are {count:,} {what}, at most as many parts are taken")
        return (self.number - 1) * count // self.of, self.number * count // self.of

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def prefix(self, out: str) -> str:
        """What the files of this part begin with.

        >>> part_of("3/22").prefix("run")
        'run.3of22'
        """
        return f"{out}.{self.number}of{self.of}"


def part_of(text: object) -> RunPart:
    """The part that i/n names. Raises UsageError for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text) if isinstance(text, str) else None
    part = RunPart(*map(int, found.groups())) if found else None
    if part is None or part.number > part.of or part.of > MOST_PARTS:
        raise UsageError(f"`blocks` is {text!r}: the third of 22 parts is 3/22")
    return part


@dataclass(frozen=True)
class PartReader(ReaderAround):
    """Consecutive variants of a cohort, start to stop, counted from 0 again."""

    start: int
    stop: int

    @cached_property
    def variants(self) -> Variants:
        return self.reader.variants.take(slice(self.start, self.stop))

    @property
    def coding(self) -> str:
        return coding_of(self.reader)

    @property
    def boundaries(self) -> tuple[int, ...]:
        """First row of every file in this part, and the number of rows."""
        inner = [b - self.start for b in boundaries_of(self.reader) if self.start < b < self.stop]
        return (0, *inner, self.stop - self.start)

    def read(self, start: int, stop: int) -> GenotypeBlock:
        return replace(self.reader.read(self.start + start, self.start + stop), start=start)


def strata_between(strata: Sequence[Stratum], start: int, stop: int) -> tuple[Stratum, ...]:
    """The strata with the runs that lie from start to stop, counted from there; one without any keeps its analyses, which
    name the tables."""
    return tuple(
        replace(
            s, runs=tuple((max(a, start) - start, min(b, stop) - start) for a, b in s.runs if a < stop and b > start)
        )
        for s in strata
    )


def part_between(
    blocks: str | None, reader: GenotypeReader, strata: tuple[Stratum, ...], log: Callable[[str], None]
) -> tuple[GenotypeReader, tuple[Stratum, ...]]:
    """The variants and strata that `blocks` names, all where it is None."""
    if blocks is None:
        return reader, strata
    count = len(reader.variants)
    start, stop = part_of(blocks).span(count)
    log(f"--blocks {blocks}: variants {start + 1:,} to {stop:,} of {count:,}")
    return PartReader(reader, start, stop), strata_between(strata, start, stop)
