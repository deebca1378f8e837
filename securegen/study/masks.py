"""Masks of sets of variants as rows of their own, made where genotypes are in the clear (regenie's `--build-mask`).

A mask is the variants of a set that have one of its categories and are rare enough; of a person it counts the largest dosage
of them (max), their sum (sum), or the sum up to 2 (comphet). A call that is missing counts 0; a person without any call of
them has none in the mask.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from securegen.model import GenotypeBlock, GenotypeReader, IntArray, Samples, SelectableReader, Variants
from securegen.study.mask_options import COMPHET, MAX

CELLS = 1 << 23  # dosages read at a time


def combined(
    dosage: np.ndarray, missing: np.ndarray | None, members: np.ndarray, rule: str, copies: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """(R, N) int32 dosages of R masks of k variants, and (R, N) bool, who has no call in them, or None.

    dosage: (k, N), 0 where missing, (k, N) bool; members: (R, k) bool; copies: 2 in units of the dosage.
    """
    out = np.zeros((len(members), dosage.shape[1]), np.int32)
    lacking = None if missing is None else np.ones(out.shape, bool)
    before = np.zeros(members.shape[1], bool)
    for i, here in enumerate(members):
        grown = i > 0 and bool((here >= before).all())  # a wider bin of the same mask
        added = here & ~before if grown else here
        if grown:
            out[i] = out[i - 1]
        if rule == MAX:
            np.maximum(out[i], dosage[added].max(axis=0, initial=0), out=out[i])
        else:
            out[i] += dosage[added].sum(axis=0, dtype=np.int32)
        if missing is not None and lacking is not None:
            lacking[i] = missing[added].all(axis=0)
            if grown:
                lacking[i] &= lacking[i - 1]
        before = here
    if rule == COMPHET:
        np.minimum(out, copies, out=out)
    return out, lacking


def set_blocks(
    reader: GenotypeReader, firsts: IntArray, sets: IntArray, *, ahead: bool = False
) -> Iterator[tuple[int, GenotypeBlock]]:
    """Every set of `sets`, ascending, with its variants; several are read at a time where they stand together.

    ahead: the next ones are read by a thread meanwhile, and two such runs are in memory.
    """
    runs = _runs(reader, firsts, sets)
    with ThreadPoolExecutor(1) as reading:
        coming: Future[GenotypeBlock] | None = None
        for k, (numbers, first, last) in enumerate(runs):
            block = reader.read(first, last) if coming is None else coming.result()
            if ahead and k + 1 < len(runs):
                coming = reading.submit(reader.read, *runs[k + 1][1:])
            for number in numbers:
                part = slice(int(firsts[number]) - first, int(firsts[number + 1]) - first)
                missing = None if block.missing is None else block.missing[part]
                yield number, GenotypeBlock(int(firsts[number]), block.dosage[part], missing)


def _runs(reader: GenotypeReader, firsts: IntArray, sets: IntArray) -> list[tuple[list[int], int, int]]:
    """Sets that are read together, and their first and last variant."""
    most, out = max(1, CELLS // max(len(reader.samples), 1)), []
    at = 0
    while at < len(sets):
        stop = at + 1
        while (
            stop < len(sets) and sets[stop] == sets[stop - 1] + 1 and firsts[sets[stop] + 1] - firsts[sets[at]] <= most
        ):
            stop += 1
        out.append((sets[at:stop].tolist(), int(firsts[sets[at]]), int(firsts[sets[stop - 1] + 1])))
        at = stop
    return out


@dataclass(frozen=True)
class MaskReader:
    """The masks of sets as a cohort.

    source: variants of the sets, one set after the other, a variant as often as sets have it; table: of every mask; members:
    of each set (r, k) bool, the variants of its masks; firsts: (S + 1,) first variant of every set; rows: (S + 1,) its first
    mask; rule: of `mask_options.RULES`; chosen: the masks that are read, in order.
    """

    source: SelectableReader
    table: Variants
    members: tuple[np.ndarray, ...]
    firsts: IntArray
    rows: IntArray
    rule: str
    chosen: IntArray

    @property
    def samples(self) -> Samples:
        return self.source.samples

    @cached_property
    def variants(self) -> Variants:
        return self.table.take(self.chosen)

    @property
    def dosage_grid(self) -> int:
        return self.source.dosage_grid

    @cached_property
    def dosage_max(self) -> int:
        """What the most variants of a mask could sum to: no genotype decides it."""
        if self.rule in (MAX, COMPHET):
            return self.source.dosage_max
        most = max(int(members.sum(axis=1).max(initial=1)) for members in self.members)
        return self.source.dosage_max * most

    @cached_property
    def _stored(self) -> type[np.signedinteger]:
        return np.int8 if self.dosage_max < 1 << 7 else np.int16 if self.dosage_max < 1 << 15 else np.int32

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Masks start..stop-1 of the chosen ones, from the variants of their sets alone."""
        wanted = self.chosen[start:stop]
        sets = np.searchsorted(self.rows, wanted, side="right") - 1
        dosage = np.zeros((len(wanted), len(self.samples)), self._stored)
        missing = np.zeros(dosage.shape, bool)
        for number, block in set_blocks(self.source, self.firsts, np.unique(sets)):
            here = np.flatnonzero(sets == number)
            members = self.members[number][wanted[here] - self.rows[number]]
            found, lacking = combined(block.dosage, block.missing, members, self.rule, 2 * self.source.dosage_grid)
            dosage[here] = found
            if lacking is not None:
                missing[here] = lacking
        np.copyto(dosage, 0, where=missing)
        return GenotypeBlock(start, dosage, missing if missing.any() else None)

    def select(self, samples: IntArray | None = None, variants: IntArray | None = None) -> MaskReader:
        """The same cohort with only these people and masks (index arrays into the current ones)."""
        out = self
        if samples is not None:
            out = replace(out, source=out.source.select(samples))
        if variants is not None:
            out = replace(out, chosen=out.chosen[variants])
        return out

    def on_grid(self, grid: int | None) -> MaskReader:
        """The same masks of dosages in steps of 1/grid."""
        return replace(self, source=self.source.on_grid(grid))


def mask_reader(source: SelectableReader, members: list[np.ndarray], table: Variants, rule: str) -> MaskReader:
    """All masks of sets that stand in `source` one after the other. members: as of `MaskReader`."""
    firsts, rows = (np.array([0, *itertools.accumulate(m.shape[axis] for m in members)], np.int64) for axis in (1, 0))
    return MaskReader(source, table, tuple(members), firsts, rows, rule, np.arange(len(table)))
