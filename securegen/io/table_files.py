"""Files of tables: whole or not at all, and gzip where their name ends with .gz. Equal tables are equal files."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from securegen.io.output import atomic

GZ = ".gz"


@contextlib.contextmanager
def write_table_file(path: str | Path) -> Iterator[BinaryIO]:
    """Open a table for writing (`output.atomic`). Gzip has no date and no name in it. Raises StorageError."""
    with atomic(path) as raw:
        if str(path).endswith(GZ):
            with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield raw


def pack(path: str) -> str:
    """Put PATH.gz in the place of PATH; returns its name. Raises StorageError."""
    with open(path, "rb") as source, write_table_file(path + GZ) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    os.unlink(path)
    return path + GZ
