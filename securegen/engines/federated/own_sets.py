"""Which rows of sets of variants a site lets be summed with each other, and who pays for it.

Of a set, every variant that nobody withholds is a row; those whose carriers are few in all, or at a site, are one row per mask
(`set_sums.SetRows`), made inside each site before anything of it is opened. Whoever sees the products of rows also has those of
all their integer combinations, with the phenotypes too. So before anything is summed a site looks, at its own people, at all
rows of sets that share a variant: each by itself, beside every other one of the chromosome, in integer combinations with each
other and with covariates and phenotypes of few values, at everybody's leverage in them and in the design, and of a null model's
weights at who has both of two rows (`set_weights`). Votes are added
under masks. A mask with a row that anybody withholds has no result.

Missing calls count 0 here, as in masks: their people are in no sum. Who learns what: everybody, how many sites withhold a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from securegen.design.strata import Stratum, in_order
from securegen.engines.federated.admission import charge_products
from securegen.engines.federated.own_inputs import OwnInputs
from securegen.engines.federated.own_masks import Classes
from securegen.engines.federated.set_weights import withheld_products
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.set_sums import SetRows, rarity_in, rows_of, set_carriers
from securegen.governance import openings, ridge_rules, set_rules
from securegen.governance.guard import SiteGuard
from securegen.governance.lattice import small_integers
from securegen.governance.rows import RowRule
from securegen.governance.signing import canonical
from securegen.io.text import count
from securegen.kernels.carrier_sums import Carriers, carriers_of
from securegen.model import GenotypeBlock, IntArray
from securegen.structure.ridge_totals import product
from securegen.study.inputs import Log
from securegen.study.set_study import SetStudy

BESIDE = 1 << 20  # units of the largest of a column of the design, in which leverage is computed
ANYWHERE = 1 << 40  # rows between two that are compared


@dataclass(frozen=True)
class OwnSets:
    """This site's side of the set tests of a study. made: of each of `sets.sets`, the rows."""

    study: StudyFile
    own: OwnInputs
    sets: SetStudy
    made: tuple[SetRows, ...]
    guard: SiteGuard

    @cached_property
    def ends(self) -> IntArray:
        """(S + 1,) the first row of each set among all."""
        found: IntArray = np.cumsum([0, *map(len, self.made)], dtype=np.int64)
        return found

    @property
    def people(self) -> np.ndarray:
        """(N,) bool: who is summed, the same for every phenotype."""
        return self.own.planned[0].mask

    @cached_property
    def groups(self) -> list[IntArray]:
        """Sets that share a variant, by place among `sets.sets`, in the order of the first of each."""
        ids = self.sets.reader.variants.id
        number = {name: j for j, name in enumerate(dict.fromkeys(ids.tolist()))}
        firsts = self.sets.masks.firsts
        named = [
            np.array([number[ids[firsts[s] + j]] for j in used_of(m)], np.int64)
            for s, m in zip(self.sets.sets.tolist(), self.made, strict=True)
        ]
        group = set_rules.groups_of(named)
        order = np.argsort(group, kind="stable")
        cuts = np.flatnonzero(np.diff(group[order])) + 1
        return sorted(np.split(order, cuts), key=lambda part: int(part[0]))

    def entries(self, numbers: IntArray) -> Iterator[tuple[int, Carriers, Carriers]]:
        """Of sets by place, ascending: place, and entries of its rows and of who lacks a call in all of one."""
        place = {int(s): i for i, s in enumerate(self.sets.sets)}
        size = len(self.people)
        for number, carriers, lacking in set_carriers(
            self.sets.reader, self.sets.masks.firsts, self.sets.sets[numbers]
        ):
            i = place[number]
            if self.guard.on:
                lacking = carriers_of(None, len(lacking.ends) - 1)
            made = self.made[i]
            yield i, made.of(carriers, size, every=False), made.of(lacking, size, every=True)

    def flags(self, strata: Sequence[Stratum], cap: int, log: Log) -> IntArray:
        """(R, 1) 1 where this site withholds a row. cap: rows of sets that share a variant, beyond which it does."""
        out = np.zeros((int(self.ends[-1]), 1), np.int64)
        binary = any(p.test.binary for p in self.own.planned)
        grid = self.sets.reader.dosage_grid
        rule = RowRule(
            [self.people], grid, strict=True, fewest=self.guard.fewest, quadratic=binary, window=ANYWHERE,
            between=self.guard.between,
        )  # fmt: skip
        runs, chromosome = in_order(strata), self.sets.reader.variants.chromosome
        kept: list[GenotypeBlock] = []
        before, start = None, 0
        for group in self.groups:
            first = int(self.sets.masks.firsts[self.sets.sets[group[0]]])
            if chromosome[first] != before:
                kept, before = [], chromosome[first]
            rows, x = self._dense(group)
            if not len(rows):
                continue
            block = GenotypeBlock(start, x, None)
            start += len(rows)
            veto = rule.scan(block, kept)
            stratum = next(s for a, b, s in runs if a <= first < b)
            veto |= self._together(x[:, self.people].astype(np.int64), stratum)
            if binary:
                self._weighed(group, x, veto, cap)
            veto[cap:] = True
            out[rows, 0] = veto
        if out.any():
            log(f"{count(int(out.sum()), 'row')} of set tests withheld here: few people would stand out in them")
        return out

    def _weighed(self, group: IntArray, x: np.ndarray, veto: np.ndarray, cap: int) -> None:
        """Add to (R,) bool rows whose weighed product with another one of their set would be of few people."""
        grid = self.sets.reader.dosage_grid
        at = 0
        for i in group.tolist():
            here = at + np.flatnonzero(~veto[at : at + len(self.made[i])])
            here, at = here[here < cap], at + len(self.made[i])
            codes = np.minimum((x[np.ix_(here, np.flatnonzero(self.people))].astype(np.int64) + grid // 2) // grid, 2)
            veto[here] = withheld_products(codes, self.guard.fewest)

    def _dense(self, group: IntArray) -> tuple[IntArray, np.ndarray]:
        """Rows of these sets among all, and their dosages (R, N)."""
        rows, parts = [], []
        for i, g, _ in self.entries(group):
            part = np.zeros((len(self.made[i]), len(self.people)), self._stored)
            for r in range(len(part)):
                here = slice(int(g.ends[r]), int(g.ends[r + 1]))
                part[r, g.people[here]] = g.values[here]
            rows.append(np.arange(self.ends[i], self.ends[i + 1]))
            parts.append(part)
        return np.concatenate(rows), np.concatenate(parts)

    @property
    def _stored(self) -> type[np.signedinteger]:
        return np.int8 if self.sets.reader.dosage_max < 1 << 7 else np.int16

    def _together(self, x: IntArray, stratum: Stratum) -> np.ndarray:
        """(R,) bool: rows, (R, n) of own people, that with others single few out, or make somebody's leverage too large."""
        grid = self.sets.reader.dosage_grid
        planned = [p.phenotype.values[self.people] for p in self.own.planned]
        beside = np.column_stack([self.own.traits.covariates[self.people], *planned])
        out = set_rules.withheld_combinations(x, self.guard.fewest, grid, small_integers(beside))
        columns = stratum.design.columns.values[self.people].astype(np.float64)
        if len(columns) and not out.all():
            columns = columns - columns.mean(axis=0)
            columns = columns[:, columns.any(axis=0)]
            scaled = np.rint(columns / np.abs(columns).max(axis=0, initial=0.0) * BESIDE)
            fixed = np.concatenate([np.full((len(columns), 1), BESIDE), scaled], axis=1).astype(np.int64)
            left = np.concatenate([fixed, x[~out].T], axis=1)
            few = ridge_rules.withheld_for_leverage(product(left, left), left, fixed.shape[1], self.guard.limit)
            out[~out] = few
        return out

    def cap(self, pooled: int) -> int:
        """Rows of sets that share a variant that may be summed with each other, the same at every site."""
        if self.study.consent_openings or not self.guard.on:
            return set_rules.TOGETHER
        return min(set_rules.TOGETHER, int(openings.STRUCTURE_SHARE * pooled))

    def charge(self, cap: int, state: Path) -> int:
        """Count the rows that a genotype is summed with for everybody, before any is. Raises PolicyError as `charge_products`."""
        most = min(cap, max((int(sum(len(self.made[i]) for i in group)) for group in self.groups), default=0))
        ids = self.sets.reader.variants.id
        firsts = self.sets.masks.firsts
        told = [
            [[ids[firsts[s] + j] for j in part] for part in (m.common, *m.groups)]
            for s, m in zip(self.sets.sets.tolist(), self.made, strict=True)
        ]
        charge_products(
            self.study, self.own.aligned.samples, self.people, canonical({"rows of sets": told}), most, 0, state, self.guard
        )  # fmt: skip
        return most


def own_sets(study: StudyFile, own: OwnInputs, sets: SetStudy, classes: Classes, guard: SiteGuard) -> OwnSets:
    """The rows of every set, the same at every site: from what was opened of their variants."""
    made = []
    firsts, unit = sets.masks.firsts, sets.reader.dosage_grid
    varies, few = rarity_in(classes.dosage, classes.called, unit, 2)
    if guard.on:
        varies, few = (varies | classes.few) & ~classes.near, few | classes.few
    for s in sets.sets.tolist():
        rows, members = sets.masks_of(s)
        at = slice(int(firsts[s]), int(firsts[s + 1]))
        made.append(rows_of(rows, members, few[at], varies[at]))
    return OwnSets(study, own, sets, tuple(made), guard)


def used_of(made: SetRows) -> list[int]:
    """Variants of a set that are in one of its rows."""
    return sorted({*made.common.tolist(), *(j for g in made.groups for j in g.tolist())})
