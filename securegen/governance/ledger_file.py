"""The file of a ledger of people, beside its key: both 0600, locked while in use, replaced whole, with an HMAC over all.

An older copy is refused by the mark in the lock beside it (`io.changes`), and with its lock by what is written after the ledger
and names how far it was: the audit log of a policy (`audit_ledger`; of the policy's own ledger `audit_release`), and a register
of consent (`consent_file`). Without these, losing ledger and lock, or bringing both back, forgets what was opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import StorageError
from securegen.governance import audit_ledger
from securegen.governance.ledger import PERSON_BYTES, Entries, Products, padded
from securegen.governance.policy import PIN
from securegen.governance.site_sets import StudySites
from securegen.io.changes import raise_mark, read_mark
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, make_folder, write_text
from securegen.io.schema import boolean, hex_text, integer, list_of, one_of, record, text
from securegen.io.strict_json import parse_json, read_regular
from securegen.randomness import fresh_key

FORMAT = "securegen ledger 2"
_COUNTS = ("sets", "charged", "released")
_MOST = 1 << 30
_CONTENT = record(
    format=text(32),
    people=list_of(hex_text(PERSON_BYTES), 0, 1 << 24),
    spent=list_of(integer(0, 1 << 24), 0, 1 << 24),
    charged=list_of(hex_text(32), 0, 1 << 20),
    sets=list_of(record(what=text(400), members=text(1 << 24)), 0, 1 << 16),
    studies=list_of(
        record(
            what=text(100),
            sites=list_of(text(200), 1, 128),
            may_have={
                "own": text(64),
                "agreed": list_of(text(64), 0, 128),
                "begun": boolean,
                "unsummed": list_of(text(64), 0, 128),
            },
        ),
        0,
        1 << 16,
    ),
    columns=list_of(
        record(members=list_of(integer(0, 1 << 24), 1, 1 << 24), bits=one_of(32, 64), values=text(1 << 29)), 0, 1 << 16
    ),
    may_have={
        "products": list_of(record(what=text(400), mark=hex_text(32), members=text(1 << 24)), 0, 1 << 16),
        "releases": list_of(record(request=hex_text(32), day=text(10, least=10)), 0, 1 << 20),
        "policy": PIN,
        "register": record(lines=integer(1, 1 << 40), mark=hex_text(PERSON_BYTES)),
    },
)
_FILE = record(content=text(_MOST, printable=False), hmac=hex_text(32), may_have={"changes": integer(1, 1 << 60)})


@contextlib.contextmanager
def open_ledger(
    path: str | Path, log: Callable[[str], None] | None = None, *, policies: Sequence[Path] = (), audited: bool = True
) -> Iterator[Entries]:
    """The ledger, made at the first call, locked; what the block enters is written when it ends without an error.

    log: told when the ledger is new, so that nobody loses an old one without a word; policies: folders of policies that govern
    it, where none stands beside it; audited: False for the policy's own, of which releases tell.

    Raises StorageError when it is damaged, older than its mark or than the audit log, readable by others, a link, or its key is
    gone; PolicyError as `policy_file.beside`.
    """
    path = Path(path)
    make_folder(path.parent, PRIVATE_FOLDER)
    beside = path.with_name(path.name + ".lock")
    lock = _regular(beside, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if log is not None and not path.exists():
            log(f"the ledger {path} is new: what these people have been in before is not known to it")
        mark = read_mark(lock, beside)
        if mark and not (path.exists() or _key_path(path).exists()):
            raise StorageError(f"{path} and its key are gone, {mark} changes were made: bring them back from a backup")
        entries = _read(path)
        if entries.changes < mark:
            raise StorageError(
                f"{path} is older than the mark in {beside} ({entries.changes} changes, {mark} were made): what was opened and "
                "released since would be forgotten. Bring back the latest ledger"
            )
        if audited:
            audit_ledger.refuse_older(path, entries.changes, partial(_same, entries), policies)
        before = _content(entries)

        def keep() -> None:
            nonlocal before
            after = _content(entries)
            if after != before:
                entries.changes += 1
                _write(path, entries.key, after, entries.changes)
                raise_mark(lock, beside, entries.changes)
                before = after
                if audited:
                    audit_ledger.tell(path, entries.changes, _facts(entries), policies)

        entries.keep = keep
        yield entries
        keep()
    finally:
        os.close(lock)


def _facts(entries: Entries) -> dict[str, Any]:
    counts = entries.counts
    named = {"ledger": entries.digest_of(counts), "whole": _mark(entries, _content(entries), entries.changes)}
    return dict(zip(_COUNTS, counts, strict=True)) | named


def _same(entries: Entries, facts: Mapping[str, Any]) -> bool:
    """Whether a ledger begins with what an entry of the audit log names, and is that where it has as many changes."""
    sets, charged, released = (facts[name] for name in _COUNTS)
    whole = entries.changes != facts["changes"] or _facts(entries)["whole"] == facts["whole"]
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


def _read_private(path: Path, what: str) -> bytes | None:
    """The bytes of a file that only its owner can read, None when there is none."""
    if path.is_symlink():
        raise StorageError(f"{path}, {what}, is a link: two names of one ledger could forget each other's entries")
    try:
        raw = read_regular(path, what, most=_MOST, error=StorageError)
    except FileNotFoundError:
        return None
    if path.stat().st_mode & 0o077:
        raise StorageError(f"{path}, {what}, is open to others: chmod 600 it")
    return raw


def _read(path: Path) -> Entries:
    key = _read_private(_key_path(path), "the key of a ledger")
    raw = _read_private(path, "a ledger")
    if key is None and raw is None:
        made = fresh_key() + fresh_key()
        write_text(_key_path(path), made.hex() + "\n", mode=PRIVATE, overwrite=False)
        entries = Entries(made)
        _write(path, made, _content(entries), 0)
        return entries
    if key is None or raw is None:
        gone = _key_path(path) if key is None else path
        raise StorageError(f"{gone} is gone, and with it what was opened of these people: bring it back from a backup")
    secret = parse_json(
        b'"' + key.strip() + b'"', f"{_key_path(path)}, the key of a ledger,", hex_text(32), error=StorageError
    )
    entries = Entries(bytes.fromhex(secret))
    held: dict[str, Any] = parse_json(raw, f"{path}, a ledger,", _FILE, error=StorageError)
    entries.changes = held.get("changes") or 0
    if not hmac.compare_digest(_mark(entries, held["content"], entries.changes), held["hmac"]):
        raise StorageError(f"{path} was altered or belongs to another key: bring it back from a backup")
    value = parse_json(held["content"], f"{path}, a ledger,", _CONTENT, error=StorageError)
    if value["format"] != FORMAT or len(value["spent"]) != len(value["people"]):
        raise StorageError(f"{path} is not a ledger of this version")
    entries.people = {p: i for i, p in enumerate(value["people"])}
    entries.spent, entries.charged = value["spent"], value["charged"]
    for item in value["sets"]:
        entries.sets.append((item["what"], _unpacked(item["members"], len(entries.people))))
    for item in value.get("products", []):
        members = _unpacked(item["members"], len(entries.people))
        entries.products.append(Products(item["what"], item["mark"], members))
    if "register" in value:
        entries.register = value["register"]["lines"], value["register"]["mark"]
    entries.studies = [_study(item) for item in value["studies"]]
    for item in value["columns"]:
        people = np.array(item["members"], np.int64)
        values = np.frombuffer(bytes.fromhex(item["values"]), f"<i{item['bits'] // 8}").astype(np.int64)
        entries.columns.append((people, values.reshape(len(people), -1)))
    entries.releases = [(item["request"], item["day"]) for item in value.get("releases", ())]
    entries.policy = value.get("policy")
    return entries


def _study(item: dict[str, Any]) -> StudySites:
    """A study of the file; one of before these were told apart counts as opened, and nobody agreed to anything."""
    sites = tuple((name, key) for name, _, key in (site.partition(" ") for site in item["sites"]))
    agreed = frozenset(item.get("agreed", ()))
    unsummed = frozenset(item.get("unsummed", ()))
    return StudySites(item["what"], sites, item.get("own", ""), agreed, unsummed, item.get("begun", True))


def _packed(members: np.ndarray) -> str:
    return np.packbits(members, bitorder="little").tobytes().hex()


def _unpacked(members: str, people: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(members), np.uint8), bitorder="little").astype(bool)
    return padded(bits[:people], people)


def _key_path(path: Path) -> Path:
    return path.with_name(path.name + ".key")


def _mark(entries: Entries, content: str, changes: int) -> str:
    """The HMAC of a file. changes: 0 in one of before they were counted."""
    return entries.mark("ledger", (f"{changes} {content}" if changes else content).encode())


def _write(path: Path, key: bytes, content: str, changes: int) -> None:
    if len(content) > _MOST // 2:
        raise StorageError(f"{path} would pass {_MOST >> 21} MB: too many columns and people for one ledger")
    value: dict[str, Any] = {"content": content, "hmac": _mark(Entries(key), content, changes)}
    write_text(path, json.dumps(value | ({"changes": changes} if changes else {})) + "\n", mode=PRIVATE)


def _content(entries: Entries) -> str:
    sets = [{"what": w, "members": _packed(m)} for w, m in entries.sets]
    products = [{"what": p.what, "mark": p.mark, "members": _packed(p.members)} for p in entries.products]
    studies = [
        {"what": s.what, "sites": [" ".join(site) for site in s.sites], "own": s.own, "agreed": sorted(s.agreed),
         "unsummed": sorted(s.unsummed), "begun": s.begun} for s in entries.studies
    ]  # fmt: skip
    columns = []
    for people, values in entries.columns:
        bits = 32 if -(1 << 31) <= values.min(initial=0) and values.max(initial=0) < 1 << 31 else 64
        raw = values.astype(f"<i{bits // 8}").tobytes().hex()
        columns.append({"members": people.tolist(), "bits": bits, "values": raw})
    register = dict(zip(("lines", "mark"), entries.register, strict=True)) if entries.register[0] else None
    return json.dumps(
        {"format": FORMAT, "people": list(entries.people), "spent": entries.spent, "charged": entries.charged, "sets": sets,
         "studies": studies, "columns": columns, "products": products,
         **({"register": register} if register else {}),
         **({"releases": [{"request": r, "day": d} for r, d in entries.releases]} if entries.releases else {}),
         **({"policy": entries.policy} if entries.policy else {})}
    )  # fmt: skip
