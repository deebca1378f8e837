"""Set tests where genotypes are in the clear: exact sums of each set's variants, then their statistics, set by set.

Variants with at most ten alleles of A1 are one row, the largest dosage of them a person has (as SAIGE-GENE+ and regenie).
Who learns what: whoever runs it sees everything. Use it on your own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from securegen.design.columns import Analysis
from securegen.design.fixedpoint import check_sum_bound
from securegen.design.strata import Stratum, in_order
from securegen.kernels.carrier_sums import Carriers, assembled, carriers_of, set_products, totals
from securegen.results.sets import SetResult
from securegen.stats.imputed import frequency
from securegen.stats.set_scores import SetModel, SetScores, weight_column
from securegen.stats.set_tests import set_tests
from securegen.study.masks import set_blocks
from securegen.study.set_study import SetStudy

COLLAPSED = 10  # alleles of A1


@dataclass(frozen=True, eq=False)
class _Summed:
    """An analysis in a stratum, with what is summed for it."""

    analysis: Analysis
    stratum: Stratum

    @cached_property
    def columns(self) -> np.ndarray:
        index = [*self.analysis.columns, *(j for j, _ in self.analysis.single)]
        return np.ascontiguousarray(self.stratum.design.columns.values[:, index])

    @cached_property
    def people(self) -> np.ndarray:
        found: np.ndarray = self.columns[:, 0] != 0
        return found

    @cached_property
    def model(self) -> SetModel:
        return SetModel(self.analysis.model)

    @cached_property
    def weight(self) -> np.ndarray:
        return np.ascontiguousarray(self.columns[:, weight_column(self.analysis.model)])


def results_of_sets(study: SetStudy) -> Iterator[list[SetResult]]:
    """The results of the masks of each set, of every phenotype, in order. Memory: the variants of a few sets.

    Raises PlanError for sums that could pass 64 bits.
    """
    runs = in_order(study.strata)
    top = study.reader.dosage_max
    at, summed = 0, _summed(runs[0][2], top)
    for number, block in set_blocks(study.reader, study.masks.firsts, study.sets):
        while block.start >= runs[at][1]:
            at += 1
            summed = _summed(runs[at][2], top)
        k = len(block)
        carriers, lacking = carriers_of(block.dosage, k), carriers_of(block.missing, k)
        yield [result for s in summed for result in _of_set(study, number, carriers, lacking, s)]


def _summed(stratum: Stratum, top: int) -> list[_Summed]:
    """Raises PlanError where products of two rows of dosages up to `top` units could pass 64 bits."""
    found = [_Summed(a, stratum) for a in stratum.design.analyses if a.association]
    for s in found:
        largest = max(int(s.weight.sum()) * top, int(np.abs(s.columns).sum(axis=0).max()))
        check_sum_bound(largest * top, f"the products of a set's variants for {s.analysis.phenotype}")
    return found


def _of_set(
    study: SetStudy, number: int, carriers: Carriers, lacking: Carriers, summed: _Summed
) -> Iterator[SetResult]:  # fmt: skip
    """Every mask of one set: its common variants once, and a row of the collapsed ones for each mask."""
    rows, members = study.masks_of(number)
    unit, a = study.reader.dosage_grid * summed.stratum.unit, summed.analysis
    total, called = totals(carriers, summed.people), a.model.samples - totals(lacking, summed.people)
    largest = summed.stratum.copies * unit * called
    varies = 2 * np.minimum(total, largest - total) >= unit
    few = varies & (total <= COLLAPSED * unit) & (2 * total <= largest)
    held = members & varies
    common = np.flatnonzero((held & ~few).any(axis=0))
    place = np.zeros(len(varies), np.int64)
    place[common] = np.arange(len(common))
    rare = [np.flatnonzero(mask & few) for mask in held]
    groups = [r for r in rare if len(r)]
    people = len(summed.people)
    g = assembled(carriers, common, groups, people, every=False)
    m = assembled(lacking, common, groups, people, every=True)
    scores, share = _scored(g, m, summed, unit)
    collapsed = len(common)
    for row, mask, own in zip(rows.tolist(), held, rare, strict=True):
        index = place[np.flatnonzero(mask & ~few)]
        if len(own):
            index = np.append(index, collapsed)
            collapsed += 1
        found = set_tests(scores.take(index), share[index], study.tests)
        yield SetResult(row, a.phenotype, a.model.samples, int(mask.sum()), len(own), found)


def _scored(g: Carriers, m: Carriers, summed: _Summed, unit: int) -> tuple[SetScores, np.ndarray]:
    """Scores of rows, and frequencies of what they count."""
    a = summed.analysis
    sums = set_products(g, m, summed.weight, summed.columns)
    called = a.model.samples - sums.mx[:, 0]
    width = len(a.columns)
    single = [count - sums.mx[:, width + i] for i, (_, count) in enumerate(a.single)]
    share = frequency(sums.gx[:, 0], called, unit, summed.stratum.copies, single)
    return summed.model.scores(sums, unit), share
