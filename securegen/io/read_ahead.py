"""Files of a store fetched before they are asked for: two at a time, so that memory holds a block or two and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

from securegen.io.folder import FilePart

IN_FLIGHT = 2
STREAM = 2 << 20  # bytes of a request for a file that is read beside others


class ReadAhead:
    """Fetches parts of files in the order in which they will be taken, IN_FLIGHT of them ahead.

    A part that is taken out of turn is fetched by whoever takes it.
    """

    def __init__(self, fetch: Callable[[FilePart], bytearray], order: Iterable[FilePart]) -> None:
        self._fetch, self._order, self._lock = fetch, iter(order), threading.Lock()
        self._ahead: dict[FilePart, Future[bytearray]] = {}
        self._passed: set[FilePart] = set()  # taken out of turn: not to be fetched again
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(IN_FLIGHT)
        self._fill()

    def take(self, part: FilePart) -> bytearray:
        """The bytes of a part, which are not kept. Raises what fetching them raised."""
        with self._lock:
            found = self._ahead.pop(part, None)
            if found is None:
                self._passed.add(part)
        try:
            return self._fetch(part) if found is None else found.result()
        finally:
            self._fill()

    def close(self) -> None:
        """Stop fetching; what is under way ends first."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()

    def _fill(self) -> None:
        with self._lock:
            while self._pool is not None and len(self._ahead) < IN_FLIGHT:
                part = next(self._order, None)
                if part is None:
                    return
                if part in self._passed:
                    self._passed.remove(part)
                    continue
                try:
                    self._ahead[part] = self._pool.submit(self._fetch, part)
                except RuntimeError:  # the system allows no more threads: whoever takes it fetches it
                    return


class RangeStream:
    """An object read in order, STREAM bytes a request. See `folder.ByteStream`."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._next, self._kept = read, size, 0, memoryview(b"")

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        if not self._kept and self._next < self._size:
            count = min(STREAM, self._size - self._next)
            self._kept, self._next = memoryview(self._read(self._next, count)), self._next + count
        count = min(len(buffer), len(self._kept))
        memoryview(buffer)[:count], self._kept = self._kept[:count], self._kept[count:]
        return count
