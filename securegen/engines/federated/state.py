"""A site's private memory of one study: its keys, what it has sent, what it has read, and the totals that were opened.

It makes a killed run safe to repeat: what was sent is sent again, to the byte, and never made a second time. Every
entry carries an HMAC under a key of this memory over its name and bytes: a damaged one is an error and never a number.
Losing it, or bringing back an old copy, ends the site's part in the study: start another study, with other keys. Mode
0700, files 0600, on disk before a byte of them leaves.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import ArtefactError, StorageError
from securegen.io.envelope import Unpicklable
from securegen.io.output import PRIVATE, atomic, private_folder, sync_folder
from securegen.io.schema import Check
from securegen.io.strict_json import parse_json, read_regular

FOLDER, KEY, LOCK = "study-", "memory.key", "lock"
_MAC = 32
_MOST = 1 << 30


@dataclass(frozen=True, repr=False)
class SiteState(Unpicklable):
    """folder: of this study alone; key: 32 bytes that never leave."""

    folder: Path
    key: bytes = field(repr=False)

    def _mac(self, name: str, raw: bytes) -> bytes:
        return hmac.new(self.key, name.encode() + b"\0" + raw, hashlib.sha256).digest()

    def get(self, name: str) -> bytes | None:
        """The bytes of an entry, None when there is none. Raises ArtefactError when they are not what was written."""
        path = self.folder / name
        try:
            raw = read_regular(path, "an entry of the site's memory", most=_MOST)
        except FileNotFoundError:
            return None
        if not hmac.compare_digest(raw[:_MAC], self._mac(name, raw[_MAC:])):
            raise ArtefactError(
                f"{path} of the site's memory is damaged: bring the folder back as it was, or start another study"
            )
        return raw[_MAC:]

    def put(self, name: str, raw: bytes) -> bytes:
        """Write an entry that does not exist yet; it is on disk when this returns. Raises StorageError."""
        with atomic(self.folder / name, mode=PRIVATE, overwrite=False) as stream:
            stream.write(self._mac(name, raw) + raw)
        return raw

    def once(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The entry; made and written at the first call, the same bytes ever after."""
        known = self.get(name)
        return self.put(name, make()) if known is None else known

    def recall(self, name: str, check: Check) -> Any:
        """An entry of JSON, None when there is none."""
        raw = self.get(name)
        return None if raw is None else parse_json(raw, f"{self.folder / name}", check)

    def remember(self, name: str, make: Callable[[], Any], check: Check) -> Any:
        """As `once`, for a JSON value."""
        raw = self.once(name, lambda: json.dumps(make(), sort_keys=True).encode())
        return parse_json(raw, f"{self.folder / name}", check)

    def names(self, prefix: str) -> list[str]:
        """Entries whose name begins so."""
        return sorted(p.name for p in self.folder.iterdir() if p.name.startswith(prefix))

    def forget(self, name: str) -> None:
        """Overwrite an entry and delete it."""
        path = self.folder / name
        with contextlib.suppress(FileNotFoundError), open(path, "r+b") as stream:
            stream.write(bytes(os.fstat(stream.fileno()).st_size))
            stream.flush()
            os.fsync(stream.fileno())
        path.unlink(missing_ok=True)
        sync_folder(self.folder)

    def forget_all(self, but: Collection[str]) -> None:
        """Delete every entry except these."""
        for name in self.names(""):
            if name not in (KEY, LOCK, *but):
                self.forget(name)


def study_folder(state: Path, digest: str) -> Path:
    """Of the study with this digest."""
    return state / f"{FOLDER}{digest[:16]}"


@contextlib.contextmanager
def open_state(state: Path, study: StudyFile) -> Iterator[SiteState]:
    """The site's memory of a study, made at the first call, locked against a second process.

    Raises StorageError when another process of this site runs, ArtefactError when it is damaged.
    """
    with open_memory(state, study.digest) as memory:
        yield memory


@contextlib.contextmanager
def open_memory(state: Path, digest: str) -> Iterator[SiteState]:
    """As `open_state`, of a study of which the digest alone is at hand."""
    private_folder(state)
    folder = study_folder(state, digest)
    private_folder(folder)
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another process works on {folder}: one process per site and study") from None
        yield SiteState(folder, _key(folder))
    finally:
        os.close(lock)


def _key(folder: Path) -> bytes:
    """The key of a memory and its SHA-256, in one file."""
    path = folder / KEY
    if not path.exists():
        if any(p.name != LOCK and not p.name.startswith(".") for p in folder.iterdir()):
            raise ArtefactError(f"{folder} lacks {KEY}: bring the folder back as it was, or start another study")
        key = secrets.token_bytes(32)
        with atomic(path, mode=PRIVATE, overwrite=False) as stream:
            stream.write(key + hashlib.sha256(key).digest())
    raw = read_regular(path, "the key of the site's memory", most=64)
    if len(raw) != 64 or hashlib.sha256(raw[:32]).digest() != raw[32:]:
        raise ArtefactError(f"{path} is damaged: bring the folder back as it was, or start another study")
    return raw[:32]
