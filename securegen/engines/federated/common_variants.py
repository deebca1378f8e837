"""The variants on which all sites compute something of structure: those that nobody withholds, and their totals.

| step | numbers | opened |
|---|---|---|
| flags | of each variant: sites that withhold it | how many |
| counts | of each variant that nobody withholds: calls that are missing, S = Σg | yes |

A site withholds a variant in which few of its people stand out, or lack a call, or which is nearly one taken before it;
also of the people alone with whom the same is summed elsewhere, since the difference of two totals is theirs.

Who learns what: every site learns the totals; of a variant that is withheld, at how many sites.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, not_below_own
from securegen.errors import DesignError, PolicyError
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.governance.rows import RowRule, rows_at_once
from securegen.model import FloatArray, GenotypeBlock, IntArray, SelectableReader, iterate_blocks
from securegen.structure.totals import Counts, OwnTotals

LEAST_FREQUENCY = 0.01
UNITS = 256  # of a variant's root mean square, in which r² is computed
MOST_ALIKE, PRUNED = 0.9, 0.2  # r² of a variant and one before it; at the site on which variants are pruned


@dataclass(frozen=True)
class CommonVariants:
    """reader: of all samples, common variants that nobody withholds, `rows` of those asked for; counts: of the people of all
    sites who are summed."""

    reader: SelectableReader
    rows: IntArray
    counts: Counts

    def take(self, index: IntArray) -> CommonVariants:
        counts = Counts(self.counts.called[index], self.counts.dosage[index], self.counts.samples)
        return CommonVariants(self.reader.select(None, index), self.rows[index], counts)


def pooled_people(secure: SecureSum, people: np.ndarray) -> int:
    """How many people of all sites are in the sums. people: (N,) bool, the own."""
    (pooled,) = secure.total([int(people.sum())])
    if not people.sum() <= pooled <= openings.LARGEST_SUM:
        secure.refuse(OUT_OF_BOUNDS)
    return pooled


def common_variants(
    secure: SecureSum, reader: SelectableReader, people: np.ndarray, pooled: int, guard: SiteGuard, what: str, *,
    strict: bool, prune: bool = False, others: np.ndarray | None = None,
) -> CommonVariants:  # fmt: skip
    """Those for sums over `people`, (N,) bool, `pooled` of all sites. others: (N,) bool, further people with whom the same is
    summed elsewhere, so that the difference is opened: the rules of rows hold over them too.

    reader: variants in the order that all sites share; what: names the steps; prune: this site withholds variants in linkage
    disequilibrium, among those that it withholds anyway. Raises DesignError where none is left, PolicyError where totals are
    not of people.
    """
    own = _flags(reader, people, guard, strict=strict, prune=prune, others=others)
    kept = withheld_by_nobody(secure, f"{what}-flags", own)
    reader = reader.select(None, kept)
    counts = pooled_counts(secure, OwnTotals(reader, people), pooled, what)
    frequency = counts.dosage / (2 * reader.dosage_grid * np.maximum(counts.called, 1))
    common = np.flatnonzero(np.minimum(frequency, 1 - frequency) >= LEAST_FREQUENCY)
    return CommonVariants(reader, kept, counts).take(common)


def withheld_by_nobody(secure: SecureSum, step: str, own: IntArray) -> IntArray:
    """Index of the variants that no site withholds. own: (M,) 1 where this site does. Raises DesignError where none is left."""
    flags = secure.rows(step, len(own), [field_bits(64)], lambda: own[:, None], bounds=(64,), check=not_below_own)
    kept = np.flatnonzero(flags[:, 0] == 0)
    if not len(kept):
        raise DesignError(f"sites withhold every variant ({step}): nothing can be summed")
    return kept


def pooled_counts(secure: SecureSum, own: OwnTotals, pooled: int, what: str) -> Counts:
    """Totals of the step `what`-counts. pooled: people of all sites. Raises PolicyError where they are not of people."""
    mine, top = own.counts(), own.reader.dosage_max
    lack = len(own.people) - mine.called
    bounds = (pooled, top * pooled)

    def check(part: IntArray, total: IntArray) -> None:
        rest = total - part
        n = pooled - len(own.people) - rest[:, 0]
        if (rest < 0).any() or (n < 0).any() or (rest[:, 1] > top * n).any():
            raise PolicyError(OUT_OF_BOUNDS)

    found = secure.rows(
        f"{what}-counts", len(lack), [field_bits(b) for b in bounds], lambda: np.stack([lack, mine.dosage], axis=1),
        bounds=bounds, check=check,
    ).astype(np.int64)  # fmt: skip
    return Counts(pooled - found[:, 0], found[:, 1], pooled)


def _flags(
    reader: SelectableReader, people: np.ndarray, guard: SiteGuard, *, strict: bool, prune: bool = False,
    others: np.ndarray | None = None,
) -> IntArray:  # fmt: skip
    """(M,) 1 where this site withholds a variant: few people stand out in it, or lack its call, or it is nearly one that was
    taken before."""
    out = np.zeros(len(reader.variants), np.int64)
    if not (guard.on or prune):
        return out
    sets = [people, *([others] if others is not None and others.any() else [])]
    rule = RowRule(sets, reader.dosage_grid, strict=strict, fewest=guard.fewest, between=guard.between)
    kept: list[GenotypeBlock] = []
    alike = _Alike(people, PRUNED if prune else MOST_ALIKE)
    for block in iterate_blocks(reader, rows_at_once(len(reader.samples))):
        veto = rule.scan(block, kept) if guard.on else np.zeros(len(block), bool)
        if guard.on and block.missing is not None:
            for some in sets:
                veto |= openings.too_few(block.missing[:, some].sum(axis=1, dtype=np.int64), guard.fewest)
        veto |= alike.scan(block, ~veto)
        out[block.start : block.start + len(block)] = veto
    return out


class _Alike:
    """Variants in high linkage disequilibrium with one taken before them, within the window of the rules.

    Of integers, whose products add up exactly in any order: a site that is begun again withholds the same variants.
    """

    def __init__(self, people: np.ndarray, most: float = MOST_ALIKE) -> None:
        self._people, self._most = people, most
        self._taken = np.zeros((0, int(people.sum())))
        self._places: list[int] = []

    def scan(self, block: GenotypeBlock, allowed: np.ndarray) -> np.ndarray:
        """(V,) bool: r² above the limit with a variant that was taken."""
        out = np.zeros(len(block), bool)
        for first in range(0, len(block), openings.WINDOW):
            part = slice(first, min(first + openings.WINDOW, len(block)))
            x = self._standardised(block, part)
            at = np.arange(part.start, part.stop) + block.start
            near = np.array([p > at[0] - openings.WINDOW for p in self._places], bool)
            self._taken, self._places = self._taken[near], [p for p, n in zip(self._places, near, strict=True) if n]
            near_by = at[:, None] - np.array(self._places, np.int64)[None] < openings.WINDOW
            before: np.ndarray = np.any(self._alike(x, self._taken) & near_by, axis=1)
            inside = self._alike(x, x)
            taken: list[int] = []
            for v in range(len(x)):
                if allowed[first + v] and not before[v] and not inside[v, taken].any():
                    taken.append(v)
                else:
                    out[first + v] = allowed[first + v]
            self._taken = np.concatenate([self._taken, x[taken]])
            self._places += at[taken].tolist()
        return out

    def _standardised(self, block: GenotypeBlock, part: slice) -> FloatArray:
        """(V, n) whole numbers: every variant less its mean, of root mean square UNITS."""
        g = block.dosage[part][:, self._people].astype(np.float64)
        if block.missing is not None:
            lack = block.missing[part][:, self._people]
            called = np.maximum((~lack).sum(axis=1, keepdims=True), 1)
            g = np.where(lack, g.sum(axis=1, keepdims=True) / called, g)
        g -= g.mean(axis=1, keepdims=True)
        size = np.sqrt((g * g).mean(axis=1, keepdims=True))
        out: FloatArray = np.rint(UNITS * (g / np.where(size > 0, size, 1)))
        return out

    def _alike(self, x: FloatArray, y: FloatArray) -> np.ndarray:
        squares = (x * x).sum(axis=1)[:, None] * (y * y).sum(axis=1)
        out: np.ndarray = (x @ y.T) ** 2 > self._most * squares
        return out
