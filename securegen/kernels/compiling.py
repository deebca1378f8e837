"""Says that kernels are being compiled, which takes seconds without a word at the very first start; finds a place for them
where Numba finds none: a package that somebody else installed, for a user without a home; and keeps those apart that several
processes compile at once."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from numba.core import caching, config, event

LOG = logging.getLogger("securegen.kernels")


class _Once(event.Listener):
    """Logs the first compilation; kernels that come from the cache are not compiled."""

    said = False
    kept = True

    def on_start(self, event: event.Event) -> None:
        if not _Once.said:
            _Once.said = True
            LOG.info(
                "compiling kernels that this step needs: the next run takes them from the cache" if _Once.kept else
                "compiling kernels, at every start: set NUMBA_CACHE_DIR to a folder of yours to keep them"
            )  # fmt: skip

    def on_end(self, event: event.Event) -> None:
        pass


def listen() -> None:
    """Watch Numba's compiler. Threads of one process share it."""
    event.register("numba:compile", _Once())


def find_place() -> None:
    """Where Numba may write in none of its folders, kernels are kept in one of this process and those that it starts."""
    try:
        caching.FunctionCache(find_place)
    except RuntimeError:
        folder, maker = tempfile.mkdtemp(prefix="securegen-kernels-"), os.getpid()
        os.environ["NUMBA_CACHE_DIR"] = config.CACHE_DIR = folder
        _Once.kept = False

        def remove() -> None:
            if os.getpid() == maker:
                shutil.rmtree(folder, ignore_errors=True)

        atexit.register(remove)


def keep_apart() -> None:
    """Keep what is compiled in a file named after its signature, and change Numba's index of these one after another. Numba
    numbers files by the index that it last read: of two processes that compile a function at once, each for types of its own,
    one could load the other's code, and compute with numbers of the wrong type."""
    caching.IndexDataCacheFile.save = _save  # type: ignore[method-assign]


def _save(file: Any, key: Any, data: Any) -> None:
    digest = hashlib.sha256(repr((file._source_stamp, key)).encode()).digest()
    name = file._data_name(int.from_bytes(digest[:8]))
    file._save_data(name, data)  # whole before the index says that it is there
    with _alone(file._cache_path):
        file._save_index(file._load_index() | {key: name})


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """No other process is in this block. Not for ever: one that is stopped there, or a file system without locks, costs one
    that compiles again."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(3000):
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        os.close(place)
