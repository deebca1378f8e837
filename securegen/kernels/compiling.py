"""Says that kernels are being compiled, which takes seconds without a word at the very first start."""

from __future__ import annotations

import logging

from numba.core import event

LOG = logging.getLogger("securegen.kernels")


class _Once(event.Listener):
    """Logs the first compilation; kernels that come from the cache are not compiled."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not _Once.said:
            _Once.said = True
            LOG.info("compiling kernels, once: the next start takes them from the cache")

    def on_end(self, event: event.Event) -> None:
        pass


def listen() -> None:
    """Watch Numba's compiler. Threads of one process share it."""
    event.register("numba:compile", _Once())
