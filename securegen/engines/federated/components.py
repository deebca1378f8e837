"""Principal components of the people of all sites: rounds of projections and totals (`structure.components`).

| step | numbers | opened |
|---|---|---|
| flags, counts | of variants: `common_variants` | |
| round t: squares | Σ y² of each column of projections | yes |
| round t: people | Σ q, q the projections rounded to 12 bits of their root mean square | yes |
| round t: products | n·Σ q g + S·Σ q m of each variant and column: missing calls at their mean | yes |

Everybody computes the loadings from totals: nobody sends them. The first ones follow from the digest of the study. Masks
of what follows cancel between sites with the same integers alone (`SecureSum.agree`).

Who learns what: every site learns loadings, eigenvalues and these totals; people's projections and components stay at their
site. Before a round's products each site looks at its own q of all rounds: nobody may stand out in a column, nor in any
combination of columns that were opened, and the columns are counted in the ledger of these people. A site refuses with one
fixed message, and the study has ended; no round is repeated with other loadings.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from securegen.engines.federated.common_variants import common_variants, pooled_people
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.rounds import SecureSum, not_below_own
from securegen.errors import DesignError
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.model import FloatArray, IntArray, SelectableReader
from securegen.structure import kinship
from securegen.structure.components import Components, components, scores, standardised
from securegen.structure.totals import Counts, OwnTotals

ROUNDS, LEAST_ROUNDS = 8, 3
STANDS_OUT = 50  # a person's square may be this part of a column's; with consent the part of any column

Charge = Callable[[IntArray], None]


def unrelated_people(
    reader: SelectableReader, people: np.ndarray, fewest: int, cutoff: float = kinship.SECOND_DEGREE
) -> np.ndarray:
    """(N,) bool: of these people, those of whom no two have that kinship; none are left out, or at least `fewest`, since two
    sets of people that differ by few are those few."""
    index = np.flatnonzero(people)
    own = reader.select(index, None)
    kept = kinship.unrelated(len(index), (pairs.at_least(cutoff) for pairs in kinship.pairs(own)))
    left_out = int((~kept).sum())
    if openings.too_few(np.array(left_out), fewest):
        kept[np.flatnonzero(kept)[-(fewest - left_out) :]] = False
    out = np.zeros(len(people), bool)
    out[index[kept]] = True
    return out


@dataclass
class PooledTotals:
    """Totals of all sites, of variants that nobody withholds. charge: counts columns (n, C) of the own people, or ends the
    study."""

    secure: SecureSum
    own: OwnTotals
    guard: SiteGuard
    pooled: Counts
    charge: Charge
    consent: bool = False
    rounds: int = 0

    def counts(self) -> Counts:
        return self.pooled

    def squares(self, a: IntArray, b: IntArray, shift: int) -> list[int]:
        self.rounds += 1
        self.secure.agree(f"components-{self.rounds:02d}-loadings", a, b)
        own = self.own.squares(a, b, shift)
        # of a person, Σ (g_j − 2p_j) l_j: as large as all of its genotypes at their rarest
        reach = self.own.reader.dosage_max * np.abs(a).sum(axis=0) + np.abs(b).sum(axis=0)
        most = [self.pooled.samples * (int(r) >> shift) ** 2 + self.pooled.samples for r in reach]
        found = self.secure.rows(
            f"components-{self.rounds:02d}-squares", 1, [field_bits(m) for m in most],
            lambda: np.array([own], object), bounds=tuple(most), check=not_below_own,
        )  # fmt: skip
        self._squares, self._shift = [int(v) for v in found[0]], shift
        return self._squares

    def products(self, shifts: list[int]) -> tuple[IntArray, IntArray]:
        q = self.own.rounded(shifts)
        self._look(q)
        n = self.pooled.samples
        # Σq² of everybody, by the opened squares and what rounding adds
        norms = [
            math.isqrt(s << 2 * max(0, self._shift - k)) + 1 + math.isqrt(n)
            if k <= self._shift
            else (math.isqrt(s) >> (k - self._shift)) + 1 + math.isqrt(n)
            for s, k in zip(self._squares, shifts, strict=True)
        ]
        people = self._rows("people", 1, [math.isqrt(n) * v + v for v in norms], lambda: q.sum(axis=0)[None])
        top = self.own.reader.dosage_max
        bounds = [n * (math.isqrt(top * top * n) + 1) * v for v in norms]
        products = self._rows(
            "products", len(self.pooled.called), bounds, lambda: self.own.imputed_products(q, self.pooled)
        )
        return people[0], products

    def _rows(self, what: str, count: int, bounds: list[int], make: Callable[[], IntArray]) -> IntArray:
        found = self.secure.rows(
            f"components-{self.rounds:02d}-{what}", count, [field_bits(b) for b in bounds], make, bounds=tuple(bounds)
        )
        return found.astype(np.int64)

    def _look(self, q: IntArray) -> None:
        """The rules for the own people, before their projections meet a genotype."""
        if self.guard.on:
            for k in range(q.shape[1]):
                fault = openings.column_fault(q[:, k], self.guard.fewest if self.consent else STANDS_OUT)
                if fault is not None:
                    self.guard.refuse(f"components, round {self.rounds}, column {k + 1}", fault)
        everybody = np.zeros(len(self.own.reader.samples), bool)
        everybody[self.own.people] = True
        self.guard.opened(f"components, round {self.rounds}", q, everybody)
        self.charge(q)


def federated_components(
    secure: SecureSum, reader: SelectableReader, people: np.ndarray, wanted: int, seed: bytes, guard: SiteGuard,
    charge: Charge, *, strict: bool, consent: bool = False, prune: bool = False, others: np.ndarray | None = None,
    rounds: int = ROUNDS, say: Callable[[str], None],
) -> FloatArray:  # fmt: skip
    """(N, wanted) components of all people of this site. people: (N,) bool, of whom the components are; the others are
    projected.

    reader: the variants of the components, in the order that all sites share; seed: the same everywhere; prune: this site
    withholds variants in linkage disequilibrium, among those that it withholds anyway; others: (N,) bool, those of the
    projected over whom the study sums variants and components. Raises PolicyError where the rules refuse, DesignError where
    too few people or variants are left.
    """
    pooled = pooled_people(secure, people)
    width = wanted + 4
    rounds = min(rounds, int(openings.STRUCTURE_SHARE * pooled) // width) if guard.on and not consent else rounds
    if rounds < LEAST_ROUNDS:
        raise DesignError(
            f"{wanted} components of {pooled} people: {LEAST_ROUNDS} rounds of {width} columns are more than "
            f"{openings.STRUCTURE_SHARE:.0%} of them; fewer components, public loadings (`loadings`), or `consent_openings`"
        )
    if guard.on and not consent and rounds * width > openings.SITE_SHARE * people.sum():
        guard.refuse(
            "components", f"{rounds * width} columns are more than {openings.SITE_SHARE:.0%} of the own people"
        )
    found_variants = common_variants(
        secure, reader, people, pooled, guard, "components", strict=strict, prune=prune, others=others
    )
    wanted_of, reader = len(reader.variants), found_variants.reader
    say(f"components: {len(reader.variants)} of {wanted_of} variants, {pooled} people, at most {rounds} rounds")
    totals = PooledTotals(secure, OwnTotals(reader, people), guard, found_variants.counts, charge, consent)
    found = components(totals, wanted, seed, grid=reader.dosage_grid, rounds=rounds, say=say)
    return _scores(found, secure, reader, people, say)


def _scores(
    found: Components, secure: SecureSum, reader: SelectableReader, people: np.ndarray, say: Callable[[str], None]
) -> FloatArray:
    wanted = found.loadings.shape[1]
    if (settled := found.converged()) < wanted:
        say(f"WARNING: {settled} of {wanted} components have settled after {found.rounds} rounds; of the others only the "
            "space of all is defined")  # fmt: skip
    s = standardised(found.counts, reader.dosage_grid)
    a, b = s.loadings(found.loadings)
    secure.agree("components-loadings", a, b)
    values = scores(found, OwnTotals(reader).project(a, b))
    if not people.all():
        if (found.eigenvalues <= 1).any():
            raise DesignError("an eigenvalue is 1 or less: relatives cannot be projected on it; fewer components")
        values[~people] /= 1 - 1 / found.eigenvalues
    return values
