"""SHA-256 of input files, which one process reads for it once, however often it is asked; BLAKE3 of artefacts."""

from __future__ import annotations

import functools
import hashlib
import os
import time
from pathlib import Path

from blake3 import blake3

_TICK = 100_000_000  # nanoseconds, more than a step of a file system's clock


def blake3_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal BLAKE3 of a file as it is now. Raises OSError."""
    return blake3().update_mmap(path).hexdigest()


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    status = os.stat(path)
    if abs(time.time_ns() - status.st_ctime_ns) < _TICK:  # it may be changed again without another time
        return _read(path)
    return _sha256(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@functools.lru_cache(1024)
def _sha256(path: str, *_: int) -> str:
    return _read(path)


def _read(path: str | os.PathLike[str]) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
