"""Roles as processes of this machine: each is told what its command line says and nothing else, and none outlives this one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from securegen.errors import PeerError, ProtocolError, SecuregenError

PARENT = "_SECUREGEN_PARENT"  # in a role's environment: the process that it must not outlive
HEARD = (PeerError.exit_code, ProtocolError.exit_code)  # of roles that may only have heard of another's failure
TICK = 0.5  # seconds of a wait
PATIENCE = 30.0  # seconds for the failure that the others heard of to show itself
GRACE = 3.0  # seconds to end in order, before a role is killed
SAID = 1 << 20  # bytes of a role's stderr that are kept

_PR_SET_PDEATHSIG = 1


def start(
    call: Sequence[str], *, folder: Path | None = None, more: Mapping[str, str] | None = None, alone: bool = False
) -> subprocess.Popen[str]:
    """Start a role, `call` being a whole command line, with nothing of this environment that concerns securegen.

    folder: where it runs; more: variables for it; alone: it need not share the processors. The kernel kills it when
    this process dies.
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
    environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    environment[PARENT] = str(os.getpid())
    if not alone:  # idle threads of one role must not spin against the work of another
        environment |= {"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        call, cwd=folder, env=environment | dict(more or {}), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        errors="replace",
    )  # fmt: skip


def end_with_parent() -> None:
    """In a role: be killed when the process that started it is, from here on. Ends it if that has happened already."""
    parent = os.environ.pop(PARENT, "")
    if not parent.isdecimal() or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(128 + signal.SIGKILL)


@contextlib.contextmanager
def ended_together(running: Mapping[str, subprocess.Popen[str]]) -> Iterator[None]:
    """At the end of the block, whatever ends it, none of these processes runs any more. More may be added inside."""
    try:
        yield
    finally:
        for process in running.values():
            if process.poll() is None:
                process.terminate()
        last = time.monotonic() + GRACE
        for process in running.values():
            try:
                process.wait(max(0.0, last - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stderr is not None:
                process.stderr.close()


def run_together(
    calls: Mapping[str, Sequence[str]], *, folder: Path | None = None, more: Mapping[str, str] | None = None,
    alone: bool = False,
) -> None:  # fmt: skip
    """Run roles side by side until all have ended; options as `start`.

    When one fails the others are ended, and its message and exit code are raised as SecuregenError: of several, that of
    one that did not only hear of another's.
    """
    running: dict[str, subprocess.Popen[str]] = {}
    with ended_together(running):
        for name, call in calls.items():
            running[name] = start(call, folder=folder, more=more, alone=alone)
        failed = _wait(running)
    if failed:
        name = next((n for n in failed if running[n].returncode not in HEARD), next(iter(failed)))
        code = running[name].returncode
        error = SecuregenError(message(name, failed[name], code))
        error.exit_code = code if code > 0 else SecuregenError.exit_code
        raise error


def _wait(running: Mapping[str, subprocess.Popen[str]]) -> dict[str, bytes]:
    """What each role said that failed, in the order of failing; empty when all have ended well."""
    said = {name: bytearray() for name in running}
    failed: dict[str, bytes] = {}
    last = None
    with selectors.DefaultSelector() as streams:
        for name, process in running.items():
            assert process.stderr is not None
            streams.register(process.stderr, selectors.EVENT_READ, name)
        while streams.get_map():
            # not without end: a signal just before the wait begins is seen after it only
            ready = streams.select(TICK if last is None else min(TICK, max(0.0, last - time.monotonic())))
            if not ready and last is not None and time.monotonic() >= last:
                break
            for stream, _ in ready:
                if part := os.read(stream.fd, 1 << 16):
                    said[stream.data] = (said[stream.data] + part)[-SAID:]
                    continue
                streams.unregister(stream.fileobj)
                if code := running[stream.data].wait():
                    failed[stream.data] = bytes(said[stream.data])
                    if code not in HEARD:
                        return failed
                    last = last or time.monotonic() + PATIENCE
    return failed


def message(name: str, said: bytes, code: int) -> str:
    """The error that a role ended with: its last line `Error: …` and what follows, or all it said."""
    if code < 0:
        why = " (out of memory?)" if code == -signal.SIGKILL else ""
        return f"{name} was ended by {signal.Signals(-code).name}{why}"
    text = said.decode(errors="replace").strip()
    _, found, after = f"\n{text}".rpartition("\nError: ")
    return after if found else text or f"{name} ended with exit code {code} and said nothing"
