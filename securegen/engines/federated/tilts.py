"""What a row that is corrected asks of the sites, point by point: numbers of its people, and where they are wanted next.

Both methods are those of an owner (`stats.saddlepoint`, `stats.firth`); sums over the sites take the place of sums over people.
Who learns what: nobody here; `corrections` opens the sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from securegen.catalogue import CORRECTIONS, FIRTH, NONE, SPA, Test
from securegen.errors import UsageError
from securegen.kernels.rounded_terms import FARTHEST, MOST_COPIES, UNIT, penalised_terms, score_terms, tilted_terms
from securegen.stats import firth
from securegen.stats.corrected import Correction, NullFit, Start
from securegen.stats.firth import Ascent
from securegen.stats.saddlepoint import FEWER_STEPS, Tails
from securegen.study import checks
from securegen.study.inputs import P_THRESH

_ONE = int(UNIT)
_COPY = int(MOST_COPIES)


class Tilted(ABC):
    """One row. A point is a number of logits a copy; a round asks for one or two of them.

    numbers: of a round at the start and later; positive: those of them that are sums of terms that are never negative;
    columns: what a round counts in the budgets at most, at the start and later; rounds: the most there are; open: the points of
    which totals are.
    """

    numbers: tuple[int, int]
    positive: tuple[tuple[int, ...], tuple[int, ...]]
    columns: tuple[int, int]
    rounds: int
    open: tuple[float, ...] = ()

    @property
    @abstractmethod
    def points(self) -> tuple[float, ...]:
        """Where sums are wanted next; none at the end."""

    @abstractmethod
    def of(self, fit: NullFit, x: np.ndarray) -> list[int]:
        """Sums of people at these points, as many as `numbers`. x: (n,) as of `NullFit.x`."""

    def take(self, totals: Sequence[int]) -> None:
        """Their sums over the sites."""
        self.open += self.points
        self._take(totals)

    @abstractmethod
    def _take(self, totals: Sequence[int]) -> None:
        """Go on from these totals."""

    @abstractmethod
    def correction(self) -> Correction | None:
        """At the end; None where nothing was found."""

    @abstractmethod
    def weights(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        """(n,) what each person has of the variances that these sums hold."""

    @abstractmethod
    def one_sided(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        """(n,) what each person has of numbers that count the people on one side of a point alone: of Σ|x|, who is above 0. Sites
        that steer the coefficients of x, or a point, choose who that is."""

    @staticmethod
    @abstractmethod
    def each(fit: NullFit, x: np.ndarray, point: float) -> np.ndarray:
        """(n, p) what each person has of the numbers at a point."""

    def told(self, fit: NullFit, common: np.ndarray, step: int) -> np.ndarray:
        """(n, p) by how much a person's terms are other with one copy of the rarer allele, at all points that are open or wanted
        next: for who knows everybody's covariates, what the numbers say of genotypes. common: (n,) x without; step: ±1, of x."""
        points = sorted({*self.open, *self.points})
        return np.concatenate([self.each(fit, common + step, t) - self.each(fit, common, t) for t in points], axis=1)


