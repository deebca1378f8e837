"""Who writes in a store, which has no locks: a word that was drawn once and lies in a private folder here."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from securegen.errors import StorageError
from securegen.io.output import PRIVATE, write_text
from securegen.io.strict_json import read_regular

NAME = "writer.txt"


def writer_in(folder: Path) -> str:
    """The word of a folder; all processes that share it are one writer, and a killed one finds its claims again."""
    path = folder / NAME
    if not path.exists():
        with contextlib.suppress(StorageError):  # another process was first
            write_text(path, secrets.token_hex(16), mode=PRIVATE, overwrite=False)
    return read_regular(path, "the name of a writer", most=64).decode("ascii", "replace")
