"""One site's side of corrections: numbers of its people at a point, and which rows and points it lets be summed.

A row's numbers at many points would be what each of few carriers has. So at each site nobody or 2k people carry the minor
allele, and nobody or 2k do not; of the three genotypes, and of missing calls, each is nobody's or k people's. At a point the
variance rests on k of the site's people, and so does what is of one side of it alone; nobody stands out in how the numbers of
all points depend on genotypes, to who knows everybody's covariates. Where one of these fails, or the budget is spent, the site
sends noise in the row's place and votes no.

Who learns what: nobody, until the numbers are summed over the sites (`corrections`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen.design.columns import Analysis
from securegen.design.strata import Stratum
from securegen.engines.federated.tilts import Tilted
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import FEWEST, too_few
from securegen.kernels.rounded_terms import UNIT, takes
from securegen.model import GenotypeReader, IntArray
from securegen.results.corrections import most_copies
from securegen.stats.corrected import HOLDS, CovariateParts, NullFit, copies_of, minor_copies

READ = 512  # variants read at a time


@dataclass(frozen=True, eq=False)
class FlaggedRows:
    """Rows of one analysis in one stratum that are to be corrected. rows: (F,) int64 of the study's variants, ascending; parts:
    of them, from opened sums."""

    stratum: Stratum
    analysis: Analysis
    rows: IntArray
    parts: CovariateParts


def genotypes_apart(copies: np.ndarray, missing: np.ndarray | None, minor: np.ndarray, fewest: int) -> bool:
    """Whether a row of a site's people has nobody, or enough, in every group. copies, minor: (n,); missing: (n,) bool."""
    called = np.ones(len(copies), bool) if missing is None else ~missing
    near = np.rint(copies[called]).astype(np.int64)
    carriers = int((called & (minor > HOLDS)).sum())
    groups = np.array([*np.bincount(near), len(copies) - len(near)])
    both = np.array([carriers, len(near) - carriers])
    return not (too_few(groups, fewest).any() or too_few(both, 2 * fewest).any())


def rests_on(weights: np.ndarray) -> float:
    """The effective number of people (Σw)²/Σw² behind weights, (n,) ≥ 0; 0 where there is no weight."""
    total, squares = float(weights.sum()), float((weights * weights).sum())
    return total * total / squares if squares > 0 else 0.0


@dataclass
class OwnTilts:
    """The numbers of one analysis' rows at this site.

    guard: of the site; fewest: people, k of the rules; vetoes: how many rows it withheld, by why."""

    reader: GenotypeReader
    flagged: FlaggedRows
    guard: SiteGuard
    fewest: int = FEWEST
    vetoes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.flagged.analysis.null is None:
            raise ValueError("an analysis without its null model")
        self.fit = NullFit(self.flagged.analysis.null)
        self._analysed = np.zeros(len(self.reader.samples), bool)
        self._analysed[self.fit.people] = True

    @property
    def people(self) -> IntArray:
        """Places of this site's analysed people."""
        return self.fit.people

    def _rows(self, places: IntArray) -> Iterator[tuple[int, np.ndarray, np.ndarray | None, float]]:
        """Each place among the flagged rows, with its copies, missing calls and mean."""
        rows, grid = self.flagged.rows[places], self.reader.dosage_grid * self.flagged.stratum.unit
        at = 0
        while at < len(rows):
            stop = int(np.searchsorted(rows, rows[at] + READ))
            block = self.reader.read(int(rows[at]), int(rows[stop - 1]) + 1)
            for j in range(at, stop):
                row, mean = int(rows[j] - block.start), float(self.flagged.parts.mean[places[j]])
                missing = None if block.missing is None else block.missing[row, self.people]
                yield j, copies_of(block.dosage[row, self.people] / grid, missing, mean), missing, mean
            at = stop

    def numbers(
        self, places: IntArray, tilted: Sequence[Tilted], width: int, *, start: bool, allowed: bool,
        beside: Callable[[int], Sequence[Beside]] = lambda place: (),
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """(F, width) numbers of these rows as Python integers, (F,) bool, which this site vetoes, and (F,) its carriers.

        start: of the first round; allowed: the budget holds; beside: of a place, the same variant in other analyses."""
        out, no = np.zeros((len(places), width), object), np.zeros(len(places), bool)
        carriers = np.zeros(len(places), np.int64)
        most = most_copies(self.flagged.analysis, self.flagged.stratum)
        for j, copies, missing, mean in self._rows(places):
            minor = minor_copies(copies, mean, most)
            called = slice(None) if missing is None else ~missing
            carriers[j] = int((minor[called] > HOLDS).sum())
            x = self.fit.x(copies, self.flagged.parts.coefficients[places[j]])
            fault = (
                self._fault(int(places[j]), tilted[j], x, copies, missing, minor, start, beside)
                if allowed
                else "the budget"
            )
            if fault is not None:
                no[j], self.vetoes[fault] = True, self.vetoes.get(fault, 0) + 1
                continue
            out[j] = tilted[j].of(self.fit, x)
        return out, no, carriers

    def _fault(
        self, place: int, tilted: Tilted, x: np.ndarray, copies: np.ndarray, missing: np.ndarray | None, minor: np.ndarray,
        start: bool, beside: Callable[[int], Sequence[Beside]],
    ) -> str | None:  # fmt: skip
        """Why a row is not summed at these points."""
        if not takes(x):
            return "numbers that no sum takes"
        if not self.guard.on or not len(x):
            return None
        if start and not genotypes_apart(copies, missing, minor, self.fewest):
            return "few people with a genotype"
        if any(rests_on(w) < self.fewest for w in tilted.weights(self.fit, x)):
            return "variances that rest on few people"
        if any(w.any() and rests_on(w) < self.fewest for w in tilted.one_sided(self.fit, x)):
            return "ends that rest on few people"
        if self._stands_out(float(copies.mean()), ((self, place, tilted), *beside(place))):
            return "a person who stands out"
        return None

    def told(self, mean: float, place: int, tilted: Tilted) -> np.ndarray:
        """(N, p) what the numbers of a row say of genotypes, whose mean is of this site's people."""
        most = most_copies(self.flagged.analysis, self.flagged.stratum)
        common, step = (most, -1) if mean > most / 2 else (0, 1)
        x = self.fit.x(np.full(len(self.people), float(common)), self.flagged.parts.coefficients[place])
        each = tilted.told(self.fit, x, step)
        out = np.zeros((len(self._analysed), each.shape[1]))
        out[self.people] = each
        return out

    def _stands_out(self, mean: float, of: Sequence[Beside]) -> bool:
        """Whether somebody stands out in what the numbers of a variant say of genotypes, at all points and in all analyses."""
        told = np.concatenate([own.told(mean, place, tilted) for own, place, tilted in of], axis=1)
        analysed: np.ndarray = np.logical_or.reduce([own._analysed for own, _, _ in of])
        noise = math.sqrt(len(self.people) / 12) / UNIT  # of terms that are rounded a person
        return self.guard.singles_out(told[analysed], analysed, noise) is not None

    def lines(self) -> list[str]:
        """For this site's log."""
        name = f"{self.flagged.analysis.phenotype}, {self.flagged.stratum.name}"
        return [f"corrections of {name}: {n} rows withheld here: {why}" for why, n in self.vetoes.items()]


Beside = tuple[OwnTilts, int, Tilted]  # of one variant in an analysis: its place there, and its search
