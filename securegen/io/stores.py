"""Folders in object stores, through fsspec: read by ranges, written whole, claimed by one writer.

A store has no folders, no locks and no renaming. An object is there whole or not at all: a large one is uploaded in parts
that are put together at the end. A claim, an object that is made only where none is, keeps a second writer away; where a
store makes it all the same, the first writer finds another's before it writes the manifest. Listings are never kept.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from blake3 import blake3

from securegen.errors import ArtefactError, StorageError
from securegen.io.folder import ByteStream, FilePart, Folder, Parts
from securegen.io.read_ahead import RangeStream, ReadAhead
from securegen.io.store_listing import MOST_NAMES, listing
from securegen.io.store_objects import plain_name, size_of
from securegen.io.store_requests import ShortReadError, asked, behind_the_end, file_system
from securegen.io.store_uploads import upload
from securegen.io.store_urls import checked_url

RANGE = 8 << 20  # bytes of one request
CLAIM = ".writer"
T = TypeVar("T")


class StoreFolder:
    """A folder in an object store. See `Folder`. fetched: bytes that were read from it."""

    def __init__(self, url: str) -> None:
        self._scheme, self._path = checked_url(url.rstrip("/"))
        self._fs = file_system(self._scheme)
        self._ahead: ReadAhead | None = None
        self._lock = threading.Lock()
        self.fetched = 0

    def __str__(self) -> str:
        return f"{self._scheme}://{self._path}"

    def __repr__(self) -> str:
        return f"StoreFolder({str(self)!r})"

    def __fspath__(self) -> str:
        return str(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreFolder) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        return self._path.rpartition("/")[2]

    @property
    def place(self) -> str:
        return str(self)

    def at(self, name: str) -> str:
        return f"{self}/{name}"

    def make(self) -> None:
        """A folder is there with its first object."""

    def sizes(self, most: int = MOST_NAMES) -> dict[str, int]:
        return {name: size for name, size in self._listed(most).items() if name != CLAIM}

    def size(self, name: str) -> int | None:
        found = self._info(name)
        return None if found is None else size_of(found, self.at(name))

    def read(self, name: str, what: str, most: int) -> bytes:
        size = self.size(name)
        if size is None:
            raise FileNotFoundError(errno.ENOENT, "No such object", self.at(name))
        if size > most:
            raise ArtefactError(f"{self.at(name)} has {size} bytes: too large to be {what}")
        return bytes(self._fetch(FilePart(name, size, 0, size)))

    def fill(self, name: str, size: int, parts: Sequence[memoryview]) -> None:
        if self._ahead is None:
            self._fill(name, size, parts)
            return
        found, start = memoryview(self._ahead.take(FilePart(name, size, 0, size))), 0
        for part in parts:
            part[:] = found[start : start + len(part)]
            start += len(part)

    def part(self, part: FilePart) -> memoryview:
        return memoryview(self._fetch(part) if self._ahead is None else self._ahead.take(part)).toreadonly()

    @contextlib.contextmanager
    def stream(self, name: str, size: int) -> Iterator[ByteStream]:
        yield RangeStream(lambda start, count: self._range(name, start, count, size), size)

    def digest(self, name: str, size: int | None = None) -> str:
        size, out = self.size(name) if size is None else size, blake3()
        if size is None:
            raise FileNotFoundError(errno.ENOENT, "No such object", self.at(name))
        for start in range(0, size, RANGE):
            out.update(self._range(name, start, min(RANGE, size - start), size))
        return out.hexdigest()

    def write(self, name: str, parts: Parts) -> None:
        content = b"".join(parts)
        self._put(name, "written", content)

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                self._asked("removed", name, lambda name=name: self._fs.rm_file(self._key(name)))  # type: ignore[misc]

    def take(self, name: str, source: Folder) -> None:
        """A copy inside the store, then the removal of the first."""
        if not isinstance(source, StoreFolder) or source._scheme != self._scheme:
            raise ArtefactError(f"{source} and {self} are in different stores")
        self._asked("copied", name, lambda: self._fs.cp_file(source._key(name), self._key(name)))
        source.remove([name])

    def discard(self) -> None:
        self.remove(self._listed(MOST_NAMES))

    def require_space(self, size: int) -> None:
        """A store does not say how much it takes."""

    def settle(self) -> None:
        """An object that was written is there."""

    @contextlib.contextmanager
    def claimed(self, writer: Callable[[], str], *, keep: bool = False) -> Iterator[None]:
        word = writer()
        self._claim(word)
        try:
            yield
        finally:
            if not keep:  # whoever is killed leaves it, and finds it again
                self._release(word)

    def confirm(self, writer: Callable[[], str]) -> None:
        self._claim(writer())

    @contextlib.contextmanager
    def ahead(self, order: Iterable[FilePart]) -> Iterator[None]:
        self._ahead = ReadAhead(self._fetch, order)
        try:
            yield
        finally:
            ahead, self._ahead = self._ahead, None
            ahead.close()

    def _claim(self, writer: str) -> None:
        """Make the claim, or find it made by the same writer before."""
        found = self._claimed()
        if not found:
            with contextlib.suppress(FileExistsError):
                self._put(CLAIM, "claimed", writer.encode(), create=True)
            found = self._claimed()
        if found != writer:
            raise StorageError(
                f"another securegen is writing {self}, or was killed there: wait for it, choose another `out`, or when it is "
                f"certain that none runs remove {self.at(CLAIM)}"
            )

    def _claimed(self) -> str:
        """Whose claim is there; empty where none is."""
        try:
            return self.read(CLAIM, "a claim", 1 << 10).decode("ascii", "replace")
        except (FileNotFoundError, ArtefactError):  # absent, or changed while it was read
            return ""

    def _release(self, writer: str) -> None:
        """Remove the claim if it is still this writer's. It may be removed by hand, so nothing fails here."""
        with contextlib.suppress(StorageError):
            if self._claimed() == writer:
                self.remove([CLAIM])

    def _put(self, name: str, done: str, content: bytes, *, create: bool = False) -> None:
        def put() -> None:
            try:
                upload(self._fs, self._scheme, self._key(name), content, create=create)
            except FileNotFoundError:  # or an upload that ended, and whose answer was lost
                raise OSError("there is no such bucket, or the upload is not known any more") from None

        self._asked(done, name, put, sent=len(content))

    def _key(self, name: str) -> str:
        return f"{self._path}/{plain_name(name, self)}"

    def _listed(self, most: int) -> dict[str, int]:
        found = listing(self._fs, self._scheme, f"{self._path}/", str(self), most)
        return {name: size for name, size in found if size is not None}

    def _info(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._asked("found", name, lambda: self._fs.info(self._key(name)))
        except FileNotFoundError:
            return None
        return found if found["type"] == "file" else None

    def _fetch(self, part: FilePart) -> bytearray:
        out = bytearray(part.stop - part.start)
        self._fill(part.name, part.size, [memoryview(out)], part.start)
        return out

    def _fill(self, name: str, size: int, parts: Sequence[memoryview], start: int = 0) -> None:
        for part in parts:
            for first in range(0, len(part), RANGE):
                piece = part[first : first + RANGE]
                piece[:] = self._range(name, start, len(piece), size)
                start += len(piece)

    def _range(self, name: str, start: int, count: int, size: int) -> bytes:
        """`count` bytes of an object of `size`. One more is asked for at the end: a longer object is another one."""
        more = start + count == size

        def read() -> bytes:
            try:
                found: bytes = self._fs.cat_file(self._key(name), start=start, end=start + count + more)
            except Exception as problem:
                if not behind_the_end(problem):
                    raise
                found = b""
            with self._lock:
                self.fetched += len(found)
            if len(found) < count:
                raise ShortReadError(f"{len(found)} of {count} bytes came")
            return found

        try:
            found = self._asked("read", name, read, count + more)
        except StorageError:
            self._refuse_size(name, size)
            raise
        if len(found) != count:
            self._refuse_size(name, size)
            raise ArtefactError(f"{self.at(name)} changed while it was read")
        return found

    def _refuse_size(self, name: str, size: int) -> None:
        """Raise ArtefactError where an object has another size than its manifest says."""
        try:
            found = self.size(name)
        except StorageError:
            return
        if found is not None and found != size:
            raise ArtefactError(f"{self.at(name)} has {found} bytes, its manifest says {size}: truncated or replaced")

    def _asked(self, done: str, name: str, request: Callable[[], T], most: int = 0, sent: int = 0) -> T:
        return asked(self.at(name) if name else str(self), done, request, most, sent)


def stored_beside(prefix: str) -> list[StoreFolder]:
    """The folders in a store whose URL begins with PREFIX and a dot."""
    base = StoreFolder(prefix)
    above = str(base).rpartition("/")[0]
    found = listing(base._fs, base._scheme, f"{base._path}.", str(base), MOST_NAMES)
    return [StoreFolder(f"{above}/{name}") for name in sorted({name for name, size in found if size is None})]
