"""A parser of foreign bytes with a sample that it takes, and what may come of a change of the sample.

Changes are tried in a forked child, which a crash of a library in C ends and nothing else: it may take `MEMORY` more
than it had, and `SECONDS` of processor time a change. A success or an error of this program is right, all else a finding.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import mmap
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mutator import BYTES, mutated

from securegen.errors import SecuregenError

MEMORY = 256 << 20  # bytes that a change may add
SECONDS = 1.0  # of processor time
HANG = 10  # seconds of processor time, and six times as many of any, after which a child is ended


@dataclass(frozen=True)
class Target:
    """name: of letters, digits and -; sample: bytes that `run` takes; kind: of the mutator."""

    name: str
    sample: bytes
    run: Callable[[bytes], object]
    kind: str = BYTES


def changed(name: str, path: Path, kind: str, read: Callable[[], object]) -> Target:
    """A target whose bytes take the place of a file that is there, which has its own again afterwards."""
    sample = path.read_bytes()

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            read()
        finally:
            path.write_bytes(sample)

    return Target(name, sample, run, kind)


def forgetful(target: Target, folder: Path) -> Target:
    """The same target for what remembers: files of `folder` and of the state elsewhere are as before after each run."""

    def files() -> dict[Path, bytes]:
        state = Path(os.environ["XDG_STATE_HOME"])
        return {path: path.read_bytes() for place in (folder, state) for path in place.rglob("*") if path.is_file()}

    def run(data: bytes) -> None:
        before = files()
        try:
            target.run(data)
        finally:
            for path in files().keys() - before.keys():
                path.unlink()
            for path, content in before.items():
                if not path.is_file() or path.read_bytes() != content:
                    path.write_bytes(content)

    return replace(target, run=run)


def private(path: Path, data: bytes) -> None:
    """Write bytes that nobody else may read."""
    path.write_bytes(data)
    path.chmod(0o600)


@dataclass(frozen=True)
class Finding:
    """What went wrong. place: file and line, a signal, or the limit; data: the bytes that did it."""

    target: str
    place: str
    told: str
    data: bytes


def attempt(target: Target, data: bytes, *, valid: bool = False) -> tuple[str, str] | None:
    """Place and text of what is wrong, None where nothing is. valid: it must not be refused. What takes long is tried again:
    the first time may have been that of something else."""
    for _ in range(3):
        started = time.process_time()
        try:
            target.run(data)
        except SecuregenError as error:
            if valid:
                return "sample", f"{type(error).__name__}: {error}"
            if not str(error).replace("\n", "").isprintable():
                return f"text of {type(error).__name__} at {_place(error)}", repr(str(error)[:300])
        except BaseException as error:
            return f"{type(error).__name__} at {_place(error)}", str(error)[:300]
        spent = time.process_time() - started
        if spent <= SECONDS:
            return None
    return f"more than {SECONDS} s", f"{spent:.1f} s"


def _place(error: BaseException) -> str:
    steps = traceback.extract_tb(error.__traceback__)
    own = [s for s in steps if f"{os.sep}securegen{os.sep}" in s.filename] or list(steps)
    return f"{own[-1].filename.rpartition(f'{os.sep}securegen{os.sep}')[2]}:{own[-1].lineno}"


def findings(target: Target, changes: Callable[[int], bytes], numbers: Sequence[int]) -> Iterator[Finding]:
    """What goes wrong among changes, each of which is a number. A child that ends early is followed by one for the rest."""
    at = 0
    while at < len(numbers):
        with mmap.mmap(-1, 8) as shared:
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(read)
                _child(target, changes, numbers[at:], shared, write)
            os.close(write)
            with open(read, "rb") as stream:
                for line in stream:
                    number, place, told = json.loads(line)
                    yield Finding(target.name, place, told, changes(number))
            _, status = os.waitpid(child, 0)
            done = int.from_bytes(shared[:8], "little")
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            told = "it took too long" if name in ("SIGPROF", "SIGALRM") else "the process ended"
            yield Finding(target.name, name, told, changes(numbers[at + done]))
        elif status:
            raise RuntimeError(f"the child of target {target.name} failed")
        at += done + 1


def _child(
    target: Target, changes: Callable[[int], bytes], numbers: Sequence[int], shared: mmap.mmap, write: int
) -> None:
    status = 1
    try:
        faulthandler.disable()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 2), os.dup2(nothing, 1)
        if (problem := attempt(target, target.sample, valid=True)) is not None:  # and what is imported late has been
            os.write(write, json.dumps([-1, *problem]).encode() + b"\n")
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for done, number in enumerate(numbers):
            shared[:8] = done.to_bytes(8, "little")
            signal.setitimer(signal.ITIMER_PROF, HANG)
            signal.alarm(6 * HANG)
            data = changes(number)
            if (problem := attempt(target, data)) is not None:
                os.write(write, json.dumps([number, *problem]).encode() + b"\n")
        shared[:8] = len(numbers).to_bytes(8, "little")
        status = 0
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(status)


def changes_of(target: Target, seed: object) -> Callable[[int], bytes]:
    """The changes of a seed by number; −1 is the sample itself."""
    return lambda number: (
        target.sample if number < 0 else mutated(target.sample, target.kind, target.name, seed, number)
    )
