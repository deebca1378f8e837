"""One process at a time: an advisory lock on a file, held until the block ends or the process dies."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from securegen.errors import StorageError

_AGAIN: Final = 0.01  # seconds between two tries


@contextlib.contextmanager
def only_one(path: str | Path, what: str, *, wait: float = 0.0) -> Iterator[Path]:
    """Hold the lock file `path`, mode 0600, and remove it at the end. Yields its path.

    what: is being written, as a second process is told; wait: seconds for which that one keeps trying.

    Raises StorageError when another process holds it, or when it cannot be made.
    """
    path, until = _there(Path(path)), time.monotonic() + wait
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageError(f"cannot write {path}: {error.strerror}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(path, descriptor):  # else its holder removed it between our two calls
                break
        except BlockingIOError:
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(_AGAIN)
                continue
            raise StorageError(f"another securegen is writing {what}: wait for it, or choose another `out`") from None
        except OSError:  # a file system without locks
            break
        os.close(descriptor)
    try:
        yield path
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)
        os.close(descriptor)


def _there(path: Path) -> Path:
    """The lock file; while its folder does not exist, one of that name in the nearest folder that does."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder / "~".join(path.relative_to(folder).parts)


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor))
    except FileNotFoundError:
        return False
