"""Set tests from exact sums of each set's variants: set by set, the same statistics wherever the sums are made.

Variants with at most ten alleles of A1 are one row, the largest dosage of them a person has (as SAIGE-GENE+ and regenie).
Who learns what: whoever runs `results_of_sets` sees everything. Use it on your own data. Sites sum the rows of their own
people, and make results of the totals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numba import get_num_threads

from securegen.design.columns import Analysis
from securegen.design.fixedpoint import check_sum_bound
from securegen.design.strata import Stratum, in_order
from securegen.kernels.carrier_sums import (
    Carriers,
    SetProducts,
    assembled,
    carriers_of,
    carriers_of_packed,
    set_products,
    totals,
)
from securegen.model import GenotypeReader, IntArray
from securegen.results.sets import SetResult
from securegen.stats.imputed import frequency
from securegen.stats.set_scores import SetModel, SetScores, weight_column
from securegen.stats.set_tests import set_tests
from securegen.study.masks import set_blocks
from securegen.study.set_study import SetStudy

COLLAPSED = 10  # alleles of A1


@runtime_checkable
class PackedReader(Protocol):
    """A reader of hard calls that are stored as in a PLINK1 bed. sample_index: which of the stored samples are read, in order."""

    @property
    def sample_index(self) -> IntArray: ...
    @property
    def stored_samples(self) -> int: ...
    @property
    def dosage_grid(self) -> int: ...
    def read_packed(self, start: int, stop: int) -> np.ndarray:
        """(V, ⌈stored_samples/4⌉) uint8: two bits per sample, from the lowest; 0 two copies, 1 missing, 2 one copy, 3 none."""
        ...


@dataclass(frozen=True, eq=False)
class Summed:
    """An analysis in a stratum, with what is summed for it. index: its columns, of those of the design."""

    analysis: Analysis
    stratum: Stratum

    @property
    def index(self) -> list[int]:
        return [*self.analysis.columns, *(j for j, _ in self.analysis.single)]

    @cached_property
    def columns(self) -> np.ndarray:
        return np.ascontiguousarray(self.stratum.design.columns.values[:, self.index])

    @cached_property
    def people(self) -> np.ndarray:
        found: np.ndarray = self.columns[:, 0] != 0
        return found

    @cached_property
    def model(self) -> SetModel:
        return SetModel(self.analysis.model)

    @property
    def weighing(self) -> int:
        """The column that weighs people in products of two rows, of those of the design."""
        return self.index[weight_column(self.analysis.model)]

    @cached_property
    def weight(self) -> np.ndarray:
        return np.ascontiguousarray(self.columns[:, weight_column(self.analysis.model)])

    def results(
        self, made: SetRows, sums: SetProducts, unit: int, tests: frozenset[str], shown: np.ndarray | None = None
    ) -> Iterator[SetResult]:
        """Of the masks of a set. sums: of its rows; shown: (rows,) bool, those of which there are sums, None for all."""
        a = self.analysis
        called = a.model.samples - sums.mx[:, 0]
        width = len(a.columns)
        single = [count - sums.mx[:, width + i] for i, (_, count) in enumerate(a.single)]
        share = frequency(sums.gx[:, 0], called, unit, self.stratum.copies, single)
        scores: SetScores = self.model.scores(sums, unit)
        for m in made.masks:
            withheld = shown is not None and not shown[m.index].all()
            if withheld or not len(m.index):
                found = dict.fromkeys(tests, np.nan)
            else:
                whole = len(m.index) == len(share)  # rows ascend
                mine, own = (scores, share) if whole else (scores.take(m.index), share[m.index])
                found = set_tests(mine, own, tests)
            yield SetResult(m.row, a.phenotype, a.model.samples, m.variants, m.collapsed, found, withheld)


@dataclass(frozen=True)
class MaskRows:
    """A mask of a set. row: of the masks' table; index: its rows; variants: that vary; collapsed: of them, in the last row."""

    row: int
    index: IntArray
    variants: int
    collapsed: int


@dataclass(frozen=True)
class SetRows:
    """The rows of a set that are summed. common: variants by themselves; groups: collapsed ones, a row each, after them."""

    common: IntArray
    groups: tuple[IntArray, ...]
    masks: tuple[MaskRows, ...]

    def __len__(self) -> int:
        return len(self.common) + len(self.groups)

    def of(self, entries: Carriers, people: int, *, every: bool) -> Carriers:
        """These rows of the set's variants. every: as of `assembled`; people: N."""
        return assembled(entries, self.common, self.groups, people, every=every)


