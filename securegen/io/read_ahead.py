"""Files of a store fetched before they are asked for: two at a time, so that memory holds a block or two and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

IN_FLIGHT = 2
STREAM = 2 << 20  # bytes of a request for a file that is read beside others

Wanted = tuple[str, int]  # name and size of a file


class ReadAhead:
    """Fetches files in the order in which they will be taken, IN_FLIGHT of them ahead.

    A file that is taken out of turn is fetched by whoever takes it.
    """

    def __init__(self, fetch: Callable[[str, int], bytearray], order: Iterable[Wanted]) -> None:
        self._fetch, self._order, self._lock = fetch, dict.fromkeys(order), threading.Lock()
        self._ahead: dict[Wanted, Future[bytearray]] = {}
        self._pool = ThreadPoolExecutor(IN_FLIGHT)
        with self._lock:
            self._fill()

    def take(self, name: str, size: int) -> bytearray:
        """The bytes of a file, of which nothing is kept. Raises what fetching it raised."""
        with self._lock:
            found = self._ahead.pop((name, size), None)
            self._order.pop((name, size), None)
        try:
            return self._fetch(name, size) if found is None else found.result()
        finally:
            with self._lock:
                self._fill()

    def close(self) -> None:
        """Stop fetching; what is under way ends first."""
        with self._lock:
            self._order.clear()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._ahead.clear()

    def _fill(self) -> None:
        while self._order and len(self._ahead) < IN_FLIGHT:
            wanted = next(iter(self._order))
            del self._order[wanted]
            try:
                self._ahead[wanted] = self._pool.submit(self._fetch, *wanted)
            except RuntimeError:  # no more threads, or closed: whoever takes it fetches it
                self._order.clear()


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
