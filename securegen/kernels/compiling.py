"""Says that kernels are being compiled, which takes seconds without a word at the very first start."""

from __future__ import annotations

from numba.core import event

from securegen import first_start


class _Once(event.Listener):
    """Passes the first compilation on; kernels that come from the cache are none."""

    def on_start(self, event: event.Event) -> None:
        first_start.say("compiling kernels, once: the next start takes them from the cache")

    def on_end(self, event: event.Event) -> None:
        pass


def listen() -> None:
    """Watch Numba's compiler. Threads of one process share it."""
    event.register("numba:compile", _Once())
