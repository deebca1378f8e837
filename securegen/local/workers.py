"""One command over many workers: its parts as processes of their own, here or on the workers of a Dask cluster.

A part writes what it makes whole or not at all, and may run twice, so that one whose process or worker died is run again. What
travels to a worker is a command line and the name of a folder that every worker sees: no genotypes, no key, no passphrase.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from securegen.errors import SecuregenError, UsageError
from securegen.local import processes
from securegen.local.dask_cluster import cluster_at, refusal, refused
from securegen.model import Progress, no_progress
from securegen.version import VERSION

PROCESSES, DASK = "processes", "dask"
ATTEMPTS = 3  # a part whose process was killed is begun so often
TICK = 1.0  # seconds of a wait

_running: set[subprocess.Popen[str]] = set()  # steps of this process


@dataclass(frozen=True)
class StepEnd:
    """A step that ended. code: of its process, below 0 that of a signal; said: what it said that failed; where: its machine."""

    code: int
    said: str = ""
    where: str = ""

    def line(self) -> str:
        """What it said, and where, when that was another machine."""
        return f"{self.said} (on {self.where})" if self.where not in ("", platform.node()) else self.said


@dataclass(frozen=True)
class Pool:
    """Where parts run. check: raises before any does where it cannot, given a file that this command made; watch: raises where
    none can any more, and is called now and then."""

    executor: Executor
    check: Callable[[str], None] = lambda mark: None
    watch: Callable[[], None] = lambda: None


def run_step(arguments: Sequence[str], folder: str, threads: int, version: str = VERSION, mark: str = ".") -> StepEnd:
    """In a worker: run `securegen ARGUMENTS` in a folder as a process of its own, which ends with the worker's."""
    where = platform.node()
    if (wrong := refusal(version, mark)) is not None:
        return StepEnd(*wrong)
    process = processes.start(
        [sys.executable, "-P", "-m", "securegen", *arguments], folder=Path(folder), alone=threads > 1,
        more={"NUMBA_NUM_THREADS": str(threads)} if threads > 1 else None,
    )  # fmt: skip
    _running.add(process)
    try:
        with processes.ended_together({"step": process}):
            assert process.stderr is not None
            said = process.stderr.read()
            code = process.wait()
    finally:
        _running.discard(process)
    return StepEnd(code, processes.message("a part", said[-processes.SAID :].encode(), code) if code else "", where)


def run_parts(
    parts: Sequence[Sequence[str]],
    pool: Pool,
    *,
    threads: int = 1,
    mark: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
    log: Callable[[str], None],
) -> None:
    """Run command lines of securegen on the workers of a pool until all have ended well.

    mark: a file that this command made, which every worker must see. Raises SecuregenError with the message and exit code of
    the first that failed; the others that run end first. One that a signal ended, or whose worker died, is run again,
    ATTEMPTS times in all.
    """
    folder, tried = os.getcwd(), dict.fromkeys(range(len(parts)), 0)
    seen = os.path.abspath(mark or folder)
    running: dict[Future[StepEnd], int] = {}

    def begin(number: int) -> None:
        tried[number] += 1
        running[pool.executor.submit(run_step, list(parts[number]), folder, threads, VERSION, seen)] = number

    pool.check(seen)
    for number in tried:
        begin(number)
    done, failure = 0, None
    while running:
        ready = wait(running, timeout=TICK, return_when=FIRST_COMPLETED).done
        pool.watch()
        for future in ready:
            number = running.pop(future)
            ended = _ended(future)
            said = f"part {number + 1} of {len(parts)}: {ended.line()}"
            if ended.code == 0:
                done += 1
                progress(done, len(parts))
            elif ended.code < 0 and tried[number] < ATTEMPTS and failure is None:
                log(f"WARNING: {said}; it is run again")
                begin(number)
            elif failure is None:
                failure = refused(ended.code if ended.code > 0 else SecuregenError.exit_code, said)
                for other in running:
                    other.cancel()
    if failure is not None:
        raise failure


def _ended(future: Future[StepEnd]) -> StepEnd:
    try:
        return future.result()
    except ImportError as error:  # a worker that came later
        return StepEnd(UsageError.exit_code, f"a worker has no securegen {VERSION} ({error}): install it there")
    except (Exception, CancelledError) as error:  # of the cluster: its worker died more often than the cluster allows
        return StepEnd(-signal.SIGKILL, f"its worker was lost ({type(error).__name__})")


@contextlib.contextmanager
def pool_of(name: str, workers: int, log: Callable[[str], None]) -> Iterator[Pool]:
    """The pool that `processes`, `dask` (a cluster on this machine) or `dask:ADDRESS` names.

    Raises UsageError for another name, MissingExtraError, PeerError where no scheduler answers at the address.
    """
    kind, _, address = name.partition(":")
    if name == PROCESSES:
        with ThreadPoolExecutor(workers) as threads:  # each waits for a process
            try:
                yield Pool(threads)
            except BaseException:  # nobody waits for what they make
                threads.shutdown(wait=False, cancel_futures=True)
                for process in list(_running):
                    process.terminate()
                raise
    elif kind == DASK and (address or name == DASK):
        with cluster_at(address, workers, log) as cluster:
            executor = cluster.client.get_executor(pure=False, retries=ATTEMPTS)
            yield Pool(executor, cluster.check, cluster.watch)
    else:
        raise UsageError(f"`executor` is {name!r}: processes, dask or dask:ADDRESS of a scheduler")
