"""The file of a ledger of people, beside its key: both 0600, locked while in use, replaced whole, with an HMAC over all.

An older copy is refused by the mark in the lock beside it (`io.changes`), and with its lock by what is written after the ledger
and names how far it was: the audit log of a policy (`audit_ledger`; of the policy's own ledger `audit_release`), and a register
of consent (`consent_file`). Without these, losing ledger and lock, or bringing both back, forgets what was opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from securegen.errors import StorageError
from securegen.governance import audit_ledger, ledger_format
from securegen.governance.ledger import Entries
from securegen.governance.ledger_former import read_former
from securegen.io.changes import raise_mark, read_mark
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, make_folder, write_bytes, write_text
from securegen.io.schema import hex_text
from securegen.io.strict_json import open_regular, parse_json, read_regular
from securegen.randomness import fresh_key

_NAMED = ("sets", "charged", "released")
_MOST = 1 << 30  # bytes of a ledger of an earlier version


@contextlib.contextmanager
def open_ledger(
    path: str | Path, log: Callable[[str], None] | None = None, *, policies: Sequence[Path] = (), audited: bool = True,
    kept: bool = True,
) -> Iterator[Entries]:  # fmt: skip
    """The ledger, made at the first call, locked; what the block enters is written when it ends without an error.

    log: told when the ledger is new, so that nobody loses an old one without a word; policies: folders of policies that govern
    it, where none stands beside it; audited: False for the policy's own, of which releases tell; kept: False to look only.

    Raises StorageError when it is damaged, older than its mark or than the audit log, readable by others, a link, or its key is
    gone; PolicyError as `policy_file.beside`.
    """
    path = Path(path)
    make_folder(path.parent, PRIVATE_FOLDER)
    beside = _lock_path(path)
    lock = _regular(beside, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(map(os.path.lexists, (path, _key_path(path)))) and not os.fstat(lock).st_size:
            raise_mark(lock, beside, 0)  # it begins here; an empty lock beside a key is of an earlier version
        if log is not None and not path.exists():
            log(f"the ledger {path} is new: what these people have been in before is not known to it")
        mark = read_mark(lock, beside)
        if mark and not (path.exists() or _key_path(path).exists()):
            raise StorageError(f"{path} and its key are gone, {mark} changes were made: bring them back from a backup")
        entries, before = _read(path, begun=not mark and os.fstat(lock).st_size > 0)
        if entries.changes < mark:
            raise StorageError(
                f"{path} is older than the mark in {beside} ({entries.changes} changes, {mark} were made): what was opened and "
                "released since would be forgotten. Bring back the latest ledger"
            )
        if entries.changes > mark:  # killed before the mark was raised
            raise_mark(lock, beside, entries.changes)
        if audited:
            audit_ledger.refuse_older(path, entries.changes, partial(_same, entries, before), policies)

        def keep() -> None:
            nonlocal before
            body = ledger_format.pack(entries)
            if (after := ledger_format.digest(body)) != before:
                ledger_format.refuse_unreadable(body, path)
                entries.changes += 1
                write_bytes(path, ledger_format.framed(entries.key, body, entries.changes), mode=PRIVATE)
                raise_mark(lock, beside, entries.changes)
                before = after
                if audited:
                    audit_ledger.tell(path, entries.changes, _facts(entries, after), policies)

        entries.keep = keep
        yield entries
        if kept:
            keep()
    finally:
        os.close(lock)


def _facts(entries: Entries, digest: bytes) -> dict[str, Any]:
    counts = entries.counts
    named = {"ledger": entries.digest_of(counts), "whole": entries.mark("whole", digest)}
    return dict(zip(_NAMED, counts, strict=True)) | named


def _same(entries: Entries, digest: bytes, facts: Mapping[str, Any]) -> bool:
    """Whether a ledger begins with what an entry of the audit log names, and is that where it has as many changes."""
    sets, charged, released = (facts[name] for name in _NAMED)
    whole = entries.changes != facts["changes"] or entries.mark("whole", digest) == facts["whole"]
    return bool(whole and entries.digest_of((sets, charged, released)) == facts["ledger"])


def _regular(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, PRIVATE)
    except OSError as error:
        raise StorageError(f"cannot keep the ledger at {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StorageError(f"cannot keep the ledger at {path}: it is not a regular file")
    return descriptor


def _read_private(path: Path, what: str) -> bytearray | None:
    """The bytes of a file that only its owner can read, None when there is none."""
    if path.is_symlink():
        raise StorageError(f"{path}, {what}, is a link: two names of one ledger could forget each other's entries")
    try:
        with open_regular(path, what, error=StorageError) as (stream, status):
            if status.st_size > _MOST:
                raise StorageError(f"{path} has {status.st_size} bytes: too large to be {what}")
            raw, at = bytearray(status.st_size), 0
            while at < len(raw) and (count := stream.readinto(memoryview(raw)[at:])):
                at += count
    except FileNotFoundError:
        return None
    if status.st_mode & 0o077:
        raise StorageError(f"{path}, {what}, is open to others: chmod 600 it")
    return raw


def _read(path: Path, *, begun: bool) -> tuple[Entries, bytes]:
    """A ledger, and the digest of what it holds; a new one where there is none. begun: its lock says that it began, and that no
    change was ever kept, so that a lone key was left by a first call that was killed."""
    key = _read_private(_key_path(path), "the key of a ledger")
    raw = _read_private(path, "a ledger")
    if key is None and raw is None:
        made = fresh_key() + fresh_key()
        write_text(_key_path(path), made.hex() + "\n", mode=PRIVATE, overwrite=False)
        return _empty(path, made)
    if key is None or (raw is None and not begun):
        gone = _key_path(path) if key is None else path
        raise StorageError(f"{gone} is gone, and with it what was opened of these people: bring it back from a backup")
    secret = bytes.fromhex(
        parse_json(
            b'"' + key.strip() + b'"', f"{_key_path(path)}, the key of a ledger,", hex_text(32), error=StorageError
        )
    )
    if raw is None:
        return _empty(path, secret)
    if raw.startswith(ledger_format.MAGIC):
        return ledger_format.unpack(memoryview(raw).toreadonly(), secret, path)
    if raw.startswith(b"securegen ledger "):
        raise StorageError(f"{path} is a ledger of a later version: use the program that wrote it")
    entries = read_former(bytes(raw), secret, path)
    return entries, ledger_format.digest(ledger_format.pack(entries))


def _empty(path: Path, key: bytes) -> tuple[Entries, bytes]:
    body = ledger_format.pack(Entries(key))
    write_bytes(path, ledger_format.framed(key, body, 0), mode=PRIVATE)
    return Entries(key), ledger_format.digest(body)


def begin_ledger(path: str | Path) -> None:
    """Make an empty ledger where there is none and never was one: neither key nor mark, or only what a first call left that was
    killed. Releases tell of it (`audit_release`). Raises as `open_ledger`."""
    path, mark = Path(path), b""
    with contextlib.suppress(FileNotFoundError):
        mark = read_regular(_lock_path(path), "the lock of a ledger", most=64, error=StorageError).strip()
    taken_away = mark.strip(b"0") if mark else os.path.lexists(_key_path(path))  # a mark of 0: it began
    if not os.path.lexists(path) and not taken_away:
        with open_ledger(path, audited=False):
            pass


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def _key_path(path: Path) -> Path:
    return path.with_name(path.name + ".key")
