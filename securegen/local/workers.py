"""One command over many workers: its parts as processes of their own, here or on the workers of a Dask cluster.

A part writes what it makes whole or not at all, and may run twice, so that one whose process or worker died is run again. What
travels to a worker is a command line and the name of a folder that every worker sees: no genotypes, no key, no passphrase.
Dask pickles its messages: whoever may send some to its scheduler may run programs on its workers, so let it be your own,
with TLS.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from importlib import import_module
from pathlib import Path
from typing import Any

from securegen.errors import MissingExtraError, SecuregenError, UsageError
from securegen.local import processes
from securegen.model import Progress, no_progress

PROCESSES, DASK = "processes", "dask"
ATTEMPTS = 3  # a part whose process was killed is begun so often
Step = tuple[int, str]  # exit code of a process, below 0 of a signal; what it said that failed


def run_step(arguments: Sequence[str], folder: str, threads: int) -> Step:
    """In a worker: run `securegen ARGUMENTS` in a folder as a process of its own, which ends with the worker's."""
    process = processes.start(
        [sys.executable, "-P", "-m", "securegen", *arguments], folder=Path(folder), alone=threads > 1,
        more={"NUMBA_NUM_THREADS": str(threads)} if threads > 1 else None,
    )  # fmt: skip
    with processes.ended_together({"step": process}):
        assert process.stderr is not None
        said = process.stderr.read()
        code = process.wait()
    return code, processes.message("a part", said[-processes.SAID :].encode(), code) if code else ""


def run_parts(
    parts: Sequence[Sequence[str]],
    executor: Executor,
    *,
    threads: int = 1,
    progress: Progress = no_progress,
    log: Callable[[str], None],
) -> None:
    """Run command lines of securegen on the workers of an executor until all have ended well.

    Raises SecuregenError with the message and exit code of the first that failed; the others that run end first. One that a
    signal ended, or whose worker died, is run again, ATTEMPTS times in all.
    """
    folder, tried = os.getcwd(), dict.fromkeys(range(len(parts)), 0)
    running: dict[Future[Step], int] = {}

    def begin(number: int) -> None:
        tried[number] += 1
        running[executor.submit(run_step, list(parts[number]), folder, threads)] = number

    for number in tried:
        begin(number)
    done, failure = 0, None
    while running:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            number = running.pop(future)
            code, said = _ended(future)
            if code == 0:
                done += 1
                progress(done, len(parts))
            elif code < 0 and tried[number] < ATTEMPTS and failure is None:
                log(f"WARNING: part {number + 1} of {len(parts)}: {said}; it is run again")
                begin(number)
            elif failure is None:
                failure = SecuregenError(f"part {number + 1} of {len(parts)}: {said}")
                failure.exit_code = code if code > 0 else SecuregenError.exit_code
                for other in running:
                    other.cancel()
    if failure is not None:
        raise failure


def _ended(future: Future[Step]) -> Step:
    try:
        return future.result()
    except (Exception, CancelledError) as error:  # of the cluster: its worker died more often than the cluster allows
        return -signal.SIGKILL, f"its worker was lost ({type(error).__name__})"


@contextlib.contextmanager
def executor_of(name: str, workers: int) -> Iterator[Executor]:
    """The executor that `processes`, `dask` (a cluster on this machine) or `dask:ADDRESS` names.

    Raises UsageError for another name, MissingExtraError, SecuregenError where no scheduler answers at the address.
    """
    kind, _, address = name.partition(":")
    if name == PROCESSES:
        with ThreadPoolExecutor(workers) as pool:  # a thread waits for a process
            yield pool
    elif kind == DASK:
        with _cluster(address, workers) as client:
            yield client.get_executor(pure=False, retries=ATTEMPTS)
    else:
        raise UsageError(f"`executor` is {name!r}: processes, dask or dask:ADDRESS of a scheduler")


@contextlib.contextmanager
def _cluster(address: str, workers: int) -> Iterator[Any]:
    try:
        dask: Any = import_module("distributed")
    except ImportError:
        raise MissingExtraError("Dask", "dask") from None
    with contextlib.ExitStack() as stack:
        try:
            if not address:
                address = stack.enter_context(
                    dask.LocalCluster(
                        n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
                    )
                )
            client = stack.enter_context(dask.Client(address, timeout="30s"))
        except (OSError, TimeoutError, ValueError) as error:
            raise SecuregenError(f"no scheduler of Dask answers at {address}: {error}") from None
        yield client
