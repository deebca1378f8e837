"""Arrays that an owner keeps for a later run, each beside its BLAKE3 digest: a damaged one would make wrong numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from securegen.errors import ArtefactError
from securegen.io.output import write_array, write_text


def keep_array(path: Path, array: np.ndarray, **options: Any) -> None:
    """Write PATH (.npy) and PATH.blake3; options as `output.atomic`. Raises StorageError."""
    write_array(path, array, **options)
    write_text(_digest_path(path), _digest(path), **options)


def kept_array(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array kept before, memory-mapped if asked. Raises ArtefactError when it is absent or has changed since."""
    try:
        if _digest(path) != _digest_path(path).read_text():
            raise ArtefactError(f"{path} has changed since it was written: restore it, or begin anew")
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from None


def _digest(path: Path) -> str:
    return blake3().update_mmap(path).hexdigest()


def _digest_path(path: Path) -> Path:
    return path.with_name(path.name + ".blake3")
