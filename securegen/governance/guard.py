"""A site's guard: the rules of openings applied at every step in which its people's columns, sets and rows are summed.

A refusal is one fixed message, ends the study and is not tried again with other numbers; which rule spoke is said in
this site's own log alone, because each refusal that depends on data tells a bit of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import NoReturn

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.exact import Matrix
from securegen.errors import PolicyError
from securegen.governance import openings
from securegen.governance.openings import ALL, FEWEST

REFUSED = "REFUSED"  # begins what the log says
REFUSAL = (
    "this site does not open these sums: its own people would stand out in them, or the others' part is not of people. "
    "The study has ended here; this site's log names the rule"
)


class SiteGuard(fp.Guard):
    """The rules for one study at one site.

    level: strict, consortium, or all, which leaves only what others' parts must satisfy; fewest: people, k of the rules;
    consent: the named one, to more leverage per person; end: ends this site's part in the study for good;
    policies: folders of those that govern the site, whose audit logs know its ledger; between: (N,) bool each, people of one of
    two sets of samples and not of both, of `openings.between_sets`.
    """

    def __init__(
        self, log: Callable[[str], None], *, level: str = openings.STRICT, fewest: int = FEWEST, consent: bool = False,
        end: Callable[[str], NoReturn] | None = None, policies: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.level, self.fewest = level, fewest
        self._limit = openings.CONSENTED if consent else openings.LEVERAGE
        self.log, self._end, self.policies = log, end, policies
        self.between: list[np.ndarray] = []
        self._columns: list[np.ndarray] = []
        self._spans: dict[tuple[bytes, int], np.ndarray] = {}  # of people and all columns
        self._covariates: tuple[Matrix, Matrix] | None = None

    @property
    def on(self) -> bool:
        """Whether the rules of this site's own people hold."""
        return self.level != ALL

    @property
    def limit(self) -> float:
        """The largest leverage of one of this site's people."""
        return self._limit

    def refuse(self, what: str, why: str) -> NoReturn:
        """Log what stands out, and raise PolicyError with the fixed message."""
        self.log(f"{REFUSED}, {what}: {why}")
        if self._end is not None:
            self._end(REFUSAL)
        raise PolicyError(REFUSAL)

    def _check(self, what: str, fault: str | None) -> None:
        if fault is not None:
            self.refuse(what, fault)

    def beside(self) -> SiteGuard:
        """The same rules and columns; the covariates of a null model are those of its own design."""
        own = copy(self)
        own._covariates = None
        return own

    def column(self, what: str, values: np.ndarray) -> None:
        if self.on:
            self._check(what, openings.column_fault(values, self.fewest))

    def step(self, what: str, weights: np.ndarray, columns: np.ndarray) -> None:
        if self.on:
            self._check(f"{what}: weights", openings.weight_fault(weights, self.fewest))
            for j in range(columns.shape[1]):
                self._check(f"{what}: column {j}", openings.column_fault(columns[:, j], self.fewest))
            self._check(what, openings.leverage_fault(columns, self._limit))

    def opened(self, what: str, columns: np.ndarray, analysed: np.ndarray) -> None:
        out = np.zeros((len(analysed), columns.shape[1]), np.int64)
        out[analysed] = columns
        known = {column.tobytes() for column in self._columns}
        for column in np.column_stack([analysed, out]).T:
            if (raw := column.tobytes()) not in known:  # strata of the same people share columns
                known.add(raw)
                self._columns.append(column.copy())
        if self.on:
            for j in range(columns.shape[1]):
                self._check(f"{what}: column {j}", openings.column_fault(columns[:, j], self.fewest))
            together = np.column_stack(self._columns)
            people = (together != 0).any(axis=1)
            self._check(f"{what} beside what is open", openings.leverage_fault(together[people], self._limit))

    def singles_out(self, columns: np.ndarray, analysed: np.ndarray, noise: float = 0.0) -> str | None:
        """What is wrong with opening numbers of some variants, in which the genotypes of people `analysed`, (N,) bool, have
        the factors `columns`, (n, p) float64: somebody's leverage beside what is open. noise: standard deviation of what rounding
        adds to each of these numbers, which counts as one more person's genotype."""
        if not self.on:
            return None
        key = analysed.tobytes(), len(self._columns)
        if key not in self._spans:
            self._spans[key] = openings.span(np.column_stack([analysed, *self._columns])[analysed], intercept=False)
        most = openings.leverages_beside(self._spans[key], columns, noise).max(initial=0.0)
        if not most <= self._limit:  # not of NaN either
            return f"one person has leverage {most:.3f} in what is open and these numbers; at most {self._limit} is allowed"
        return None

    def moments(self, own: Sequence[int], opened: Sequence[int]) -> None:
        self._check("moments of a column", openings.moments_fault(own, opened))

    def gram(self, own: Matrix, opened: Matrix) -> None:
        self._check("products of columns", openings.gram_fault(own, opened))

    def covariates(self, own: Matrix, opened: Matrix) -> None:
        self.gram(own, opened)
        self._covariates = own, opened

    def newton(self, own: tuple[list[int], Matrix], opened: tuple[list[int], Matrix]) -> None:
        if self._covariates is None or len(self._covariates[0]) != len(own[0]):
            return
        grams, unit = self._covariates, 1 << fp.PRECISE_BITS
        # entries are rounded a person, and float64 keeps 53 bits of their sum
        largest = max(abs(v) for row in opened[1] for v in row)
        slack = len(own[0]) * (openings.LARGEST_SUM + (largest >> 40))
        self._check("a Newton step", openings.hessian_fault(own[1], opened[1], *grams, slack, unit))
        self._check("a Newton step", openings.gradient_fault(own[0], opened[0], *grams, slack, unit))

    def look_between(self, places: Sequence[tuple[Sequence[np.ndarray], Sequence[np.ndarray]]]) -> None:
        """Keep, under `strict`, the people by whom sets differ over which rows are summed, and say how many they are. places: new
        and known sets of each, (N,) bool."""
        strict = self.level == openings.STRICT
        self.between = [s for new, known in places if strict for s in openings.between_sets(new, known)]
        if self.between:
            few = min(int(people.sum()) for people in self.between)
            self.log(
                f"WARNING: {few} people here are in one of two sets that are summed, now or earlier, and not in the other: "
                "variants that few of them tell apart are withheld (FEW_CARRIERS). Analyse the same people as before (--keep), "
                "or all phenotypes in the same (--common-samples)"
            )

    def sets(self, sets: Sequence[tuple[str, np.ndarray]]) -> None:
        """Sets of samples of one study, (N,) bool each, before anything of them is summed."""
        if self.on:
            for i, (first, a) in enumerate(sets):
                for second, b in sets[i + 1 :]:
                    self._check(f"samples of {first} and {second}", openings.set_fault(a, b, self.fewest))
            for i in range(2, len(sets)):
                together = np.column_stack([people for _, people in sets[: i + 1]])
                self._check(f"samples of {sets[i][0]}", openings.sets_fault(together, self.fewest))


def guarded(total: fp.SumOverSites, guard: fp.Guard) -> fp.SumOverSites:
    """The same sum over sites, with a guard that `fixedpoint.guard_of` finds."""

    def sums(values: Sequence[int]) -> list[int]:
        return total(values)

    sums.guard = guard  # type: ignore[attr-defined]
    return sums
