"""Poor machines and a clock that jumps: the same bytes, or an error of one line."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault_world import CHAIN, COHORT, KEY, small_world

ROOT = Path(__file__).resolve().parents[2]
TABLE = "told.QT.glm.linear"
LINE = f"gwas {COHORT} --quiet --out told"


@pytest.fixture(scope="module")
def study(warm_nursery, tmp_path_factory):
    """A study that was computed to its table."""
    world = small_world(tmp_path_factory.mktemp("machine"), warm_nursery)
    for line in CHAIN:
        assert world.run(line).code == 0
    world.keep()
    yield world
    world.restore()


def started(
    world, line: str, *, before: list[str] = (), remove: tuple[str, ...] = (), limit=None, python=(), **more: str
):
    """`securegen LINE` as users start it."""
    environment = {k: v for k, v in os.environ.items() if k not in remove and not k.startswith("SECUREGEN_")}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(world.folder / ".state")} | more
    words = [*before, sys.executable, *python, "-P", "-m", "securegen", *line.split()]
    return subprocess.run(
        words, cwd=world.folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=limit
    )  # fmt: skip


def few_handles() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))


POOR = {
    "few handles": {"limit": few_handles},
    "one core": {"limit": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})},
    "no HOME": {"remove": ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "USER", "LOGNAME")},
    "python -OO": {"python": ("-OO",)},
}


@pytest.mark.parametrize("poor", POOR)
def test_a_poor_machine_writes_the_same_table(poor, study):
    whole = study.files()[TABLE]
    (study.folder / TABLE).unlink()
    done = started(study, LINE, **POOR[poor])
    assert done.returncode == 0, done.stderr
    assert study.files()[TABLE] == whole


@pytest.mark.skipif(shutil.which("unshare") is None, reason="file systems cannot be mounted here")
def test_a_small_dev_shm_and_caches_that_cannot_be_written(study):
    """A /dev/shm of a page, no folder for temporary files, and the package's folder read-only: nothing is cached there."""
    whole = study.files()[TABLE]
    (study.folder / TABLE).unlink()
    user = [] if os.geteuid() == 0 else ["-Ur"]
    script = (
        f"mount -t tmpfs -o size=4k none /dev/shm && mount --bind {ROOT}/securegen {ROOT}/securegen && "
        f'mount -o remount,bind,ro {ROOT}/securegen || exit 77; exec "$@"'
    )
    before = ["unshare", "-m", *user, "sh", "-c", script, "sh"]
    done = started(study, LINE, before=before, TMPDIR="/nowhere")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("file systems cannot be mounted here")
    assert done.returncode == 0, done.stderr
    assert study.files()[TABLE] == whole


def test_more_workers_than_cores(study):
    whole = study.files()[TABLE]
    (study.folder / TABLE).unlink()
    done = study.run(f"{LINE} --threads {4 * (os.cpu_count() or 1)}")
    assert done.code == 0, done.said
    assert study.files()[TABLE] == whole


@pytest.mark.parametrize("seconds", [-(10**8), 10**8])
def test_a_clock_that_jumps(seconds, steady, monkeypatch):
    """Every other reading is three years off: an encryption, the server's part and the table."""
    whole = steady.files()[TABLE]
    monkeypatch.setenv("CLOCK_JUMP", str(seconds))
    for line in (
        f"encrypt {KEY} {COHORT} --out new", "gwas --cohort new.cohort --design new.design --out new",
        f"decrypt {KEY} --owner new.owner --results new.results --out new",
    ):  # fmt: skip
        done = steady.run(line)
        assert done.code == 0, done.said
    assert steady.files()["new.QT.glm.linear"] == whole


def test_the_clock_does_jump(broken_machine):
    """Where it did not, nothing would be shown above."""
    code = "import time; print(abs(time.time() - time.time()))"
    environment = os.environ | {"LD_PRELOAD": str(broken_machine.library), "CLOCK_JUMP": "1000000"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) > 999_000


def test_two_servers_on_one_cohort(study):
    """Side by side, each under a name of its own: the same results, to the byte."""
    line = "gwas --cohort study.cohort --design study.design --out served{0}"
    done = study.run_together({str(i): line.format(i) for i in range(2)})
    assert [e.code for e in done.values()] == [0, 0], done
    files = study.files()
    blocks = [n for n in files if n.startswith("served.results/block")]
    assert blocks and all(files[n] == files[n.replace("served.", f"served{i}.")] for n in blocks for i in range(2))
