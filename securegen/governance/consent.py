"""A register of consent: what each person allows, in the order in which it was said. Pure; `consent_file` keeps it.

It names nobody. A person stands in it as three HMACs under its ledger's key (`ledger.Entries`): of family and own id, of the
own id, and of both as a VCF joins them. The latest line of a person counts; a withdrawal counts until a consent of a later
day. Of two lines that one sample may be, both must cover.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np

from securegen.errors import ArtefactError, InputError
from securegen.governance import duo
from securegen.governance.decision import Reason
from securegen.governance.ledger import PERSON_BYTES, Entries
from securegen.io.text import count
from securegen.model import Samples

CONSENT, WITHDRAW = ACTIONS = ("consent", "withdraw")
RELEASE: Final = "release"
ABSENT, WITHDRAWN, UNCLEAR, LATER = "absent", "withdrawn", "unclear", "later"
NOTHING: Final = "."  # in place of what a line does not have
_WORDS: Final = {
    ABSENT: "are not in the register", WITHDRAWN: "withdrew", UNCLEAR: "share an id, and the register does not say whose it is",
    LATER: "consented on a day that lies ahead",
}  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One line of a register. time: UTC, when it was entered; person, iid, pasted: HMACs in hex, the last two the same where
    the family is not known; said: the consent; day: when it was given or withdrawn; evidence: SHA-256 of a document."""

    time: str
    action: str
    person: str
    iid: str
    pasted: str
    said: duo.Consent | None
    day: date
    evidence: str = NOTHING

    @property
    def key(self) -> tuple[str, str]:
        """Whose line it is."""
        return self.person, self.iid

    @property
    def alone(self) -> bool:
        """Whether the person is known by the own id, without a family's."""
        return self.pasted == self.iid


@dataclass(frozen=True)
class Released:
    """A line that binds the ledger. time: UTC; sets: releases that the ledger had entered; digest: of them, 64 hex digits."""

    time: str
    sets: int
    digest: str


@dataclass(frozen=True)
class Row:
    """A row of a table of consents, as its owner writes it: with the person's name, which goes no further."""

    number: int
    fid: str | None
    iid: str
    said: duo.Consent
    day: date
    evidence: str = NOTHING


