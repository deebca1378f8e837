"""One command on a Dask cluster of one and of two workers, one thread each: bytes of a single run, and throughput.

The command is `gwas` in four parts, 20,000 people × 200,000 variants × 12 covariates (SECUREGEN_DASK_SIZE="people variants" for
another size). One cluster stands at a time, before the clock starts; rounds of both alternate, so that a busier moment falls on
both. Two workers must give 1.7 times the throughput of one.

extra_info says where the rest goes. `serial`: processor seconds of the command itself, which imports, connects and joins tables
while no part runs; `parts`: those of all parts; `Amdahl`: what these two allow. `side by side`: two parts one after the other,
over the same two at once and without Dask: what this machine's cores and memory allow. `parts / single run`: what splitting costs
whoever has no second core.
"""

from __future__ import annotations

import os
import statistics
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "scale"))
from measure import Measured, make_cohort, securegen, study_options, together

distributed = pytest.importorskip("distributed", reason="needs securegen[dask]")

PARTS, ROUNDS, LEAST = 4, 3, 1.7
SAMPLES, VARIANTS = map(int, os.environ.get("SECUREGEN_DASK_SIZE", "20000 200000").split())
TABLE = ".QT.glm.linear"


def call(out: str, *told: object) -> list[object]:
    return ["gwas", *study_options("c"), "--threads", 1, "--quiet", *told, "--out", out]


def run(folder: Path, out: str, *told: object) -> Measured:
    return securegen(*call(out, *told), folder=folder, threads=1)


def on_workers(folder: Path, count: int) -> Measured:
    """The command on a cluster of so many workers, which is there before it and gone after."""
    with distributed.LocalCluster(
        n_workers=count, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1", silence_logs=60
    ) as cluster:
        cluster.wait_for_workers(count)
        return run(folder, f"w{count}", "--executor", f"dask:{cluster.scheduler_address}", "--workers", PARTS)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_two_workers(benchmark, tmp_path):
    make_cohort(tmp_path / "c", samples=SAMPLES, variants=VARIANTS)
    run(tmp_path, "warm", "--blocks", f"1/{PARTS}")
    alone = run(tmp_path, "alone")
    split = [run(tmp_path, "part", "--blocks", f"{i}/{PARTS}") for i in range(1, PARTS + 1)]
    both = together([call("part", "--blocks", f"{i}/{PARTS}") for i in (1, 2)], folder=tmp_path, threads=1)
    found: dict[int, list[Measured]] = {1: [], 2: []}

    def rounds() -> None:
        for count, measured in found.items():
            measured.append(on_workers(tmp_path, count))

    benchmark.pedantic(rounds, rounds=ROUNDS)
    for count in found:
        assert (tmp_path / f"w{count}{TABLE}").read_bytes() == (tmp_path / f"alone{TABLE}").read_bytes()
    ratio = statistics.median(one.seconds / two.seconds for one, two in zip(found[1], found[2], strict=True))
    serial = statistics.median(m.cpu_seconds for m in found[2])
    parts = sum(m.cpu_seconds for m in split)
    figures = {
        "one": statistics.median(m.seconds for m in found[1]), "two": statistics.median(m.seconds for m in found[2]),
        "one / two": ratio, "serial": serial, "parts": parts, "Amdahl": (serial + parts) / (serial + parts / 2),
        "side by side": sum(m.seconds for m in split[:2]) / max(m.seconds for m in both),
        "alone": alone.seconds, "parts / single run": parts / alone.cpu_seconds,
    }  # fmt: skip
    benchmark.extra_info |= {name: round(value, 2) for name, value in figures.items()}
    assert ratio >= LEAST, str(dict(benchmark.extra_info))
