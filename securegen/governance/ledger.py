"""What these people have been in before, kept by who holds their genotypes: columns, sets of samples, sets of sites.

Nobody is named: a person is HMAC-SHA256 of family and own id under the ledger's key, so that encrypting or naming a cohort
again changes nothing. One file beside its key, both 0600, with an HMAC over the whole, replaced at once under a lock and
on disk before anything is sent. Losing it, or bringing back an old copy, forgets what was opened: keep it with the data.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import StorageError
from securegen.governance.openings import CONSENTED, FEWEST, RANK, SITE_SHARE, leverages, set_fault, sets_fault
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, make_folder, write_text
from securegen.io.schema import hex_text, integer, list_of, one_of, record, text
from securegen.io.strict_json import parse_json, read_regular
from securegen.model import Samples
from securegen.randomness import fresh_key

FORMAT = "securegen ledger 2"
_PERSON = 16  # bytes of a person's HMAC that are kept
_MOST = 1 << 30
_CONTENT = record(
    format=text(32),
    people=list_of(hex_text(_PERSON), 0, 1 << 24),
    spent=list_of(integer(0, 1 << 24), 0, 1 << 24),
    charged=list_of(hex_text(32), 0, 1 << 20),
    sets=list_of(record(what=text(400), members=text(1 << 24)), 0, 1 << 16),
    studies=list_of(record(what=text(100), sites=list_of(text(200), 1, 128)), 0, 1 << 16),
    columns=list_of(
        record(members=list_of(integer(0, 1 << 24), 1, 1 << 24), bits=one_of(32, 64), values=text(1 << 29)), 0, 1 << 16
    ),
)
_FILE = record(content=text(_MOST, printable=False), hmac=hex_text(32))


@dataclass
class Entries:
    """The ledger in memory. people: HMACs in hex; spent: columns summed with each one's genotypes; charged: marks of
    columns that are counted; sets: what for, and (people,) bool; studies: what for, and its sites' names and keys;
    columns: people (n,), and (n, J) integers that were summed with their genotypes."""

    key: bytes = field(repr=False)
    people: dict[str, int] = field(default_factory=dict)
    spent: list[int] = field(default_factory=list)
    charged: list[str] = field(default_factory=list)
    sets: list[tuple[str, np.ndarray]] = field(default_factory=list)
    studies: list[tuple[str, list[str]]] = field(default_factory=list)
    columns: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def _mark(self, purpose: str, data: bytes) -> str:
        return hmac.new(self.key, purpose.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def rows(self, samples: Samples) -> np.ndarray:
        """(N,) int64: each sample's place in the ledger; new people are entered."""
        out = np.empty(len(samples), np.int64)
        for i, (fid, iid) in enumerate(zip(samples.fid, samples.iid, strict=True)):
            person = self._mark("person", json.dumps([str(fid), str(iid)]).encode())[: 2 * _PERSON]
            out[i] = self.people.setdefault(person, len(self.people))
        self.spent += [0] * (len(self.people) - len(self.spent))
        return out

    def set_fault(self, rows: np.ndarray, people: np.ndarray, fewest: int = FEWEST) -> str | None:
        """What is wrong with summing over a set of samples, (N,) bool, beside all sets of these people's lifetime."""
        mine = self._members(rows, people)
        for what, known in self.sets:
            fault = set_fault(mine, _wide(known, len(mine)), fewest)
            if fault is not None:
                return f"{fault} (the other: {what})"
        before = [_wide(members, len(mine)) for _, members in self.sets]
        if len(before) < 2 or any((b == mine).all() for b in before):
            return None
        return sets_fault(np.column_stack([*before, mine]), fewest)

    def add_set(self, what: str, rows: np.ndarray, people: np.ndarray) -> None:
        """Enter a set that will be opened, once."""
        mine = self._members(rows, people)
        if not any((_wide(known, len(mine)) == mine).all() for _, known in self.sets):
            self.sets.append((what, mine))

    def _members(self, rows: np.ndarray, people: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.people), bool)
        out[rows[people]] = True
        return out

    def charge(
        self, rows: np.ndarray, columns: np.ndarray, *, share: float = SITE_SHARE, limit: float = CONSENTED
    ) -> str | None:
        """Count and keep columns, (N, J) integers of these samples, for everybody who is in them; the same column once.

        Returns what is wrong, and counts nothing, when somebody's count would exceed `share` of the people in them, or
        somebody's leverage in all columns of these people's lifetime `limit`: one value that was corrected between two
        studies is a column of one person.
        """
        order = np.argsort(rows, kind="stable")
        marks = [
            self._mark("column", rows[order].tobytes() + columns[order, j].tobytes()) for j in range(columns.shape[1])
        ]
        new = [j for j, mark in enumerate(marks) if mark not in self.charged and mark not in marks[:j]]
        analysed = (columns != 0).any(axis=1)
        most = max((self.spent[r] for r in rows[analysed]), default=0) + len(new)
        if new and most > share * analysed.sum():
            return (
                f"{most} columns would have been summed with one person's genotypes, {share:.0%} of {analysed.sum()} people "
                "are the most without consent"
            )
        if not new:
            return None
        fresh = rows[analysed], columns[analysed][:, new].astype(np.int64)
        together, before = self._together([*self.columns, fresh]), self._together(self.columns)
        now, old = leverages(together, intercept=False), leverages(before, intercept=False)
        most = float(now[now > old + RANK].max(initial=0.0)) if self.columns else 0.0
        if most > limit:
            return f"one person has leverage {most:.3f} in the columns of all studies; {limit} is the most"
        self.columns.append(fresh)
        for r in rows[analysed]:
            self.spent[r] += len(new)
        self.charged += [marks[j] for j in new]
        return None

    def _together(self, parts: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """(people, columns) of all parts, zeros for people who are not in them."""
        out = np.zeros((len(self.people), sum(values.shape[1] for _, values in parts)), np.int64)
        first = 0
        for people, values in parts:
            out[people, first : first + values.shape[1]] = values
            first += values.shape[1]
        return out

    def site_fault(self, what: str, sites: Sequence[tuple[str, str]]) -> str | None:
        """What is wrong with these sites, (name, key), beside those of other studies: one alone comes or goes, or a site
        that is in several of them has another's sums by a combination of their totals."""
        names: list[set[str]] = []

        def number(site: tuple[str, ...]) -> int:
            """The same for the same name or the same key."""
            for i, parts in enumerate(names):
                if parts & set(site):
                    parts.update(site)
                    return i
            names.append(set(site))
            return len(names) - 1

        mine = {number(site) for site in sites}
        others = [
            (other, {number(tuple(m.split(" ", 1))) for m in members})
            for other, members in self.studies
            if other != what
        ]
        called = {number(site): site[0] for site in sites}
        for other, members in others:
            if len(members ^ mine) == 1:
                (one,) = members ^ mine
                name = called.get(one) or min(names[one], key=len)
                return (
                    f"the sites are those of study {other} but for {name}: the difference of two totals is its own sums"
                )
        known = [members for _, members in others if len(members) > 2]
        if len(mine) < 3 or mine in known:
            return None
        for reader in sorted(mine):
            seen = [members for members in known if reader in members]
            new = _read_alone([*seen, mine], reader, len(names)) - _read_alone(seen, reader, len(names))
            if new:
                alone, by = (min(names[i], key=len) for i in (min(new), reader))
                return f"beside the totals of other studies, {by} reads the sums of {alone} alone"
        return None

    def add_study(self, what: str, sites: Sequence[tuple[str, str]]) -> None:
        """Enter the sites of a study before its first total is opened."""
        if all(other != what for other, _ in self.studies):
            self.studies.append((what, [" ".join(site) for site in sites]))

    def content(self) -> str:
        sets = [{"what": w, "members": np.packbits(m, bitorder="little").tobytes().hex()} for w, m in self.sets]
        studies = [{"what": w, "sites": s} for w, s in self.studies]
        columns = []
        for people, values in self.columns:
            bits = 32 if -(1 << 31) <= values.min(initial=0) and values.max(initial=0) < 1 << 31 else 64
            raw = values.astype(f"<i{bits // 8}").tobytes().hex()
            columns.append({"members": people.tolist(), "bits": bits, "values": raw})
        return json.dumps(
            {"format": FORMAT, "people": list(self.people), "spent": self.spent, "charged": self.charged, "sets": sets,
             "studies": studies, "columns": columns}
        )  # fmt: skip


def _read_alone(studies: Sequence[set[int]], reader: int, sites: int) -> set[int]:
    """Sites whose own sums are a combination of these studies' totals and the reader's sums."""
    rows = np.zeros((len(studies) + 1, sites))
    for row, members in zip(rows, studies, strict=False):
        row[list(members)] = 1
    rows[-1, reader] = 1
    share = np.diag(np.linalg.pinv(rows) @ rows)
    return {int(j) for j in np.flatnonzero(share > 1 - 1e-9)} - {reader}


def _wide(members: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros(size, bool)
    out[: len(members)] = members
    return out


@contextlib.contextmanager
def open_ledger(path: str | Path, log: Callable[[str], None] | None = None) -> Iterator[Entries]:
    """The ledger, made at the first call, locked; what the block enters is written when it ends without an error.

    log: told when the ledger is new, so that nobody loses an old one without a word.

    Raises StorageError when it is damaged, readable by others, a link, or its key is gone.
    """
    path = Path(path)
    make_folder(path.parent, PRIVATE_FOLDER)
    lock = _regular(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if log is not None and not path.exists():
            log(f"the ledger {path} is new: what these people have been in before is not known to it")
        entries = _read(path)
        before = entries.content()
        yield entries
        after = entries.content()
        if after != before:
            _write(path, entries.key, after)
    finally:
        os.close(lock)


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
        _write(path, made, entries.content())
        return entries
    if key is None or raw is None:
        gone = _key_path(path) if key is None else path
        raise StorageError(f"{gone} is gone, and with it what was opened of these people: bring it back from a backup")
    secret = parse_json(
        b'"' + key.strip() + b'"', f"{_key_path(path)}, the key of a ledger,", hex_text(32), error=StorageError
    )
    entries = Entries(bytes.fromhex(secret))
    held: dict[str, Any] = parse_json(raw, f"{path}, a ledger,", _FILE, error=StorageError)
    if not hmac.compare_digest(entries._mark("ledger", held["content"].encode()), held["hmac"]):
        raise StorageError(f"{path} was altered or belongs to another key: bring it back from a backup")
    value = parse_json(held["content"], f"{path}, a ledger,", _CONTENT, error=StorageError)
    if value["format"] != FORMAT or len(value["spent"]) != len(value["people"]):
        raise StorageError(f"{path} is not a ledger of this version")
    entries.people = {p: i for i, p in enumerate(value["people"])}
    entries.spent, entries.charged = value["spent"], value["charged"]
    for item in value["sets"]:
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(item["members"]), np.uint8), bitorder="little").astype(bool)
        entries.sets.append((item["what"], _wide(bits[: len(entries.people)], len(entries.people))))
    entries.studies = [(item["what"], item["sites"]) for item in value["studies"]]
    for item in value["columns"]:
        people = np.array(item["members"], np.int64)
        values = np.frombuffer(bytes.fromhex(item["values"]), f"<i{item['bits'] // 8}").astype(np.int64)
        entries.columns.append((people, values.reshape(len(people), -1)))
    return entries


def _key_path(path: Path) -> Path:
    return path.with_name(path.name + ".key")


def _write(path: Path, key: bytes, content: str) -> None:
    if len(content) > _MOST // 2:
        raise StorageError(f"{path} would pass {_MOST >> 21} MB: too many columns and people for one ledger")
    mark = Entries(key)._mark("ledger", content.encode())
    write_text(path, json.dumps({"content": content, "hmac": mark}) + "\n", mode=PRIVATE)
