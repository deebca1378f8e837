"""When an exact table may be released again: a rule on sets of people, over the ledger beside their register of consent.

Two exact tables of one analysis that differ by a person are that person. So the people of a table are equal to those of an
earlier one, or apart by `FEWEST` each way (`openings.set_fault`): of the same analysis, and of any of its family whose
people include somebody who has left since, whatever it is called. `ANALYSES` says what is the same, and which are a family: sums
of people are subtracted from each other, rows of people only from such rows. What was released is remembered and listed,
never recalled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from securegen.governance.decision import Reason
from securegen.governance.ledger import Entries, padded
from securegen.governance.openings import FEWEST, set_fault

RULE = "consent.release"
GROWING: Final = frozenset(
    {"consent"}
)  # inputs, by name: registers, in which a run that releases something enters a line


@dataclass(frozen=True)
class Analysed:
    """What makes two releases the same analysis. words: its name, of which `name` and `place` differ by release; family:
    whose releases can be subtracted from each other."""

    words: str
    family: str


SUMS: Final = "sums"
ASSOCIATION, PARTY, COMPONENTS, PREDICTIONS, LD, KINSHIP, SCORES = (
    "association", "party", "components", "predictions", "ld", "kinship", "scores"
)  # fmt: skip
ANALYSES: Final[Mapping[str, Analysed]] = {
    ASSOCIATION: Analysed("{name} {place}", SUMS),  # phenotype and test, and quality control
    PARTY: Analysed("rows of sums {name} {place}", SUMS),  # of who does not know the phenotype: how many people
    COMPONENTS: Analysed("rows of components", SUMS),  # their loadings say frequencies
    PREDICTIONS: Analysed("rows of predictions {name}", SUMS),  # a model fitted to everybody's sums
    LD: Analysed("linkage disequilibrium", SUMS),
    KINSHIP: Analysed("rows of kinship", KINSHIP),
    SCORES: Analysed("rows of scores {name}", SCORES),  # what a call that is missing counts is of everybody
}


def analysis_of(kind: str, name: str = "", place: str = "") -> str:
    """The words by which a release is the same analysis as another one. kind: of ANALYSES.

    >>> analysis_of(KINSHIP), analysis_of(ASSOCIATION, "QT linear", "X")
    ('rows of kinship', 'QT linear X')
    """
    return ANALYSES[kind].words.format(name=name, place=place)


def family_of(analysis: str) -> str:
    """The family of an analysis, or of a line of the ledger, which begins with it. No phenotype with its test begins so."""
    rows = (a for a in ANALYSES.values() if a.words.startswith("rows of "))
    found = [a.family for a in rows if analysis.startswith(a.words.partition(" {")[0])]
    return found[0] if found else SUMS


_AS = " released "
_LONGEST = 200


def release_reason(ledger: Entries, analysis: str, people: np.ndarray, left: np.ndarray) -> Reason:
    """Whether a table of these people may leave. people, left: (L,) bool over the ledger's people: who is in it, and whose
    consent does not cover the purpose, or no more.

    >>> ledger, everybody, nobody = Entries(bytes(32)), np.ones(100, bool), np.zeros(100, bool)
    >>> _ = ledger.places([str(i) for i in range(100)])
    >>> enter_release(ledger, "QT linear", everybody, "2026-01-01", "a")
    >>> one = np.arange(100) == 7
    >>> release_reason(ledger, "QT linear", everybody & ~one, one).allowed
    False
    """
    for what, known in ledger.sets:
        before = padded(known, len(people))
        same = what.startswith(f"{analysis[:_LONGEST]}{_AS}")
        if not same and (family_of(what) != family_of(analysis) or not (before & left).any()):
            continue
        fault = set_fault(before, people, FEWEST)
        if fault is not None:
            return Reason(
                RULE, False,
                f"{analysis}: {fault} (the first: {what}); the two tables together would be those people. It may be released "
                f"when {FEWEST} have left since",
            )  # fmt: skip
    return Reason(RULE, True, f"{analysis}: no earlier table is of nearly the same people")


def enter_release(ledger: Entries, analysis: str, people: np.ndarray, time: str, name: str) -> None:
    """Remember that a table of these people leaves. name: of the run."""
    ledger.sets.append((f"{analysis[:_LONGEST]}{_AS}{time} as {name[:100]}", people))


def members(places: np.ndarray, chosen: np.ndarray, size: int) -> np.ndarray:
    """(size,) bool over a ledger's people of (N,) chosen samples at these places."""
    out = np.zeros(size, bool)
    out[places[chosen]] = True
    return out
