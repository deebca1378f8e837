"""Working folders of runs on one machine: private, gone at the end, and found again when their run was killed.

Others may write in the folder where OUT lies, and rename what is there. So a working folder is deleted through its own
descriptor, and only this user's: what another put in its place, a link say, is left alone, and so is what that leads to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from securegen.errors import StorageError
from securegen.io.output import make_working_folder

PARTIES, SITES = "parties", "sites"
KEYS = ("*.secret", "*.key", "*.state.json", "share.json")
_LOCK = ".lock"  # held while the run lives; a folder without it was kept on purpose


@contextlib.contextmanager
def working_folder(out: str, kind: str, *, keep: bool, log: Callable[[str], None]) -> Iterator[Path]:
    """OUT.kind.xxxxxxxx by its absolute path, mode 0700, deleted at the end; keep: only the keys in it are. kind: `parties` or
    `sites`.

    Folders that killed runs with the same OUT left behind are deleted first, and named in the log.
    """
    delete_abandoned(out, log)
    work = make_working_folder(f"{out}.{kind}")
    try:
        at = _open(work)
        lock = _lock(at)
    except OSError as error:
        raise StorageError(f"cannot make a folder in {work.parent}: {error.strerror or error}") from None
    try:
        yield work.absolute()
    finally:
        if keep:
            _delete_keys(at)
            os.unlink(_LOCK, dir_fd=at)
            log(f"kept {work}")
        else:
            _delete(at, work, log)
        os.close(lock)
        os.close(at)


def delete_abandoned(out: str, log: Callable[[str], None]) -> None:
    """Delete the working folders beside OUT whose run lives no more."""
    base = Path(out)
    pattern = re.compile(re.escape(base.name) + rf"\.({PARTIES}|{SITES})\.[a-z0-9_]{{8}}")
    for folder in sorted(base.parent.glob(f"{escape(base.name)}.*")):
        if pattern.fullmatch(folder.name):
            with contextlib.suppress(OSError):  # another's, or no lock, or its run lives
                _delete_unlocked(folder, log)


def _delete_unlocked(folder: Path, log: Callable[[str], None]) -> None:
    at = _open(folder)
    try:
        lock = os.open(_LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _delete(at, folder, log):
                log(f"deleted {folder}, which a killed run had left")
        finally:
            os.close(lock)
    finally:
        os.close(at)


def _open(folder: Path) -> int:
    """A descriptor of a folder of this user's. Raises OSError for a link, and for another's."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if os.fstat(at).st_uid != os.geteuid():
        os.close(at)
        raise PermissionError(errno.EPERM, "it is another user's", str(folder))
    return at


def _lock(at: int) -> int:
    """Lock a new folder; its lock has no name before it is held, so that nobody takes the folder for abandoned."""
    lock = os.open(f"{_LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=at)
    with contextlib.suppress(OSError):  # a file system without locks: nobody else can lock it either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.rename(f"{_LOCK}.new", _LOCK, src_dir_fd=at, dst_dir_fd=at)
    return lock


def _delete_keys(at: int) -> None:
    for _, _, names, inside in os.fwalk(dir_fd=at):
        for name in names:
            if any(fnmatchcase(name, pattern) for pattern in KEYS):
                with contextlib.suppress(OSError):
                    os.unlink(name, dir_fd=inside)


def _delete(at: int, folder: Path, log: Callable[[str], None]) -> bool:
    """Delete a folder, keys first and the lock last, so that a run killed meanwhile leaves one that is found again."""
    _delete_keys(at)
    with os.scandir(at) as entries:
        names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries if entry.name != _LOCK}
    for name, is_folder in (names | {_LOCK: False}).items():
        if is_folder:
            shutil.rmtree(name, ignore_errors=True, dir_fd=at)
        else:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=at)
    try:
        os.rmdir(folder)
    except OSError:
        log(f"cannot delete {folder}: delete it by hand, it may hold keys")
        return False
    return True
