"""The statistic of regenie without predictions is byte for byte the same on every engine that opens whole sums, and the same
number where less is opened; predictions where there is one design are refused before anything is computed."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import simulate

import securegen as sg
from securegen.study.opening import open_study

pytestmark = pytest.mark.usefixtures("forked_roles")

ENGINES = {
    "ckks": sg.Ckks(),
    "federated": sg.Federated(openings="all"),
    "mpc": sg.Mpc(split="vertical", reveal="aggregates", consent_aggregates=True, openings="all"),
}
OTHERS = {
    "uv": sg.Mpc(split="vertical", reveal="uv"),
    "plain uv": sg.Plain(reveal="uv"),
}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("statistic") / "c", variants=40)


def opened(cohort, **options) -> sg.Study:
    return open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar, **options)


def table(study, engine, out) -> bytes:
    (path,) = sg.run(study, engine, out=out).paths.values()
    return Path(path).read_bytes()


@pytest.mark.parametrize("name", ENGINES)
def test_equal_tables(cohort, tmp_path, name):
    study = opened(cohort, statistic="regenie")
    plain = table(study, "plain", tmp_path / "plain")
    assert plain != table(opened(cohort), "plain", tmp_path / "t")
    assert table(study, ENGINES[name], tmp_path / "other") == plain


def test_two_numbers_a_variant_have_the_same_statistic(cohort, tmp_path):
    """χ² of one degree of freedom, effect and error; the integers of two owners are the plain engine's."""
    study = opened(cohort, statistic="regenie")
    tables = {name: table(study, OTHERS[name], tmp_path / name) for name in ("uv", "plain uv")}
    assert tables["uv"] == tables["plain uv"]
    found = pd.read_csv(io.BytesIO(tables["uv"]), sep="\t")
    whole = sg.run(study).frame
    ok = whole["ERRCODE"].to_numpy() == "."
    assert ok.sum() > 30 and (found["ERRCODE"].to_numpy()[ok] == ".").all()
    for name in ("BETA", "SE", "T_STAT", "LOG10_P"):
        np.testing.assert_allclose(found[name][ok], whole[name][ok], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found["CHISQ"][ok], whole["T_STAT"][ok] ** 2, rtol=1e-6, atol=1e-8)
    student = sg.run(opened(cohort), sg.Plain(reveal="uv")).frame
    assert abs(found["CHISQ"] - student["CHISQ"])[ok].max() > 1e-3


def test_hits_have_the_same_statistic(cohort, tmp_path):
    study = opened(cohort, statistic="regenie")
    whole = sg.run(study).frame
    found = sg.run(study, sg.Mpc(split="vertical", threshold=0.2), out=tmp_path / "r").frame
    chosen = whole[whole["P"] <= 0.2].reset_index(drop=True)
    assert len(chosen) > 3 and found["ID"].tolist() == chosen["ID"].tolist()
    np.testing.assert_allclose(found["LOG10_P"], chosen["LOG10_P"], rtol=1e-6)