@dataclass(frozen=True)
class Imported:
    """What became of the rows of a table. older: of a day before what is in force; withdrawn: not after the person withdrew."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    older: int = 0
    withdrawn: int = 0

    def lines(self) -> list[str]:
        """The counts in words."""
        out = [f"{self.new} people are new, {self.changed} consent otherwise than before, {self.unchanged} as before"]
        if self.older:
            out.append(f"WARNING: {count(self.older, 'row')} older than the consent in force: left out")
        if self.withdrawn:
            out.append(
                f"WARNING: {count(self.withdrawn, 'row')} not later than the person's withdrawal: they stay withdrawn; a new "
                "consent has a later day"
            )
        return out


@dataclass
class Register:
    """Lines in order, under the ledger whose key names people."""

    ledger: Entries
    lines: list[Line | Released] = field(default_factory=list)

    def in_force(self) -> dict[tuple[str, str], Line]:
        """The latest line of everybody."""
        return {line.key: line for line in self.lines if isinstance(line, Line)}

    def forgotten(self) -> Released | None:
        """The line that names releases which the ledger does not have, or has otherwise: it is an older one."""
        bound = [line for line in self.lines if isinstance(line, Released)][-1:]
        return next((line for line in bound if self.ledger.digest_of((line.sets, 0, 0)) != line.digest), None)

    def bind(self, now: str) -> None:
        """Enter how many releases the ledger has, where it has more than the last line that says so."""
        known = max((line.sets for line in self.lines if isinstance(line, Released)), default=0)
        sets = len(self.ledger.sets)
        if sets > known and (digest := self.ledger.digest_of((sets, 0, 0))) is not None:
            self.lines.append(Released(now, sets, digest))

    def names(self, fid: str | None, iid: str) -> tuple[str, str, str]:
        """The three HMACs of a person; no family id, or 0, is one that is not known."""
        alone = fid in (None, "", "0")
        own = _mark(self.ledger, iid)
        if alone:
            return self.ledger.person("0", iid), own, own
        return self.ledger.person(str(fid), iid), own, _mark(self.ledger, f"{fid}_{iid}")

    def covering(self, purpose: duo.Purpose, today: date, within: duo.Within) -> set[str]:
        """What everybody is called whose consent covers a purpose on a day."""
        out, against = set[str](), set[str]()
        for line in self.in_force().values():
            good = line.said is not None and line.day <= today and not duo.unmet(line.said, purpose, today, within)
            (out if good else against).add(line.person)
        return out - against

    def add(self, rows: Sequence[Row], now: str, today: date, where: str) -> Imported:
        """Enter the consents of a table. Raises InputError, and enters nothing, for a day that lies ahead, two rows of one
        person, and two consents of one day."""
        before, seen = self.in_force(), dict[tuple[str, str], int]()
        counts, fresh = Counter[str](), list[Line]()
        for row in rows:
            line = Line(now, CONSENT, *self.names(row.fid, row.iid), row.said, row.day, row.evidence)
            if (first := seen.setdefault(line.key, row.number)) != row.number:
                raise InputError(f"{where}: lines {first} and {row.number} name one person: which one is in force?")
            if row.day > today:
                raise InputError(f"{where}, line {row.number}: the day {row.day} lies ahead")
            known = before.get(line.key)
            what = _against(known, line)
            if what == "two":
                raise InputError(
                    f"{where}, line {row.number}: the register has another consent of this person of the same day: a "
                    "correction has a later one"
                )
            counts[what] += 1
            if what in ("new", "changed"):
                fresh.append(line)
        self.lines += fresh
        return Imported(**counts)

    def withdraw(self, people: Iterable[tuple[int, tuple[str, ...]]], now: str, today: date, where: str) -> int:
        """Enter that people withdrew; returns how many had not yet. people: (line, (FID, IID) or (IID,)).

        Raises InputError, and enters nothing, for somebody whom the register does not have, or has twice.
        """
        latest, fresh = self.in_force(), dict[tuple[str, str], Line]()
        owners: dict[str, list[Line]] = {}
        for line in latest.values():
            owners.setdefault(line.iid, []).append(line)
        for number, ids in people:
            fid, iid = (ids[0], ids[1]) if len(ids) == 2 else (None, ids[0])
            person, own, pasted = self.names(fid, iid)
            mine = owners.get(own, [])
            if pasted != own:
                mine = [line for line in mine if line.person == person or line.alone]
            elif len(mine) > 1:
                raise InputError(f"{where}, line {number}: several people have this id: give the family's too")
            if not mine:
                raise InputError(f"{where}, line {number}: this person is not in the register: nothing was entered")
            for line in mine:
                if line.action != WITHDRAW:
                    fresh[line.key] = Line(now, WITHDRAW, line.person, line.iid, line.pasted, None, today)
        self.lines += fresh.values()
        return len(fresh)


@dataclass(frozen=True)
class Covered:
    """Whose consent covers a purpose. people: (N,) bool; names: what the register calls each of them; why: how many are left
    out, by word or code; obligations: how many of those who are covered ask for each; reason: what receipts and the log
    say."""

    people: np.ndarray = field(repr=False)
    names: tuple[str, ...] = field(repr=False)
    why: Mapping[str, int]
    obligations: Mapping[str, int]
    reason: Reason

    def lines(self, purpose: duo.Purpose) -> list[str]:
        """The counts in words, for a log: never an id."""
        out = [f"--purpose {purpose}: {self.reason.text}"]
        out += [f"obligation {what}: of {count(n, 'consent')}" for what, n in sorted(self.obligations.items())]
        return out


def covered(register: Register, samples: Samples, purpose: duo.Purpose, today: date, within: duo.Within) -> Covered:
    """Whose latest consent covers a purpose on a day. within: as `duo.unmet`.

    A sample without a family id, as in a VCF, is whoever has its id, alone or joined to a family's.
    """
    latest = register.in_force()
    by_id: dict[str, list[Line]] = {}
    for line in latest.values():
        for name in dict.fromkeys((line.iid, line.pasted)):
            by_id.setdefault(name, []).append(line)
    ids = Counter(samples.iid)
    answers: dict[duo.Consent, tuple[str, ...]] = {}
    why, obligations = Counter[str](), Counter[str]()
    people, names = np.zeros(len(samples), bool), list[str]()
    for i, (fid, iid) in enumerate(zip(samples.fid, samples.iid, strict=True)):
        person, own, pasted = register.names(str(fid), str(iid))
        loose = pasted == own
        mine = [
            line for line in by_id.get(own, []) if loose or line.person == person or (line.alone and line.iid == own)
        ]
        names.append(mine[0].person if mine else person)
        left_out = _why_not(mine, loose, ids[iid], today)
        for line in mine if left_out is None else []:
            if line.said is None:  # `_why_not` has answered for those
                raise ArtefactError("the register of consent has a line without a consent that is not a withdrawal")
            if line.said not in answers:
                answers[line.said] = duo.unmet(line.said, purpose, today, within)
            left_out = left_out or next(iter(answers[line.said]), None)
        if left_out is None:
            people[i] = True
            obligations.update({o for line in mine if line.said for o in line.said.obligations})
        else:
            why[left_out] += 1
    return Covered(people, tuple(names), dict(why), dict(obligations), _reason(people, why))


def withdrawn(register: Register, samples: Samples) -> np.ndarray:
    """(N,) bool: who withdrew, or may be somebody who did. Matched as in `covered`, and where it is not clear for leaving."""
    by_id: dict[str, list[Line]] = {}
    for line in register.in_force().values():
        if line.action == WITHDRAW:
            for name in dict.fromkeys((line.iid, line.pasted)):
                by_id.setdefault(name, []).append(line)
    out = np.zeros(len(samples), bool)
    for i, (fid, iid) in enumerate(zip(samples.fid, samples.iid, strict=True)):
        person, own, pasted = register.names(str(fid), str(iid))
        loose = pasted == own
        out[i] = any(loose or line.person == person or (line.alone and line.iid == own) for line in by_id.get(own, []))
    return out


def _why_not(mine: Sequence[Line], loose: bool, alike: int, today: date) -> str | None:
    """Why a sample has no consent at all; None where each of its lines is one."""
    if not mine:
        return ABSENT
    if any(line.action == WITHDRAW for line in mine):
        return WITHDRAWN
    if (loose and len(mine) > 1) or (alike > 1 and any(line.alone for line in mine)):
        return UNCLEAR
    return LATER if any(line.day > today for line in mine) else None


def _reason(people: np.ndarray, why: Mapping[str, int]) -> Reason:
    kept, total = int(people.sum()), len(people)
    words = [f"{n} {_WORDS.get(code) or f'by {code}'}" for code, n in sorted(why.items())]
    left = f"; left out: {', '.join(words)}" if words else ""
    return Reason("consent.purpose", kept > 0, f"the consent of {kept} of {total} people covers it{left}")


def _against(known: Line | None, line: Line) -> str:
    """What a consent is beside the line in force."""
    if known is None:
        return "new"
    if known.action == WITHDRAW:
        return "changed" if line.day > known.day else "withdrawn"
    if (known.said, known.day) == (line.said, line.day):
        return "unchanged" if line.evidence in (known.evidence, NOTHING) else "two"
    if known.day == line.day:
        return "two"
    return "changed" if line.day > known.day else "older"


def _mark(ledger: Entries, iid: str) -> str:
    return ledger.mark("own id", iid.encode(errors="surrogateescape"))[: 2 * PERSON_BYTES]
