"""The folder that a path or a URL names: whoever reads and writes artefacts sees no difference (`folder.Folder`)."""

from __future__ import annotations

import os
from pathlib import Path

from securegen.errors import UsageError
from securegen.io.folder import Folder
from securegen.io.local_folder import LocalFolder
from securegen.io.store_urls import local_path

Place = str | os.PathLike[str]


def folder_of(place: Place) -> Folder:
    """The folder of a path, or of the URL of a store. Raises UsageError for a URL that is refused, MissingExtraError."""
    if isinstance(place, LocalFolder) or (not isinstance(place, str | Path) and isinstance(place, Folder)):
        return place
    path = local_path(place)
    if path is not None:
        return LocalFolder(path)
    from securegen.io.stores import StoreFolder

    return StoreFolder(os.fspath(place))


def is_stored(place: Place) -> bool:
    """Whether a place is in an object store, which another party keeps."""
    return local_path(place) is None


def place_of(place: Place) -> Path | Folder:
    """A path on a local disk as such, else the folder in its store: what is returned to whoever named it."""
    return local_path(place) or folder_of(place)


def local_folder(place: Place, what: str) -> Path:
    """The path of a folder that must be on a local disk. Raises UsageError naming `what` where it is not."""
    if is_stored(place):
        raise UsageError(f"{os.fspath(place)}: {what} works on a local disk alone: copy the folder here first")
    return local_path(place) or Path(place)


def folders_beside(prefix: Place) -> list[Folder]:
    """The folders whose path begins with PREFIX and a dot, complete or not."""
    path = local_path(prefix)
    if path is not None:
        found = path.parent.glob("*") if path.parent.is_dir() else ()
        return [LocalFolder(p) for p in sorted(found) if p.name.startswith(f"{path.name}.") and p.is_dir()]
    from securegen.io.stores import stored_beside

    return list(stored_beside(os.fspath(prefix)))
