"""The statistic of regenie without predictions is byte for byte the same on every engine that opens whole sums; the others,
and predictions where there is one design, are refused before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest
from reference_data import GOLD
from support import simulate

import securegen as sg
from securegen.errors import UsageError
from securegen.study.opening import open_study

ENGINES = {
    "ckks": sg.Ckks(),
    "federated": sg.Federated(openings="all"),
    "mpc": sg.Mpc(split="vertical", reveal="aggregates", consent_aggregates=True, openings="all"),
}
OTHERS = {
    "hits": sg.Mpc(split="vertical"),
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


@pytest.mark.parametrize("name", OTHERS)
def test_two_numbers_a_variant_are_of_student(cohort, tmp_path, name):
    with pytest.raises(UsageError, match="statistic of regenie is not for reveal"):
        sg.run(opened(cohort, statistic="regenie"), OTHERS[name], out=tmp_path / "r")
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".log"]


@pytest.mark.parametrize("name", ["ckks", "federated", *OTHERS])
def test_predictions_need_several_designs(reference, tmp_path, name):
    cohort = reference("sim_500x5k")
    study = opened(cohort, pred=GOLD / "sim_500x5k" / "gold_regenie" / "qt1_pred.list")
    with pytest.raises(UsageError, match="`pred` needs a design for each chromosome"):
        sg.run(study, (ENGINES | OTHERS)[name], out=tmp_path / "r")
    assert not list(tmp_path.iterdir())
