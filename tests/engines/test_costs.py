"""What a plan says of memory, time, disk and parts: formulas, and real commands that stay below what it asks for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import Cohort

from securegen.engines.ckks.planner import choose
from securegen.engines.ckks.workload import Workload
from securegen.engines.costs import PART_SECONDS, Shape, step_costs

ROOT = Path(__file__).resolve().parents[2]


def costs(samples: int, variants: int, cores: int = 2, machine: float = 1.0):
    plan = choose(Workload(samples, variants, 14, 17, streams=1))
    return step_costs(plan, Shape(samples, variants, 14, 13, 1), cores=cores, machine=machine)


def test_memory_is_flat_in_the_number_of_genotypes():
    """Ten times the variants add what a row of names takes, not what its genotypes do."""
    small, large = costs(5_000, 100_000), costs(5_000, 1_000_000)
    for name in ("gwas", "qc", "encrypt"):
        added = large[name].memory_bytes - small[name].memory_bytes
        assert 0 <= added <= 1_200 * 900_000, name
    assert large["server"].memory_bytes <= 1.5 * small["server"].memory_bytes


def test_time_is_linear_and_shared_by_cores():
    base = costs(5_000, 1_000_000, cores=1)
    for name, cost in base.items():
        assert costs(5_000, 2_000_000, cores=1)[name].seconds == pytest.approx(2 * cost.seconds, rel=0.1), name
        assert costs(5_000, 1_000_000, cores=1, machine=2.0)[name].seconds == pytest.approx(2 * cost.seconds), name
        assert costs(5_000, 1_000_000, cores=8)[name].seconds < cost.seconds or name == "decrypt"


def test_parts_end_within_half_an_hour_and_steps_without_parts_have_one():
    large = costs(400_000, 10_000_000)
    for name, cost in large.items():
        assert cost.blocks == 1 or cost.part_seconds < PART_SECONDS * 1.1, name
        assert cost.blocks == 1 if name in ("site", "decrypt") else cost.blocks > 1, name
    assert all(cost.blocks == 1 for cost in costs(1_000, 10_000).values())


def test_a_request_has_room_for_a_busier_machine():
    for cost in costs(5_000, 100_000).values():
        asked = cost.request
        assert asked["memory_mb"] * 1e6 >= 1.25 * cost.memory_bytes and asked["memory_mb"] % 256 == 0
        assert asked["minutes"] * 60 >= 3 * cost.part_seconds + 600


def run(folder: Path, *arguments: object) -> float:
    """Processor seconds of a command. A shell is between: what is forked inherits the peak of who forks."""
    call = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "securegen", *map(str, arguments)]
    process = subprocess.Popen(
        call,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return used.ru_utime + used.ru_stime


def test_real_commands_stay_below_what_the_plan_asks_for(small: Cohort, tmp_path):
    """And the plan is no excuse: it expects at most twice the memory that was taken."""
    run(tmp_path, "plan", *small.options(), "--threads", 1, "--out", "plan")
    steps = json.loads((tmp_path / "plan.run.json").read_text())["steps"]
    for name, told in (("gwas", small.options()), ("qc", ["--bfile", small.bfile])):
        seconds = run(tmp_path, name, *told, "--threads", 1, "--out", name)
        peak = json.loads((tmp_path / f"{name}.run.json").read_text())["peak_rss_bytes"]
        assert peak <= steps[name]["request"]["memory_mb"] * 1e6, name
        assert seconds <= 60 * steps[name]["request"]["minutes"], name
        assert steps[name]["memory_bytes"] <= 2 * peak, name
        written = sum(p.stat().st_size for p in tmp_path.glob(f"{name}.*") if p.suffix not in (".json", ".log"))
        assert 0.5 * written <= steps[name]["disk_bytes"] <= 4 * written, name
