"""One command over many workers: the bytes of one run, a part whose process or worker died is run again."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import left, securegen, simulate

from securegen.cli import config
from securegen.errors import SecuregenError, UsageError
from securegen.local import processes, workers

pytestmark = pytest.mark.usefixtures("forked_roles")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("cohort"), variants=300)


def test_a_command_over_workers_is_the_command(cohort, tmp_path, monkeypatch):
    told = ["gwas", *cohort.options("QT,CC"), "--gzip"]
    assert securegen(*told, "--out", tmp_path / "one").code == 0
    of = config.digest_of  # parts read the inputs; nobody does so behind them, alone
    written = lambda place: Path(place).name.startswith("many.")  # noqa: E731
    monkeypatch.setattr(config, "digest_of", lambda place: of(place) if written(place) else pytest.fail(str(place)))
    done = securegen(*told, "--out", tmp_path / "many", "--executor", "processes", "--workers", 3)
    assert done.code == 0, done.err
    one, many = (json.loads((tmp_path / f"{n}.run.json").read_text())["call"]["digests"] for n in ("one", "many"))
    assert one == many and len(one) > 3
    names = [n.removeprefix("one") for n in left(tmp_path) if n.startswith("one")]
    assert names == [n.removeprefix("many") for n in left(tmp_path) if n.startswith("many")]
    for name in (n for n in names if n.endswith(".gz")):
        assert (tmp_path / f"one{name}").read_bytes() == (tmp_path / f"many{name}").read_bytes()


def test_a_part_that_fails_is_named_with_its_exit_code(cohort, tmp_path):
    options = ["gwas", *cohort.options("QT"), "--covar-name", "AGE,NONE"]
    alone = securegen(*options, "--out", tmp_path / "one")
    done = securegen(*options, "--executor", "processes", "--workers", 2, "--out", tmp_path / "p")
    assert done.code == alone.code != 0 and "of 2: " in done.err and alone.err.split("Error: ")[1] in done.err
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    "told, message",
    [
        (["--executor", "slurm"], "processes, dask or dask:ADDRESS"),
        (["--workers", 2], "--workers is for --executor"),
        (["--executor", "processes", "--blocks", "1/2"], "leave --blocks out"),
    ],
)
def test_what_does_not_go_together(cohort, tmp_path, told, message):
    done = securegen("gwas", *cohort.options(), *told, "--out", tmp_path / "p")
    assert done.code == UsageError.exit_code and message in done.err and left(tmp_path) == []


def test_a_key_without_a_passphrase_file_is_refused(cohort, tmp_path):
    done = securegen(
        "encrypt", "--key", "k.secret", *cohort.options(), "--executor", "processes", "--out", tmp_path / "p"
    )
    assert done.code == UsageError.exit_code and "needs --passphrase-file" in done.err


SCRIPT = """
import os, pathlib, signal, sys
mark = pathlib.Path(sys.argv[1])
mark.write_text(mark.read_text() + "x" if mark.exists() else "x")
if len(mark.read_text()) <= int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def dies(monkeypatch, tmp_path):
    """Parts are programs that note their name, and are killed so often."""
    begin = processes.start

    def start(call, **options):
        return begin([sys.executable, "-c", SCRIPT, *call[4:]], **options)

    monkeypatch.setattr(processes, "start", start)
    monkeypatch.chdir(tmp_path)


def test_a_part_whose_process_was_killed_is_run_again(dies):
    said: list[str] = []
    with ThreadPoolExecutor(2) as threads:
        pool = workers.Pool(threads)
        workers.run_parts([["a", "0"], ["b", "2"]], pool, log=said.append)
        assert [Path(name).read_text() for name in "ab"] == ["x", "xxx"]
        assert said == ["WARNING: part 2 of 2: a part was ended by SIGKILL (out of memory?); it is run again"] * 2
        with pytest.raises(SecuregenError, match="part 1 of 1: a part was ended by SIGKILL"):
            workers.run_parts([["c", "9"]], pool, log=said.append)
    assert Path("c").read_text() == "x" * workers.ATTEMPTS


def test_a_step_ends_with_its_worker(tmp_path):
    """What a worker runs is killed when the worker is."""
    child = os.fork()
    if child == 0:
        code = "import os, pathlib, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(120)"
        start = processes.start
        guard = "from securegen.local.processes import end_with_parent as e; e(); "
        processes.start = lambda call, **o: start([sys.executable, "-c", guard + code], **o)
        workers.run_step([], str(tmp_path), 1)
        os._exit(0)
    place = tmp_path / "pid"
    while not (place.exists() and place.read_text()):
        os.sched_yield()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    step = int(place.read_text())
    end = time.monotonic() + 50  # before it would end by itself
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{step}/stat").read_text().split(")")[1].split()[0] == "Z":
                return
        except (FileNotFoundError, ProcessLookupError):
            return
        time.sleep(0.01)
    pytest.fail("the step lives on")


def test_dask_runs_parts_on_its_workers(dies, monkeypatch):
    distributed = pytest.importorskip("distributed")
    said: list[str] = []
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        workers.pool_of(f"dask:{cluster.scheduler_address}", 2, said.append) as pool,
    ):
        workers.run_parts([["a", "0"], ["b", "1"], ["c", "0"]], pool, log=said.append)
    assert [Path(name).read_text() for name in "abc"] == ["x", "xx", "x"]
    assert said[0].startswith("2 workers of Dask at ") and len(said) == 2


def test_a_command_that_is_ended_ends_its_parts(tmp_path, monkeypatch):
    begin = processes.start
    monkeypatch.setattr(
        processes, "start", lambda call, **o: begin([sys.executable, "-c", "import time; time.sleep(600)"], **o)
    )
    with pytest.raises(KeyboardInterrupt), workers.pool_of("processes", 1, print) as pool:
        future = pool.executor.submit(workers.run_step, [], str(tmp_path), 1)
        while not workers._running:
            time.sleep(0.01)
        raise KeyboardInterrupt
    assert future.result(timeout=600).code == -signal.SIGTERM
