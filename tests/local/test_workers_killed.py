"""A worker that is killed with its part in the middle is replaced, and what the command writes stays what one run writes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from forked_roles import HOOK
from support import left, securegen, simulate, write_tsv

from securegen.local import processes

pytestmark = pytest.mark.usefixtures("forked_roles")
WRITES = {"gwas": [".QT.glm.linear"], "qc": [".afreq", ".vmiss", ".hardy"], "prs": [".sscore", ".match.tsv"]}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The commands, without --out, on one cohort; those that lead to `encrypt` have run."""
    folder = tmp_path_factory.mktemp("told")
    cohort = simulate(folder / "c", variants=200)
    weights = write_tsv(folder / "w.tsv", ("ID", "A1", "W"), [(f"rs{j}", "A", j % 7 / 8) for j in range(5, 195)])
    (folder / "pass").write_text("one two three\n")
    (folder / "pass").chmod(0o600)
    study, key = cohort.options(), ["--passphrase-file", folder / "pass"]
    for call in (
        ["plan", *study, "--out", folder / "p"],
        ["keygen", "--plan", folder / "p.plan.json", *key, "--out", folder / "key"],
    ):
        assert (done := securegen(*call)).code == 0, done.err
    key = ["--key", folder / "key.secret", *key]
    commands = {
        "gwas": ["gwas", *study], "qc": ["qc", "--bfile", cohort.bfile], "encrypt": ["encrypt", *key, *study],
        "prs": ["prs", "--bfile", cohort.bfile, "--score", weights],
    }  # fmt: skip
    for name in WRITES:
        assert (done := securegen(*commands[name], "--out", folder / name)).code == 0, done.err
    return folder, key, commands


# In every part: the first that has its lock and begins to write says so and goes no further.
STAND = """
import os, sys, time
def hook(event, args, held=[]):
    if event != "open" or not isinstance(args[0], str):
        return
    if "of2.lock" in args[0]:
        held.append(args[0])
    elif held and args[2] & (os.O_WRONLY | os.O_RDWR):
        held.clear()
        try:
            os.mkdir({told!r})
        except FileExistsError:
            return
        os.mkdir({told!r} + f".{{os.getpid()}}")
        time.sleep(600)
sys.addaudithook(hook)
"""


def killer(folder: str, victim: int | None):
    """Patches `processes.start` of this process: once, when a part has begun to write in the folder, it is killed, or the process
    of that number is."""
    begin, site = processes.start, os.path.join(folder, "site")
    os.makedirs(site, exist_ok=True)
    Path(site, "sitecustomize.py").write_text(STAND.format(told=f"{folder}/stands"))

    def start(call, **options):
        more = {"PYTHONPATH": os.pathsep.join([site, *(p or os.getcwd() for p in sys.path)])}
        more |= {HOOK: f"{site}/sitecustomize.py", **(options.pop("more", None) or {})}
        process = begin(call, **options, more=more)
        while process.poll() is None and not (stands := [n for n in os.listdir(folder) if n.startswith("stands.")]):
            time.sleep(0.01)
        if process.poll() is None and stands == [f"stands.{process.pid}"] and not os.path.exists(f"{folder}/killed"):
            Path(folder, "killed").touch()
            os.kill(process.pid if victim is None else victim, signal.SIGKILL)
        return process

    processes.start = start


def compare(told, name, folder: Path) -> None:
    """What `name` wrote to FOLDER/out is what one run writes; of encryption, what it decrypts to."""
    base, key, _ = told
    if name == "encrypt":
        for call in (
            ["gwas", "--cohort", folder / "out.cohort", "--design", folder / "out.design", "--out", folder / "sums"],
            ["decrypt", *key, "--owner", folder / "out.owner", "--results", folder / "sums.results", "--out", folder / "final"],
        ):  # fmt: skip
            assert (done := securegen(*call)).code == 0, done.err
        assert (folder / "final.QT.glm.linear").read_bytes() == (base / "gwas.QT.glm.linear").read_bytes()
    for end in WRITES.get(name, ()):
        assert (folder / f"out{end}").read_bytes() == (base / f"{name}{end}").read_bytes()
    assert not [file for file in left(folder) if "of2" in file]


@pytest.mark.parametrize("name", [*WRITES, "encrypt"])
def test_processes(told, tmp_path, monkeypatch, name):
    monkeypatch.setattr(processes, "start", processes.start)
    killer(str(tmp_path), None)
    done = securegen(*told[2][name], "--executor", "processes", "--workers", 2, "--out", tmp_path / "out")
    assert done.code == 0 and "was ended by SIGKILL" in done.err and (tmp_path / "killed").exists(), done.err
    compare(told, name, tmp_path)


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="needs securegen[dask]")
    import dask

    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": 300}),  # as `dask_cluster` does
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=60
        ) as cluster,
    ):
        yield cluster


@pytest.mark.parametrize("name", [*WRITES, "encrypt"])
def test_dask(told, tmp_path, cluster, name):
    import cloudpickle
    import distributed

    module = __import__(__name__)
    cloudpickle.register_pickle_by_value(module)
    try:
        with distributed.Client(cluster) as client:
            before = {worker.pid for worker in cluster.workers.values()}

            def arm():
                killer(str(tmp_path), os.getpid())

            client.run(arm)
            done = securegen(
                *told[2][name],
                "--executor",
                f"dask:{cluster.scheduler_address}",
                "--workers",
                2,
                "--out",
                tmp_path / "out",
            )
            assert done.code == 0 and (tmp_path / "killed").exists(), done.err
            client.wait_for_workers(2, timeout=600)
            assert {worker.pid for worker in cluster.workers.values()} != before
    finally:
        cloudpickle.unregister_pickle_by_value(module)
    compare(told, name, tmp_path)
