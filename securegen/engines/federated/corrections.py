"""Score tests of all sites corrected by the saddlepoint or Firth: Newton's method by openings.

| step | numbers of a row | opened for |
|---|---|---|
| flags | sites that withhold it; with `openings = all` its carriers | rows whose χ² is above the threshold |
| sums | five of the start, then six at a point of each tail; of Firth four at a point (`tilts`) | those nobody withholds |

Both steps of a round are posted together, of all rows, phenotypes and designs. A site that withholds a row sends noise in its
place, so its sum is noise, and nobody's. Where sums are wanted next follows from opened totals alone: every site computes it,
and masks cancel between equal points (`SecureSum.agree`). Terms are rounded a person, so sums are those of one owner; the
corrected rows are, to the last digit. A row that some site withholds, or that is not found after the last round, is
UNCORRECTED, and so is one of few carriers (`few_below`): with `openings = all` by their opened number; under rules, which
do not open it, where sums say that 20 to 39 of them would be few.

Who learns what: the totals of these numbers, and how many sites withhold a row; nothing of a row before its flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from securegen.design.columns import Analysis
from securegen.design.strata import Stratum, with_strata
from securegen.engines.federated.fields import Layout, field_bits
from securegen.engines.federated.own_corrections import Beside, FlaggedRows, OwnTilts
from securegen.engines.federated.pair_keys import derive
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, PIECE, SecureSum, Step, not_below_own
from securegen.engines.federated.tilts import ROWS, Tilted, bounds
from securegen.errors import PolicyError
from securegen.governance.guard import SiteGuard
from securegen.governance.signing import canonical
from securegen.model import GenotypeReader, IntArray, OpenedSums, Sums
from securegen.randomness import keystream
from securegen.results.block_columns import result_columns, score_part
from securegen.results.corrections import Corrections, few_below, flagged
from securegen.stats.corrected import FEW, Correction, CovariateParts
from securegen.stats.score_test import covariate_parts

NAME = "corrections"
Charge = Callable[[str, int, IntArray], bool]  # (what, columns, people) -> whether the budget holds


def flagged_rows(
    blocks: Iterable[OpenedSums], strata: Sequence[Stratum], p_thresh: float, grid: int
) -> list[FlaggedRows]:
    """The rows that are to be corrected, by opened sums: the same at every site. grid: steps of a stored dosage in a copy."""
    found: dict[tuple[int, int], list[tuple[IntArray, CovariateParts]]] = {}
    for stratum, sums in with_strata(blocks, strata):
        told: dict[str, Any] = {"grid": grid * stratum.unit, "copies": stratum.copies}
        for k, a in enumerate(stratum.design.analyses):
            if a.null is None:
                continue
            rows = flagged(result_columns(a, sums, **told), p_thresh)
            if len(rows):
                parts = covariate_parts(score_part(a, sums, rows, **told), a.model, grid=grid * stratum.unit)
                place = next(i for i, s in enumerate(strata) if s is stratum)
                found.setdefault((place, k), []).append((sums.start + rows, parts))
    out = []
    for (place, k), pieces in sorted(found.items()):
        parts = CovariateParts(
            *(np.concatenate(v) for v in zip(*((p.mean, p.coefficients) for _, p in pieces), strict=True))
        )
        out.append(
            FlaggedRows(strata[place], strata[place].design.analyses[k], np.concatenate([r for r, _ in pieces]), parts)
        )
    return out


@dataclass
class OpenedCorrections(Corrections):
    """Corrections that were opened: stratum, test and phenotype -> variant -> what its row becomes, None where it stays."""

    rows: dict[tuple[str, str, str], dict[int, Correction | None]]

    def found(
        self, stratum: Stratum, analysis: Analysis, sums: Sums | OpenedSums, rows: np.ndarray
    ) -> Sequence[Correction | None]:
        known = self.rows.get((stratum.name, analysis.test, analysis.phenotype), {})
        return [known[sums.start + int(row)] for row in rows]


class _Rows:
    """The rows of all analyses side by side, each with its search; what is asked of them is the same at every site."""

    def __init__(self, own: Sequence[OwnTilts], method: str, secret: bytes) -> None:
        self.own, self._secret = own, secret
        self.of = np.concatenate([np.full(len(o.flagged.rows), i) for i, o in enumerate(own)])
        self.place = np.concatenate([np.arange(len(o.flagged.rows)) for o in own])
        self.tilted: list[Tilted] = [ROWS[method]() for _ in self.of]
        self.given_up = np.zeros(len(self.of), bool)
        each = [few_below(method, o.flagged.analysis, o.flagged.stratum, o.flagged.parts.mean) for o in own]
        self.few = np.concatenate(each)
        self._alike: dict[tuple[str, int], list[int]] = {}
        for i, k in enumerate(self.of.tolist()):
            here = self.own[k].flagged
            self._alike.setdefault((here.stratum.name, int(here.rows[self.place[i]])), []).append(i)

    def _beside(self, k: int, place: int) -> list[Beside]:
        """The same variant as at a place of an analysis, in all others."""
        here = self.own[k].flagged
        name = here.stratum.name, int(here.rows[place])
        return [
            (self.own[self.of[i]], int(self.place[i]), self.tilted[i]) for i in self._alike[name] if self.of[i] != k
        ]

    def active(self) -> IntArray:
        return np.array([i for i, t in enumerate(self.tilted) if t.points and not self.given_up[i]], np.int64)

    def points(self, active: IntArray) -> np.ndarray:
        """Bits of every point that is asked for, row by row."""
        return np.array([v for i in active for v in (i, *np.array(self.tilted[i].points).view(np.int64))], np.int64)

    def numbers(
        self, active: IntArray, layout: Layout, step: str, *, start: bool, allowed: Sequence[bool]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """This site's numbers, noise in place of rows that it vetoes; (F,) bool vetoes, and carriers."""
        out, no = np.zeros((len(active), len(layout.widths)), object), np.zeros(len(active), bool)
        carriers = np.zeros(len(active), np.int64)
        for k, own in enumerate(self.own):
            here = np.flatnonzero(self.of[active] == k)
            if len(here):
                rows = active[here]
                out[here], no[here], carriers[here] = own.numbers(
                    self.place[rows],
                    [self.tilted[i] for i in rows],
                    len(layout.widths),
                    start=start,
                    allowed=allowed[k],
                    beside=partial(self._beside, k),
                )
        if no.any():
            # of this site alone, and the same if the step is made again before it was sent
            key = derive(self._secret, "noise", canonical([step, len(active)]))
            noise = layout.decode(layout.unpack(keystream(key, 0, layout.size)))
            lowest = [-(1 << (w - 1)) for w in layout.widths]
            out[no] = np.where(noise[no] == lowest, 0, noise[no])
        return out, no, carriers


