"""Requests to an object store through fsspec: the backend of a scheme, and tries that are counted.

Reading is tried again a few times, and so is writing a whole object, which is the same however often it is done. Credentials,
endpoints and regions are the backend's own, from its environment; nothing of them is shown. What a backend says of a failure
was written by whoever runs the store: it is shown shortened, without control characters. What is answered over HTTP is
read no further than a request allows (`store_allowance`).
"""

from __future__ import annotations

import errno
import logging
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from securegen.errors import MissingExtraError, SecuregenError, StorageError
from securegen.io.schema import one_line
from securegen.io.store_allowance import allowed
from securegen.io.store_urls import without_secrets

TRIES = 4
PAUSE = 0.25  # seconds before the second try, doubled for each one after it
SECONDS = 30  # without an answer
_LONGEST = 2000  # characters of a foreign error that are looked at
_CHECKSUMS = {  # a body that is sent has no frame of chunks, which not every store takes off: its SHA-256 is signed
    "request_checksum_calculation": "when_required", "response_checksum_validation": "when_required",
}  # fmt: skip
_BACKENDS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs"), "memory": ("fsspec", "stores")}
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "DefaultCredentialsError")
_OURS = (SecuregenError, MemoryError, FileNotFoundError, FileExistsError)
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_~-]{32,}")  # as keys and tokens are, which a store may send back
T = TypeVar("T")


class ShortReadError(OSError):
    """Fewer bytes came than were asked for."""


def file_system(scheme: str) -> Any:
    """The backend of a scheme. Raises MissingExtraError naming the extra, StorageError where its configuration is refused."""
    package, extra = _BACKENDS[scheme]
    for name in (package, "google.auth"):  # what they log would stand on the terminal as the store wrote it
        logging.getLogger(name).addHandler(logging.NullHandler())
    try:
        found = {"s3": _s3, "gs": _gs, "gcs": _gs, "memory": _memory}[scheme]()
    except ImportError:
        raise MissingExtraError(package, extra) from None
    except SecuregenError:
        raise
    except Exception as problem:
        raise StorageError(f"{scheme}:// cannot be used: {brief(problem)}") from None
    return found


def _memory() -> Any:
    import fsspec

    return fsspec.filesystem("memory", use_listings_cache=False)


def _s3() -> Any:
    import fsspec

    from securegen.io.store_answers import s3_session

    found = fsspec.filesystem(
        "s3", use_listings_cache=False, config_kwargs={
            "connect_timeout": SECONDS, "read_timeout": SECONDS, "retries": {"max_attempts": 0},  # `asked` counts
            "http_session_cls": s3_session(), **_CHECKSUMS,
        },
    )  # fmt: skip
    found.retries = 1
    return found


def _gs() -> Any:
    """By HTTP alone: the class that fsspec has for gs:// asks by gRPC besides, where answers are not counted."""
    from aiohttp import ClientTimeout
    from gcsfs.core import GCSFileSystem

    from securegen.io.store_answers import StoreAnswer

    found = GCSFileSystem(
        use_listings_cache=False, consistency="md5",
        requests_timeout=ClientTimeout(sock_connect=SECONDS, sock_read=SECONDS), session_kwargs={
            "response_class": StoreAnswer, "auto_decompress": False, "headers": {"Accept-Encoding": "identity"}
        },
    )  # fmt: skip
    if (once := getattr(type(found)._request, "__wrapped__", None)) is not None:
        found._request = once.__get__(found)  # `asked` counts
    return found


def asked(where: str, done: str, request: Callable[[], T], most: int = 0, sent: int = 0) -> T:
    """What a request returns. done: as "read", for messages; most: bytes that its answer may have; sent: bytes that it has.

    Raises FileNotFoundError and FileExistsError as the backend does, StorageError when it is refused, when its answer goes on or
    names another place, or all tries failed.
    """
    for attempt in range(TRIES):
        with allowed(most, sent) as allowance:
            try:
                return request()
            except _OURS:
                raise
            except Exception as problem:
                if allowance.refused:
                    raise StorageError(f"{where} cannot be {done}: {allowance.refused}") from None
                if _denied(problem):
                    raise StorageError(
                        f"{where} cannot be {done}: the store does not let you ({brief(problem)}); check the credentials in "
                        "the environment, and what they allow"
                    ) from None
                if attempt + 1 == TRIES:
                    raise StorageError(
                        f"{where} cannot be {done}: no good answer from the store in {TRIES} tries ({brief(problem)}); run "
                        "the command again"
                    ) from None
        time.sleep(PAUSE * 2**attempt)
    raise StorageError(f"{where} cannot be {done}")


def _denied(problem: Exception) -> bool:
    """Whether other credentials are needed, by the words of the backends."""
    if isinstance(problem, PermissionError) or type(problem).__name__ in _NO_CREDENTIALS:
        return True
    return str(getattr(problem, "code", "")) in ("401", "403") or str(problem).startswith("Forbidden: ")


def behind_the_end(problem: Exception) -> bool:
    """Whether a range was refused because the object ends before it."""
    return getattr(problem, "errno", None) == errno.EINVAL or str(getattr(problem, "code", "")) == "416"


def brief(problem: BaseException) -> str:
    """A foreign error in a few words, without what may be secret in it."""
    text = " ".join(str(problem).split())
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0]  # no URL is cut, whose user would then be taken for a host
    text = one_line(_OPAQUE.sub("…", without_secrets(text)))[:200]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
