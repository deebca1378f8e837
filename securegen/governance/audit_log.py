"""The audit log: what was run, released and refused, in an order that cannot be changed without being seen.

Who learns what: whoever reads the folder learns when which kind of thing was done, by which key, with which digests and
counts; nothing of a person. The log's key signs every entry and the tree of all; who holds the key can write another log,
and is found by any witness of this one (`Checkpoint`): receipts, messages, crates, the auditor's own file.

An entry is on the disk before `append` returns. The order of writing is line, tiles, checkpoint. A kill between any two
leaves whole signed lines beyond the checkpoint, which the next append takes in, or a torn line, which it drops: neither was
acknowledged. Lines before the checkpoint that are missing or altered are never mended; the log then takes no entry.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError, KeyFileError
from securegen.governance.audit_entry import Entry, checked_facts, read_entry, time_text
from securegen.governance.audit_folder import CHECKPOINT, LogFolder, bundle_path
from securegen.governance.audit_note import Checkpoint, LogKey, sign_checkpoint
from securegen.governance.audit_tree import WIDTH, Frontier, edge_widths, hashes_in, leaf_hash, root_of, tile_path
from securegen.governance.signing import SigningIdentity, read_identity, verifies


class AuditLog:
    """An audit log and the key that signs it. `open` one; `append` writes, `witness` says how far it is."""

    def __init__(self, folder: LogFolder, identity: SigningIdentity) -> None:
        self._folder, self._identity = folder, identity
        self.key = LogKey.of(identity.verify_key)

    def __repr__(self) -> str:
        return f"AuditLog({str(self._folder)!r})"

    @property
    def folder(self) -> Path:
        return self._folder.path

    @classmethod
    def open(cls, folder: str | Path, key: SigningIdentity | str | Path) -> AuditLog:
        """The log of a folder. key: its signing key, or the file of it.

        Raises ArtefactError where there is no log, KeyFileError where the key is absent or another log's.
        """
        identity = key if isinstance(key, SigningIdentity) else read_identity(key)
        log = cls(LogFolder(folder), identity)
        with log._folder.locked(alone=False):
            held = log._folder.key()
        if held != log.key:
            raise KeyFileError(f"the audit log {folder} has key {held.fingerprint}, not {log.key.fingerprint}")
        return log

    def append(self, kind: str, facts: Mapping[str, Any]) -> Entry:
        """Write one entry. kind and facts: as `audit_entry` lists them; digests, counts and words, nothing of a person.

        Raises UsageError for other facts, ArtefactError where the log was altered, StorageError where the disk refuses. The
        entry is on the disk when this returns; after an error it may be, and is taken in by the next append.
        """
        return self.append_all([(kind, facts)])[0]

    def append_all(self, items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Entry]:
        """Write several entries under one checkpoint, as `append` does."""
        wanted = [(kind, checked_facts(kind, facts)) for kind, facts in items]
        with self._folder.locked(alone=True):
            state = _State(self._folder, self.key)
            added = [self._signed(state, kind, facts) for kind, facts in wanted]
            state.write_lines([entry.line for entry in added])
            self._write_tree(state)
        return added

    def witness(self) -> Checkpoint:
        """How far the log is, signed, for receipts, messages and crates. Raises ArtefactError where it was altered."""
        with self._folder.locked(alone=False):
            return self._folder.checkpoint(self.key)

    def pseudonym(self, name: str) -> str:
        """A name of an account as this log knows it: equal names are equal, and only its key leads to one. 8 bytes in hex."""
        return hmac.new(self._identity.signing_key, b"account\0" + name.encode(), hashlib.sha256).hexdigest()[:16]

    def _signed(self, state: _State, kind: str, facts: dict[str, Any]) -> Entry:
        said = time_text(time.time_ns() // 1_000_000)
        at = max(said, state.last)
        entry = Entry(state.frontier.size, at, kind, facts, None if at == said else said)
        entry = entry.with_signature(self._identity.sign(entry.signed_text(self.key.name, state.frontier.root())))
        state.take(entry)
        return entry

    def _write_tree(self, state: _State) -> None:
        for level, index, tile in state.full:
            self._folder.write(tile_path(level, index), tile)
        for level, index, tile in state.frontier.partial_tiles():
            width = len(tile) // 32
            if state.stale or self._folder.tile(level, index, width) != tile:
                self._folder.write(tile_path(level, index, width), tile)
        checkpoint = sign_checkpoint(state.frontier.size, state.frontier.root(), self._identity)
        self._folder.write(CHECKPOINT, checkpoint.note.encode())
        for level, index, _ in state.full:
            self._folder.drop_partial(level, index)


class _State:
    """What an append needs: the tree's right edge, checked against the checkpoint, and the last entry's time.

    Making one mends what a kill left: a torn last line is dropped, whole signed lines beyond the checkpoint are taken in.
    """

    def __init__(self, folder: LogFolder, key: LogKey) -> None:
        self.folder, self.key = folder, key
        self.full: list[tuple[int, int, bytes]] = []  # tiles to write
        self.last = ""
        signed = folder.checkpoint(key)
        kept = _frontier(folder, signed.size)
        self.stale = kept is None or kept.root() != signed.root
        self.frontier = self._rebuilt(signed) if kept is None or self.stale else kept
        self._take_beyond(signed.size)

    def _rebuilt(self, signed: Checkpoint) -> Frontier:
        """The right edge from the entries themselves, where tiles are gone or damaged."""
        frontier, full = Frontier(), []
        for line in lines_of(self.folder, signed.size):
            full += frontier.add(leaf_hash(line))
        if frontier.root() != signed.root:
            raise ArtefactError(
                f"the audit log {self.folder} was altered: its {signed.size} entries are not those that were signed. "
                "securegen audit verify names the place; the log takes no entry"
            )
        self.full = full
        return frontier

    def _take_beyond(self, size: int) -> None:
        number, expected = divmod(size, WIDTH)
        lines, rest = self.folder.bundle(number)
        if len(lines) < expected:
            raise ArtefactError(f"the audit log {self.folder} was cut: entry {number * WIDTH + len(lines)} is missing")
        held = lines[:expected]
        if size:
            last = held[-1] if held else (self.folder.bundle(number - 1)[0] or [b""])[-1]
            if leaf_hash(last) != self._last_leaf(size):
                raise ArtefactError(f"entry {size - 1} of the audit log {self.folder} was altered")
            self.last = read_entry(last, f"entry {size - 1}").at
        if [leaf_hash(line) for line in held] != (self.frontier.edge[0] if self.frontier.edge else []):
            raise ArtefactError(
                f"the audit log {self.folder} was altered between entries {number * WIDTH} and {size - 1}: securegen audit "
                "verify names the place"
            )
        while True:
            if len(lines) > WIDTH:
                raise ArtefactError(
                    f"{self.folder / bundle_path(number)} was altered: it has more than {WIDTH} entries"
                )
            for line in lines[expected:]:
                self.take(signed_beyond(line, self.frontier, self.key, self.last, str(self.folder)))
            whole = len(lines) == WIDTH and not rest
            following = self.folder.bundle(number + 1)
            if not whole and any(following):
                raise ArtefactError(f"the audit log {self.folder} was cut: entry {self.frontier.size} is missing")
            if rest:
                self.folder.cut(number, sum(len(line) + 1 for line in lines))
            if not whole:
                return
            number, expected, (lines, rest) = number + 1, 0, following

    def _last_leaf(self, size: int) -> bytes:
        """The hash of the last entry, by tiles that lead to the checked right edge."""
        level = next(i for i, hashes in enumerate(self.frontier.edge) if hashes)
        found = self.frontier.edge[level][-1]
        for below in range(level - 1, -1, -1):
            tile = self.folder.tile(below, (size >> (8 * (below + 1))) - 1)
            if tile is None or root_of(hashes_in(tile)) != found:
                raise ArtefactError(f"a tile of the audit log {self.folder} was altered: {below} of entry {size - 1}")
            found = hashes_in(tile)[-1]
        return found

    def take(self, entry: Entry) -> None:
        """Count an entry as the next."""
        self.full += self.frontier.add(leaf_hash(entry.line))
        self.last = entry.at

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Write the last lines of the log, after those that are there."""
        first = self.frontier.size - len(lines)
        while lines:
            number, held = divmod(first, WIDTH)
            there = self.folder.bundle(number)[0]
            part, lines = lines[: WIDTH - held], lines[WIDTH - held :]
            self.folder.add_lines(number, sum(len(line) + 1 for line in there), list(part))
            first += len(part)


