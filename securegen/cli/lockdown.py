"""What every command does before anything else: its memory, which may hold keys, shares or genotypes, stays its own.

No core dump is written, and no other process of the same user may attach to this one or read its memory (Linux:
PR_SET_DUMPABLE). A program that only imports securegen is not changed: call `lock_down_process` there.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource

PR_SET_DUMPABLE = 4


def lock_down_process() -> None:
    """No core dumps of this process and its children, no debugger of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):  # no prctl: not Linux
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
