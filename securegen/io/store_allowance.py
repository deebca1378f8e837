"""How many bytes one request to an object store may be answered with, and for how long, over all answers that it takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextvars import ContextVar

BESIDE = 1 << 20  # bytes beside those that were asked for: what an object is like, an error
SECONDS = 600.0  # of a request, with all answers that it takes
SLOWEST = 1 << 16  # bytes a second, of what is sent or asked for


class AnswerRefusedError(Exception):
    """An answer does not end where it should, or names another place."""


class Allowance:
    """Bytes and time that are left. refused: why nothing more is taken, or ''."""

    def __init__(self, most: int, moved: int = 0) -> None:
        self._most, self._left, self.refused = most, most, ""
        self._seconds = SECONDS + moved / SLOWEST
        self._end = time.monotonic() + self._seconds

    @property
    def seconds(self) -> float:
        """How many seconds are left."""
        return self._end - time.monotonic()

    def take(self, count: int) -> None:
        """Count bytes that came. Raises AnswerRefusedError where they are too many, or too late."""
        self._left -= count
        if self._left < 0:
            self.refuse(f"the store sent more than {self._most:,} bytes")
        if self.seconds < 0:
            self.refuse_slow()

    def refuse_slow(self) -> None:
        """Raise AnswerRefusedError: the time is over."""
        self.refuse(f"the store took more than {self._seconds:.3g} seconds")

    def refuse(self, why: str) -> None:
        """Raise AnswerRefusedError, and let the request fail for that reason."""
        self.refused = why
        raise AnswerRefusedError(why)


_CURRENT: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextlib.contextmanager
def allowed(most: int, sent: int = 0) -> Iterator[Allowance]:
    """Until the block ends requests of this thread, and what its backend does for them elsewhere, share one allowance of `most`
    bytes. sent: bytes that the requests have."""
    made = Allowance(most + BESIDE, most + sent)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


def current() -> Allowance:
    """The allowance of the request that is being answered."""
    return _CURRENT.get() or Allowance(BESIDE)
