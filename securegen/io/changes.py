"""How often a file was changed, in the lock beside it: a mark that only grows, by which an older copy is refused.

The file holds its own number of changes, and is written before the mark. A kill between the two leaves the file ahead of
its mark, which is whole; a file behind its mark was brought back. Who brings back the lock too is not found by it.
"""

from __future__ import annotations

import os
from pathlib import Path

from securegen.errors import SecuregenError, StorageError

_LONGEST = 20


def read_mark(lock: int, path: Path, error: type[SecuregenError] = StorageError) -> int:
    """How many changes the file had when its lock, a descriptor of `path`, was last held; 0 in a lock that is empty.

    Raises `error` where it holds no mark, StorageError where it cannot be read.
    """
    try:
        raw = os.pread(lock, 64, 0).strip()
    except OSError as problem:
        raise StorageError(f"cannot read {path}: {problem.strerror}") from None
    if len(raw) > _LONGEST or not (raw.isdigit() or not raw):
        raise error(f"{path} is damaged: it does not hold the mark of its ledger. Restore it with the ledger")
    return int(raw or b"0")


def raise_mark(lock: int, path: Path, changes: int) -> None:
    """Write the mark, after the file; on the disk when this returns. Raises StorageError."""
    try:
        os.pwrite(lock, b"%0*d\n" % (_LONGEST, changes), 0)
        os.fsync(lock)
    except OSError as problem:
        raise StorageError(f"cannot write {path}: {problem.strerror}") from None
