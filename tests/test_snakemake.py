"""The Snakemake example runs its jobs one by one and gives the table of the plain engine."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support import program

ROOT = Path(__file__).resolve().parent.parent
SNAKEMAKE = program("snakemake")


@pytest.fixture
def workflow(small, tmp_path):
    """Run the workflow in a folder of its own, with this securegen first on the path."""
    if not SNAKEMAKE:
        pytest.skip("snakemake is not installed: pip install snakemake, or set SECUREGEN_SNAKEMAKE")
    work, commands = tmp_path / "work", tmp_path / "bin"
    work.mkdir()
    commands.mkdir()
    wrapper = commands / "securegen"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m securegen "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
    for suffix in (".bed", ".bim", ".fam"):
        shutil.copy(small.bfile + suffix, work / f"cohort{suffix}")
    shutil.copy(small.pheno, work / "cohort.pheno.tsv")
    shutil.copy(small.covar, work / "cohort.covar.tsv")
    (work / "pass.txt").touch(0o600)
    (work / "pass.txt").write_text("correct horse\n")

    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        environment |= {
            "PATH": f"{commands}{os.pathsep}{environment['PATH']}",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }
        return subprocess.run(
            [SNAKEMAKE, "--snakefile", str(ROOT / "workflows/snakemake/Snakefile"), "--directory", str(work), "--cores", "2",
             *arguments], env=environment, capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    return work, run


def test_the_workflow_runs_as_separate_jobs(workflow):
    work, run = workflow
    done = run()
    assert done.returncode == 0, done.stderr[-3000:]
    table = "result.QT.glm.linear"
    assert (work / "owner" / table).read_bytes() == (work / "plain" / table).read_bytes()
    assert not [p for p in (work / "server").rglob("*") if p.name.endswith((".secret", ".box"))]
    record = json.loads((work / "server" / "study.run.json").read_text())
    assert record["role"] == "server" and (work / "summary.txt").read_text().count("record of a run") == 2
    again = run("--dry-run")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr


def test_another_phenotype_reuses_nothing_it_should_not(workflow):
    work, run = workflow
    done = run("--config", "pheno_name=QT2", "compare=false", "--until", "encrypt")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (work / "owner" / "study.design" / "manifest.json").is_file() and not (work / "server").exists()
    assert oct((work / "owner" / "key.secret").stat().st_mode & 0o077) == "0o0"
