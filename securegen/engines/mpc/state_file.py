"""What an owner must remember between sessions: which mask covers which data, and how much was already asked.

A mask that covers two different secrets gives away their difference, so a mask key is bound to the digest of the data
it covers: `mask_key` derives it from an owner's secret and the digest (other data, other mask, even if this file is
lost). `claim` refuses a second use *before* anything is sent. `spend` counts what others have asked of a cohort or
model over its lifetime, because every exact sum is an equation in the data. One JSON file, readable by the owner only,
replaced whole under a lock and synced before the answer.

A dealer is told mask keys. Whoever deals in one study and receives masked data in another could unmask it. So masks
also depend on `study`, the digest of who takes part in which role.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from securegen.engines.mpc.shares.prg import derive_key
from securegen.errors import PolicyError, StorageError, UsageError
from securegen.governance import audit_ledger
from securegen.io.changes import raise_mark, read_mark
from securegen.io.schema import hex_text, integer, map_of, one_of, printable, record, text
from securegen.io.strict_json import parse_json, read_regular
from securegen.randomness import KEY_BYTES, fresh_key

_FORMAT = "securegen mpc state 2"
_WITHOUT_DIGEST = "securegen mpc state 1"  # of version 0.1; the first change writes the digest
_PARTS = ("secrets", "claims", "spent")
_MOST_BYTES = 1 << 28
_MOST = 1 << 22  # entries
_NAME = text(1 << 12, printable=False)  # of phenotypes too
_FIELDS: dict[str, Any] = {
    "secrets": map_of(hex_text(KEY_BYTES), _MOST), "claims": map_of(_NAME, _MOST, name=_NAME),
    "spent": map_of(integer(0, 1 << 62), _MOST, name=_NAME),
}  # fmt: skip
_STATE = {
    _FORMAT: record(format=one_of(_FORMAT), digest=hex_text(32), **_FIELDS, may_have={"changes": integer(1, 1 << 60)}),
    _WITHOUT_DIGEST: record(format=one_of(_WITHOUT_DIGEST), **_FIELDS, may_have={"changes": integer(1, 1 << 60)}),
}
_COHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_cohort(name: str) -> str:
    """The name, if it can name a cohort or model: nothing in it can be taken for another entry of the state file.

    >>> check_cohort("biobank-1")
    'biobank-1'
    """
    if not _COHORT.fullmatch(name):
        raise UsageError(f"cohort name {name!r} must be at most 64 letters, digits, dots, hyphens and underscores")
    return name


def digest_array(array: np.ndarray) -> str:
    """SHA-256 over dtype, shape and values.

    >>> digest_array(np.zeros(2, np.int8)) == digest_array(np.zeros(2, np.int16))
    False
    """
    h = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    h.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return h.hexdigest()


def columns_answered(people: int, named: int | None) -> int:
    """The most columns that a genotype owner answers of these people in their life: a hundredth of them, at least 1, unless it
    names another number. Whoever chooses columns reads some 25 people by each. A policy's `budgets.columns_share` is the
    door's, and refuses beside it: it raises nothing here.

    >>> columns_answered(500, None), columns_answered(90, None), columns_answered(500, 20)
    (5, 1, 20)
    """
    return max(1, people // 100) if named is None else named


@dataclass(frozen=True)
class StateFile:
    """The state file of one owner; made on first use, mode 0600. study: `Parties.digest`; policies: folders of those that govern
    the owner, where none stands beside it; seen: digests of what was held against the audit log."""

    path: Path
    study: str = ""
    policies: tuple[Path, ...] = ()
    seen: dict[Path, str] = field(default_factory=dict, compare=False, repr=False)

    def mask_key(self, cohort: str, place: str, digest: str) -> bytes:
        """The mask key of one piece of data: bound to cohort, place in it, and the data's digest.

        Raises PolicyError when other data already used this place: a cohort that changed is another cohort.
        """
        check_cohort(cohort)
        with self._update() as state:
            secret = state["secrets"].setdefault(cohort, fresh_key().hex())
            _bind(state, f"{cohort}/{place}", digest, "the same cohort name now has other genotypes: use a new name")
        return derive_key(bytes.fromhex(secret), f"{self.study}{self.study and '/'}{place}/{digest}")

    def bind(self, what: str, value: str, advice: str, *, keep: bool = True) -> None:
        """Remember `value` for `what` (keep=False: only look); PolicyError, with `advice`, when another was used before."""
        with self._update() as state:
            known = state["claims"].setdefault(what, value) if keep else state["claims"].get(what, value)
            if known != value:
                raise PolicyError(
                    f"{self.path}: the {what!r} was {printable(known, 80)} before, now {printable(value, 80)}: {advice}"
                )

    def claim(self, use: str, digest: str) -> None:
        """Record that the one-time mask `use` covers `digest`; PolicyError when it was used before, whatever for."""
        with self._update(told=True) as state:
            if use in state["claims"]:
                raise PolicyError(f"{self.path}: the mask {use!r} was used before; start a new session")
            state["claims"][use] = digest

    def spend(self, what: str, amount: int, *, limit: int) -> int:
        """Count `amount` more asked of `what` and return the total; PolicyError, nothing counted, above `limit`."""
        return self.spend_together([(what, amount, limit)])[0]

    def spend_together(self, asked: Sequence[tuple[str, int, int]]) -> list[int]:
        """As `spend`, of several (what, amount, limit): all are counted, or none."""
        with self._update(told=True) as state:
            totals = {what: state["spent"].get(what, 0) + amount for what, amount, _ in asked}
            for what, amount, limit in asked:
                if totals[what] > limit:
                    raise PolicyError(
                        f"{self.path}: {what}: answered {totals[what] - amount} of at most {limit}; {amount} more are "
                        "refused, because enough exact answers reconstruct the data. If the owner accepts that: "
                        f"--column-limit {totals[what]}, of a model --reply-cap {totals[what]}"
                    )
            state["spent"] |= totals
        return list(totals.values())

    @contextlib.contextmanager
    def _update(self, *, told: bool = False) -> Iterator[dict[str, Any]]:
        """The state under its lock, written when the block ends well. told: the audit log hears of it."""
        path = Path(os.path.realpath(self.path))  # of two links to one file, both must see every change
        beside = path.with_name(path.name + ".lock")
        try:
            lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: cannot keep the owner's state here: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state, mark = self._read(path), read_mark(lock, beside)
            changes = state.get("changes", 0)
            if changes < mark:
                raise StorageError(
                    f"{path}: the owner's state is older than the mark in {beside} ({changes} changes, {mark} were made): masks "
                    "would be used twice, and what was answered asked again. Bring back the latest, or start a new state, in "
                    "another place, for new cohorts"
                )
            if self.seen.get(path) != _digest(state):  # else it is as this object left it
                same = partial(_same, state, changes)
                audit_ledger.refuse_older(path, changes, same, self.policies, what="the owner's state")
            yield state
            state["changes"] = changes + 1
            _replace(path, json.dumps(state | {"digest": _digest(state)}, indent=1, sort_keys=True).encode())
            raise_mark(lock, beside, state["changes"])
            self.seen[path] = _digest(state)
            if told:
                audit_ledger.tell(path, state["changes"], {"whole": _digest(state)}, self.policies)
        finally:
            os.close(lock)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            raw = read_regular(path, "the owner's state", most=_MOST_BYTES, error=StorageError)
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return {"format": _FORMAT, **{part: {} for part in _PARTS}}
        if mode & 0o022:
            raise StorageError(f"{path}: others may write the owner's state, so its limits hold nobody; chmod 600 it")
        state = parse_json(raw, f"{path}, the owner's state,", _sound, error=StorageError)
        state = {name: part for name, part in state.items() if part is not None}  # earlier versions counted no changes
        if state["format"] == _FORMAT and state.pop("digest") != _digest(state):
            raise StorageError(
                f"{path}: the owner's state is damaged: it does not have the digest that it names. Restore it, or start a "
                "new one for new cohorts"
            )
        return {**state, "format": _FORMAT}


def _sound(value: object, where: str) -> dict[str, Any]:
    old = isinstance(value, dict) and value.get("format") == _WITHOUT_DIGEST
    state: dict[str, Any] = _STATE[_WITHOUT_DIGEST if old else _FORMAT](value, where)
    return state


def _digest(state: dict[str, Any]) -> str:
    """SHA-256 of the content: a limit must not rest on a bit that decayed."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def _same(state: dict[str, Any], changes: int, facts: Mapping[str, Any]) -> bool:
    """Whether a state is what an entry of the audit log names, where it has as many changes."""
    return bool(changes != facts["changes"] or _digest(state) == facts["whole"])


def _bind(state: dict[str, Any], use: str, digest: str, advice: str) -> None:
    known = state["claims"].setdefault(use, digest)
    if known != digest:
        raise PolicyError(
            f"the mask {use!r} covers other data (sha256 {printable(known, 16)}…, now {digest[:16]}…); {advice}"
        )


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # of a process that died, or put there by somebody else to be written to
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as error:
        raise StorageError(f"{path}: the owner's state cannot be written: {error}") from error
