"""Files of tables: whole or not at all, and gzip where their name ends with .gz. Equal tables are equal files."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from securegen.io.output import PRIVATE, atomic

GZ = ".gz"


@contextlib.contextmanager
def write_table_file(path: str | Path, *, mode: int | None = None) -> Iterator[BinaryIO]:
    """Open a table for writing (`output.atomic`). Gzip has no date and no name in it. Raises StorageError."""
    with atomic(path, mode=mode) as raw:
        if str(path).endswith(GZ):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield raw


def pack(path: str) -> str:
    """Put PATH.gz in the place of PATH, as private as that was; returns its name. Raises StorageError."""
    with open(path, "rb") as source:
        private = not os.fstat(source.fileno()).st_mode & 0o077
        with write_table_file(path + GZ, mode=PRIVATE if private else None) as target:
            while part := source.read(1 << 20):
                target.write(part)
    os.unlink(path)
    return path + GZ
