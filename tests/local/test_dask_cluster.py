"""Clusters of Dask that do not fit, do not answer or fall apart: each is named, in time, before or while parts run."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from support import left, securegen, simulate

from securegen.errors import InputError, MissingExtraError, PeerError, SecuregenError, UsageError
from securegen.local import dask_cluster, workers
from securegen.version import VERSION

distributed = pytest.importorskip("distributed", reason="needs securegen[dask]")
SLEEP = ["step", "sleep"]


@pytest.fixture
def short(monkeypatch):
    """Patience of seconds."""
    monkeypatch.setattr(dask_cluster, "ANSWER", 2.0)
    monkeypatch.setattr(dask_cluster, "PATIENCE", 0.5)
    monkeypatch.setattr(dask_cluster, "LOOK", 0.1)
    monkeypatch.setattr(workers, "TICK", 0.1)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        protocol="tcp",
        host="127.0.0.1",
    ) as cluster:
        yield cluster


def refused(address, error, tmp_path, log=None):
    with pytest.raises(SecuregenError) as found, workers.pool_of(f"dask:{address}", 1, (log or []).append) as pool:
        workers.run_parts([SLEEP], pool, mark=str(tmp_path), log=(log or []).append)
    assert found.value.exit_code == error.exit_code
    return str(found.value)


def test_dask_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"securegen\[dask\]"), workers.pool_of("dask", 1, print):
        pass


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x", "tls://127.0.0.1:1", "127.0.0.1", ":::"])
def test_an_address_that_does_not_answer_is_named(short, tmp_path, address):
    assert f"no scheduler of Dask answers at {address}: " in refused(address, PeerError, tmp_path)


@pytest.mark.parametrize("says", [b"", b"HTTP/1.0 400 Bad request\r\nServer: another\r\n\r\n"], ids=["nothing", "http"])
def test_what_listens_and_is_no_scheduler_is_named(short, tmp_path, says):
    with socket.create_server(("127.0.0.1", 0)) as server:
        child = os.fork()
        if child == 0:
            other, _ = server.accept()
            other.sendall(says)
            signal.pause()
        begin = time.monotonic()
        address = "tcp://{}:{}".format(*server.getsockname())
        try:
            said = refused(address, PeerError, tmp_path)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert f"no scheduler of Dask answers at {address}: " in said and time.monotonic() - begin < 30


def test_the_command_says_it_with_the_exit_code_of_peers(short, tmp_path):
    cohort = simulate(tmp_path / "c", variants=20)
    done = securegen("gwas", *cohort.options(), "--executor", "dask:tcp://127.0.0.1:1", "--out", tmp_path / "p")
    assert done.code == PeerError.exit_code and "tcp://127.0.0.1:1" in done.err and "Traceback" not in done.err
    assert left(tmp_path) == ["c"]


@contextmanager
def started(tmp_path, count):
    """A scheduler and workers as processes of their own: their address, and they."""
    told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    words = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    own = [subprocess.Popen([*words, "--scheduler-file", "scheduler.json"], **told)]
    words = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    words += ["--scheduler-file", "scheduler.json"]
    own += [subprocess.Popen([*words, "--local-directory", f"w{i}"], **told) for i in range(count)]
    try:
        address, end = None, time.monotonic() + 300
        while address is None:
            assert own[0].poll() is None and time.monotonic() < end
            time.sleep(0.05)
            with suppress(OSError, ValueError):  # not there, or half
                address = json.loads((tmp_path / "scheduler.json").read_text())["address"]
        yield address, own
    finally:
        for process in own:
            process.kill()
            process.wait()


@pytest.mark.parametrize("of", ["scheduler", "workers"])
def test_a_cluster_that_dies_under_its_parts_is_named(short, monkeypatch, tmp_path, of):
    """Without the watch the command would wait for ever: no part ends any more."""
    monkeypatch.setattr(dask_cluster, "ANSWER", 300.0)
    monkeypatch.setattr(dask_cluster, "PATIENCE", 300.0)
    said: list[str] = []
    with started(tmp_path, 1) as (address, own):
        watch = dask_cluster.Cluster.watch

        def then(cluster):
            victim = own[0 if of == "scheduler" else 1]
            if victim.returncode is None:
                monkeypatch.setattr(dask_cluster, "ANSWER", 2.0)
                monkeypatch.setattr(dask_cluster, "PATIENCE", 0.5)
                victim.kill()
                victim.wait()
            watch(cluster)

        monkeypatch.setattr(dask_cluster.Cluster, "watch", then)
        monkeypatch.setattr(dask_cluster.Cluster, "check", lambda self, mark: self.wait_for_workers())
        with pytest.raises(PeerError) as found, workers.pool_of(f"dask:{address}", 1, said.append) as pool:
            workers.run_parts([SLEEP], NapPool(pool), log=said.append)
    expected = "went away" if of == "scheduler" else "has no worker"
    assert address in str(found.value) and expected in str(found.value)


def NapPool(pool):  # noqa: N802
    """The pool, of parts that sleep."""

    class Naps:
        def submit(self, *told):
            return pool.executor.submit(time.sleep, 600)

    return workers.Pool(Naps(), pool.check, pool.watch)


def test_a_scheduler_without_workers_is_named(short, monkeypatch, tmp_path):
    monkeypatch.setattr(dask_cluster, "ANSWER", 300.0)
    said: list[str] = []
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as empty:
        text = refused(empty.scheduler_address, PeerError, tmp_path, said)
        assert "has no worker" in text and empty.scheduler_address in text


def test_a_killed_worker_is_replaced_however_long_its_next_process_takes():
    """By itself a cluster of this machine gives it up after a time, 15 s unless it is told another."""
    import dask

    with dask.config.set({"distributed.deploy.lost-worker-timeout": 0.1}), dask_cluster.cluster_at("", 1, print) as own:
        (before,) = own.client.run(os.getpid).values()
        os.kill(before, signal.SIGKILL)
        own.client.submit(os.getpid, pure=False, retries=9).result(timeout=600)
        (after,) = own.client.run(os.getpid).values()
    assert after != before


def test_a_worker_that_does_not_see_the_folder_is_named(cluster, tmp_path):
    text = refused(cluster.scheduler_address, InputError, tmp_path / "absent")
    assert "does not see" in text and "absent" in text


def test_a_worker_of_another_version_is_named(cluster, tmp_path, monkeypatch):
    with workers.pool_of(f"dask:{cluster.scheduler_address}", 1, print) as pool:
        client = pool.check.__self__.client
        run = client.run
        monkeypatch.setattr(client, "run", lambda asked, _, *told, **o: run(asked, "0.1", *told, **o))
        with pytest.raises(SecuregenError, match=f"has securegen {VERSION}, this command is of 0.1") as found:
            workers.run_parts([SLEEP], pool, mark=str(tmp_path), log=print)
    assert found.value.exit_code == UsageError.exit_code


def test_what_a_worker_is_told_is_checked_there_too(tmp_path):
    """One that came after the check."""
    ended = workers.run_step(SLEEP, str(tmp_path), 1, "0.0", str(tmp_path))
    assert ended.code == UsageError.exit_code and "0.0" in ended.said
    ended = workers.run_step(SLEEP, str(tmp_path), 1, VERSION, str(tmp_path / "absent"))
    assert ended.code == InputError.exit_code and "does not see" in ended.said


def test_a_worker_without_securegen_is_named(cluster, tmp_path, monkeypatch):
    with workers.pool_of(f"dask:{cluster.scheduler_address}", 1, print) as pool:
        absent = ModuleNotFoundError("No module named 'securegen'")
        monkeypatch.setattr(pool.check.__self__.client, "run", lambda *a, **o: {"tcp://w:1": absent})
        with pytest.raises(UsageError, match="the worker tcp://w:1 has no securegen"):
            workers.run_parts([SLEEP], pool, mark=str(tmp_path), log=print)


def test_a_part_elsewhere_says_where(monkeypatch):
    assert workers.StepEnd(3, "no file", "node7").line() == "no file (on node7)"
    monkeypatch.setattr(workers.platform, "node", lambda: "node7")
    assert workers.StepEnd(3, "no file", "node7").line() == "no file"
