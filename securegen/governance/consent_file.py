"""The file of a register of consent: tab separated, one line per entry, mode 0600, replaced whole, history kept.

Each line ends with an HMAC of itself and of the one before, under the key of the ledger REGISTER.ledger beside it, so that an
edited, cut or moved line is named. The ledger remembers how many lines there were and the last mark: an older register is
refused. A line `release` names how many releases the ledger had, and a digest of them: an older ledger is refused. Who brings
back register *and* ledger of one day brings back that day: keep a witness of both (`list` prints it).

What is released enters the ledger, then the register; who withdraws enters the register. Last the ledger remembers the
register. A kill leaves what is written earlier ahead of what is written later, and the next run goes on from there.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from securegen.errors import StorageError
from securegen.governance import duo
from securegen.governance.audit_beside import record
from securegen.governance.consent import ACTIONS, CONSENT, NOTHING, RELEASE, WITHDRAW, Line, Register, Released
from securegen.governance.ledger import PERSON_BYTES, Entries
from securegen.governance.ledger_file import open_ledger
from securegen.io.output import PRIVATE, write_text
from securegen.io.schema import Refused, hex_text
from securegen.io.strict_json import read_regular

FORMAT = "#securegen consent register 1"
HEADER = ("#TIME", "ACTION", "PERSON", "IID", "PASTED", "CONSENT", "DAY", "EVIDENCE", "MARK")
_MOST = 1 << 31
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_NAME, _DIGEST = hex_text(PERSON_BYTES), hex_text(32)


@contextlib.contextmanager
def open_register(path: str | os.PathLike[str], *, new: bool = False) -> Iterator[Register]:
    """The register and its ledger, both locked; what the block enters is written when it ends without an error.

    new: it may be made. Raises StorageError when it is not there, was altered, is older than its ledger, or is open to
    others.
    """
    path = Path(path)
    if path.is_symlink():
        raise StorageError(f"{path}, a register of consent, is a link: name the file itself")
    if not new and not path.exists():
        beside = ledger_of(path)
        gone = "is gone, and its ledger is there: bring it back from a backup" if beside.exists() else "is not there"
        raise StorageError(f"the register of consent {path} {gone}; `consent import` makes one")
    if path.exists() and not ledger_of(path).exists():
        raise StorageError(f"{ledger_of(path)} is gone, and with it the key of {path}: bring both back from a backup")
    with open_ledger(ledger_of(path)) as ledger:
        register = Register(ledger, _read(path, ledger))
        if (line := register.forgotten()) is not None:
            raise StorageError(
                f"{ledger_of(path)} is an older ledger, or another one: {path} names {line.sets} releases until {line.time}, "
                f"this has {len(ledger.sets)}. What was released since would be forgotten. Bring back the latest"
            )
        before = len(register.lines)
        yield register
        register.bind(now(register)[0])
        if len(register.lines) != before or not path.exists():
            text, last = _written(register)
            _log(path, [line for line in register.lines[before:] if isinstance(line, Line)], text)
            ledger.keep()
            write_text(path, text, mode=PRIVATE)
            ledger.register = len(register.lines), last


def _log(path: Path, lines: Sequence[Line], text: str) -> None:
    """Tell the audit log of the policy beside a register, if there is one, before what people said is written."""
    if not lines:  # what leaves is logged by its gate
        return
    action = "withdrawn" if all(line.action == WITHDRAW for line in lines) else "imported"
    register = hashlib.sha256(text.encode()).hexdigest()
    record(path, "consent", {"action": action, "register": register, "people": len({line.key for line in lines})})


def digest_of(register: Register) -> str:
    """Hex SHA-256 of the text of a register."""
    return hashlib.sha256(_written(register)[0].encode()).hexdigest()


def witness_of(register: Register, lines: int | None = None) -> tuple[int, str]:
    """How many lines a register has, or so many of its first, and the mark of the last of them, which no other register has."""
    first = register.lines[:lines]
    return len(first), _written(Register(register.ledger, first))[1]


def ledger_of(path: str | os.PathLike[str]) -> Path:
    """The ledger beside a register: the key that names its people, and the sets of them in released tables."""
    return Path(f"{os.fspath(path)}.ledger")


def now(register: Register) -> tuple[str, datetime]:
    """The time of a new entry, UTC, never before that of the last one; and the clock's own."""
    clock = datetime.now(UTC)
    said = clock.strftime(_TIME)
    return max(said, register.lines[-1].time) if register.lines else said, clock


