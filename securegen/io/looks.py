"""What was read and written, as it was then: a store may show other bytes to whoever looks again.

A record names digests of artefacts. They are those of the bytes that were used, never of a second look.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextvars import ContextVar

from securegen.errors import ArtefactError

_NOTED: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)


@contextlib.contextmanager
def noting() -> Iterator[dict[str, str]]:
    """Note every manifest that is read or written until the block ends: path or URL -> SHA-256. What a surrounding block has
    noted counts, too."""
    before = _NOTED.get()
    noted = dict(before or {})
    _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.set(before)


def was_read(place: str, raw: bytes) -> None:
    """Note what was read. Raises ArtefactError where an earlier look in this block found other bytes."""
    noted, digest = _NOTED.get(), hashlib.sha256(raw).hexdigest()
    if noted is not None and noted.setdefault(place, digest) != digest:
        raise ArtefactError(f"{place} changed while this ran: run the command again")


def was_written(place: str, raw: bytes) -> None:
    """Note what was written."""
    noted = _NOTED.get()
    if noted is not None:
        noted[place] = hashlib.sha256(raw).hexdigest()