def _frontier(folder: LogFolder, size: int) -> Frontier | None:
    """The right edge of a tree from its tiles; None where one is missing."""
    edge = []
    for level, width in enumerate(edge_widths(size)):
        tile = folder.tile(level, size >> (8 * (level + 1)), width) if width else b""
        if tile is None:
            return None
        edge.append(hashes_in(tile))
    return Frontier(size, edge)


def lines_of(folder: LogFolder, size: int) -> Iterator[bytes]:
    """The first `size` lines of a log. Raises ArtefactError naming the first that is missing."""
    for start in range(0, size, WIDTH):
        lines, _ = folder.bundle(start // WIDTH)
        wanted = min(WIDTH, size - start)
        if len(lines) < wanted:
            raise ArtefactError(f"the audit log {folder} was cut: entry {start + len(lines)} is missing")
        yield from lines[:wanted]


def signed_beyond(line: bytes, before: Frontier, key: LogKey, last: str, log: str) -> Entry:
    """An entry that is not in the checkpoint yet: whole, next in number and time, signed by the log.

    Raises ArtefactError naming it.
    """
    where = f"entry {before.size} of the audit log {log}"
    entry = read_entry(line, where)
    signed = verifies(key.verify_key, entry.signed_text(key.name, before.root()), entry.signature)
    if not signed or entry.number != before.size or entry.at < last:
        raise ArtefactError(f"{where} was not written by the log: it has no valid signature there")
    return entry
