"""Set tests in a study of sites: scores and products of the rows of sets, as totals over the sites.

| step | numbers | opened for |
|---|---|---|
| sets-flags | sites that withhold a row | every row |
| sets-rows | Σ g x of each column x of the design | rows of masks of which nobody withholds any |
| sets-products | Σ w g g′ of two rows of a mask; w 1, or the weights of a null model (`set_weights`) | the same |

With `openings = all`, for rehearsals, missing calls are at the mean as in the plain engine, and their sums are opened beside.
Statistics are made of the totals by the functions of the plain engine: the same integers give the same table.

Who learns what: every site learns these totals; of a row that is withheld, at how many sites. `own_sets` has the rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path

import numpy as np

from securegen.design.exact import exact_gram
from securegen.design.logistic import ScoreModel
from securegen.design.strata import Stratum, in_order
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.own_inputs import OwnInputs
from securegen.engines.federated.own_masks import Classes
from securegen.engines.federated.own_sets import OwnSets, own_sets
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, Step, not_below_own
from securegen.engines.federated.set_weights import weighed_products
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.set_sums import Summed, summed_in
from securegen.errors import PolicyError
from securegen.governance import ridge_rules
from securegen.governance.gate import Gate
from securegen.governance.guard import SiteGuard
from securegen.kernels.carrier_sums import SetProducts, set_products
from securegen.model import IntArray
from securegen.results.sets import SetResult, write_sets
from securegen.study.inputs import Log
from securegen.study.masks import MaskReader
from securegen.study.set_study import SetStudy, masks_of_bin

CELLS = 1 << 20  # integers of a batch of sets in memory


def write_site_sets(
    study: StudyFile, own: OwnInputs, masks: MaskReader, classes: Classes, strata: tuple[Stratum, ...], secure: SecureSum,
    guard: SiteGuard, gate: Gate, out: str, digits: int, state: Path, log: Log,
) -> list[str]:  # fmt: skip
    """Write OUT.<PHENO>.sets; returns the paths. Raises as `results_of_sites`, and PolicyError where the gate refuses."""
    if study.sets is None:
        return []
    tests = frozenset(study.sets.tests)
    chosen = masks_of_bin(masks, float(study.sets.bins[-1]))
    sets = SetStudy(masks.source, strata, masks, chosen, tests)
    mine = own_sets(study, own, sets, classes, guard)
    found = results_of_sites(secure, mine, strata, state, log)
    return write_sets(out, masks.table, found, strata, tests, gate=gate, count=len(chosen), digits=digits)


def results_of_sites(
    secure: SecureSum, mine: OwnSets, strata: Sequence[Stratum], state: Path, log: Log
) -> Iterator[list[SetResult]]:
    """The results of the masks of each set, of every phenotype, in order.

    Raises PolicyError where a rule refuses or a total is not of people, PlanError for sums that could pass 64 bits.
    """
    diagonals = [exact_gram(x[:, [j]], x[:, [j]])[0][0] for x in map(_values, strata) for j in range(x.shape[1])]
    norms = secure.total(diagonals)
    if any(t < o for t, o in zip(norms, diagonals, strict=True)):
        secure.refuse(OUT_OF_BOUNDS)
    pooled, left, own_left = {}, iter(norms), iter(diagonals)
    for s in strata:
        columns = range(_values(s).shape[1])
        pooled[s.name] = [next(left) for _ in columns], [next(own_left) for _ in columns]
    first = summed_in(strata[0], 1)[0]
    people = pooled[strata[0].name][0][first.index[0]]
    flags = np.zeros((int(mine.ends[-1]), 1), np.int64)
    structure = [np.concatenate([m.common, *m.groups, np.array([-1])]) for m in mine.made]
    secure.agree("sets", np.concatenate([np.zeros(0, np.int64), *structure]).astype(np.int64))
    most = mine.charge(cap := mine.cap(people), state)
    if mine.guard.on and len(flags):
        flags = secure.rows(
            "sets-flags", len(flags), (field_bits(64),), lambda: mine.flags(strata, cap, log), bounds=(64,),
            check=not_below_own,
        )  # fmt: skip
    shown = flags[:, 0] == 0
    _say(mine, shown, log)
    number = 0
    for start, stop, stratum in in_order(strata):
        batch: list[int] = []
        cells = 0
        side = _Side(secure, mine, stratum, shown, most, *pooled[stratum.name])
        for i in _between(mine, start, stop):
            size = len(side.wanted[i][0]) * len(side.columns) + len(side.wanted[i][1]) * len(side.weights)
            if batch and cells + size > CELLS:
                yield from side.results(number, batch)
                batch, cells, number = [], 0, number + 1
            batch.append(i)
            cells += size
        if batch:
            yield from side.results(number, batch)
            number += 1


def _values(stratum: Stratum) -> np.ndarray:
    return np.asarray(stratum.design.columns.values)


def _between(mine: OwnSets, start: int, stop: int) -> list[int]:
    firsts = mine.sets.masks.firsts[mine.sets.sets]
    return np.flatnonzero((firsts >= start) & (firsts < stop)).tolist()


def _say(mine: OwnSets, shown: np.ndarray, log: Log) -> None:
    masks = [shown[a + m.index].all() for made, a in zip(mine.made, mine.ends, strict=False) for m in made.masks]
    if not all(masks):
        log(
            f"{masks.count(False)} of {len(masks)} masks have no set test (FEW_CARRIERS): few people stand out in a row"
        )


@dataclass
class _Side:
    """One site's side of the sums of the sets of a stratum. norms, own_norms: Σx² of each column, of all sites and here; most:
    rows that are summed with one."""

    secure: SecureSum
    mine: OwnSets
    stratum: Stratum
    shown: np.ndarray
    most: int
    norms: list[int]
    own_norms: list[int]

    @cached_property
    def summed(self) -> list[Summed]:
        n = self.people
        reach = [math.isqrt(n * norm) + 1 for norm in self.norms]
        return summed_in(self.stratum, self.top, reach)

    @property
    def top(self) -> int:
        return self.mine.sets.reader.dosage_max

    @cached_property
    def _indicator(self) -> int:
        return next(a for a in self.stratum.design.analyses if a.association).columns[0]

    @property
    def people(self) -> int:
        return self.norms[self._indicator]

    @property
    def others(self) -> int:
        return self.people - self.own_norms[self._indicator]

    @cached_property
    def columns(self) -> list[int]:
        return sorted({j for s in self.summed for j in s.index})

    @cached_property
    def weights(self) -> list[int]:
        return list(dict.fromkeys(s.weighing for s in self.summed))

    @cached_property
    def wanted(self) -> list[tuple[IntArray, IntArray]]:
        """Of each set, rows (r,) and pairs of rows (p, 2), first ≤ second, of masks of which every row is shown."""
        out = []
        for made, first in zip(self.mine.made, self.mine.ends, strict=False):
            pairs = np.zeros((len(made), len(made)), bool)
            for m in made.masks:
                if self.shown[first + m.index].all():
                    pairs[np.ix_(m.index, m.index)] = True
            out.append((np.flatnonzero(pairs.diagonal()), np.argwhere(np.triu(pairs))))
        return out

    @cached_property
    def _averages(self) -> dict[int, int]:
        """Of the columns of null models' weights, where rules hold, everybody's average."""
        models = {s.weighing: s.analysis.model for s in self.summed}
        return {
            j: round(m.weight_total / m.samples)
            for j, m in models.items() if isinstance(m, ScoreModel) and self.mine.guard.on
        }  # fmt: skip

    @property
    def _apart(self) -> bool:
        """Whether sums over people without a call are opened: where no rule holds."""
        return not self.mine.guard.on

    def results(self, number: int, batch: list[int]) -> list[list[SetResult]]:
        own = cache(lambda: self._own(batch))
        sizes = [len(self.wanted[i][0]) for i in batch], [len(self.wanted[i][1]) for i in batch]
        times = 2 if self._apart else 1
        lines = [self._reach(self.norms[j]) for j in self.columns] * times
        four = range(4 if self._apart else 1)
        each = [self.top * self._reach(self.norms[j], self.people) for j in self.weights for _ in four]
        wide, wider = (tuple(field_bits(b) for b in bounds) for bounds in (lines, each))
        steps = [
            Step(f"sets-rows-{number:05d}", sum(sizes[0]), wide, lambda: own()[0], tuple(lines), self._check_rows),
            Step(
                f"sets-products-{number:05d}-{self.most}", sum(sizes[1]), wider, lambda: own()[1], tuple(each),
                partial(self._check, batch),
            ),
        ]  # fmt: skip
        rows, products = self.secure.together(steps)
        parts = zip(_cut(rows, sizes[0]), _cut(products, sizes[1]), strict=True)
        unit = self.mine.sets.reader.dosage_grid * self.stratum.unit
        out = []
        for i, (lined, paired) in zip(batch, parts, strict=True):
            shown = self.shown[self.mine.ends[i] : self.mine.ends[i + 1]]
            out.append([
                r for s in self.summed
                for r in s.results(self.mine.made[i], self._products(i, s, lined, paired), unit, self.mine.sets.tests, shown)
            ])  # fmt: skip
        return out

    def _reach(self, norm: int, people: int | None = None) -> int:
        """The most that Σ g x, or with `people` Σ g |x| of these, can be."""
        return self.top * (math.isqrt((people or self.people) * norm) + 1)

    def _own(self, batch: list[int]) -> tuple[IntArray, IntArray]:
        """This site's numbers of these sets."""
        x = np.ascontiguousarray(_values(self.stratum)[:, self.columns])
        none = np.zeros((len(x), 0), np.int64)
        lines, each = [], []
        for i, g, m in self.mine.entries(np.array(batch)):
            rows, pairs = self.wanted[i]
            a, b = pairs.T
            here = []
            for k, j in enumerate(self.weights):
                weight = np.ascontiguousarray(_values(self.stratum)[:, j])
                sums = set_products(g, m, weight, x if k == 0 else none)
                if k == 0:
                    lines.append(np.concatenate([sums.gx, sums.mx], axis=1)[rows] if self._apart else sums.gx[rows])
                average = self._averages.get(j)
                if average is not None:
                    fewest, grid = self.mine.guard.fewest, self.mine.sets.reader.dosage_grid
                    sums = sums._replace(gg=weighed_products(g, weight, self.mine.people, average, grid, fewest))
                here.append(sums.gg[a, b])
                if self._apart:
                    here += [sums.gm[a, b], sums.gm[b, a], sums.mm[a, b]]
            each.append(np.stack(here, axis=1))
        return np.concatenate(lines), np.concatenate(each)

    def _products(self, i: int, s: Summed, lined: IntArray, paired: IntArray) -> SetProducts:
        """The totals of a set as the plain engine has its sums; zeros where nothing was opened."""
        size, (rows, pairs) = len(self.mine.made[i]), self.wanted[i]
        a, b = pairs.T
        place = [self.columns.index(j) for j in s.index]
        wide = len(self.columns)
        out = SetProducts(*(np.zeros((size, n), np.int64) for n in (size, size, size, len(place), len(place))))
        out.gx[rows] = lined[:, place]
        k = self.weights.index(s.weighing) * (4 if self._apart else 1)
        out.gg[a, b] = out.gg[b, a] = paired[:, k]
        if self._apart:
            out.mx[rows] = lined[:, [wide + p for p in place]]
            out.gm[a, b], out.gm[b, a] = paired[:, k + 1], paired[:, k + 2]
            out.mm[a, b] = out.mm[b, a] = paired[:, k + 3]
        return out

    def _check_rows(self, own: IntArray, total: IntArray) -> None:
        """Raise PolicyError where what the others added to scores is more than their people can give."""
        for k, j in enumerate(self.columns):
            rest = total[:, k] - own[:, k]
            most = self._reach(self.norms[j] - self.own_norms[j], self.others)
            if (np.abs(rest) > most).any() or (j == self._indicator and (rest < 0).any()):
                raise PolicyError(OUT_OF_BOUNDS)

    def _check(self, batch: list[int], own: IntArray, total: IntArray) -> None:
        """Raise PolicyError where what the others added to products of a mask's rows is not of people."""
        each = 4 if self._apart else 1
        sizes = [len(self.wanted[i][1]) for i in batch]
        for i, mine, all_of in zip(batch, _cut(own, sizes), _cut(total, sizes), strict=True):
            first, pairs = int(self.mine.ends[i]), self.wanted[i][1]
            for k, j in enumerate(self.weights):
                part, whole = (np.zeros((len(self.mine.made[i]),) * 2, np.int64) for _ in range(2))
                for out, values in ((part, mine), (whole, all_of)):
                    out[pairs[:, 0], pairs[:, 1]] = out[pairs[:, 1], pairs[:, 0]] = values[:, k * each]
                # a weight is at most the root of the squares of all
                largest = self.top * (math.isqrt(math.isqrt(self.norms[j]) + 1) + 1)
                if j in self._averages:  # averaged products of a few people are not those of anybody's rows
                    part, whole = (np.diag(m.diagonal()) for m in (part, whole))
                for m in self.mine.made[i].masks:
                    if self.shown[first + m.index].all():
                        at = np.ix_(m.index, m.index)
                        if ridge_rules.others_fault(part[at], whole[at], self.others, largest) is not None:
                            raise PolicyError(OUT_OF_BOUNDS)


def _cut(values: IntArray, sizes: list[int]) -> list[IntArray]:
    return np.split(values.astype(np.int64), np.cumsum(sizes)[:-1])
