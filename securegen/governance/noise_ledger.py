"""Draws of noise that were made for people, and what they have cost: one a person and trait, used again and never drawn again.

A trait is a column's name with mechanism, ε, δ and bounds. Whatever differs in one of these is another draw, and is charged to
the person: ε and δ add up (sequential composition), so that a renamed column spends as much as the first. Under one name a
person's value stays: a draw of another value would tell that it changed.

Summaries with noise of whole people are kept here, too, each with its answer. They are charged to everybody of this place, who is
in them or not: a charge of those in them would tell who that is, and new names of people would be new budgets.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.errors import PolicyError
from securegen.governance.label_noise import LabelNoise, drawn
from securegen.governance.people_noise import PeopleNoise
from securegen.model import Samples

BUDGET_RULE, CHANGED_RULE, EXACT_RULE = "noise.budget", "noise.changed", "noise.exact"
DEFAULT_EPSILON, DEFAULT_DELTA = 4.0, 1e-5  # of a person's life, where no policy says
MARK_BYTES = 12
_SLACK = 1e-9  # of sums of ε in float64


@dataclass
class NoisyTrait:
    """Draws under one name and mechanism. people: places in `NoiseEntries.people`; values: marks of the true values; draws: 0/1,
    or steps of the grid."""

    name: str
    binary: bool
    noise: LabelNoise
    people: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    draws: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class NoisyAnswer:
    """A summary that was drawn. question: its mark; numbers: of the answer, as they were drawn."""

    question: str
    noise: PeopleNoise
    numbers: list[int]


@dataclass
class NoiseEntries:
    """All draws of a place. key: of the marks of people and values; people: marks to places; made: marks of columns that were
    built of draws; answers: summaries with noise of whole people; begun: a summary was asked for here, so that the key stays."""

    key: bytes = field(repr=False)
    people: dict[str, int] = field(default_factory=dict)
    traits: list[NoisyTrait] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    answers: list[NoisyAnswer] = field(default_factory=list)
    begun: bool = False

    def enter_made(self, name: str, noise: AppliedNoise, columns: str) -> None:
        """Enter that columns, by `Design.mark_of`, were built of these draws."""
        if (mark := self._built(name, noise, columns)) not in self.made:
            self.made.append(mark)

    def made_here(self, name: str, noise: AppliedNoise, columns: Sequence[str]) -> bool:
        """Whether all of these columns were built of draws of this trait, with that noise."""
        return bool(columns) and all(self._built(name, noise, c) in self.made for c in columns)

    def _built(self, name: str, noise: AppliedNoise, columns: str) -> str:
        return self._mark("made", json.dumps([name, noise.epsilon, noise.delta, noise.mechanism, columns]))

    def person(self, fid: str, iid: str) -> str:
        """What a person is called here, in hex."""
        return self._mark("person", json.dumps([fid, iid]))

    def places(self, samples: Samples, chosen: np.ndarray) -> list[int]:
        """Places of the (N,) bool chosen samples; new people are entered."""
        names = [self.person(str(samples.fid[i]), str(samples.iid[i])) for i in np.flatnonzero(chosen)]
        return [self.people.setdefault(name, len(self.people)) for name in names]

    def spent(self, place: int) -> tuple[float, float]:
        """ε and δ of a person's draws, and of every summary."""
        mine = [t.noise for t in self.traits if place in set(t.people)]
        return _sum([*mine, *(a.noise for a in self.answers)])

    def most_spent(self) -> tuple[float, float]:
        """ε and δ of every summary, and of every trait, as of somebody who is in all of them: the most that anybody of this
        place has spent. Who really is in two of them would be told by an exact maximum, as by a refusal."""
        return _sum([*(t.noise for t in self.traits), *(a.noise for a in self.answers)])

    def question(self, text: str) -> str:
        """The mark of a question, which says nothing of its data to those without the key."""
        return self._mark("question", text)

    def answer(self, question: str) -> list[int] | None:
        """The numbers that this question was answered with, None where it is new."""
        return next((a.numbers for a in self.answers if a.question == question), None)

    def summary_fault(self, noise: PeopleNoise, most: tuple[float, float]) -> str | None:
        """Why a new summary is refused: it would bring somebody of this place beyond what may be spent."""
        spent = self.most_spent()
        for what, found, more, limit in zip("εδ", spent, _sum([noise]), most, strict=True):
            if found + more > limit * (1 + _SLACK):
                return (
                    f"this summary brings the {what} of a person to {found + more:g}; at most {limit:g} is allowed, over all "
                    "summaries, phenotypes and ε over their lifetime; what was asked before is answered as it was"
                )
        return None

    def enter_answer(
        self, question: str, noise: PeopleNoise, numbers: Sequence[int], most: tuple[float, float]
    ) -> None:
        """Enter an answer, and charge it. Raises PolicyError where nothing is left for it."""
        if (fault := self.summary_fault(noise, most)) is not None:
            raise PolicyError(f"{BUDGET_RULE}: {fault}")
        self.answers.append(NoisyAnswer(question, noise, list(numbers)))

    def draw(
        self, name: str, places: Sequence[int], values: np.ndarray, noise: LabelNoise, *, binary: bool,
        most: tuple[float, float] = (DEFAULT_EPSILON, DEFAULT_DELTA),
    ) -> list[int]:  # fmt: skip
        """The draws of these people, those that are there and fresh ones for the others. values: (n,) true ones; most: ε and δ
        that a person may spend. Raises PolicyError, and then enters nothing."""
        marks = [self._value(place, value) for place, value in zip(places, values.tolist(), strict=True)]
        self._refuse_changed(name, places, marks)
        trait = next((t for t in self.traits if (t.name, t.binary, t.noise) == (name, binary, noise)), None)
        if trait is None:
            trait = NoisyTrait(name, binary, noise)
        known = dict(zip(trait.people, trait.draws, strict=True))
        fresh = [i for i, place in enumerate(places) if place not in known]
        self._refuse_spent(name, [places[i] for i in fresh], noise, most)
        made = drawn(noise, values[fresh], binary=binary)
        if fresh and all(t is not trait for t in self.traits):
            self.traits.append(trait)
        trait.people += [places[i] for i in fresh]
        trait.values += [marks[i] for i in fresh]
        trait.draws += made
        known |= {places[i]: draw for i, draw in zip(fresh, made, strict=True)}
        return [known[place] for place in places]

    def knows(self, name: str) -> bool:
        """Whether there are draws under this name."""
        return any(t.name == name for t in self.traits)

    def refuse_exact(self, name: str, places: Sequence[int], values: np.ndarray) -> None:
        """Raise PolicyError for exact values of a trait that has noise, under its name or with the same values."""
        asked = set(places)
        marks = {place: self._value(place, value) for place, value in zip(places, values.tolist(), strict=True)}
        for trait in self.traits:
            both = [(p, v) for p, v in zip(trait.people, trait.values, strict=True) if p in asked]
            alike = sum(marks[p] == v for p, v in both)
            if both and (trait.name == name or alike == len(both)):
                raise PolicyError(
                    f"{EXACT_RULE}: phenotype {name} has noise here, as {trait.name}, in some of these people: exact "
                    "statistics of it would undo that; give the same `dp_epsilon`"
                )

    def _refuse_changed(self, name: str, places: Sequence[int], marks: Sequence[str]) -> None:
        asked = dict(zip(places, marks, strict=True))
        for trait in (t for t in self.traits if t.name == name):
            if any(asked.get(p, v) != v for p, v in zip(trait.people, trait.values, strict=True)):
                raise PolicyError(  # without their number: it would be how many of a list of guesses are right
                    f"{CHANGED_RULE}: values of phenotype {name} differ from those its noise was drawn for: a second "
                    "draw would tell whose; bring them back, or name the column anew, which is charged"
                )

    def _refuse_spent(self, name: str, places: Sequence[int], noise: LabelNoise, most: tuple[float, float]) -> None:
        every = _sum([noise, *(a.noise for a in self.answers)])
        epsilon, delta = dict.fromkeys(places, every[0]), dict.fromkeys(places, every[1])
        for trait in self.traits:
            for place in trait.people:
                if place in epsilon:
                    epsilon[place] += trait.noise.epsilon
                    delta[place] += trait.noise.delta or 0.0
        for what, found, limit in (("ε", epsilon, most[0]), ("δ", delta, most[1])):
            over = max(found.values(), default=0.0)
            if over > limit * (1 + _SLACK):
                raise PolicyError(
                    f"{BUDGET_RULE}: noise of phenotype {name} brings the {what} of a person to {over:g}; at most {limit:g} "
                    "is allowed, over all columns, names and ε of a lifetime"
                )

    def _value(self, place: int, value: float) -> str:
        return self._mark("value", f"{place} {value!r}")

    def _mark(self, purpose: str, data: str) -> str:
        raw = hmac.new(self.key, purpose.encode() + b"\0" + data.encode(), hashlib.sha256).digest()
        return raw[:MARK_BYTES].hex()


def _sum(spent: Sequence[LabelNoise | PeopleNoise]) -> tuple[float, float]:
    """ε and δ of several draws."""
    return sum(n.epsilon for n in spent), sum(n.delta or 0.0 for n in spent)
