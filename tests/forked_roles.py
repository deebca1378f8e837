"""Roles as forks of one process that has imported the package: each is a process of its own that needs not start Python.

For tests of what roles compute. Those of processes (signals, what a role is told, how it ends with its parent) start
each as a deployment does. Here a role has its own memory, folder, environment and exit code, and the message it ends with.
forked_command.py does the same for a command that a shell starts: its roles are forks too.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence

WORDS = ("-P", "-m", "securegen")
LINE = "_NURSERY_LINE"  # of a shell whose commands are forks: the descriptor by which it asks for them
NOT_IMPORTED = ("securegen.plot", "securegen.__main__", "crypten")  # slow, and no role needs them
HOOK = "_ROLE_HOOK"  # a file that a role runs before its command
WARM = "_NURSERY_WARM"  # a file that the process to fork runs first: what it compiles and imports, no role needs to
STATUS = struct.Struct("i")
_PR_SET_PDEATHSIG = 1


class Forked:
    """What `securegen.local.processes` asks of a Popen."""

    def __init__(self, pid: int, ended: int, stderr: int) -> None:
        self.pid, self.returncode = pid, None
        self.stderr = os.fdopen(stderr, "r", errors="replace")
        self._ended = ended

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("securegen", timeout or 0)
            status = os.read(self._ended, STATUS.size)
            os.close(self._ended)
            self.returncode = STATUS.unpack(status)[0] if status else -signal.SIGKILL
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def _send(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)


class Nursery:
    """Stands in for the module `subprocess` where roles are started; the process to fork is started at the first role."""

    PIPE, DEVNULL, TimeoutExpired = subprocess.PIPE, subprocess.DEVNULL, subprocess.TimeoutExpired

    def __init__(self, line: socket.socket | None = None) -> None:
        self._line = line
        self._one = threading.Lock()

    def open(self) -> socket.socket:
        """Start the process to fork, which ends with the thread that calls this first."""
        with self._one:
            if self._line is None:
                line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                environment = dict(os.environ, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
                environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
                with theirs:
                    self._process = subprocess.Popen(
                        [sys.executable, "-P", __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], env=environment
                    )  # fmt: skip
                self._line = line
            return self._line

    def close(self) -> None:
        if self._line is not None:
            self._line.close()
            self._process.wait()

    def Popen(self, call: Sequence[str], *, cwd, env: Mapping[str, str], **streams):  # noqa: N802
        if tuple(call[1:4]) != WORDS:
            return subprocess.Popen(call, cwd=cwd, env=env, **streams)
        line = self.open()
        said, stderr = os.pipe()
        ended, status = os.pipe()
        told = {"call": list(call[2:]), "folder": os.path.abspath(cwd or "."), "environment": dict(env)}
        null = os.open(os.devnull, os.O_RDWR)
        try:
            socket.send_fds(line, [json.dumps(told).encode()], [status, null, null, stderr])
        finally:
            for fd in (stderr, status, null):
                os.close(fd)
        return Forked(STATUS.unpack(os.read(ended, STATUS.size))[0], ended, said)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _forget_the_parent() -> None:
    """Numba with the environment of this role, and a lock of its own: a role that is killed while it starts threads keeps the
    one that all forks share."""
    from numba.core import config
    from numba.np.ufunc import parallel

    config.reload_config()
    parallel._set_init_process_lock()


def _be_role(
    call: Sequence[str], folder: str, environment: Mapping[str, str], streams: Sequence[int], line: int | None
) -> int:
    """Run `python CALL` and return its exit code; with a line, what it starts are forks of its own parent's parent."""
    _die_with_parent()
    for at, stream in enumerate(streams):
        os.dup2(stream, at)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.environ.pop("_SECUREGEN_PARENT", None)  # it is not the parent; `_die_with_parent` is for that
    _forget_the_parent()
    if (hook := os.environ.pop(HOOK, None)) is not None:
        runpy.run_path(hook, run_name="__main__")
    if line is not None:
        from securegen.local import processes

        processes.subprocess = Nursery(socket.socket(fileno=line))
    try:
        if call[0] == "-m":
            sys.argv = list(call[1:])
            runpy.run_module(call[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(call)
            runpy.run_path(call[0], run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _keep(told: dict, status: int, *fds: int) -> None:
    """Fork one role, say its pid, wait for it, say its exit code: as the parent that it must not outlive."""
    _die_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        code = 1
        try:
            code = _be_role(**told, streams=fds[:3], line=fds[3] if len(fds) > 3 else None)
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    for fd in fds:
        os.close(fd)
    os.write(status, STATUS.pack(pid))
    os.write(status, STATUS.pack(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))


def _serve(line: socket.socket) -> None:
    import securegen

    _die_with_parent()
    for module in pkgutil.walk_packages(securegen.__path__, "securegen."):
        if not any(name in module.name for name in NOT_IMPORTED):
            importlib.import_module(module.name)
    if (warm := os.environ.pop(WARM, None)) is not None:
        runpy.run_path(warm, run_name="__main__")
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a keeper
    while True:
        message, fds, _, _ = socket.recv_fds(line, 1 << 20, 5)
        if not message:
            return
        if os.fork() == 0:
            try:
                line.close()
                _keep(json.loads(message), *fds)
            finally:
                os._exit(0)
        for fd in fds:
            os.close(fd)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