def _read(path: Path, ledger: Entries) -> list[Line | Released]:
    count, witness = ledger.register
    try:
        raw = read_regular(path, "a register of consent", most=_MOST, error=StorageError)
    except FileNotFoundError:
        if count:
            raise StorageError(
                f"{path} is gone: its ledger remembers {count} lines; bring it back from a backup"
            ) from None
        return []
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path}, a register of consent, is open to others: chmod 600 it")
    try:
        texts = raw.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise StorageError(f"{path} was altered: a register of consent is ASCII text") from None
    if texts[:2] != [FORMAT, "\t".join(HEADER)] or texts[-1] != "":
        raise StorageError(f"{path} is not a register of consent of this version, or its end is cut")
    mark, lines, marks = "", list[Line | Released](), list[str]()
    for number, text in enumerate(texts[2:-1], 3):
        cells = text.split("\t")
        mark = _next(ledger, mark, cells[:-1])
        if len(cells) != len(HEADER) or not hmac.compare_digest(mark, cells[-1]):
            _altered(path, number)
        lines.append(_line(cells, path, number))
        marks.append(mark)
    if len(lines) < count or (count and marks[count - 1] != witness):
        raise StorageError(
            f"{path} has {len(lines)} lines, its ledger remembers {count}: this is an older register, or another one; what was "
            "withdrawn since would be used again. Bring back the latest"
        )
    ledger.register = len(lines), mark  # a kill may have left the register ahead of it
    return lines


def _line(cells: list[str], path: Path, number: int) -> Line | Released:
    """What a line says, whose mark is right: written by this program, or with its key."""
    time, action, person, iid, pasted, said, day, evidence, _ = cells
    try:
        datetime.strptime(time, _TIME)
        if action == RELEASE:
            return Released(time, int(said), _DIGEST(evidence, "the releases"))
        for name in (person, iid, pasted):
            _NAME(name, "a name")
        if evidence != NOTHING:
            _DIGEST(evidence, "the evidence")
        if action not in ACTIONS or (said == NOTHING) == (action == CONSENT):
            raise ValueError
        consent = None if said == NOTHING else duo.parse_consent(said)
        return Line(time, action, person, iid, pasted, consent, duo.day(day), evidence)
    except (ValueError, Refused):
        _altered(path, number)


def _altered(path: Path, number: int) -> NoReturn:
    raise StorageError(
        f"{path}, line {number}: it was altered, moved or cut, or is under another key: nothing in this register can be relied "
        "on; bring it back from a backup"
    )


def _next(ledger: Entries, mark: str, cells: list[str]) -> str:
    return ledger.mark("consent", "\t".join([mark, *cells]).encode())[: 2 * PERSON_BYTES]


def _written(register: Register) -> tuple[str, str]:
    """The whole file, and the mark of its last line."""
    mark, out = "", [FORMAT, "\t".join(HEADER)]
    for line in register.lines:
        if isinstance(line, Released):
            cells = [line.time, RELEASE, NOTHING, NOTHING, NOTHING, str(line.sets), NOTHING, line.digest]
        else:
            said = NOTHING if line.said is None else str(line.said)
            cells = [line.time, line.action, line.person, line.iid, line.pasted, said, str(line.day), line.evidence]
        mark = _next(register.ledger, mark, cells)
        out.append("\t".join([*cells, mark]))
    return "\n".join(out) + "\n", mark