def correct_by_openings(
    secure: SecureSum, reader: GenotypeReader, found: Sequence[FlaggedRows], *, method: str, p_thresh: float, guard: SiteGuard,
    secret: bytes, charge: Charge, fewest: int, log: Callable[[str], None],
) -> OpenedCorrections:  # fmt: skip
    """Open what corrects these rows, round by round, and return what they become.

    secret: 32 bytes of this site's memory, from which noise is drawn; charge: counts a round in the ledger, once.
    Raises PolicyError where totals are not what people can give, and what `SecureSum` raises.
    """
    own = [OwnTilts(reader, rows, guard, fewest) for rows in found]
    done: dict[tuple[str, str, str], dict[int, Correction | None]] = {}
    if own:
        rows = _Rows(own, method, secret)
        if guard.on:
            rows.given_up = rows.few > FEW
        marks = [v for f in found for v in (f.rows, f.parts.mean.view(np.int64), f.parts.coefficients.view(np.int64))]
        secure.agree(NAME, *marks)
        for number in range(ROWS[method].rounds):
            active = rows.active()
            if not len(active):
                break
            secure.agree(f"{NAME}-{number:04d}", rows.points(active))
            _round(secure, rows, active, number, guard, charge)
        for k, o in enumerate(own):
            name = (o.flagged.stratum.name, o.flagged.analysis.test, o.flagged.analysis.phenotype)
            mine = np.flatnonzero(rows.of == k)
            ended = [None if rows.given_up[i] or rows.tilted[i].points else rows.tilted[i].correction() for i in mine]
            done[name] = dict(zip(o.flagged.rows.tolist(), ended, strict=True))
            for line in o.lines():
                log(line)
    return OpenedCorrections(method, p_thresh, False, done)


