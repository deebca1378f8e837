"""Quality control and filters as commands: identical text from both engines, and what the log says of filters."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from securegen.cli.main import main


def run(*arguments: str) -> None:
    """Run a command; encrypted ones as a process of their own, because they lock their memory against core dumps."""
    if "ckks" in arguments:
        done = subprocess.run([sys.executable, "-m", "securegen", *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    else:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output


@pytest.fixture
def small(reference, tmp_path):
    """Options of a run on the first 150 variants of a cohort with missing calls and both traits."""
    base = reference("sim_500x5k").bfile
    names = [line.split()[1] for line in Path(f"{base}.bim").read_text().splitlines()][:150]
    (tmp_path / "ids").write_text("\n".join(names) + "\n")
    return base, ["--bfile", base, "--extract", str(tmp_path / "ids"), "--threads", "2"]


def test_quality_control_of_both_engines(small, tmp_path):
    _, options = small
    for engine in ("plain", "ckks"):
        run("run-local", "qc", "--engine", engine, *options, "--out", str(tmp_path / engine))
    run("qc", *options, "--out", str(tmp_path / "alone"))
    for kind in ("afreq", "vmiss", "hardy"):
        text = (tmp_path / f"ckks.{kind}").read_text()
        assert text == (tmp_path / f"plain.{kind}").read_text() == (tmp_path / f"alone.{kind}").read_text()
        assert len(text.splitlines()) == 151
        assert f"{tmp_path / 'ckks'}.{kind}" in (tmp_path / "ckks.log").read_text()
    record = json.loads((tmp_path / "ckks.run.json").read_text())
    assert record["phenotypes"] == [] and record["bytes"]["cohort"] > 0


def test_filtered_association_of_both_engines(small, tmp_path):
    """Two traits with different samples, filtered: both engines leave out the same rows and say who learns it."""
    base, options = small
    traits = ["--pheno", f"{base}.pheno.tsv", "--covar", f"{base}.covar.tsv", "--covar-name", "AGE,SEX"]
    filters = ["--maf", "0.05", "--hwe", "1e-6", "--geno", "0.02"]
    for engine in ("plain", "ckks"):
        run("run-local", "gwas", "--engine", engine, *options, *traits, *filters, "--out", str(tmp_path / engine))
    for table in ("QT.glm.linear", "CC.glm.logistic.score"):
        text = (tmp_path / f"ckks.{table}").read_text()
        assert text == (tmp_path / f"plain.{table}").read_text()
        rows = text.splitlines()[1:]
        assert 0 < len(rows) < 150
        assert all(0.05 <= float(r.split("\t")[6]) <= 0.95 for r in rows)
        for engine in ("plain", "ckks"):
            log = (tmp_path / f"{engine}.log").read_text()
            assert f"{150 - len(rows)} left out by filters" in log
            assert "λ_GC" in log
    log = (tmp_path / "ckks.log").read_text()
    assert "does not learn which variants passed" in log and "a reader of the tables does" in log
    assert "maf=0.05" in log and "precision of χ²: certain within" in log
    promise = json.loads((tmp_path / "ckks.run.json").read_text())["promise"]
    assert promise["CC"]["dchisq_certain"] <= 1e-3 and set(promise) == {"QT", "CC"}


def test_without_filters_nothing_is_said_of_them(small, tmp_path):
    base, options = small
    run(
        "run-local", "gwas", "--engine", "plain", *options, "--pheno", f"{base}.pheno.tsv", "--out", str(tmp_path / "p")
    )
    log = (tmp_path / "p.log").read_text()
    assert "Filters(" not in log and "left out by filters" not in log and "150 variants;" in log
