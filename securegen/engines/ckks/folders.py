"""Folders of an encrypted study: which go to the server, or lie in a store where it reads them, which stay with the key, and
when they are complete."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from securegen.engines.ckks.artefact import MANIFEST
from securegen.errors import StorageError
from securegen.io.folder import Folder
from securegen.io.folders import place_of
from securegen.io.store_urls import local_prefix


@dataclass(frozen=True)
class Encrypted:
    """Folders of an encrypted study: `cohort` and `design` go to the server, `owner` stays with the key."""

    cohort: Path | Folder
    design: Path | Folder
    owner: Path


def encrypted_paths(prefix: str | os.PathLike[str]) -> Encrypted:
    """The folders of a prefix. The owner's folder is always on a local disk: for s3://bucket/study it is study.owner here."""
    text = os.fspath(prefix)
    cohort, design = (place_of(f"{text}.{part}") for part in ("cohort", "design"))
    return Encrypted(cohort, design, Path(f"{local_prefix(text)}.owner"))


def refuse_others(paths: Encrypted, *, overwrite: bool) -> None:
    """Raise StorageError where a cohort lies in a store that this owner's folder knows nothing of.

    Whoever encrypts from another folder would not see it: on a disk the owner's folder lies beside it.
    """
    if isinstance(paths.cohort, Path) or overwrite or any(paths.owner.glob("*.box")):
        return
    if paths.cohort.size(MANIFEST) is not None:
        raise StorageError(
            f"{paths.cohort} is complete, and this owner's folder did not encrypt it: choose another `out`, or `overwrite`"
        )


def refuse_complete(owner: Path, *, design: bool, overwrite: bool) -> None:
    """Raise StorageError when the study of an owner's folder is complete: with a design, or, if only a cohort is to be
    encrypted, the cohort. Its results, which may be on their way, could not be read any more."""
    complete = any((owner / f"{name}.box").exists() for name in ("cohort", "leaving")) and (
        not design or any(owner.glob("design-*.box"))
    )
    if complete and not overwrite:
        raise StorageError(
            f"{owner} has a complete {'study' if design else 'cohort'}, which is not overwritten: results of it could not "
            "be read any more. Choose another `out`, or `overwrite`"
        )
