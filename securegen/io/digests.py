"""SHA-256 of input files. One process reads a file for it once, however often it is asked."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path


def sha256(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    status = os.stat(path)
    return _sha256(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino)


@functools.lru_cache(1024)
def _sha256(path: str, *_: int) -> str:
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
