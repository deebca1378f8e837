"""Phenotypes of nearly the same people: their tables give a person's genome, and the run says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from securegen.cli.main import main
from securegen.errors import UsageError
from securegen.governance.openings import close_sets
from securegen.study.opening import open_study

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
COHORT = EXAMPLES / "cohort"


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> str:
    """QT, and QT2 without a value of one person."""
    table = pd.read_csv(f"{COHORT}.pheno.tsv", sep="\t", dtype=str, keep_default_na=False)
    table["QT2"] = table["QT"]
    table.loc[table["IID"] == "S137", "QT2"] = "NA"
    path = tmp_path_factory.mktemp("two") / "two.tsv"
    table[["#FID", "IID", "QT", "QT2"]].to_csv(path, sep="\t", index=False)
    return str(path)


def run(out: Path, *words: str) -> dict:
    call = ["run-local", "gwas", "--engine", "plain", "--bfile", str(COHORT), "--out", str(out), "--chr", "1", *words]
    done = CliRunner().invoke(main, call, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(Path(f"{out}.run.json").read_text())


def test_a_plain_run_warns_and_common_samples_avoid_it(two, tmp_path):
    record = run(tmp_path / "own", "--pheno", two)
    (warning,) = [w for w in record["receipt"]["warnings"] if "give 1 person's genotypes" in w]
    assert "QT and QT2" in warning and warning in (tmp_path / "own.log").read_text()
    # what the two tables give: the frequencies are S/2n, and n differs by one
    one, other = (pd.read_csv(tmp_path / f"own.{p}.glm.linear", sep="\t") for p in ("QT", "QT2"))
    n = int(one["OBS_CT"][0])
    assert int(other["OBS_CT"][0]) == n - 1
    study = open_study(str(COHORT), pheno=two, chr=("1",))
    block = study.reader.read(0, len(one))
    whole = ~block.missing.any(axis=1)
    difference = np.rint(2 * n * one["A1_FREQ"] - 2 * (n - 1) * other["A1_FREQ"])
    person = study.reader.samples.iid.tolist().index("S137")
    assert whole.sum() > 100 and (difference[whole] == block.dosage[whole, person]).all()
    record = run(tmp_path / "common", "--pheno", two, "--common-samples")
    assert not [w for w in record["receipt"]["warnings"] if "genotypes" in w and "person's" in w]
    assert record["samples"] == n - 1


def test_pairs_that_differ_by_a_few_people():
    a = np.arange(100) < 60
    few, enough, other = a.copy(), a.copy(), a.copy()
    few[:3] = False
    enough[:10] = False
    other[:20], other[99] = False, True
    found = close_sets([("a", a), ("few", few), ("enough", enough), ("other", other)])
    assert found == [
        ("a", "few", 3),
        ("a", "other", 1),
        ("few", "enough", 7),
        ("few", "other", 1),
        ("enough", "other", 1),
    ]


def test_openings_are_for_several_parties(tmp_path, two):
    with pytest.raises(UsageError, match="--openings is an option of engine federated and mpc, not of plain"):
        run(tmp_path / "x", "--pheno", two, "--openings", "strict")