def _round(secure: SecureSum, rows: _Rows, active: IntArray, number: int, guard: SiteGuard, charge: Charge) -> None:
    start, method = number == 0, type(rows.tilted[active[0]])
    people = max(o.flagged.analysis.model.samples for o in rows.own)
    width, positive = method.numbers[not start], method.positive[not start]
    widths = (field_bits(bounds(people)),) * width
    name = f"{NAME}-{number:04d}"
    budget = cache(partial(_allowed, rows, active, number, method.columns[not start], charge))
    size = max(1, PIECE // Layout(1, widths).row_bytes)
    pieces = [active[at : at + size] for at in range(0, len(active), size)]
    vetoes = guard.on or not start
    steps: list[Step] = []
    flags: list[list[np.ndarray]] = [[] for _ in pieces]
    for k, piece in enumerate(pieces):
        mark = f"-{k:04d}" if len(pieces) > 1 else ""
        made = cache(partial(_made, rows, piece, Layout(len(piece), widths), f"{name}-sums{mark}", start, budget))
        counted = (field_bits(max(people, 64)),)
        steps.append(
            Step(f"{name}-flags{mark}", len(piece), counted, partial(_flags, made, vetoes, people), None, not_below_own)
        )
        check = partial(_check, flags[k], partial(_kept, vetoes=vetoes, few=rows.few[piece]), positive, people)
        steps.append(Step(f"{name}-sums{mark}", len(piece), widths, partial(_sums, made), None, check))
    for k, total in enumerate(secure.together(steps)):
        piece, seen = pieces[k // 2], flags[k // 2]
        if k % 2 == 0:
            seen.append(total[:, 0])
            continue
        for i, good, values in zip(piece.tolist(), _kept(seen[0], vetoes, rows.few[piece]), total, strict=True):
            if good:
                rows.tilted[i].take([int(v) for v in values])
            else:
                rows.given_up[i] = True


def _allowed(rows: _Rows, active: IntArray, number: int, columns: int, charge: Charge) -> list[bool]:
    """Whether the budget of each analysis' people holds for a round, which is counted: once a phenotype, whatever its designs."""
    out = [True] * len(rows.own)
    used = sorted(set(rows.of[active].tolist()))
    for phenotype in dict.fromkeys(rows.own[k].flagged.analysis.phenotype for k in used):
        mine = [k for k in used if rows.own[k].flagged.analysis.phenotype == phenotype]
        people = np.unique(np.concatenate([rows.own[k].people for k in mine]))
        good = charge(f"corrections of {phenotype}, round {number}", columns, people)
        for k in mine:
            out[k] = good
    return out


Made = Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _made(
    rows: _Rows, piece: IntArray, layout: Layout, step: str, start: bool, budget: Callable[[], list[bool]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rows.numbers(piece, layout, step, start=start, allowed=budget())


def _sums(made: Made) -> np.ndarray:
    return made()[0]


def _flags(made: Made, vetoes: bool, people: int) -> np.ndarray:
    _, no, carriers = made()
    return (no.astype(np.int64) if vetoes else np.where(no, -people, carriers))[:, None]


def _kept(flags: np.ndarray, vetoes: bool, few: IntArray) -> np.ndarray:
    """(F,) bool: rows that nobody withholds; without rules, those of enough carriers. few: (F,) of `few_below`."""
    kept: np.ndarray = flags == 0 if vetoes else flags >= few
    return kept


def _check(
    seen: list[np.ndarray], good: Callable[[np.ndarray], np.ndarray], positive: Sequence[int], people: int, own: np.ndarray,
    total: np.ndarray,
) -> None:  # fmt: skip
    """Raise PolicyError for sums of rows that were opened, and that people cannot give. seen: the flags, opened before."""
    kept = np.flatnonzero(good(seen[0]))
    mine, opened = own[kept].astype(object), total[kept].astype(object)
    most = bounds(people)
    if any(abs(v) > most for v in opened.ravel()):
        raise PolicyError(OUT_OF_BOUNDS)
    not_below_own(mine[:, list(positive)], opened[:, list(positive)])
