"""In a role: count what it does to the file system, and be killed just before the n-th of these.

COUNTER: a file of eight bytes that holds the count; KILL_BEFORE: n, or 0 for never. Passphrases cost little, as in every test.
"""

from __future__ import annotations

import mmap
import os
import signal
import sys

CHANGES = {
    "os.rename",
    "os.remove",
    "os.link",
    "os.symlink",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.utime",
}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def prepare() -> None:
    from securegen.io import envelope

    envelope.COST = envelope.DRAWN_COST
    last, path = int(os.environ.pop("KILL_BEFORE")), os.environ.pop("COUNTER")
    with open(path, "r+b") as stream:
        counter = mmap.mmap(stream.fileno(), 8)
    done = 0

    def hook(event: str, arguments: tuple) -> None:
        nonlocal done
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            done += 1
            counter[:] = done.to_bytes(8, "little")
            if done == last:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if __name__ == "__main__":
    prepare()
