"""The workflows: Slurm's scripts run here as Slurm runs them, the others are checked by their own engines where these are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from support import Cohort, securegen

from securegen.cli.main import main

ROOT = Path(__file__).resolve().parent.parent
SLURM = ROOT / "workflows" / "slurm"
# What Slurm does with an array: every index, the last first, in the folder where it was submitted; then what depends on it.
SBATCH = """#!/bin/bash
set -eu
array=
while [[ $1 == -* ]]; do [[ $1 == --array=* ]] && array=${1#--array=1-}; echo "$1" >> options; shift; done
script=$1; shift
if [[ -n $array ]]; then
    for i in $(seq "$array" -1 1); do
        SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=$array SLURM_CPUS_PER_TASK=1 bash "$script" "$@" 2>> said
    done
else
    SLURM_CPUS_PER_TASK=1 bash "$script" "$@" 2>> said
fi
echo 7
"""
# SECUREGEN_MINIWDL, SECUREGEN_NEXTFLOW: of another environment
TOOLS = {name: os.environ.get(f"SECUREGEN_{name.upper()}") or shutil.which(name) for name in ("miniwdl", "nextflow")}


@pytest.fixture
def submit(tmp_path):
    """Run submit.sh where sbatch runs what it is given at once."""
    commands = tmp_path / "bin"
    commands.mkdir()
    python = f'PYTHONPATH="{ROOT}" exec "{sys.executable}" -m securegen "$@"'
    for name, text in (("sbatch", SBATCH), ("securegen", f"#!/bin/sh\n{python}\n")):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
        path = {"PATH": f"{commands}{os.pathsep}{os.environ['PATH']}"}
        return subprocess.run(
            [SLURM / "submit.sh", *map(str, arguments)], cwd=work, env=os.environ | path | environment, capture_output=True,
            text=True, check=False,
        )  # fmt: skip

    run.folder = work
    return run


def test_an_array_of_slurm_makes_the_table_of_one_run(submit, small: Cohort, tmp_path):
    done = submit(2, "gwas", *small.options(), "--out", "study", SBATCH="--partition=short --mem=8G")
    assert done.returncode == 0 and done.stdout == "7 7\n", done.stderr
    assert securegen("gwas", *small.options(), "--out", tmp_path / "one").code == 0
    assert (submit.folder / "study.QT.glm.linear").read_bytes() == (tmp_path / "one.QT.glm.linear").read_bytes()
    options = (submit.folder / "options").read_text().splitlines()
    assert options.count("--partition=short") == 2 and "--dependency=afterok:7" in options


@pytest.mark.parametrize("arguments", [(), ("gwas",), ("0", "gwas"), ("x", "gwas", "--out", "a")])
def test_what_cannot_be_submitted_is_refused(submit, arguments):
    done = submit(*arguments)
    assert done.returncode == 2 and "usage: submit.sh" in done.stderr and not (submit.folder / "options").exists()


def test_a_job_that_is_no_part_says_so(tmp_path):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
    done = subprocess.run(
        ["bash", SLURM / "part.sbatch", "gwas"], env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode and "submit this as an array" in done.stderr
    done = subprocess.run(
        ["bash", SLURM / "finish.sbatch", "gwas", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "has no --out" in done.stderr


def test_parts_behind_links_are_joined(small: Cohort, tmp_path):
    """As engines of workflows lay files of other jobs into a folder."""
    for i in (1, 2):
        assert securegen("gwas", *small.options(), "--blocks", f"{i}/2", "--out", tmp_path / f"{i}" / "s").code == 0
    here = tmp_path / "here"
    here.mkdir()
    for path in (p for i in (1, 2) for p in (tmp_path / f"{i}").iterdir()):
        (here / path.name).symlink_to(path)
    assert securegen("merge", here / "s").code == 0
    assert (here / "s.QT.glm.linear").is_file()


WORKFLOWS = {
    "nextflow/main.nf": ("nextflow", ["lint"]),
    "wdl/gwas.wdl": ("miniwdl", ["check", "--strict", "--suppress", "CommandShellCheck"]),
}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_workflows_of_other_engines_call_what_there_is(name):
    """Their flags are those of the commands; their own engine accepts them where it is installed."""
    path = ROOT / "workflows" / name
    calls = re.findall(r"securegen (\w+) ([^\n]*)", re.sub(r"(?m)^//.*$", "", path.read_text()).replace("\\\n", " "))
    assert {command for command, _ in calls if command in ("gwas", "merge")} == {"gwas", "merge"}
    for command, rest in calls:
        known = {f for p in main.get_command(click.Context(main), command).params for f in p.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= known, rest
    tool, arguments = WORKFLOWS[name]
    if TOOLS[tool]:
        done = subprocess.run([TOOLS[tool], *arguments, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
