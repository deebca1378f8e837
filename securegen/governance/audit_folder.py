"""The files of an audit log, below one folder that is not a link and has no links in it.

    key                  the log's verifier key
    checkpoint           size and root, signed
    entries/000.jsonl    256 entries per file, one per line
    tile/0/000, …        hashes, as C2SP tlog-tiles names them

One process writes at a time: the lock is on the folder itself, so that it cannot be removed and made anew beside it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from securegen.errors import ArtefactError, StorageError
from securegen.governance.audit_entry import MOST_LINE
from securegen.governance.audit_note import MOST_NOTE, Checkpoint, LogKey, read_checkpoint
from securegen.governance.audit_tree import HASH, WIDTH, number_path, tile_path
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, atomic, make_folder, sync_folder
from securegen.io.strict_json import read_regular

KEY, CHECKPOINT = "key", "checkpoint"
_MOST_BUNDLE = WIDTH * (MOST_LINE + 1) + MOST_LINE


def bundle_path(number: int) -> str:
    """Where the entries from 256·number on are."""
    return f"entries/{number_path(number)}.jsonl"


class LogFolder:
    """The folder of a log: reads and writes its files, and knows no entry."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __str__(self) -> str:
        return str(self.path)

    @contextlib.contextmanager
    def locked(self, *, alone: bool) -> Iterator[None]:
        """Hold the log. alone: to write. Raises ArtefactError where there is none, StorageError where it cannot be held."""
        try:
            at = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ArtefactError(f"there is no audit log {self}") from None
        except OSError as problem:
            if problem.errno in (errno.ENOTDIR, errno.ELOOP):
                raise StorageError(f"{self} is a link or no folder: an audit log is a folder of its own") from None
            raise StorageError(f"cannot open the audit log {self}: {problem.strerror}") from None
        try:
            try:
                fcntl.flock(at, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            except OSError as problem:
                if alone:
                    raise StorageError(f"cannot lock the audit log {self}: {problem.strerror}") from None
            status = os.fstat(at)
            if alone and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
                raise StorageError(f"others may write in the audit log {self}: chmod 700 it, under your own account")
            if not os.path.samestat(status, self.path.stat(follow_symlinks=False)):
                raise StorageError(f"the audit log {self} was replaced while it was opened: run the command again")
            yield
        finally:
            os.close(at)

    def read(self, name: str, most: int) -> bytes | None:
        """The bytes of a file, None where there is none. Raises ArtefactError for a link or a file that is too large."""
        path = self.path
        for part in Path(name).parts:
            path = path / part
            if path.is_symlink():
                raise ArtefactError(f"{path} is a link: an audit log holds its own files")
        try:
            return read_regular(path, "part of an audit log", most=most)
        except FileNotFoundError:
            return None

    def key(self) -> LogKey:
        """The key that the log says is its own. Raises ArtefactError where it is damaged or gone."""
        raw = self.read(KEY, 1 << 10)
        if raw is None:
            raise ArtefactError(f"{self} is not an audit log: it has no key")
        return LogKey.from_text(raw.decode(errors="replace"))

    def checkpoint(self, key: LogKey | None) -> Checkpoint:
        """The signed size and root. Raises ArtefactError where it is gone, forged or damaged."""
        raw = self.read(CHECKPOINT, MOST_NOTE)
        if raw is None:
            raise ArtefactError(f"{self / CHECKPOINT} is gone: what the log held cannot be told")
        return read_checkpoint(raw, key, f"{self / CHECKPOINT}")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def bundle(self, number: int) -> tuple[list[bytes], bytes]:
        """The whole lines of a file of entries, and what follows the last line's end; nothing where there is no file."""
        raw = self.read(bundle_path(number), _MOST_BUNDLE) or b""
        *lines, rest = raw.split(b"\n")
        return lines, rest

    def tile(self, level: int, index: int, width: int = WIDTH) -> bytes | None:
        """The bytes of a tile; None where there is none, or none of this width."""
        raw = self.read(tile_path(level, index, width), HASH * WIDTH)
        return raw if raw is not None and len(raw) == HASH * width else None

    def write(self, name: str, content: bytes) -> None:
        """Replace a file whole, on the disk when it returns. Raises StorageError."""
        with atomic(self / name, mode=PRIVATE) as stream:
            stream.write(content)

    def add_lines(self, number: int, held: int, lines: list[bytes]) -> None:
        """Append lines to a file of entries of `held` bytes; they are on the disk when it returns.

        Raises StorageError; what was written in part is taken back, or dropped when the log is next opened.
        """
        path = self / bundle_path(number)
        make_folder(path.parent, PRIVATE_FOLDER)
        is_new = not path.exists()
        try:
            at = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE)
        except OSError as problem:
            raise StorageError(f"cannot write {path}: {problem.strerror}") from None
        try:
            if os.fstat(at).st_size != held or not stat.S_ISREG(os.fstat(at).st_mode):
                raise StorageError(f"{path} changed while the log was locked: another program writes in it")
            try:
                content = memoryview(b"".join(line + b"\n" for line in lines))
                while content:
                    content = content[os.write(at, content) :]
                os.fsync(at)
                if is_new:
                    sync_folder(path.parent)
                    sync_folder(path.parent.parent)
            except OSError as problem:
                with contextlib.suppress(OSError):
                    os.ftruncate(at, held)
                raise StorageError(f"cannot write {path}: {problem.strerror}") from None
        finally:
            os.close(at)

    def cut(self, number: int, held: int) -> None:
        """Drop what follows the first `held` bytes of a file of entries."""
        path = self / bundle_path(number)
        try:
            at = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.ftruncate(at, held)
                os.fsync(at)
            finally:
                os.close(at)
        except OSError as problem:
            raise StorageError(f"cannot write {path}: {problem.strerror}") from None

    def drop_partial(self, level: int, index: int) -> None:
        """Delete the partial tiles of a tile that is full."""
        folder = self / (tile_path(level, index) + ".p")
        with contextlib.suppress(OSError):  # none, or left for the next time: they say nothing else
            for name in os.listdir(folder):
                os.unlink(folder / name)
            os.rmdir(folder)
