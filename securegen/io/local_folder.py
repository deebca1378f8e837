"""A folder of whole files on a local disk."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from securegen.errors import ArtefactError
from securegen.io.digests import blake3_of
from securegen.io.folder import ByteStream, FilePart, Folder, Parts
from securegen.io.output import FOLDER_FOR_OTHERS, FOR_OTHERS, make_folder, require_space, sync_folder, write_bytes
from securegen.io.strict_json import open_regular, read_regular


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

    def make(self) -> None:
        make_folder(self.path, FOLDER_FOR_OTHERS)

    def sizes(self, most: int = 0) -> dict[str, int]:
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

    def part(self, part: FilePart) -> memoryview:
        page = part.start - part.start % mmap.ALLOCATIONGRANULARITY
        with open_regular(self.path / part.name, "part of an artefact") as (stream, status):
            _check_size(self.at(part.name), status.st_size, part.size)
            flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
            memory = mmap.mmap(stream.fileno(), part.stop - page, flags=flags, prot=mmap.PROT_READ, offset=page)
        return memoryview(memory)[part.start - page :]

    @contextlib.contextmanager
    def stream(self, name: str, size: int) -> Iterator[ByteStream]:
        with open_regular(self.path / name, "part of an artefact") as (stream, status):
            _check_size(self.at(name), status.st_size, size)
            yield stream

    def digest(self, name: str, size: int | None = None) -> str:
        if size is not None:
            _check_size(self.at(name), (self.path / name).stat().st_size, size)
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

    @contextlib.contextmanager
    def claimed(self, writer: Callable[[], str], *, keep: bool = False) -> Iterator[None]:
        """Locks of the owner's folder, or of a prefix, are enough."""
        yield

    def confirm(self, writer: Callable[[], str]) -> None:
        """Nobody did."""

    @contextlib.contextmanager
    def ahead(self, order: Iterable[FilePart]) -> Iterator[None]:
        """The system reads ahead."""
        yield


def _check_size(path: str, found: int, size: int) -> None:
    if found != size:
        raise ArtefactError(f"{path} has {found} bytes, its manifest says {size}: truncated or replaced")
