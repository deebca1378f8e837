"""A whole-genome model of the people of all sites: the totals of `structure.whole_genome`, and what guards them.

| step | numbers | opened |
|---|---|---|
| design | Σx, Σx² of covariates and phenotypes, and their products | yes |
| flags, counts | of variants: `common_variants`; once more, of those that make a block's combination few people | |
| blocks | XᵀX of each block, XᵀC, Xᵀy | yes |
| predictors | WᵀW, WᵀC, Wᵀy of what the blocks predict of everybody by the others, once a phenotype | yes |
| newton | Σ w x xᵀ and Σ (y − μ) x of each step, of a binary phenotype alone | yes |
| losses | five errors, of which the smallest chooses the heritability | yes |

Everybody solves by itself: nobody's inverse, eigenvectors or effects are sent, so nobody's are believed. What follows from
totals as whole numbers, scales and the choice of a heritability, must be the same everywhere (`SecureSum.agree`).

Who learns what: every site learns these totals, hence linkage disequilibrium inside blocks and the effects of all variants;
predictors and predictions of people stay at their site. Before each total a site looks at its own people: leverage in every
regression, predictors, logits, and their columns in the ledger; after it, whether what the others added is of people. A site
refuses with one fixed message, and the study has ended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.exact import Matrix
from securegen.engines.federated.fields import field_bits
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, Step, not_below_own
from securegen.engines.federated.state import SiteState
from securegen.errors import ArtefactError, PolicyError
from securegen.governance import openings, ridge_rules
from securegen.governance.guard import SiteGuard
from securegen.model import FloatArray, IntArray
from securegen.structure.ridge_people import COVARIATE_BITS
from securegen.structure.ridge_totals import LEFT_BITS, ColumnProducts, Weighted, own_newton, own_products, product

TOGETHER = 1 << 23  # numbers of blocks that are posted before one of them is opened
_TO_PRECISE = 2 * (fp.PRECISE_BITS - COVARIATE_BITS)
LOSS_BITS = 47  # a person's loss is below 2^17 at 2^-30

Charge = Callable[[IntArray], None]


@dataclass
class PooledModel:
    """The totals of all sites for a model of the people `analysed`, (N,) bool of this site's. people: of all sites; few: totals
    of a few integers, guarded; charge: counts columns (n, E) of the own people, or ends the study."""

    secure: SecureSum
    guard: SiteGuard
    memory: SiteState
    analysed: np.ndarray
    people: int
    few: fp.SumOverSites
    charge: Charge
    _beside: tuple[IntArray, IntArray] = field(init=False)

    @property
    def _others(self) -> int:
        return self.people - int(self.analysed.sum())

    def columns(self, values: IntArray, analysed: np.ndarray) -> None:
        self.guard.opened("whole-genome model", values, analysed)
        self.charge(values)

    def gram(self, own: Matrix, opened: Matrix, covariates: int) -> None:
        most = 1 << 62  # of a phenotype's squares: 2^40 a person
        if any(abs(v) >= most for row in opened for v in row) or opened[0][0] != self.people << 2 * COVARIATE_BITS:
            self.secure.refuse(OUT_OF_BOUNDS)
        self.guard.gram(own, opened)
        exact = [[[v << _TO_PRECISE for v in row[:covariates]] for row in part[:covariates]] for part in (own, opened)]
        self.guard.covariates(*exact)  # of the null model of a binary phenotype
        self._beside = np.array(own, np.int64), np.array(opened, np.int64)

    def products(self, beside: IntArray, wanted: Sequence[ColumnProducts]) -> Iterator[tuple[IntArray, IntArray]]:
        for group in _groups(wanted):
            yield from self._group(beside, group)

    def _group(self, beside: IntArray, group: Sequence[ColumnProducts]) -> Iterator[tuple[IntArray, IntArray]]:
        own = cache(lambda: [own_products(each.make(), beside) for each in group])
        sizes, largest, first = [each.columns for each in group], group[0].largest, group[0].name
        beside_squares = self._beside[1].diagonal().tolist()
        square = self.people * largest**2
        cross_bounds = tuple(math.isqrt(square * e) + 1 for e in beside_squares)
        opened_grams: list[IntArray] = []

        def check(_: np.ndarray, total: np.ndarray) -> None:
            crosses = np.split(total.astype(np.int64), np.cumsum(sizes)[:-1])
            for (gram, cross), all_gram, all_cross in zip(own(), opened_grams, crosses, strict=True):
                self._look(
                    _joined(gram, cross, self._beside[0]), _joined(all_gram, all_cross, self._beside[1]), largest
                )

        steps = [
            Step(
                f"step1-{first}-gram", sum(a * (a + 1) // 2 for a in sizes), (field_bits(square),),
                lambda: np.concatenate([gram[np.triu_indices(len(gram))] for gram, _ in own()])[:, None], (square,),
            ),
            Step(
                f"step1-{first}-beside", sum(sizes), tuple(field_bits(b) for b in cross_bounds),
                lambda: np.concatenate([cross for _, cross in own()]), cross_bounds, check,
            ),
        ]  # fmt: skip
        totals = self.secure.together(steps)
        upper = next(totals)[:, 0].astype(np.int64)
        ends = np.cumsum([a * (a + 1) // 2 for a in sizes])
        opened_grams += [_symmetric(part, a) for part, a in zip(np.split(upper, ends[:-1]), sizes, strict=True)]
        crosses = np.split(next(totals).astype(np.int64), np.cumsum(sizes)[:-1])
        yield from zip(opened_grams, crosses, strict=True)

    def _look(self, own: IntArray, opened: IntArray, largest: int) -> None:
        """Whether what the others added to products of columns and what stands beside them is of people."""
        a = len(own) - len(self._beside[0])
        top = np.full(len(own), largest, np.int64)
        squares = (self._beside[1] - self._beside[0]).diagonal()
        top[a:] = [math.isqrt(int(v)) + 1 if v >= 0 else 0 for v in squares]
        fault = ridge_rules.others_fault(own, opened, self._others, top)
        if fault is not None:
            raise PolicyError(OUT_OF_BOUNDS)

    def newton(self, step: Weighted) -> tuple[IntArray, IntArray]:
        own = cache(lambda: own_newton(step))
        if self.guard.on:
            weight = np.ldexp(step.weight.astype(np.float64), -step.bits)
            self._refuse(step.name, openings.weight_fault(weight, self.guard.fewest))
            self._refuse(step.name, openings.column_fault(step.left, self.guard.fewest))
            weighted = np.sqrt(step.weight.astype(np.float64))[:, None] * step.x
            most_of_one = ridge_rules.span_leverages(own()[0], weighted)
            self._refuse(step.name, ridge_rules.span_fault(most_of_one, self.guard.limit))
        size, most = len(step.gram), int(step.gram.diagonal().max())
        bounds = most << max(step.bits - 2, 0), (1 << LEFT_BITS) * (math.isqrt(self.people * most) + 1)

        def check_gram(_: np.ndarray, total: np.ndarray) -> None:
            opened = _symmetric(total[:, 0].astype(np.int64), size)
            mine = product(step.x, step.x)
            if ridge_rules.others_weighted_fault(own()[0], opened, mine, step.gram, 1 << step.bits) is not None:
                raise PolicyError(OUT_OF_BOUNDS)

        def check_left(_: np.ndarray, total: np.ndarray) -> None:
            rest = (step.gram.diagonal() - (step.x * step.x).sum(axis=0)).astype(float)
            most_left = (1 << LEFT_BITS) * np.sqrt(self._others * np.maximum(rest, 0)) * (1 + 1e-9) + 1
            if (np.abs((total[:, 0] - own()[1]).astype(float)) > most_left).any():
                raise PolicyError(OUT_OF_BOUNDS)

        upper, left = self.secure.together([
            Step(f"step1-{step.name}-gram", size * (size + 1) // 2, (field_bits(bounds[0]),),
                 lambda: own()[0][np.triu_indices(size)][:, None], bounds[:1], check_gram),
            Step(f"step1-{step.name}-left", size, (field_bits(bounds[1]),), lambda: own()[1][:, None], bounds[1:],
                 check_left),
        ])  # fmt: skip
        return _symmetric(upper[:, 0].astype(np.int64), size), left[:, 0].astype(np.int64)

    def losses(self, name: str, values: IntArray) -> IntArray:
        if self.guard.on:
            self._refuse(name, ridge_rules.losses_fault(values, self.guard.fewest))
        most, own = self.people << LOSS_BITS, values.sum(axis=0)
        found = self.secure.rows(
            f"step1-{name}", 1, [field_bits(most)] * len(own), lambda: own[None], bounds=(most,) * len(own),
            check=not_below_own,
        )  # fmt: skip
        out: IntArray = found[0].astype(np.int64)
        return out

    def leverage(self, what: str, values: FloatArray) -> None:
        if self.guard.on:
            self._refuse(f"whole-genome model, {what}", ridge_rules.ridge_leverage_fault(values))

    def predictors(self, name: str, values: IntArray) -> IntArray:
        raw = self.memory.once(f"step1-{name}", lambda: np.ascontiguousarray(values, "<i4").tobytes())
        if len(raw) != 4 * values.size:
            raise ArtefactError("the predictors of this site are not those that it began with: start another study")
        kept = np.frombuffer(raw, "<i4").reshape(values.shape)
        if self.guard.on:
            self._refuse(name, ridge_rules.predictors_fault(kept, self.guard.fewest))
        self.guard.opened(name, kept.astype(np.int64), self.analysed)
        return kept

    def linear(self, what: str, values: FloatArray) -> None:
        if self.guard.on:
            self._refuse(what, ridge_rules.eta_fault(values))

    def same(self, what: str, values: IntArray) -> None:
        self.secure.agree(f"step1-{what}", values)

    def _refuse(self, what: str, fault: str | None) -> None:
        if fault is not None:
            self.guard.refuse(what, fault)


def _groups(wanted: Sequence[ColumnProducts]) -> Iterator[list[ColumnProducts]]:
    """Runs of them of the size that is posted together."""
    group: list[ColumnProducts] = []
    for each in wanted:
        if group and sum(e.columns**2 for e in group) + each.columns**2 > 2 * TOGETHER:
            yield group
            group = []
        group.append(each)
    if group:
        yield group


def _symmetric(upper: IntArray, size: int) -> IntArray:
    out = np.zeros((size, size), np.int64)
    out[np.triu_indices(size)] = upper
    return out + np.triu(out, 1).T


def _joined(gram: IntArray, cross: IntArray, beside: IntArray) -> IntArray:
    return np.block([[gram, cross], [cross.T, beside]])
