"""What a folder of whole files is: on a local disk (`local_folder`), or in an object store (`stores`).

Files have plain names and lie side by side. A file is there whole or not at all; the last one to be written, a manifest,
says that a folder is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol, runtime_checkable

Parts = Iterable[bytes | memoryview]


class FilePart(NamedTuple):
    """Bytes start to stop of a file of `size` bytes."""

    name: str
    size: int
    start: int
    stop: int


class ByteStream(Protocol):
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

    def make(self) -> None:
        """Make it, where folders are made."""

    def sizes(self, most: int = ...) -> dict[str, int]:
        """Bytes of every file in it. most: names that a store may list. Raises StorageError where there are more."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where it is absent."""

    def read(self, name: str, what: str, most: int) -> bytes:
        """A file of at most `most` bytes. what: its role, as "a manifest"."""

    def fill(self, name: str, size: int, parts: Sequence[memoryview]) -> None:
        """Read a file of `size` bytes into `parts`, one behind the other."""

    def part(self, part: FilePart) -> memoryview:
        """Bytes of a file: mapped, or from a store in memory. They stay as long as they are referred to."""

    def stream(self, name: str, size: int) -> AbstractContextManager[ByteStream]:
        """A file of `size` bytes, read from its start on."""

    def digest(self, name: str, size: int | None = None) -> str:
        """BLAKE3 of a file, hexadecimal. size: what it must have, where that is known."""

    def write(self, name: str, parts: Parts) -> None:
        """Write a file, whole or not at all, in the place of one that is there."""

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is absent is not an error."""

    def take(self, name: str, source: Folder) -> None:
        """Move a file here from another folder of the same kind."""

    def discard(self) -> None:
        """Remove it with all its files."""

    def require_space(self, size: int) -> None:
        """Raise StorageError where so many bytes more do not fit, as far as that is known."""

    def settle(self) -> None:
        """Have the names of its files on the disk."""

    def claimed(self, writer: Callable[[], str], *, keep: bool = False) -> AbstractContextManager[None]:
        """Keep all but the one whom the word of `writer` names from writing in it until the block ends; keep: and after it, until
        a block of the same writer without `keep` ends. Raises StorageError where another one writes."""

    def confirm(self, writer: Callable[[], str]) -> None:
        """Raise StorageError where another writer took it since."""

    def ahead(self, order: Iterable[FilePart]) -> AbstractContextManager[None]:
        """Meanwhile parts of files are read in this order."""
