"""Requests to an object store through fsspec: the backend of a scheme, and tries that are counted.

Reading is tried again a few times, and so is writing a whole object, which is the same however often it is done. Credentials,
endpoints and regions are the backend's own, from its environment; nothing of them is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from securegen.errors import MissingExtraError, SecuregenError, StorageError
from securegen.io.store_urls import without_secrets

TRIES = 4
PAUSE = 0.25  # seconds before the second try, doubled for each one after it
SECONDS = 30  # without an answer
_LONGEST = 2000  # characters of a foreign error that are looked at
_BACKENDS = {"s3": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs"), "memory": ("fsspec", "stores")}
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "DefaultCredentialsError")
_OURS = (SecuregenError, TypeError, AttributeError, MemoryError, FileNotFoundError, FileExistsError)
T = TypeVar("T")


class ShortReadError(OSError):
    """Fewer bytes came than were asked for."""


def file_system(scheme: str) -> Any:
    """The backend of a scheme. Raises MissingExtraError naming the extra, StorageError where its configuration is refused."""
    package, extra = _BACKENDS[scheme]
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme == "s3":
        options["config_kwargs"] = {
            "connect_timeout": SECONDS, "read_timeout": SECONDS, "retries": {"max_attempts": 1}
        }  # fmt: skip
    try:
        import fsspec

        found = fsspec.filesystem(scheme, **options)
    except ImportError:
        raise MissingExtraError(package, extra) from None
    except Exception as problem:
        raise StorageError(f"{scheme}:// cannot be used: {brief(problem)}") from None
    if hasattr(found, "retries"):
        found.retries = 1  # `asked` counts
    return found


def asked(where: str, done: str, request: Callable[[], T]) -> T:
    """What a request returns. done: as "read", for messages.

    Raises FileNotFoundError and FileExistsError as the backend does, StorageError when it is refused or all tries failed.
    """
    for attempt in range(TRIES):
        try:
            return request()
        except _OURS:
            raise
        except Exception as problem:
            if isinstance(problem, PermissionError) or type(problem).__name__ in _NO_CREDENTIALS:
                raise StorageError(
                    f"{where} cannot be {done}: the store does not let you ({brief(problem)}); check the credentials in the "
                    "environment, and what they allow"
                ) from None
            if attempt + 1 == TRIES:
                raise StorageError(
                    f"{where} cannot be {done}: no good answer from the store in {TRIES} tries ({brief(problem)}); run the "
                    "command again"
                ) from None
        time.sleep(PAUSE * 2**attempt)
    raise StorageError(f"{where} cannot be {done}")


def brief(problem: BaseException) -> str:
    """A foreign error in a few words, without what may be secret in it."""
    text = " ".join(str(problem).split())
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0]  # no URL is cut, whose user would then be taken for a host
    text = without_secrets(text)[:200]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
