"""Answers of an object store over HTTP, read no further than they may go.

A backend reads every answer whole, however long it is, and goes wherever one sends it, with the token of its session. Whoever
runs the store writes these answers. So each counts against the `Allowance` of its request while it comes, and one that
names another place is refused.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from aiohttp import ClientResponse
from yarl import URL

from securegen.errors import StorageError
from securegen.io.store_allowance import Allowance, AnswerRefusedError, current

_DEFINES = (b"<!ENTITY", b"<!ATTLIST")  # in XML; in a ciphertext never: one in 2^64 places


class _Counted:
    """The stream of an answer, counted while it is read."""

    def __init__(self, answer: ClientResponse, stream: Any, allowance: Allowance) -> None:
        self._answer, self._stream, self._allowance = answer, stream, allowance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def read(self, most: int = -1) -> bytes:
        parts: list[bytes] = []
        while most and (part := await (self._stream.readany() if most < 0 else self._stream.read(most))):
            try:
                self._allowance.take(len(part))
            except Exception:
                self._answer.close()  # what else is on its way is not waited for
                raise
            parts.append(part)
            if most > 0:
                break
        found = b"".join(parts)
        if any(word in found for word in _DEFINES):
            self._allowance.refuse("the store's answer defines words of its own, which may stand for more than it has")
        return found


class StoreAnswer(ClientResponse):
    """An answer that begins and ends, and names no place but the one that was asked."""

    async def start(self, connection: Any) -> ClientResponse:
        allowance = current()
        try:
            async with asyncio.timeout(allowance.seconds) as clock:  # heads may come without end
                await super().start(connection)
            if any(_elsewhere(self.url, self.status, place) for place in self.headers.getall("Location", ())):
                allowance.refuse("the store names another place, where nothing is asked")
        except TimeoutError:
            if clock.expired():
                self.close()
                allowance.refuse_slow()
            raise
        except AnswerRefusedError:
            self.close()
            raise
        self.content = _Counted(self, self.content, allowance)  # type: ignore[assignment]
        return self


def _elsewhere(asked: URL, status: int, place: str) -> bool:
    """Whether an answer sends to another place: by a redirect, or by one for what follows, as the address of an upload."""
    try:
        return 300 <= status < 400 or asked.join(URL(place)).origin() != asked.origin()
    except ValueError:
        return True


@functools.cache
def s3_session() -> type:
    """The class of sessions for S3 whose answers are of this kind. Raises StorageError where the backend has no such sessions."""
    from aiobotocore.httpsession import AIOHTTPSession

    if not hasattr(AIOHTTPSession, "_get_session"):
        raise StorageError("s3:// cannot be used: this version of aiobotocore is not known; install another one")

    class S3Session(AIOHTTPSession):  # type: ignore[misc]
        """Sessions whose answers are counted."""

        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            session._response_class = StoreAnswer
            return session

    return S3Session
