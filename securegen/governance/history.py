"""What these people were in before, as the door takes it: from the ledger, with this request entered in memory."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from securegen.governance.door import NOISY, History, Request
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.ledger import Entries, padded
from securegen.governance.ledger_file import open_ledger
from securegen.governance.openings import CONSENTED, leverages
from securegen.governance.policy import RECORD
from securegen.governance.rows_between import Between, RowsBetween, between, places_of
from securegen.io.schema import one_line
from securegen.model import GenotypeReader, Samples

LEDGER = "policy.ledger"


@dataclass(frozen=True)
class PeopleFacts:
    """Whose sums leave.

    sets: what for, on which of X, Y and MT or "", and (N,) bool; columns: (N, J) integers of every design; known: False
    where an earlier version kept neither; pooled: people in the sums, where others' are beside these; products: what tells some
    variants or columns from others, and how many of them each genotype of these people was multiplied with; genotypes:
    theirs, in the clear, None where they are not at hand; quality: as sets, over which filters count; everybody: who can be
    looked at where an earlier table is of other people, with genotypes of the tables' variants or without, None where somebody
    else looks; beside: ledgers of an engine, in which this request is not counted
    yet: what these people have spent there counts here; counted: products of another door of the same run, which are these
    columns, where both doors have one ledger.
    """

    samples: Samples
    sets: tuple[tuple[str, str, np.ndarray], ...] = ()
    columns: tuple[np.ndarray, ...] = ()
    known: bool = True
    pooled: int = 0
    products: tuple[tuple[str, int], ...] = ()
    genotypes: Fingerprints | None = None
    beside: tuple[Path, ...] = ()
    counted: tuple[tuple[str, int], ...] = ()
    quality: tuple[tuple[str, str, np.ndarray], ...] = ()
    everybody: GenotypeReader | Samples | None = None

    def sifted(self) -> PeopleFacts:
        """The same where filters leave out rows: whether one is there tells a count of everybody over whom they count."""
        return replace(self, sets=(*self.sets, *self.quality), quality=())


def history_of(ledger: Entries, request: Request, people: PeopleFacts | None) -> History:
    """What these people were in; enters sets and columns of this request into the ledger in memory."""
    days = [
        (request.today - datetime.date.fromisoformat(day)).days
        for digest, day in ledger.releases
        if digest != request.digest
    ]
    history = History(
        day=sum(d <= 0 for d in days), month=sum(d < 30 for d in days), ever=len(days),
        repeated=len(days) < len(ledger.releases),
    )  # fmt: skip
    if people is None or not people.known:
        return replace(history, known=all(o.granularity == RECORD or o.kind == NOISY for o in request.outputs))
    fault, rows, least = None, ledger.rows(people.samples, people.genotypes), request.policy["limits.differing_people"]
    for path in people.beside:
        np.maximum.at(ledger.spent, rows, _spent_in(path, people))
    for what, number in people.counted:
        ledger.give_back(f"{what} of {number}", rows, number)
    found: list[Between] = []
    look, places = people.everybody if request.policy["limits.minor_alleles"] else None, None
    for what, place, members in people.sets:  # sums of two places are never of the same variant
        mark = f"[{place}] policy, "
        here = [found for found in ledger.sets if found[0].startswith(mark)]
        fault = fault or replace(ledger, sets=here).set_fault(rows, members, least)
        mine = _among(ledger, rows, members)
        same = [i for i, (_, known) in enumerate(here) if (padded(known, len(mine)) == mine).all()]
        if look is not None:
            earlier = [known for _, known in here[: same[0] if same else None]]
            if places is None:
                places = places_of(ledger, look if isinstance(look, Samples) else look.samples)
            found += between(what, place, mine, earlier, places)
        if not same:
            ledger.sets.append((f"{mark}{one_line(what)}"[:400], mine))
    columns, among = 0, 0
    for values in people.columns:
        spent, analysed = ledger.would_spend(rows, values), int((values != 0).any(axis=1).sum())
        analysed = max(analysed, people.pooled) if analysed else 0
        if analysed and (not among or spent * among > columns * analysed):
            columns, among = spent, analysed
        if not ledger.columns and (fault := fault or _stands_out(values)):  # later ones are looked at beside these
            continue
        stands_out = ledger.charge(rows, values, share=np.inf, limit=CONSENTED)
        fault = fault or stands_out
    for what, number in people.products:
        columns, among = (
            max(columns, ledger.spend_once(f"{what} of {number}", rows, number)),
            max(among, len(rows), people.pooled),
        )
    seen = not found or not isinstance(look, Samples)
    return replace(history, fault=fault, columns=columns, people=among, between=tuple(found), seen=seen)


def _stands_out(values: np.ndarray) -> str | None:
    """What is wrong with the first columns of all: a person whose genotypes their sums are. Where columns are more than a
    twentieth of the people, the default budget, somebody may have as much by chance: ten times the mean is the most then."""
    analysed = (values != 0).any(axis=1)
    most = max(CONSENTED, min(0.9, 10 * values.shape[1] / max(int(analysed.sum()), 1)))
    if analysed.any() and leverages(values[analysed]).max() > most:
        return f"one person has too large a leverage in these columns; {CONSENTED}, or ten times the mean, is the most"
    return None


def rows_between(history: History, people: PeopleFacts | None, fewest: int) -> RowsBetween | None:
    """What looks at the rows of tables of these people; None where none is to be withheld."""
    everybody = None if people is None else people.everybody
    if not history.between or everybody is None or isinstance(everybody, Samples):
        return None
    return RowsBetween(history.between, everybody, fewest)


def earlier_sets(
    folders: Iterable[Path], samples: Samples, genotypes: Fingerprints | None
) -> dict[str, list[np.ndarray]]:  # fmt: skip
    """Sets of samples, (N,) bool, of what was released under the policies of these folders, by place: for engines whose own rules
    look at rows, and whose own ledgers do not know of it. Raises as `open_ledger`."""
    out: dict[str, list[np.ndarray]] = {}
    for path in (folder / LEDGER for folder in folders):
        if not os.path.lexists(path):
            continue
        with open_ledger(path, audited=False, kept=False) as ledger:
            rows = ledger.rows(samples, genotypes)
            for what, known in ledger.sets:
                place, policy, _ = what.removeprefix("[").partition("] policy, ")
                if policy:
                    out.setdefault(place, []).append(padded(known, len(ledger.spent))[rows])
    return out


def _spent_in(path: Path, people: PeopleFacts) -> np.ndarray:
    """(N,) int64: columns that were summed with these people's genotypes by another ledger; 0 where there is none."""
    if not any(os.path.lexists(f"{path}{end}") for end in ("", ".lock")):
        return np.zeros(len(people.samples), np.int64)
    with open_ledger(path, kept=False) as ledger:
        spent: np.ndarray = ledger.spent[ledger.rows(people.samples, people.genotypes)]
        return spent


def _among(ledger: Entries, rows: np.ndarray, members: np.ndarray) -> np.ndarray:
    """(people of the ledger,) bool: a set of samples."""
    out = np.zeros(len(ledger.spent), bool)
    out[rows[members]] = True
    return out
