"""A real Slurm runs the array of the how-to: the tables of one run, with a part that was requeued and one that was killed.

It starts daemons as root: SECUREGEN_SLURM=1 runs it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import slurm_here
from example_walk import thin
from slurm_here import slurm, told, until
from support import securegen

ROOT = Path(__file__).resolve().parent.parent
PARTS = 3
# The first time, part 2 is stopped with its table begun, until Slurm ends it; part 3 is killed there.
COMMAND = """#!/bin/bash
run() { PYTHONPATH="@ROOT@" NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 "@PYTHON@" -m securegen "$@"; }
task=${SLURM_ARRAY_TASK_ID:-}
if [[ $task == [23] && ! -e begun.$task ]]; then
    run "$@" &
    while [[ ! -e study.${task}of3.lock ]]; do sleep 0.01; done
    [[ $task == 3 ]] && signal=KILL || signal=STOP
    pkill -$signal -P $!; kill -$signal $!; touch begun.$task
    wait $!
else
    run "$@"
fi
"""


def lines_of_the_page() -> list[str]:
    """The commands below the heading of Slurm."""
    text = (ROOT / "docs/howto/pipelines.md").read_text().split("### Slurm\n")[1]
    return re.search(r"```sh\n(.*?)```", text, re.DOTALL)[1].splitlines()


@pytest.mark.skipif(slurm_here.absent() is not None, reason=str(slurm_here.absent()))
def test_the_array_of_the_page_on_slurm(tmp_path):
    work, commands = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    commands.mkdir()
    thin(work)
    (work / "workflows").symlink_to(ROOT / "workflows")
    (commands / "securegen").write_text(COMMAND.replace("@ROOT@", str(ROOT)).replace("@PYTHON@", sys.executable))
    (commands / "securegen").chmod(0o755)
    plan, submit = lines_of_the_page()
    (tmp_path / "slurm").mkdir()
    with slurm(tmp_path / "slurm") as environment:
        environment["PATH"] = f"{commands}{os.pathsep}{environment['PATH']}"

        def sh(line: str) -> str:
            done = subprocess.run(["bash", "-c", line], cwd=work, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return done.stdout

        def ended(job: str) -> None:
            until(lambda: not told("squeue", "-h", "-j", job, environment=environment), 120)

        sh(plan)
        planned = json.loads((work / "plan.json").read_text())
        planned["steps"]["gwas"] |= {"blocks": PARTS, "cores": 1}
        (work / "plan.json").write_text(json.dumps(planned))
        array, finish = sh(submit).split()
        until((work / "begun.2").exists, 60)
        told("scontrol", "requeue", f"{array}_2", environment=environment)
        waits = lambda: "PENDING" in told("squeue", "-h", "-o", "%T", "-j", f"{array}_2", environment=environment)  # noqa: E731
        until(waits, 60)
        # by itself in two minutes; within the second in which it was revoked the node refuses its credential
        told("scontrol", "update", f"jobid={array}_2", "starttime=now+3", environment=environment)
        ended(finish)
        said = (work / f"securegen-finish.{finish}.out").read_text()
        assert f"1 of {PARTS} parts are not there, or did not end: 3/{PARTS}" in said
        assert (work / f"study.2of{PARTS}.run.json").exists()
        assert not list(work.glob("study.[!0-9]*.glm.*"))
        _, finish = sh(f"ONLY=3 {submit}").split()
        ended(finish)
        assert (work / "study.run.json").exists(), (work / f"securegen-finish.{finish}.out").read_text()
    made = {p.name for p in work.glob("study.[!0-9]*.glm.*")}
    study = [
        word for pair in zip(("--bfile", "--pheno", "--covar"), submit.split()[4:9:2], strict=True) for word in pair
    ]
    paths = [word if word.startswith("--") else str(work / word) for word in study]
    assert securegen("gwas", *paths, "--out", work / "one").code == 0
    assert made == {p.name.replace("one.", "study.", 1) for p in work.glob("one.*.glm.*")} and made
    for name in made:
        assert (work / name).read_bytes() == (work / name.replace("study.", "one.", 1)).read_bytes()
