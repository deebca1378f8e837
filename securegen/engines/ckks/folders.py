"""Folders of an encrypted study: which go to the server, which stay with the key, and when they are complete."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from securegen.errors import StorageError


@dataclass(frozen=True)
class Encrypted:
    """Folders of an encrypted study: `cohort` and `design` go to the server, `owner` stays with the key."""

    cohort: Path
    design: Path
    owner: Path


def encrypted_paths(prefix: str | os.PathLike[str]) -> Encrypted:
    return Encrypted(*(Path(f"{os.fspath(prefix)}.{part}") for part in ("cohort", "design", "owner")))


def refuse_complete(owner: Path, *, design: bool, overwrite: bool) -> None:
    """Raise StorageError when the study of an owner's folder is complete: with a design, or, if only a cohort is to be
    encrypted, the cohort. Its results, which may be on their way, could not be read any more."""
    complete = any((owner / f"{name}.box").exists() for name in ("cohort", "leaving")) and (
        not design or any(owner.glob("design-*.box"))
    )
    if complete and not overwrite:
        raise StorageError(
            f"{owner} has a complete {'study' if design else 'cohort'}, which is not overwritten: results of it could not "
            "be read any more. Choose another --out, or `overwrite`"
        )
