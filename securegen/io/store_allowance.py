"""How many bytes one request to an object store may be answered with, over all answers that it takes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

BESIDE = 1 << 20  # bytes beside those that were asked for: what an object is like, an error


class AnswerRefusedError(Exception):
    """An answer does not end where it should, or names another place."""


class Allowance:
    """Bytes that are left. refused: why nothing more is taken, or ''."""

    def __init__(self, most: int) -> None:
        self._most, self._left, self.refused = most, most, ""

    def take(self, count: int) -> None:
        """Count bytes that came. Raises AnswerRefusedError where they are too many."""
        self._left -= count
        if self._left < 0:
            self.refuse(f"the store sent more than {self._most:,} bytes")

    def refuse(self, why: str) -> None:
        """Raise AnswerRefusedError, and let the request fail for that reason."""
        self.refused = why
        raise AnswerRefusedError(why)


_CURRENT: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextlib.contextmanager
def allowed(most: int) -> Iterator[Allowance]:
    """Until the block ends requests of this thread, and what its backend does for them elsewhere, share one allowance."""
    made = Allowance(most + BESIDE)
    token = _CURRENT.set(made)
    try:
        yield made
    finally:
        _CURRENT.reset(token)


def current() -> Allowance:
    """The allowance of the request that is being answered."""
    return _CURRENT.get() or Allowance(BESIDE)
