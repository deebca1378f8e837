"""Tests of binary traits against float64 results of independent code, on every reference cohort."""

from __future__ import annotations

import numpy as np
import pytest

from securegen import vocabulary as voc
from securegen.engines.plain.engine import write_plain

ALLOWED = {voc.OK, voc.LOW_MAC, voc.VIF_TOO_HIGH}


@pytest.fixture
def table(open_cohort, frame, tmp_path):
    """(cohort, model) -> result table of the plain engine."""

    def run(name: str, model: str):
        (summary,) = write_plain(open_cohort(name, model=model), str(tmp_path / "t"))
        return frame(summary.path)

    return run


def test_score_chi_square(binary_cohort, table, gold):
    ours, reference = table(binary_cohort, "logistic"), gold(binary_cohort, "np_cc_score_cov_meanimp.tsv")
    assert list(ours.index) == list(reference.index)
    known = reference.CHISQ.notna().to_numpy()
    tested = ours.CHISQ.notna().to_numpy()
    # the reference tests whatever has a variance; we also refuse what the covariates explain
    assert not (tested & ~known).any()
    refused = ours.ERRCODE[known & ~tested]
    assert set(refused) <= {voc.CORR_TOO_HIGH}, refused
    assert tested.sum() > 0.8 * known.sum()
    ours, reference = ours[tested], reference[tested]
    allowed = 1e-3 * np.maximum(1, reference.CHISQ)
    assert (np.abs(ours.CHISQ - reference.CHISQ) <= allowed).all()
    assert (np.abs(ours.LOG10_P + np.log10(reference.P)) <= 1e-3 * np.maximum(1, reference.CHISQ)).all()
    # U, V and BETA are per copy of A1, with its sign
    spread = np.sqrt(reference.V)
    assert (np.abs(ours.U - reference.U) <= 1e-3 * spread).all()
    assert (np.abs(ours.V / reference.V - 1) <= 1e-3).all()
    assert (np.abs(ours.BETA - reference.BETA1) * spread <= 1e-3 * np.maximum(1, np.sqrt(reference.CHISQ))).all()


@pytest.mark.parametrize("model", ["allelic", "trend"])
def test_contingency_chi_square(model, binary_cohort, table, gold):
    ours, reference = table(binary_cohort, model), gold(binary_cohort, f"np_cc_{model}.tsv")
    known = reference.CHISQ.notna()
    assert (ours.CHISQ.notna() == known).all()
    np.testing.assert_allclose(ours.CHISQ[known], reference.CHISQ[known], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.P[known], reference.P[known], rtol=1e-8)
    if model == "allelic":
        np.testing.assert_array_equal(ours.A1_CASE_CT, reference.A_CASE)
        np.testing.assert_array_equal(ours.A1_CTRL_CT, reference.A_CTRL)
        np.testing.assert_array_equal(2 * ours.CASE_CT - ours.A1_CASE_CT, reference.B_CASE)
        np.testing.assert_allclose(ours.OR[known], reference.OR[known], rtol=1e-9)


@pytest.mark.parametrize("model", ["allelic", "trend"])
def test_plink19(model, binary_cohort, table, plink19):
    """plink 1.9 --model, a second independent reference: every digit it prints (four), and its counts."""
    ours, reference = table(binary_cohort, model), plink19(binary_cohort, "cc_model.model")
    reference = reference[reference.TEST.eq(model.upper())]
    assert list(ours.index) == list(reference.index)
    known = reference.CHISQ.notna() & ours.CHISQ.notna()
    assert known.sum() > 0.5 * len(ours)
    np.testing.assert_allclose(ours.CHISQ[known], reference.CHISQ[known], rtol=5.01e-4)
    np.testing.assert_allclose(ours.P[known], reference.P[known], rtol=5.01e-4)
    counts = reference.AFF.str.split("/", expand=True).astype(int)
    np.testing.assert_array_equal(ours.A1_CASE_CT, counts[0])
    np.testing.assert_array_equal(2 * ours.CASE_CT - ours.A1_CASE_CT, counts[1])
