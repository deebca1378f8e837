"""An orderly end on SIGTERM and SIGHUP, as on an interrupt: roles end, working folders and their keys go."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
SETTLE = 10.0  # seconds in which further signals do not disturb the end; a shell sends two


class Ended(SystemExit):
    """Raised where the signal met the program. code, exit_code: 128 + signal, as a shell counts."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.exit_code = 128 + number
        self.name = signal.Signals(number).name

    def __str__(self) -> str:
        return f"ended by {self.name}"


@contextlib.contextmanager
def orderly_end() -> Iterator[None]:
    """Raise `Ended` on these signals inside the block. One that is ignored (nohup) stays ignored."""
    first = -SETTLE

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if time.monotonic() - first >= SETTLE:
            first = time.monotonic()
            raise Ended(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {s: signal.getsignal(s) for s in SIGNALS}
    try:
        for s, handler in before.items():
            if handler == signal.SIG_DFL:
                signal.signal(s, end)
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)
