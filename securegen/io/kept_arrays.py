"""What an owner keeps for a later run, each file beside its BLAKE3 digest: a damaged one would make wrong numbers."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from securegen.errors import ArtefactError
from securegen.io.digests import blake3_of
from securegen.io.output import write_array, write_json, write_text
from securegen.io.schema import Check
from securegen.io.strict_json import read_json

# What NumPy raises of bytes that are not an array of its own.
_UNREADABLE = (
    ValueError, OSError, EOFError, LookupError, RuntimeError, AttributeError, SyntaxError, tokenize.TokenError,
    zipfile.BadZipFile, zlib.error, OverflowError, MemoryError,
)  # fmt: skip


def keep_array(path: Path, array: np.ndarray, **options: Any) -> None:
    """Write PATH (.npy) and PATH.blake3; options as `output.atomic`. Raises StorageError."""
    write_array(path, array, **options)
    write_text(_digest_path(path), blake3_of(path), **options)


def keep_json(path: Path, value: Any, **options: Any) -> None:
    """Write PATH and PATH.blake3; options as `output.atomic`. Raises StorageError."""
    write_json(path, value, **options)
    write_text(_digest_path(path), blake3_of(path), **options)


def kept_json(path: Path, what: str, check: Check) -> Any:
    """The value kept before, as `check` returns it; what: as in `read_json`.

    Raises FileNotFoundError when it is absent, ArtefactError when it has changed since or `check` refuses it.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    try:
        whole = blake3_of(path) == _digest_path(path).read_text()
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read with its digest: {error}") from None
    if not whole:
        raise ArtefactError(f"{path} has changed since it was written: restore it, or begin anew")
    return read_json(path, what, check)


def kept_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array kept before, memory-mapped if asked. Raises ArtefactError when it is absent or has changed since."""
    try:
        if blake3_of(path) != _digest_path(path).read_text():
            raise ArtefactError(f"{path} has changed since it was written: restore it, or begin anew")
        array: np.ndarray = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive of arrays")
        return array
    except _UNREADABLE as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from None


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".blake3")


def read_npz(stream: BinaryIO, what: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, none of them pickled. Raises ArtefactError for anything else."""
    try:
        with np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _UNREADABLE:
        raise ArtefactError(f"{what} is damaged: its arrays cannot be read") from None
