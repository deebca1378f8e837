"""A folder of whole files: on a local disk, or in an object store. Whoever reads and writes artefacts sees no other.

Files have plain names and lie side by side. A file is there whole or not at all; the last one to be written, a manifest,
says that a folder is complete.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from securegen.errors import ArtefactError, UsageError
from securegen.io.digests import blake3_of
from securegen.io.output import FOLDER_FOR_OTHERS, FOR_OTHERS, make_folder, require_space, sync_folder, write_bytes
from securegen.io.store_urls import is_url, local_path
from securegen.io.strict_json import open_regular, read_regular

Parts = Iterable[bytes | memoryview]


class Stream(Protocol):
    """Bytes of a file, in order."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:
        """Fill a buffer, or what the file still has of it; how much that was."""


@runtime_checkable
class Folder(Protocol):
    """What an artefact is written into and read from.

    Names are those of files in it. Whatever reads raises FileNotFoundError for a file that is absent, ArtefactError for one of
    another size than expected, StorageError where the disk or the store fails.
    """

    def __fspath__(self) -> str:
        """Its path or URL."""

    @property
    def name(self) -> str:
        """The last name of its path."""

    @property
    def place(self) -> str:
        """Where it is, whatever the working folder."""

    def at(self, name: str) -> str:
        """A file in it, for messages."""

    def exists(self) -> bool:
        """Whether the folder, or in a store a file in it, is there."""

    def make(self) -> None:
        """Make it, where folders are made."""

    def sizes(self) -> dict[str, int]:
        """Bytes of every file in it."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where it is absent."""

    def read(self, name: str, what: str, most: int) -> bytes:
        """A file of at most `most` bytes. what: its role, as "a manifest"."""

    def fill(self, name: str, size: int, parts: Sequence[memoryview]) -> None:
        """Read a file of `size` bytes into `parts`, one behind the other."""

    def whole(self, name: str, size: int) -> mmap.mmap | bytearray:
        """A file of `size` bytes: mapped, or from a store in memory."""

    def stream(self, name: str, size: int) -> AbstractContextManager[Stream]:
        """A file of `size` bytes, read from its start on."""

    def digest(self, name: str) -> str:
        """BLAKE3 of a file, hexadecimal."""

    def write(self, name: str, parts: Parts) -> None:
        """Write a file, whole or not at all, in the place of one that is there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is absent is no error."""

    def take(self, name: str, source: Folder) -> None:
        """Move a file here from another folder of the same kind."""

    def discard(self) -> None:
        """Remove it with all its files."""

    def require_space(self, size: int) -> None:
        """Raise StorageError where so many bytes more do not fit, as far as that is known."""

    def settle(self) -> None:
        """Have the names of its files on the disk."""

    def changed(self, name: str) -> bool:
        """Whether a file is known to be another one than when the folder was listed."""

    def claimed(self, writer: Callable[[], str], *, keep: bool = False) -> AbstractContextManager[None]:
        """Keep all but the one whom the word of `writer` names from writing in it until the block ends; keep: and after it, until
        a block of the same writer without `keep` ends. Raises StorageError where another one writes."""

    def confirm(self, writer: Callable[[], str]) -> None:
        """Raise StorageError where another writer took it since."""

    def ahead(self, order: Iterable[tuple[str, int]]) -> AbstractContextManager[None]:
        """Meanwhile files (name, size) are read in this order."""


class LocalFolder:
    """A folder on a local disk. See `Folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def place(self) -> str:
        return str(self.path.resolve())

    def at(self, name: str) -> str:
        return str(self.path / name)

    def exists(self) -> bool:
        return self.path.is_dir()

    def make(self) -> None:
        make_folder(self.path, FOLDER_FOR_OTHERS)

    def sizes(self) -> dict[str, int]:
        try:
            with os.scandir(self.path) as found:
                return {e.name: e.stat().st_size for e in found if e.is_file()}
        except FileNotFoundError:
            return {}

    def size(self, name: str) -> int | None:
        try:
            with open_regular(self.path / name, "part of an artefact") as (_, status):
                return status.st_size
        except FileNotFoundError:
            return None

    def read(self, name: str, what: str, most: int) -> bytes:
        return read_regular(self.path / name, what, most=most)

    def fill(self, name: str, size: int, parts: Sequence[memoryview]) -> None:
        with open_regular(self.path / name, "part of an artefact") as (stream, status):
            _check_size(self.at(name), status.st_size, size)
            for part in parts:
                while part and (got := stream.readinto(part)):
                    part = part[got:]

    def whole(self, name: str, size: int) -> mmap.mmap | bytearray:
        with open_regular(self.path / name, "part of an artefact") as (stream, status):
            _check_size(self.at(name), status.st_size, size)
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
            return mmap.mmap(stream.fileno(), 0, flags=flags, prot=mmap.PROT_READ)

    @contextlib.contextmanager
    def stream(self, name: str, size: int) -> Iterator[Stream]:
        with open_regular(self.path / name, "part of an artefact") as (stream, status):
            _check_size(self.at(name), status.st_size, size)
            yield stream

    def digest(self, name: str) -> str:
        return blake3_of(self.path / name)

    def write(self, name: str, parts: Parts) -> None:
        write_bytes(self.path / name, parts, mode=FOR_OTHERS)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self.path / name).unlink(missing_ok=True)

    def take(self, name: str, source: Folder) -> None:
        os.replace(source.at(name), self.path / name)

    def discard(self) -> None:
        self.remove(self.sizes())
        self.path.rmdir()

    def require_space(self, size: int) -> None:
        require_space(self.path, size)

    def settle(self) -> None:
        sync_folder(self.path)

    def changed(self, name: str) -> bool:
        return False

    @contextlib.contextmanager
    def claimed(self, writer: Callable[[], str], *, keep: bool = False) -> Iterator[None]:
        """Locks of the owner's folder, or of a prefix, are enough."""
        yield

    def confirm(self, writer: Callable[[], str]) -> None:
        """Nobody did."""

    @contextlib.contextmanager
    def ahead(self, order: Iterable[tuple[str, int]]) -> Iterator[None]:
        """The system reads ahead."""
        yield


def _check_size(path: str, found: int, size: int) -> None:
    if found != size:
        raise ArtefactError(f"{path} has {found} bytes, its manifest says {size}: truncated or replaced")


Place = str | os.PathLike[str]


def folder_of(place: Place) -> Folder:
    """The folder of a path, or of the URL of a store. Raises UsageError for a URL that is refused, MissingExtraError."""
    if isinstance(place, Folder):
        return place
    path = local_path(place)
    if path is not None:
        return LocalFolder(path)
    from securegen.io.stores import StoreFolder

    return StoreFolder(os.fspath(place))


def place_of(place: Place) -> Path | Folder:
    """A path on a local disk as such, else the folder in its store: what is returned to whoever named it."""
    return local_path(place) or folder_of(place)


def local_folder(place: Place, what: str) -> Path:
    """The path of a folder that must be on a local disk. Raises UsageError naming `what` where it is not."""
    if is_url(place) and local_path(place) is None:
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
