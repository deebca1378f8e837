"""What a data steward does with a register of consent: import, withdraw, check, list. `sg.consent` from Python.

Who learns what: whoever holds the register and not its key learns how many people there are, what they allow and when they
said it, and no name. Commands say counts, never ids.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from securegen.errors import InputError, PolicyError, UsageError
from securegen.governance import duo, releases
from securegen.governance.consent import NOTHING, WITHDRAW, Covered, Imported, Register, Row, covered, withdrawn
from securegen.governance.consent_file import digest_of, now, open_register, witness_of
from securegen.governance.decision import Decision
from securegen.governance.mondo import diseases
from securegen.io.text import count, iterate_lines
from securegen.model import Samples

Name = str | os.PathLike[str]
COLUMNS = ("FID", "IID", "DUO", "MODIFIERS", "DATE", "EVIDENCE")
_MISSING = ("", "NA", NOTHING)
_EVIDENCE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Listing:
    """A register in counts. people: by what they allow, and WITHDRAW; entries: of its history; mark: of the last of
    them, a witness; releases: what was released before, and of how many people who have withdrawn since."""

    people: dict[str, int]
    entries: int
    mark: str
    releases: tuple[tuple[str, int], ...]

    def text(self) -> list[str]:
        """The counts in words."""
        out = [f"{n:>8} {said}" for said, n in sorted(self.people.items())]
        out.append(f"{self.entries} {'entry' if self.entries == 1 else 'entries'}, last mark {self.mark or 'none'}")
        for what, gone in self.releases:
            out.append(f"released: {what}" + (f"; {count(gone, 'person')} of it withdrew since".replace("persons", "people")
                                              + ", which cannot be recalled" if gone else ""))  # fmt: skip
        return out


def import_table(register: Name, table: Name, *, today: date | None = None) -> Imported:
    """Enter the consents of a table into a register, which is made where there is none. All of it, or nothing.

    table: tab separated, with a header of `COLUMNS`, of which IID, DUO and DATE are needed. Raises InputError naming the line
    of what cannot be read, StorageError as `consent_file.open_register`.
    """
    rows = _rows(table)
    with open_register(register, new=True) as opened:
        time, clock = now(opened)
        return opened.add(rows, time, today or clock.date(), str(table))


def withdraw(register: Name, people: Name, *, today: date | None = None) -> tuple[int, tuple[str, ...]]:
    """Enter that the people of a list (FID IID or IID per line) withdrew: no run uses them from then on.

    Returns how many had not yet, and what was released of them before, which cannot be recalled. Raises InputError, and enters
    nobody, for somebody who is not in the register.
    """
    named = _people(people)
    with open_register(register) as opened:
        before = opened.in_force()
        time, clock = now(opened)
        new = opened.withdraw(named, time, today or clock.date(), str(people))
        gone = {k[0] for k, line in opened.in_force().items() if line.action == WITHDRAW != before[k].action}
        return new, tuple(what for what, n in _releases(opened, gone) if n)


def check(
    register: Name, samples: Samples, purpose: str, *, mondo: Name | None = None, today: date | None = None
) -> Covered:
    """Whose consent covers a purpose. mondo: a table of child and parent in place of the shipped slice.

    Raises UsageError for what is not a purpose, PolicyError for a disease that the table does not have, StorageError as
    `consent_file.open_register`.
    """
    asked = purpose_of(purpose)
    known = diseases(None if mondo is None else os.fspath(mondo))
    if asked.disease and asked.disease not in known:
        raise PolicyError(
            f"consent.disease: {asked.disease} is not in {mondo or 'the shipped diseases'}, so no consent is known to cover it: "
            "`mondo` names a table of child and parent that has it"
        )
    with open_register(register) as opened:
        _, clock = now(opened)
        return covered(opened, samples, asked, today or clock.date(), known.within)


def refuse_withdrawn(
    register: Name, samples: Samples, purpose: str, people: np.ndarray | None = None, *, mondo: Name | None = None
) -> None:
    """Raise PolicyError where somebody of these, (N,) bool or all, does not allow a purpose any more; StorageError where the
    register is not where it was."""
    allowed = check(register, samples, purpose, mondo=mondo).people
    _refuse_gone(~allowed if people is None else people & ~allowed, purpose)


def _refuse_gone(people: np.ndarray, purpose: str) -> None:
    gone = int(people.sum())
    if gone:
        raise PolicyError(
            f"consent.withdrawn: {gone} of the people in these results do not allow {purpose} any more: nothing was opened. "
            "Begin again without them, with `purpose` and `consent`: a design, or genotypes for scores, is encrypted anew"
        )


def covering_mark(register: Name, purpose: str, *, mondo: Name | None = None, today: date | None = None) -> str:
    """A mark, under the register's key, of everybody whose consent covers a purpose. Raises as `check`."""
    asked, known = purpose_of(purpose), diseases(None if mondo is None else os.fspath(mondo))
    with open_register(register) as opened:
        covering = opened.covering(asked, today or now(opened)[1].date(), known.within)
        return opened.ledger.mark("covering", "\n".join(sorted(covering)).encode())