def rows_of(rows: IntArray, members: np.ndarray, few: np.ndarray, varies: np.ndarray) -> SetRows:
    """Every mask of one set: its common variants once, and a row of the collapsed ones for each mask.

    rows: of the masks' table; members: (r, k) bool; few: (k,) bool, variants that are collapsed; varies: those that count.
    """
    held = members & varies
    few = few & varies
    common = np.flatnonzero((held & ~few).any(axis=0))
    place = np.zeros(len(varies), np.int64)
    place[common] = np.arange(len(common))
    rare = [np.flatnonzero(mask & few) for mask in held]
    collapsed, masks = len(common), []
    for row, mask, own in zip(rows.tolist(), held, rare, strict=True):
        index = place[np.flatnonzero(mask & ~few)]
        if len(own):
            index = np.append(index, collapsed)
            collapsed += 1
        masks.append(MaskRows(row, index, int(mask.sum()), len(own)))
    return SetRows(common, tuple(r for r in rare if len(r)), tuple(masks))


def rarity_in(total: IntArray, called: IntArray, unit: int, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """(k,) bool each: variants that vary, and those that are collapsed, of Σg over the people called, in steps of 1/unit of a
    copy."""
    largest = copies * unit * called
    return 2 * np.minimum(total, largest - total) >= unit, (total <= COLLAPSED * unit) & (2 * total <= largest)


def results_of_sets(study: SetStudy) -> Iterator[list[SetResult]]:
    """The results of the masks of each set, of every phenotype, in order. Memory: the variants of a few sets.

    Raises PlanError for sums that could pass 64 bits.
    """
    runs = in_order(study.strata)
    top = study.reader.dosage_max
    at, summed = 0, summed_in(runs[0][2], top)
    for number, carriers, lacking in set_carriers(study.reader, study.masks.firsts, study.sets):
        while study.masks.firsts[number] >= runs[at][1]:
            at += 1
            summed = summed_in(runs[at][2], top)
        yield [result for s in summed for result in _of_set(study, number, carriers, lacking, s)]


def set_carriers(reader: GenotypeReader, firsts: IntArray, sets: IntArray) -> Iterator[tuple[int, Carriers, Carriers]]:
    """Every set of `sets`, ascending, with the carriers of its variants and who is missing."""
    if isinstance(reader, PackedReader):
        place = np.full(reader.stored_samples, -1, np.int32)
        place[reader.sample_index] = np.arange(len(reader.sample_index))
        for number in sets.tolist():
            rows = reader.read_packed(int(firsts[number]), int(firsts[number + 1]))
            yield number, *carriers_of_packed(rows, place, reader.dosage_grid)
        return
    for number, block in set_blocks(reader, firsts, sets, ahead=get_num_threads() > 1):
        yield number, carriers_of(block.dosage, len(block)), carriers_of(block.missing, len(block))


def summed_in(stratum: Stratum, top: int, pooled: Sequence[int] | None = None) -> list[Summed]:
    """What is summed for each analysis. pooled: Σ|x| of each column of the design over all sites, at most; None: of these people.

    Raises PlanError where products of two rows of dosages up to `top` units could pass 64 bits.
    """
    found = [Summed(a, stratum) for a in stratum.design.analyses if a.association]
    for s in found:
        sums = np.abs(s.columns).sum(axis=0).tolist() if pooled is None else [pooled[j] for j in s.index]
        largest = max(sums[weight_column(s.analysis.model)] * top, *sums)
        check_sum_bound(largest * top, f"the products of a set's variants for {s.analysis.phenotype}")
    return found


def _of_set(study: SetStudy, number: int, carriers: Carriers, lacking: Carriers, summed: Summed) -> Iterator[SetResult]:
    rows, members = study.masks_of(number)
    unit = study.reader.dosage_grid * summed.stratum.unit
    total, called = totals(carriers, summed.people), summed.analysis.model.samples - totals(lacking, summed.people)
    varies, few = rarity_in(total, called, unit, summed.stratum.copies)
    made, people = rows_of(rows, members, few, varies), len(summed.people)
    g, m = made.of(carriers, people, every=False), made.of(lacking, people, every=True)
    sums = set_products(g, m, summed.weight, summed.columns)
    return summed.results(made, sums, unit, study.tests)
