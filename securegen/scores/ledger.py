"""The model owner's ledger of replies: how many answers of each model each client was given, kept across keys and
sessions.

An invitation *reserves* all its answers, under a lock, and costs one of them at once; answering it *charges* the rest
before anything leaves, and only where the reservation is still there: once. So a crash, two processes, a copy of the
private folder or an outstanding invitation never give an answer away. The cap and the rule of 20 weights per answer are
checked against what is charged and reserved together.

A model is known by its weights, not by a file or what a cohort matched of them. It is counted under the name of one
that it shares half of them with (`identity`); a client by the name that the model owner gave it. The file is one,
whatever links lead to it; it holds its own digest, and the lock beside it a mark that only grows, so that a damaged or
older ledger is refused; where a policy stands beside it, with its lock too (`audit_ledger`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError, InputError, PolicyError, StorageError
from securegen.governance import audit_ledger
from securegen.io.changes import raise_mark, read_mark
from securegen.io.output import PRIVATE, make_folder, write_text
from securegen.io.schema import Refused, hex_text, integer, map_of, one_of, record, text
from securegen.io.strict_json import MOST_BYTES, parse_json
from securegen.scores.identity import known_as

MAGIC = "securegen reply ledger 2"
FORMER_MAGIC = "securegen reply ledger 1"  # no digest, no reservations; models known by file and name
PEOPLE_SHARE = 20  # non-zero weights per answer

_COUNT = integer(0, 1 << 60)
_REPLIES = map_of(
    map_of(_COUNT, 1 << 16, name=text(1 << 10, printable=False)), 1 << 20, name=text(1 << 10, printable=False)
)
_RESERVED = map_of(
    record(client=text(1 << 10, printable=False), replies=map_of(_COUNT, 1 << 12, name=text(1 << 10, printable=False))),
    1 << 20, name=hex_text(16),
)  # fmt: skip
_LEDGER = record(
    ledger=record(magic=one_of(MAGIC), sequence=_COUNT, replies=_REPLIES, reserved=_RESERVED), sha256=hex_text(32)
)
_FORMER = record(magic=one_of(FORMER_MAGIC), replies=_REPLIES)


@dataclass(frozen=True)
class Asked:
    """What an invitation asks of one model.

    model: its identity; formerly: what ledgers of version 1 called it; name: of the score, for messages; answers: integers
    that say something of its weights; cap: of them in its life; weights: the fewest that its answers are equations
    in, None where the model owner allows fewer than 20 an answer.
    """

    model: str
    formerly: str
    name: str
    answers: int
    cap: int
    weights: int | None


class Ledger:
    """A file of mode 0600 that only the model owner reads."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))  # of two links to one file, both must see every change
        self._lock = self.path.with_name(self.path.name + ".lock")

    def used(self, model: str, client: str) -> int:
        """Answers charged so far."""
        with self._locked() as content:
            return int(content["replies"].get(model, {}).get(client, 0))

    def reserve(self, token: str, client: str, asked: Sequence[Asked]) -> None:
        """Reserve the answers of an invitation, of every model or none, and charge one of each: it tells sizes.

        token: 16 bytes in hex, new for every invitation. Raises PolicyError above a cap or below 20 weights per answer,
        what is charged and outstanding counted; StorageError when the file cannot be written.
        """
        with self._locked(write=True) as content:
            if token in content["reserved"]:
                raise ArtefactError("an invitation of this name was made already")
            kept: dict[str, int] = {}
            content["reserved"][token] = {"client": client, "replies": kept}
            known = list(content["replies"])
            for a in asked:  # one after the other: two scores may be one model
                a = replace(a, model=known_as(a.model, known))
                refuse_more(content, client, a)
                _add(content["replies"], a.model, client, 1)
                kept[a.model] = kept.get(a.model, 0) + a.answers - 1

    def charge(self, token: str) -> None:
        """Charge the answers that an invitation reserved. Raises ArtefactError when it is not outstanding here."""
        for model, answers, client, content in self._taken(token):
            _add(content["replies"], model, client, answers)

    def withdraw(self, token: str) -> None:
        """Give back what an invitation reserved; it can never be answered. Raises ArtefactError as `charge`."""
        for _ in self._taken(token):
            pass

    def _taken(self, token: str) -> Iterator[tuple[str, int, str, dict[str, Any]]]:
        with self._locked(write=True) as content:
            invitation = content["reserved"].pop(token, None)
            if invitation is None:
                raise ArtefactError(
                    f"{self.path} has no such invitation outstanding: it was answered or withdrawn, or made with another "
                    "ledger. What an invitation is for happens once"
                )
            for model, answers in invitation["replies"].items():
                yield model, answers, invitation["client"], content

    @contextlib.contextmanager
    def _locked(self, *, write: bool = False) -> Iterator[dict[str, Any]]:
        """The content under the lock; with `write` it is stored when the block ends well."""
        lock = self._open_lock()
        try:
            _refuse_open_folder(self.path.parent)
            fcntl.flock(lock, fcntl.LOCK_EX)
            refuse_shared(os.fstat(lock), self._lock)
            mark = read_mark(lock, self._lock, InputError)
            content = self._read(mark)
            audit_ledger.refuse_older(self.path, content["sequence"], partial(_same, content))
            yield content
            if write:
                content["sequence"] += 1
                write_text(self.path, _sealed(content), mode=PRIVATE)
                raise_mark(lock, self._lock, content["sequence"])
                audit_ledger.tell(self.path, content["sequence"], {"whole": _digest(content)})
        except OSError as error:
            raise StorageError(f"cannot keep {self.path}: {error.strerror}") from None
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        """A descriptor of the lock file; whoever makes it makes the ledger first, so that a lost ledger is noticed."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            return os.open(self._lock, flags)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror}") from None
        make_folder(self.path.parent)
        try:
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                fcntl.flock(folder, fcntl.LOCK_EX)  # one makes both
                if not (self.path.exists() or self._lock.exists()):
                    write_text(self.path, _sealed(_empty()), mode=PRIVATE)
                return os.open(self._lock, flags | os.O_CREAT, PRIVATE)
            finally:
                os.close(folder)
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror}") from None

    def _read(self, mark: int) -> dict[str, Any]:
        try:
            raw = _own_file(self.path)
        except FileNotFoundError:
            raise InputError(
                f"{self.path} is gone, but {self._lock} is there: restore the ledger from a backup, or remove the "
                "lock knowing that every count starts at zero"
            ) from None
        content = _parse(raw, self.path)
        if content["sequence"] < mark:
            raise InputError(
                f"{self.path} is older than the mark in {self._lock} ({content['sequence']} changes, {mark} were made): what "
                "was answered since would be given twice. Restore the latest ledger, or remove the lock knowing that those "
                "answers are forgotten"
            )
        return content


def refuse_more(content: dict[str, Any], client: str, asked: Asked) -> None:
    """Raise PolicyError when these answers, with those charged and outstanding, pass the cap or the rule of 20 weights."""
    charged = sum(content["replies"].get(m, {}).get(client, 0) for m in (asked.model, asked.formerly))
    outstanding = sum(r["replies"].get(asked.model, 0) for r in content["reserved"].values() if r["client"] == client)
    there = charged + outstanding
    if asked.weights is not None and asked.weights < PEOPLE_SHARE * (there + asked.answers):
        raise PolicyError(
            f"{asked.name} has {asked.weights} non-zero weights, or that many which another score of its file does not "
            f"have, fewer than {PEOPLE_SHARE} for each of {asked.answers} answers (people × scores) and the {there} given or "
            f"promised before: so many exact scores would give the model away. {max(asked.weights // PEOPLE_SHARE - there, 0)} "
            f"answers are left: ask about fewer people (`keep`), or allow it by name (`allow_small_model` {asked.name})"
        )
    if there + asked.answers > asked.cap:
        raise PolicyError(
            f"{charged} replies of {asked.name} went to {client}, {outstanding} are promised in invitations and "
            f"{asked.answers} more are asked for; the cap is {asked.cap} in its life (docs/explanation/prs-protocols.md). "
            "Ask about fewer people (`keep`), or raise the cap knowing that the weights can be solved for (`reply_cap`)"
        )


def _add(replies: dict[str, dict[str, int]], model: str, client: str, answers: int) -> None:
    of_model = replies.setdefault(model, {})
    of_model[client] = of_model.get(client, 0) + answers


def _empty() -> dict[str, Any]:
    return {"magic": MAGIC, "sequence": 0, "replies": {}, "reserved": {}}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _same(content: dict[str, Any], facts: Mapping[str, Any]) -> bool:
    """Whether a ledger is what an entry of the audit log names, where it has as many changes."""
    return bool(content["sequence"] != facts["changes"] or _digest(content) == facts["whole"])


def _sealed(content: dict[str, Any]) -> str:
    return json.dumps({"ledger": content, "sha256": _digest(content)}, indent=1, sort_keys=True) + "\n"


def _parse(raw: bytes, path: Path) -> dict[str, Any]:
    try:
        value = parse_json(raw, f"{path}, a ledger of replies,", error=InputError)
        if isinstance(value, dict) and value.get("magic") == FORMER_MAGIC:
            return _empty() | {"replies": _FORMER(value, "")["replies"]}
        value = _LEDGER(value, "")
        if _digest(value["ledger"]) != value["sha256"]:
            raise Refused("its content does not have the digest that it names")
        ledger: dict[str, Any] = value["ledger"]
        return ledger
    except (Refused, InputError) as problem:
        raise InputError(
            f"{path} is not a ledger of replies, or is damaged ({problem}): restore it from a backup"
        ) from None


def _own_file(path: Path) -> bytes:
    """The bytes of a regular file with one name that nobody else may write. Raises StorageError for others."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise FileNotFoundError from None
        raise StorageError(f"cannot read {path}: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as stream:
        refuse_shared(os.fstat(stream.fileno()), path)
        raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise InputError(f"{path} is too large to be a ledger of replies")
    return raw


def refuse_shared(status: os.stat_result, path: Path) -> None:
    """Raise StorageError unless the file is regular, has one name, and others cannot write it."""
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{path} is not a regular file: it cannot keep counts")
    if status.st_nlink > 1:
        raise StorageError(
            f"{path} has {status.st_nlink} hard links, each of which would keep counts of its own: leave one"
        )
    if status.st_mode & 0o022:
        raise StorageError(f"{path}: others may write it, so its counts hold nobody; chmod 600 it")


def _refuse_open_folder(folder: Path) -> None:
    """Raise StorageError where everybody may put another file, and another lock, in the place of the ledger's."""
    mode = folder.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StorageError(f"everybody may write in {folder}, so the ledger there binds nobody: chmod o-w {folder}")
