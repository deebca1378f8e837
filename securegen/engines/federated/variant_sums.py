"""One site's numbers of a variant in a federated study.

Who learns what: nobody, until they are summed over the sites (`association`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from securegen.design.columns import Analysis, Design
from securegen.design.strata import Stratum
from securegen.engines.federated.needed import Sets
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum
from securegen.engines.federated.withheld import Withheld
from securegen.engines.plain.sums import block_sums
from securegen.errors import PolicyError
from securegen.governance.openings import too_few
from securegen.governance.rows import rows_of
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, Sums, coding_of
from securegen.stats.imputed import exactly, filled, spread, squared
from securegen.vocabulary import ADDITIVE

READ = 512  # variants read at a time, at most
HELD = 1 << 24  # genotypes read at a time: what is made of them takes some fifty bytes each
NEAR = 0.0625  # copies between a mean and one at which two genotypes weigh the same


@dataclass(frozen=True)
class OpenedCounts:
    """Pooled counts of the rows of a segment that are opened, by indicator column: n called, S, Σg² and few, (V,); single: of
    people with one copy less, those who are called; hidden: (V,) bool, where counts of one sex are not."""

    rows: IntArray
    called: dict[int, IntArray]
    dosage: dict[int, IntArray]
    square: dict[int, IntArray]
    few: dict[int, np.ndarray]
    single: dict[int, IntArray]
    hidden: np.ndarray

    def exact(self, indicator: int) -> np.ndarray:
        """Rows whose missing calls are filled without rounding."""
        return ~self.few[indicator]


def hidden_weights(copies: np.ndarray, mean: np.ndarray, w: IntArray, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """(V, n) or (1, n) weights of which Σ w (copies − mean)² singles out no few people; (V,) bool, where some are averaged.

    Near a mean of ½, 1 or 1½ copies two genotypes are equally far from it, and beside Σ w the sum tells the weights of the
    others: if few people have these, theirs are the average. A deviating site can move the mean. copies: (V, n), w: (n,).
    """
    out: np.ndarray = w[None, :].astype(np.float64)
    averaged = np.zeros(len(copies), bool)
    near = np.rint(copies)
    for one, two in combinations(range(int(near.max(initial=2)) + 1), 2):
        at = np.abs(mean[:, 0] - (one + two) / 2) < NEAR
        if not at.any():
            continue
        others = (near != one) & (near != two)
        few = too_few(others.sum(axis=1), fewest) & at
        if few.any():
            out, averaged = np.where(others & few[:, None], w.sum() / len(w), out), averaged | few
    return out, averaged


@dataclass
class SiteSums:
    """One site's side of the sums over the variants of a stratum."""

    secure: SecureSum
    reader: GenotypeReader
    stratum: Stratum
    sets: Sets
    rules: bool  # of openings hold
    fewest: int
    people: dict[int, int]  # pooled, by indicator
    own_people: dict[int, int]
    norms: list[int]  # pooled Σx² of each column
    rounds: bool  # rows with missing calls of few people are shown
    withheld: Withheld = field(default_factory=Withheld)

    @property
    def design(self) -> Design:
        return self.stratum.design

    @property
    def values(self) -> np.ndarray:
        return self.design.columns.values

    @property
    def copy(self) -> int:
        """Steps of a stored dosage in a copy."""
        return self.reader.dosage_grid * self.stratum.unit

    @property
    def top(self) -> int:
        """The largest stored dosage; above two copies of rows that sum several variants."""
        most = self.reader.dosage_max
        return max(self.copy * self.stratum.copies, most if most > 2 * self.reader.dosage_grid else 0)

    @property
    def coded(self) -> bool:
        """Whether dosages are a genetic model's 0 and 1, beside which copies are summed."""
        return coding_of(self.reader) != ADDITIVE

    @property
    def masks(self) -> list[np.ndarray]:
        """The sets of this site's people over whom rows of this stratum are opened."""
        return [self.values[:, i] != 0 for i in (*self.sets.indicators, *self.sets.single)]

    @property
    def by_sex(self) -> list[int]:
        """Places in a row's flags of sets of one sex. Few people without a call are held back there if they are in any set:
        else whoever sees these sets' counts knows their sex."""
        marks = (*self.sets.indicators, *self.sets.single)
        return [1 + k for k, i in enumerate(marks) if i in (*self.sets.apart, *self.sets.single)]

    def hidden(self, flags: np.ndarray) -> np.ndarray:
        """(V,) bool: rows of which the counts of one sex are not summed. flags: (V, 1 + sets) over the sites."""
        hidden: np.ndarray = (flags[:, self.by_sex] != 0).any(axis=1) & self.rules & (not self.rounds)
        return hidden

    def blocks(self, start: int, stop: int) -> Iterator[GenotypeBlock]:
        size = min(READ, max(1, HELD // max(len(self.reader.samples), 1)))
        for at in range(start, stop, size):
            yield self.reader.read(at, min(at + size, stop))

    def set_bounds(self) -> list[int]:
        """Largest totals of the counts of one variant, in the order of `own_counts`."""
        out = []
        for i in self.sets.indicators:
            out += [self.people[i], self.top * self.people[i]]
        out += [self.top**2 * self.people[i] for i in self.sets.squared]
        return out + [self.people[i] for i in self.sets.single]

    def own_counts(self, sums: Sums, hidden: np.ndarray) -> np.ndarray:
        """(V, …) missing calls and S of each set, then Σg², then missing calls of people with one copy less; zeros of sets of
        one sex where `hidden`."""
        out = []
        for i in self.sets.indicators:
            out += [sums.m[:, i], sums.g[:, i]]
        where = self.design.columns.squared_index
        out += [sums.q[:, where.index(i)] for i in self.sets.squared]
        marks = [i for i in self.sets.indicators for _ in range(2)] + list(self.sets.squared)
        shown = [np.where(hidden, 0, v) if i in self.sets.apart else v for i, v in zip(marks, out, strict=True)]
        return np.stack([*shown, *(np.where(hidden, 0, sums.m[:, i]) for i in self.sets.single)], axis=1)

    def check_counts(self, own: np.ndarray, total: np.ndarray) -> None:
        """Raise PolicyError where the counts of all sites, or of the others, are not of people."""
        sets = self.sets.indicators
        theirs = {i: self.people[i] - self.own_people[i] for i in self.people}
        for part, most in ((total, self.people), (total - own, theirs)):
            bad = (part < 0).any()
            for j, i in enumerate(sets):
                n, s = most[i] - part[:, 2 * j], part[:, 2 * j + 1]
                bad |= bool((n < 0).any() or (s > self.top * n).any())
                if i in self.sets.squared:
                    q = part[:, 2 * len(sets) + self.sets.squared.index(i)]
                    if self.coded:  # of the copies: at least as many as a model makes of them
                        bad |= bool((q > self.top * n).any() or (q < s).any())
                    else:
                        bad |= bool((q > self.top * s).any() or (spread(n, q, s) < 0).any())
            for j, i in enumerate(reversed(self.sets.single), 1):
                bad |= bool((part[:, -j] > most[i]).any())
            if bad:
                raise PolicyError(OUT_OF_BOUNDS)

    def column_bounds(self) -> list[int]:
        """Largest totals of the columns of one variant, in the order of `own_columns`: Cauchy and Schwarz's."""
        out = []
        for j, i in self.sets.filled:
            out.append(self.people[i] * (math.isqrt(self.top**2 * self.people[i] * self.norms[j]) + 1))
        for j, i in self.sets.weighted:
            bound = math.isqrt(self.top**4 * self.people[i] * self.norms[j]) + 1
            out.append(bound + self.people[i] if self.rules else self.people[i] ** 2 * bound)
        for j, i in self.sets.quadratic:
            out.append(self.people[i] ** 2 * (math.isqrt(self.top**4 * self.people[i] * self.norms[j]) + 1))
        for _, i in self.sets.minor:
            out.append(self.top * self.people[i])
        for _, i in self.sets.counted:
            out += [self.people[i], self.top * self.people[i]]
        return out

    def own_columns(self, sums: Sums, opened: OpenedCounts, start: int, stop: int) -> np.ndarray:
        """(V, …) numbers of the opened rows: exact where no few people lack a call, else filled with rounded ones."""
        g, m, q = (v[opened.rows] for v in (sums.g, sums.m, sums.q))
        where, out = self.design.columns.squared_index, []
        rounded = self._rounded(opened, start, stop)
        for k, (j, i) in enumerate(self.sets.filled):
            n, s = opened.called[i], opened.dosage[i]
            shown = (
                g[:, j] + rounded[:, k] if self.rounds else 0
            )  # a table without them does not hide them from the sites
            out.append(np.where(opened.exact(i), exactly(n, g[:, j], s, m[:, j]), shown))
        for j, i in self.sets.weighted:
            if not self.rules:
                n, s, w = opened.called[i], opened.dosage[i], g[:, j] if self.coded else q[:, where.index(j)]
                out.append(exactly(n * n, w, squared(s), m[:, j]))
            else:
                out.append(np.where(opened.exact(i) | self.rounds, self._weighted(opened, j, i, start, stop), 0))
        for j, i in self.sets.quadratic:
            n, s = opened.called[i], opened.dosage[i]
            out.append(np.where(opened.exact(i), exactly(n * n, q[:, where.index(j)], squared(s), m[:, j]), 0))
        for j, i in self.sets.minor:
            single = self.sets.single_cases.get(j)
            cases, alleles = self._called(j, m), self.stratum.copies * opened.called[i]
            most = self.stratum.copies * cases
            if single is not None:
                alleles, most = alleles - opened.single[single[0]], most - self._called(single[1], m)
            count, mine = (opened.square[i], q[:, where.index(j)]) if self.coded else (opened.dosage[i], g[:, j])
            out.append(np.where(2 * count > self.copy * alleles, self.copy * most - mine, mine))
        for j, i in self.sets.counted:  # of few people without a call it would say who is a case
            out += [np.where(opened.exact(i), v[:, j], 0) for v in (m, g)]
        return np.stack(out, axis=1) if out else np.zeros((len(g), 0), np.int64)

    def _called(self, j: int, m: IntArray) -> IntArray:
        """(V,) own people of a column of 0 and 1 who are called."""
        called: np.ndarray = int(self.values[:, j].sum()) - m[:, j]
        return called

    def _opened_rows(self, opened: OpenedCounts, start: int, stop: int) -> Iterator[tuple[GenotypeBlock, IntArray]]:
        """Blocks of the opened rows, and each row's place among them."""
        first = 0
        for block in self.blocks(start, stop):
            index = opened.rows[first : np.searchsorted(opened.rows, block.start - start + len(block))]
            here, first = np.arange(first, first + len(index)), first + len(index)
            if len(index):
                yield rows_of(block, index - (block.start - start)), here

    def _weighted(self, opened: OpenedCounts, j: int, i: int, start: int, stop: int) -> IntArray:
        """(V,) Σ w (g − S/n)² over the own people, each rounded to a whole number; a missing call adds nothing.

        With Σ w g and Σ w g² apart, everybody would see the weights of the people of each genotype, often of one alone.
        """
        people, out = self.values[:, i] != 0, np.zeros(len(opened.rows), np.int64)
        mean, w = opened.dosage[i] / np.maximum(opened.called[i], 1) / self.reader.dosage_grid, self.values[people, j]
        for block, here in self._opened_rows(opened, start, stop):
            copies, at = block.dosage[:, people] / self.reader.dosage_grid, mean[here, None]
            if block.missing is not None:
                copies = np.where(block.missing[:, people], at, copies)
            weights, few = hidden_weights(copies, at, w, self.fewest)
            self.withheld.averaged += int(few.sum())
            away = (copies - at) * self.reader.dosage_grid
            out[here] = np.rint(weights * (away * away)).astype(np.int64).sum(axis=1)
        return out

    def _rounded(self, opened: OpenedCounts, start: int, stop: int) -> np.ndarray:
        """(V, filled) sums over the own people without a call of S·x/n, each rounded; zeros where they are not shown."""
        pairs, out = self.sets.filled, np.zeros((len(opened.rows), len(self.sets.filled)), np.int64)
        if not self.rounds or not any(opened.few[i].any() for _, i in pairs):
            return out
        for block, here in self._opened_rows(opened, start, stop):
            if block.missing is None:
                continue
            calls = {i: np.nonzero(block.missing & (self.values[:, i] != 0)) for _, i in pairs}
            for k, (j, i) in enumerate(pairs):
                n, s, (row, person) = opened.called[i][here], opened.dosage[i][here], calls[i]
                out[here, k] = filled(row, n, s, self.values[person, j])
        return out

    def own_pairs(self, opened: OpenedCounts, rows: IntArray, start: int, stop: int, a: Analysis) -> np.ndarray:
        """(rows, pairs) Σ m x_k x_l over the own people, for complete cases."""
        columns = self.design.columns
        x = type(columns)(
            tuple(columns.names[j] for j in a.columns), np.ascontiguousarray(columns.values[:, list(a.columns)]),
            (False,) * len(a.columns),
        )  # fmt: skip
        parts = [block_sums(b, x, pairs=True).mm for b in self.blocks(start, stop)]
        whole: np.ndarray = np.concatenate([p for p in parts if p is not None])
        out: np.ndarray = whole[opened.rows[rows]]
        return out
