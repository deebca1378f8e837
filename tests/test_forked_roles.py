"""Roles that are forks of one process are as apart as those that are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import forked_roles
import pytest


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Run a role after some lines of Python, and return its exit code. What it is a fork of has asked for Numba's threads."""
    (warm := tmp_path / "warm.py").write_text("import numba\nnumba.get_num_threads()\n")
    monkeypatch.setenv(forked_roles.WARM, str(warm))
    nursery = forked_roles.Nursery()

    def run(first: str) -> int:
        hook = tmp_path / "hook.py"
        hook.write_text(first)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        call = [sys.executable, *forked_roles.WORDS, "--version"]
        return nursery.Popen(call, cwd=tmp_path, env={**os.environ, forked_roles.HOOK: str(hook)}, **streams).wait(60)

    yield run
    nursery.close()


def test_a_role_that_is_killed_while_it_starts_threads_holds_up_no_other(ended):
    begin = "import numba, os, signal\nfrom numba.np.ufunc import parallel\n"
    held = "parallel._backend_init_process_lock.acquire()\nos.kill(os.getpid(), signal.SIGKILL)\n"
    assert ended(begin + held) == -signal.SIGKILL
    assert ended(begin + "numba.get_num_threads()\n") == 0
