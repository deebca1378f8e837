"""Working folders of runs on one machine: private, gone at the end, and found again when their run was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from glob import escape
from pathlib import Path

from securegen.errors import StorageError
from securegen.io.output import make_working_folder

PARTIES, SITES = "parties", "sites"
KEYS = ("*.secret", "*.key", "*.state.json", "share.json")
_LOCK = ".lock"  # held while the run lives; a folder without it was kept on purpose


@contextlib.contextmanager
def working_folder(out: str, kind: str, *, keep: bool, log: Callable[[str], None]) -> Iterator[Path]:
    """OUT.kind.xxxxxxxx, mode 0700, deleted at the end; keep: only the keys in it are. kind: `parties` or `sites`.

    Folders that killed runs with the same OUT left behind are deleted first, and named in the log.
    """
    delete_abandoned(out, log)
    work = make_working_folder(f"{out}.{kind}")
    lock = _lock(work)
    try:
        yield work
    finally:
        if keep:
            for path in (p for pattern in KEYS for p in work.rglob(pattern)):
                path.unlink()
            (work / _LOCK).unlink()
            log(f"kept {work}")
        else:
            _delete(work, log)
        os.close(lock)


def delete_abandoned(out: str, log: Callable[[str], None]) -> None:
    """Delete the working folders beside OUT whose run lives no more."""
    base = Path(out)
    pattern = re.compile(re.escape(base.name) + rf"\.({PARTIES}|{SITES})\.[a-z0-9_]{{8}}")
    for folder in sorted(base.parent.glob(f"{escape(base.name)}.*")):
        if not pattern.fullmatch(folder.name) or folder.is_symlink():
            continue
        with contextlib.suppress(OSError):  # no lock, or its run lives
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _delete(folder, log):
                    log(f"deleted {folder}, which a killed run had left")
            finally:
                os.close(lock)


def _lock(work: Path) -> int:
    """Lock a new folder; its lock has no name before it is held, so that nobody takes the folder for abandoned."""
    try:
        lock = os.open(work / f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):  # a file system without locks: nobody else can lock it either
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(work / f"{_LOCK}.new", work / _LOCK)
    except OSError as error:
        raise StorageError(f"cannot make a folder in {work.parent}: {error.strerror or error}") from None
    return lock


def _delete(folder: Path, log: Callable[[str], None]) -> bool:
    """Delete a folder, keys first and the lock last, so that a run killed meanwhile leaves one that is found again."""
    for path in (p for pattern in KEYS for p in folder.rglob(pattern)):
        with contextlib.suppress(OSError):
            path.unlink()
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        elif entry.name != _LOCK:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log(f"cannot delete {folder}: delete it by hand, it may hold keys")
    return not folder.exists()