class SaddlepointRow(Tilted):
    """The start at 0: value, variance, third cumulant and both ends; then K, K' and K'' at a point of each tail."""

    numbers = (5, 6)
    positive = ((1, 3, 4), (0, 2, 3, 5))
    columns = (1, 2)
    rounds = 1 + FEWER_STEPS

    def __init__(self) -> None:
        self._tails: Tails | None = None

    @property
    def points(self) -> tuple[float, ...]:
        if self._tails is None:
            return (0.0,)
        return tuple(t for t in self._tails.at if t is not None)

    def of(self, fit: NullFit, x: np.ndarray) -> list[int]:
        if self._tails is None:
            return score_terms(x, fit.mean, fit.residual)
        parts = [tilted_terms(x, fit.mean, t) if t is not None else [0, 0, 0] for t in self._tails.at]
        return [*parts[0], *parts[1]]

    def _take(self, totals: Sequence[int]) -> None:
        if self._tails is None:
            self._tails = Tails(Start.of(totals), limit=FEWER_STEPS)
        else:
            values = [t / UNIT for t in totals]
            self._tails.take(values[:3], values[3:])

    def correction(self) -> Correction | None:
        return None if self._tails is None else self._tails.correction()

    def weights(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        out = []
        for t in self.points:
            share = _share(fit.mean, t * x)
            out.append(x * x * share * (1 - share))
        return out

    def one_sided(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        if self._tails is None:
            return [np.maximum(x, 0.0), np.maximum(-x, 0.0)]
        return [part for t in self.points for part in _sides(x, _share(fit.mean, t * x))]

    @staticmethod
    def each(fit: NullFit, x: np.ndarray, point: float) -> np.ndarray:
        if point == 0:
            square = x * x * fit.weight
            up, down = np.maximum(x, 0.0) - x * fit.mean, x * fit.mean - np.minimum(x, 0.0)
            return np.stack([x * fit.residual, square, square * (1 - 2 * fit.mean) * x, up, down], axis=1)
        share = _share(fit.mean, point * x)
        cumulant = np.logaddexp(np.log1p(-fit.mean), np.log(fit.mean) + point * x) - point * x * fit.mean
        return np.stack([cumulant, x * (share - fit.mean), x * x * share * (1 - share)], axis=1)


class FirthRow(Tilted):
    """At every point the derivative's parts, the information and the likelihood."""

    numbers = (4, 4)
    positive = ((1, 3), (1, 3))
    columns = (1, 1)
    rounds = firth.FEWER_STEPS

    def __init__(self) -> None:
        self._ascent = Ascent(limit=firth.FEWER_STEPS)

    @property
    def points(self) -> tuple[float, ...]:
        return () if self._ascent.at is None else (self._ascent.at,)

    def of(self, fit: NullFit, x: np.ndarray) -> list[int]:
        return penalised_terms(x, fit.side, fit.firth_logits, *self.points)

    def _take(self, totals: Sequence[int]) -> None:
        self._ascent.take(*(t / UNIT for t in totals))

    def correction(self) -> Correction | None:
        return self._ascent.correction()

    def weights(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        return [x * x * p * (1 - p) for b in self.points for p in [_logistic(fit.firth_logits + b * x)]]

    def one_sided(self, fit: NullFit, x: np.ndarray) -> list[np.ndarray]:
        return [part for b in self.points for part in _sides(x, _logistic(fit.firth_logits + b * x))]

    @staticmethod
    def each(fit: NullFit, x: np.ndarray, point: float) -> np.ndarray:
        eta = fit.firth_logits + point * x
        p = _logistic(eta)
        square = x * x * p * (1 - p)
        return np.stack([x * (fit.cases - p), square, square * x * (0.5 - p), np.logaddexp(0, -fit.side * eta)], axis=1)


ROWS: dict[str, type[Tilted]] = {SPA: SaddlepointRow, FIRTH: FirthRow}


def check_correction(method: str, p_thresh: float, tests: Sequence[Test]) -> None:
    """Raise UsageError for what a study file says of `--correction` that does not go with its tests."""
    checks.choice("correction", method, (NONE, *CORRECTIONS))
    checks.number("p_thresh", p_thresh, 0, 1)
    if method != NONE and not any(method in t.corrections for t in tests):
        raise UsageError(
            f"`correction` {method} needs cases and controls under `model` logistic, and no phenotype has them"
        )
    if method == NONE and p_thresh != P_THRESH:
        raise UsageError(f"`p_thresh` needs a `correction`: {', '.join(CORRECTIONS)}")


def bounds(people: int) -> int:
    """The largest total of a number of a row, over so many people."""
    return people * _ONE * max(_COPY**3, 2 * _COPY * int(FARTHEST))


def most_columns(method: str) -> int:
    """What the correction of one phenotype counts in the budgets at most."""
    row = ROWS[method]
    return row.columns[0] + (row.rounds - 1) * row.columns[1]


def _sides(x: np.ndarray, share: np.ndarray) -> list[np.ndarray]:
    """What each person has of Σ|x|p and Σ|x|(1 − p), which far out are sums over one side."""
    return [np.abs(x) * share, np.abs(x) * (1 - share)]


def _share(mean: np.ndarray, a: np.ndarray) -> np.ndarray:
    return _logistic(np.log(mean) - np.log1p(-mean) + a)


def _logistic(eta: np.ndarray) -> np.ndarray:
    out: np.ndarray = 1 / (1 + np.exp(-np.clip(eta, -700, 700)))
    return out
