"""Files that are written whole or not at all, and the errors of a file system that refuses."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from securegen.errors import StorageError


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises StorageError naming it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "a file is in the way" if isinstance(error, FileExistsError) else error.strerror or error
        raise StorageError(f"cannot make the folder {folder}: {why}") from None


def make_working_folder(prefix: str) -> Path:
    """A new folder PREFIX.xxxxxxxx for one run, mode 0700. Raises StorageError naming its parent."""
    base = Path(prefix)
    make_folder(base.parent)
    try:
        return Path(tempfile.mkdtemp(prefix=f"{base.name}.", dir=base.parent))
    except OSError as error:
        raise StorageError(f"cannot make a folder in {base.parent}: {error.strerror or error}") from None


@contextlib.contextmanager
def atomic(path: str | Path, *, mode: int = 0o644, overwrite: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary neighbour for writing; rename it to `path` when the block ends well, delete it when it does not.

    Raises StorageError naming the path: no space, no permission, or it exists and overwrite is False.
    """
    path = Path(path)
    temporary = None
    make_folder(path.parent)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), mode)
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)  # fails where the name exists, without a race
    except FileExistsError:
        raise StorageError(f"{path} exists and is not overwritten: choose another name or remove it") from None
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)


def write_text(path: str | Path, text: str, **options: Any) -> None:
    with atomic(path, **options) as stream:
        stream.write(text.encode())


def write_json(path: str | Path, value: Any, **options: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n", **options)


def write_array(path: str | Path, array: np.ndarray, **options: Any) -> int:
    """Write a .npy file without pickling; returns its size in bytes."""
    with atomic(path, **options) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
        return stream.tell()
