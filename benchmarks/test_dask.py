"""One command on a Dask cluster of one and of two workers, one thread each: bytes of a single run, and throughput.

The command is `gwas` in four parts, 20,000 people × 100,000 variants × 12 covariates (SECUREGEN_DASK_SIZE="people variants" for
another size). Clusters stand before the clock starts; rounds of both alternate, so that a busier moment falls on both. Two
workers must give 1.7 times the throughput of one. extra_info: `one`, `two` and `alone` (a single run without Dask) in seconds,
and processor seconds of all four parts over those of the single run: what splitting costs whoever has no second core.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "scale"))
from measure import Measured, make_cohort, securegen, study_options

distributed = pytest.importorskip("distributed", reason="needs securegen[dask]")

PARTS, ROUNDS, LEAST = 4, 3, 1.7
SAMPLES, VARIANTS = map(int, os.environ.get("SECUREGEN_DASK_SIZE", "20000 100000").split())
TABLE = ".QT.glm.linear"


def run(folder: Path, out: str, *told: object) -> Measured:
    return securegen(
        "gwas", *study_options("c"), "--threads", 1, "--quiet", *told, "--out", out, folder=folder, threads=1
    )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="two workers need two cores")
def test_two_workers(benchmark, tmp_path):
    make_cohort(tmp_path / "c", SAMPLES, VARIANTS)
    run(tmp_path, "warm", "--blocks", f"1/{VARIANTS}")
    alone = run(tmp_path, "alone")
    split = [run(tmp_path, "part", "--blocks", f"{i}/{PARTS}").cpu_seconds for i in range(1, PARTS + 1)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    clusters = {
        n: distributed.LocalCluster(
            n_workers=n, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
        )
        for n in seconds
    }
    try:

        def rounds() -> None:
            for n, cluster in clusters.items():
                begin = time.perf_counter()
                run(tmp_path, f"w{n}", "--executor", f"dask:{cluster.scheduler_address}", "--workers", PARTS)
                seconds[n].append(time.perf_counter() - begin)

        benchmark.pedantic(rounds, rounds=ROUNDS)
    finally:
        for cluster in clusters.values():
            cluster.close()
    for n in seconds:
        assert (tmp_path / f"w{n}{TABLE}").read_bytes() == (tmp_path / f"alone{TABLE}").read_bytes()
    ratio = statistics.median(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
    benchmark.extra_info |= {
        "one": round(statistics.median(seconds[1]), 2), "two": round(statistics.median(seconds[2]), 2),
        "two / one": round(ratio, 2),
        "alone": round(alone.seconds, 2), "processor seconds of parts / single run": round(sum(split) / alone.cpu_seconds, 2),
    }  # fmt: skip
    assert ratio >= LEAST, benchmark.extra_info