def left(register: Name, samples: Samples) -> np.ndarray:
    """(N,) bool: who of the samples withdrew, whatever for. Raises StorageError as `consent_file.open_register`."""
    with open_register(register) as opened:
        return withdrawn(opened, samples)


def left_since(register: Name, samples: Samples, known: tuple[int, str] | None) -> np.ndarray | None:
    """As `left`; None where the register is another one, or has lost lines. known: its earlier witness."""
    with open_register(register) as opened:
        if known is not None and witness_of(opened, known[0]) != known:
            return None
        return withdrawn(opened, samples)


def witness(register: Name, known: tuple[int, str] | None) -> tuple[int, str]:
    """The witness of a register, as `consent_file.witness_of` makes it; `known` itself where the register is another one, or has
    lost lines since. Raises StorageError as `consent_file.open_register`."""
    with open_register(register) as opened:
        return witness_of(opened) if known is None or witness_of(opened, known[0]) == known else known


def register_digest(register: Name) -> str:
    """Hex SHA-256 of a register as it is now, as audit entries name it. Raises StorageError."""
    with open_register(register) as opened:
        return digest_of(opened)


def claim(
    register: Name, samples: Samples, sets: Sequence[tuple[str, np.ndarray]], purpose: str, name: str, *,
    mondo: Name | None = None, today: date | None = None,
) -> None:  # fmt: skip
    """Enter that exact tables of these people leave, before they are made: all or none.

    sets: (analysis, (N,) bool) of a run; name: of it. Raises PolicyError where somebody in a table does not allow the purpose
    any more, and where it would be, beside an earlier one, few people (`releases.release_reason`).
    """
    asked, known = purpose_of(purpose), diseases(None if mondo is None else os.fspath(mondo))
    with open_register(register) as opened:
        time, clock = now(opened)
        day, ledger = today or clock.date(), opened.ledger
        found = covered(opened, samples, asked, day, known.within)
        for _, people in sets:
            _refuse_gone(people & ~found.people, purpose)
        places = ledger.places(found.names)
        covering = opened.covering(asked, day, known.within)
        left = np.array([person not in covering for person in ledger.people], bool)
        chosen = [(what, releases.members(places, people, len(left))) for what, people in sets]
        decision = Decision.of(releases.release_reason(ledger, what, people, left) for what, people in chosen)
        decision.require()
        for what, people in chosen:
            releases.enter_release(ledger, what, people, time, name)


def listing(register: Name) -> Listing:
    """A register in counts: what people allow, who withdrew, what was released. Raises StorageError."""
    with open_register(register) as opened:
        latest = opened.in_force().values()
        people = Counter(WITHDRAW if line.said is None else str(line.said) for line in latest)
        gone = {line.person for line in latest if line.action == WITHDRAW}
        return Listing(dict(people), *opened.ledger.register, _releases(opened, gone))


def purpose_of(text: str) -> duo.Purpose:
    """The purpose of a run. Raises UsageError."""
    try:
        return duo.parse_purpose(text)
    except duo.NotDuo as problem:
        raise UsageError(f"`purpose`: {problem}") from None


