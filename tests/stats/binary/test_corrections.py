"""`correction` spa and firth: the rows that regenie prints, which rows they are, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD

import securegen as sg
from securegen.errors import UsageError
from securegen.stats.pvalue import chisq_1_limit

REGENIE = GOLD / "sim_500x5k" / "gold_regenie"
# Relative: regenie ends the search for the saddlepoint, and Firth's steps, before all six printed digits are settled
CLOSE = {
    "spa": {"BETA": 2e-4, "SE": 1e-5, "CHISQ": 3e-4, "LOG10_P": 2e-4},
    "firth": {"BETA": 4e-4, "SE": 3e-4, "CHISQ": 5e-5, "LOG10_P": 4e-5},
}


@pytest.fixture(scope="module")
def uncorrected(open_cohort) -> pd.DataFrame:
    return sg.run(open_cohort("sim_500x5k", pred=REGENIE / "cc1_pred.list"))["CC"]


def few_carriers(study) -> np.ndarray:
    """(M,) bool: fewer than 20 people have the minor allele."""
    block = study.reader.read(0, len(study.reader.variants))
    missing = np.zeros(block.dosage.shape, bool) if block.missing is None else block.missing
    people = next(a.null.people for a in study.analyses if a.null is not None)
    g, called = block.dosage[:, people], ~missing[:, people]
    minor = np.where((g * called).sum(axis=1, keepdims=True) > called.sum(axis=1, keepdims=True), 2 - g, g)
    return ((minor > 0) & called).sum(axis=1) < 20


@pytest.mark.parametrize(("method", "fast", "table"), [
    ("spa", False, "cc_spa_exact_CC"), ("spa", True, "cc_spa_CC"), ("firth", False, "cc_firth_exact_CC"),
    ("firth", True, "cc_firth_CC"),
])  # fmt: skip
def test_rows_are_regenies(open_cohort, uncorrected, method, fast, table):
    study = open_cohort("sim_500x5k", pred=REGENIE / "cc1_pred.list", correction=method, fast=fast)
    run = sg.run(study)
    ours = run["CC"]
    theirs = pd.read_csv(REGENIE / f"{table}.regenie.gz", sep=" ").set_index("ID").loc[ours["ID"]]
    rows = (uncorrected["CHISQ"] > chisq_1_limit(0.05)).to_numpy()
    assert rows.sum() > 50
    few = rows & few_carriers(study) & (method == "spa" and not fast)
    assert 5 < few.sum() < 20 or method == "firth" or fast
    for name, off in CLOSE[method].items():
        printed = theirs[name.replace("10_", "10")].to_numpy()
        np.testing.assert_allclose(ours[name][rows & ~few], printed[rows & ~few], rtol=off)
        np.testing.assert_allclose(ours[name][few], printed[few], rtol=0.1)  # every outcome is summed here
    pd.testing.assert_frame_equal(ours[~rows], uncorrected[~rows])
    kept = ["U", "V", "A1_FREQ", "OBS_CT", "CASE_CT", "MAC_CASE", "TEST"]
    pd.testing.assert_frame_equal(ours[kept], uncorrected[kept])
    assert not (ours["ERRCODE"][rows] == "LOW_MAC").any()
    np.testing.assert_allclose(ours["Z_STAT"][rows] ** 2, ours["CHISQ"][rows], rtol=1e-12)
    record = {
        "method": method,
        "p_thresh": 0.05,
        "fast": fast,
        "corrected": {"CC": int(rows.sum())},
        "uncorrected": {"CC": 0},
    }
    assert run.record["correction"] == record
    assert f"--correction {method} of {rows.sum()} rows of CC" in "\n".join(run.receipt.lines())


def test_the_threshold_chooses_rows(open_cohort, uncorrected):
    ours = sg.run(open_cohort("sim_500x5k", pred=REGENIE / "cc1_pred.list", correction="spa", p_thresh=0.001))["CC"]
    changed = (ours["P"] != uncorrected["P"]).to_numpy()
    np.testing.assert_array_equal(changed, (uncorrected["P"] < 0.001).to_numpy())


def test_without_a_case_control_phenotype_it_is_refused(reference):
    cohort = reference("sim_500x5k")
    with pytest.raises(UsageError, match="no phenotype has them"):
        sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="QT", correction="spa")
    both = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, correction="firth", covar=cohort.covar, chr="1", to_bp=300_000
    )
    assert [a.null is not None for a in both.analyses] == [a.test == "logistic" for a in both.analyses]


@pytest.mark.parametrize(("options", "words"), [
    ({"model": "trend", "correction": "spa"}, "not for trend"), ({"fast": True}, "`fast` needs a `correction`"),
    ({"p_thresh": 0.01}, "`p_thresh` needs a `correction`"),
])  # fmt: skip
def test_options_that_do_not_go_together_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        sg.Inputs(**options)


@pytest.mark.parametrize("engine", [
    sg.Mpc(split="vertical"), sg.Mpc(split="outsourced"), sg.Plain(reveal="chi2"),
])  # fmt: skip
def test_engines_without_the_genotypes_refuse_by_name(open_cohort, engine):
    study = open_cohort("sim_500x5k", correction="spa", chr="1", to_bp=300_000)
    with pytest.raises(UsageError, match="`correction` spa"):
        sg.run(study, engine)
