"""Says that kernels are being compiled, which takes seconds without a word at the very first start; and finds a place for
them where Numba finds none: a package that somebody else installed, for a user without a home."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile

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
