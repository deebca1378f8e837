"""What the parties of a whole-genome model total, and what each looks at before its people enter a total.

Who learns what: the totals are public between the parties that make them. One owner has no others: `Alone`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.exact import Matrix
from securegen.errors import DesignError
from securegen.model import FloatArray, IntArray

PEOPLE = 4096  # that are multiplied at once
LEFT_BITS = 20  # of a residual, in a step of Newton's method


@dataclass(frozen=True)
class ColumnProducts:
    """Columns whose products are totalled. name: of the step; columns: A; largest: of a number; make(): (n, A) int64 of the
    own people, the same at each call."""

    name: str
    columns: int
    largest: int
    make: Callable[[], IntArray]


@dataclass(frozen=True)
class Weighted:
    """A step of Newton's method. x: (n, A) int64; gram: (A, A) int64, Σ x xᵀ of everybody; weight: (n,) int64, 2^bits μ(1 − μ)
    rounded; left: (n,) int64, y − μ in units of 2^-LEFT_BITS."""

    name: str
    x: IntArray
    gram: IntArray
    weight: IntArray
    left: IntArray
    bits: int


class ModelTotals(Protocol):
    """Each total is over the people of all parties; what a party refuses raises PolicyError."""

    @property
    def few(self) -> fp.SumOverSites:
        """Totals of a few Python integers."""
        ...

    def columns(self, values: IntArray, analysed: np.ndarray) -> None:
        """Looks at covariates and phenotypes (n, E) of the people `analysed`, (N,) bool, before their products are totalled."""

    def gram(self, own: Matrix, opened: Matrix, covariates: int) -> None:
        """Looks at the total of these products, the first columns of which are covariates."""

    def products(self, beside: IntArray, wanted: Sequence[ColumnProducts]) -> Iterator[tuple[IntArray, IntArray]]:
        """Σ a aᵀ (A, A) and Σ a eᵀ (A, E) of each, e the numbers (n, E) `beside`."""
        ...

    def newton(self, step: Weighted) -> tuple[IntArray, IntArray]:
        """Σ weight x xᵀ (A, A) and Σ left x (A,)."""
        ...

    def losses(self, name: str, values: IntArray) -> IntArray:
        """Σ (L,) of numbers (n, L) that are not negative."""
        ...

    def leverage(self, what: str, values: FloatArray) -> None:
        """Looks at the leverage of the own people, (n, L), before what it gives is totalled."""

    def predictors(self, name: str, values: IntArray) -> IntArray:
        """Looks at the predictors (n, R) of a phenotype before they are totalled, and gives them back as they were at first."""
        ...

    def linear(self, what: str, values: FloatArray) -> None:
        """Looks at logits (n,) of the own people."""

    def same(self, what: str, values: IntArray) -> None:
        """Makes sure that all parties chose these integers from the totals."""


class Alone:
    """The totals of one owner, who has all the people."""

    few = staticmethod(fp.pooled)

    def columns(self, values: IntArray, analysed: np.ndarray) -> None: ...

    def gram(self, own: Matrix, opened: Matrix, covariates: int) -> None: ...

    def products(self, beside: IntArray, wanted: Sequence[ColumnProducts]) -> Iterator[tuple[IntArray, IntArray]]:
        for each in wanted:
            yield own_products(each.make(), beside)

    def newton(self, step: Weighted) -> tuple[IntArray, IntArray]:
        return own_newton(step)

    def losses(self, name: str, values: IntArray) -> IntArray:
        out: IntArray = values.sum(axis=0)
        return out

    def leverage(self, what: str, values: FloatArray) -> None: ...

    def predictors(self, name: str, values: IntArray) -> IntArray:
        return values

    def linear(self, what: str, values: FloatArray) -> None: ...

    def same(self, what: str, values: IntArray) -> None: ...


def own_products(a: IntArray, beside: IntArray) -> tuple[IntArray, IntArray]:
    """aᵀa and aᵀe of one party's people."""
    return product(a, a), product(a, beside)


def own_newton(step: Weighted) -> tuple[IntArray, IntArray]:
    """The same of a step of Newton's method."""
    return product(step.x, step.x * step.weight[:, None]), product(step.x, step.left[:, None])[:, 0]


def product(a: IntArray, b: IntArray) -> IntArray:
    """aᵀb of integers, exact. Raises DesignError where float64 could not hold every sum of products."""
    norms = [np.sqrt((values.astype(np.float64) ** 2).sum(axis=0)).max(initial=0.0) for values in (a, b)]
    if norms[0] * norms[1] >= 2.0**52:  # by Cauchy and Schwarz, no sum of some of the products is larger
        raise DesignError(f"products of {len(a)} people's numbers are too large to be summed exactly")
    out = np.zeros((a.shape[1], b.shape[1]))
    for start in range(0, len(a), PEOPLE):
        part = slice(start, start + PEOPLE)
        out += a[part].T.astype(np.float64) @ b[part].astype(np.float64)
    return out.astype(np.int64)