def _releases(register: Register, gone: set[str]) -> tuple[tuple[str, int], ...]:
    """What was released, and how many of these people were in it."""
    places = [register.ledger.people[person] for person in gone if person in register.ledger.people]
    return tuple(
        (what, int(sum(members[p] for p in places if p < len(members)))) for what, members in register.ledger.sets
    )


def _rows(table: Name) -> list[Row]:
    lines = [(n, line) for n, line in enumerate(iterate_lines(os.fspath(table)), 1) if line.strip()]
    if not lines:
        raise InputError(f"{table} is empty")
    header = [name.strip(" ").upper().lstrip("#") for name in lines[0][1].split("\t")]
    unknown = [name for name in header if name not in COLUMNS]
    absent = [name for name in ("IID", "DUO", "DATE") if name not in header]
    if unknown or absent or len(set(header)) != len(header):
        raise InputError(
            f"{table}, line {lines[0][0]}: the header has {', '.join(COLUMNS)}, separated by tabs; FID, MODIFIERS and EVIDENCE "
            f"may be absent, and nothing else of a person belongs here ({'no ' + absent[0] if absent else 'another column'})"
        )
    out = []
    for number, text in lines[1:]:
        cells = [cell.strip(" ") for cell in text.split("\t")]
        if len(cells) != len(header):
            raise InputError(f"{table}, line {number}: {count(len(cells), 'field')}, the header has {len(header)}")
        out.append(_row(dict(zip(header, cells, strict=True)), table, number))
    return out


def _row(cells: dict[str, str], table: Name, number: int) -> Row:
    where = f"{table}, line {number}"
    fid = cells.get("FID")
    _check_id(cells["IID"], where)
    if fid not in (None, ""):
        _check_id(str(fid), where)
    evidence, more = cells.get("EVIDENCE", ""), cells.get("MODIFIERS", "")
    if evidence not in _MISSING and not _EVIDENCE.fullmatch(evidence):
        raise InputError(f"{where}: EVIDENCE is the SHA-256 of a document, 64 digits in lower case, or NA")
    words = [] if more in _MISSING else [word.strip(" ") for word in more.split(",")]
    try:
        said = duo.parse_consent(",".join([cells["DUO"], *words]))
        day = duo.day(cells["DATE"])
    except duo.NotDuo as problem:
        raise InputError(f"{where}: {problem}") from None
    return Row(number, fid, cells["IID"], said, day, NOTHING if evidence in _MISSING else evidence)


def _check_id(text: str, where: str) -> None:
    """Ids are compared letter by letter: two forms of one letter would be two people, one of whom never withdraws."""
    if not text or any(c.isspace() or not c.isprintable() for c in text) or text[0] in "\"'":
        raise InputError(f"{where}: an id is empty, quoted, or holds a blank or a sign that is not seen")
    if unicodedata.normalize("NFC", text) != text:
        raise InputError(
            f"{where}: an id holds a letter in two parts (Unicode NFD): write it as the genotype file does, in NFC"
        )


def _people(path: Name) -> list[tuple[int, tuple[str, ...]]]:
    """Lines of a list, with their numbers; a header (FID IID, or IID) is skipped."""
    out: list[tuple[int, tuple[str, ...]]] = []
    width = 0
    for number, line in enumerate(iterate_lines(os.fspath(path)), 1):
        cells = tuple(line.split())
        if not cells or (not width and cells[0].lstrip("#").upper() in ("FID", "IID")):
            continue
        if len(cells) > 2 or (width and len(cells) != width):
            raise InputError(f"{path}, line {number}: FID IID, or IID, is expected, in every line alike")
        width = len(cells)
        for cell in cells:
            _check_id(cell, f"{path}, line {number}")
        out.append((number, cells))
    if not out:
        raise InputError(f"{path} names nobody")
    return out


__all__: Sequence[str] = ("Covered", "Imported", "Listing", "check", "claim", "import_table", "listing", "withdraw")
