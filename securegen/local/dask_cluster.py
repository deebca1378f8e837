"""A Dask cluster that runs parts of a command: whether its scheduler answers, its workers fit, and any of them is left.

Dask pickles its messages: whoever may send some to its scheduler may run programs on its workers, so let it be your own,
with TLS.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from securegen.errors import InputError, MissingExtraError, PeerError, SecuregenError, UsageError
from securegen.version import VERSION

ANSWER = 15.0  # seconds in which a scheduler, and a worker, answer
PATIENCE = 300.0  # seconds without any worker before a run ends: a cluster may still be starting some
LOOK = 5.0  # seconds between two looks at how many there are
SILENT = logging.CRITICAL + 1


def refusal(version: str, mark: str) -> tuple[int, str] | None:
    """In a worker: why it cannot run parts, with an exit code. mark: a file that the command made where it runs."""
    if version != VERSION:
        return UsageError.exit_code, (
            f"a worker on {platform.node()} has securegen {VERSION}, this command is of {version}: install the same there"
        )
    if not os.path.exists(mark):
        return InputError.exit_code, (
            f"a worker on {platform.node()} does not see {mark}, which this command made: let all workers mount that folder "
            "under the same path"
        )
    return None


class Cluster:
    """Workers of the scheduler at an address. Raises PeerError where it does not answer, MissingExtraError."""

    def __init__(self, address: str, log: Callable[[str], None]) -> None:
        self.address, self._log = address, log
        self._looked = self._seen = time.monotonic()
        self._any = True
        import asyncio  # and what it loads: not for every command that could have a cluster

        dask = imported()
        try:
            asyncio.run(
                asyncio.wait_for(_greet(address), ANSWER + 1)
            )  # a client that fails to connect says so again when it is collected
            self.client: Any = dask.Client(address, timeout=ANSWER, set_as_default=False)
        except Exception as error:  # whatever listens there may say anything
            raise PeerError(f"no scheduler of Dask answers at {address}: {_short(error)}") from None

    def _asked(self, function: Callable[[], Any]) -> Any:
        """What the cluster replies. Raises TimeoutError where it does not, within ANSWER seconds."""
        found: list[Any] = []

        def ask() -> None:
            with contextlib.suppress(Exception):
                found.append(function())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(ANSWER)
        if not found:
            raise TimeoutError
        return found[0]

    def workers(self) -> int:
        """How many it has now, 0 where the scheduler does not say."""
        try:
            return len(self._asked(self.client.nthreads))
        except TimeoutError:
            return 0

    def wait_for_workers(self) -> None:
        """Return when there is one. Raises PeerError where none comes."""
        self._looked = 0.0
        while self._look() == 0:
            time.sleep(min(LOOK, 1.0))
            self._looked = 0.0

    def check(self, mark: str) -> None:
        """Raise SecuregenError, with the exit code of its kind, for a worker that cannot run parts (see `refusal`)."""
        self.wait_for_workers()
        try:
            replies: dict[str, Any] = self._asked(lambda: self.client.run(refusal, VERSION, mark, on_error="return"))
        except TimeoutError:
            raise PeerError(f"workers of the scheduler at {self.address} do not answer within {ANSWER:g} s") from None
        for worker, reply in replies.items():
            if isinstance(reply, ImportError):
                raise UsageError(f"the worker {worker} has no securegen {VERSION} ({reply}): install it there")
            if reply is not None and not isinstance(reply, BaseException):  # one that left meanwhile is not asked
                raise refused(*reply)
        self._log(f"{len(replies)} worker{'s' * (len(replies) != 1)} of Dask at {self.address}")

    def watch(self) -> None:
        """Raise PeerError when the scheduler is gone, or has had no worker for PATIENCE seconds."""
        if self.client.status != "running":
            raise PeerError(f"the scheduler of Dask at {self.address} went away with its parts: run the command again")
        self._look()

    def leave(self) -> None:
        """Close the connection, if there is still one."""
        with contextlib.suppress(Exception):
            self.client.close(timeout=ANSWER if self.client.status == "running" else 1.0)

    def _look(self) -> int | None:
        """How many workers there are; None where it was not asked, for LOOK seconds have not gone by."""
        now = time.monotonic()
        if now - self._looked < LOOK:
            return None
        self._looked = now
        count = self.workers()
        if count:
            if not self._any:
                self._log(f"{count} worker{'s' * (count > 1)} of Dask at {self.address}")
            self._seen, self._any = now, True
        elif now - self._seen >= PATIENCE:
            raise PeerError(f"the scheduler of Dask at {self.address} has no worker, for {PATIENCE:g} s now: start some "
                            f"(dask worker {self.address}) and run the command again")  # fmt: skip
        elif self._any:
            self._any = False
            self._log(f"WARNING: the scheduler of Dask at {self.address} has no worker: waiting {PATIENCE:g} s for one")
        return count


def refused(code: int, said: str) -> SecuregenError:
    """An error of another process, as it is raised here."""
    error = SecuregenError(said)
    error.exit_code = code
    return error


def imported() -> Any:
    """The package. Raises MissingExtraError."""
    try:
        return import_module("distributed")
    except ImportError:
        raise MissingExtraError("Dask", "dask") from None


@contextlib.contextmanager
def cluster_at(address: str, workers: int, log: Callable[[str], None]) -> Iterator[Cluster]:
    """The cluster of a scheduler; where the address is empty, one of so many workers of this machine, which ends with the
    block. Raises as `Cluster`."""
    dask = imported()
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and name.startswith("distributed") and logger.handlers:
            logger.setLevel(SILENT)  # tracebacks of what is said here in a line
    with contextlib.ExitStack() as stack:
        if not address:
            # else a cluster gives up a worker whose next process is not there in 15 s, as on a busy machine, and starts no other
            stack.enter_context(import_module("dask.config").set({"distributed.deploy.lost-worker-timeout": PATIENCE}))
            own = dask.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                dashboard_address="127.0.0.1:0",
                host="127.0.0.1",
                silence_logs=SILENT,
            )
            address = stack.enter_context(own).scheduler_address
        cluster = Cluster(address, log)
        stack.callback(cluster.leave)
        yield cluster


async def _greet(address: str) -> None:
    """Shake hands with a scheduler. Raises what Dask does where there is none."""
    connect, security = import_module("distributed.comm").connect, import_module("distributed.security").Security()
    comm = await connect(address, timeout=ANSWER, **security.get_connection_args("client"))
    await comm.close()


def _short(error: BaseException) -> str:
    return (
        str(error).strip() or f"what listens there is silent, or not a scheduler ({type(error).__name__})"
    ).splitlines()[0]
