"""Real and simulated cohorts against float64 references and plink2, and the encrypted engine against the plain one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.engines.ckks.owner import decrypt
from securegen.engines.ckks.owner.design_secrets import read_secrets
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.plain import sums
from securegen.engines.plain.engine import write_plain
from securegen.results.block_columns import result_columns

COHORTS = ("edge", "hail_1kg", "regenie_example", "fastlmm_toydata", "cineca", "sim_500x5k")
STATISTICS = ("BETA", "SE", "L95", "U95", "T_STAT", "P", "LOG10_P")


def open_qt(cohort, **options) -> sg.Study:
    return sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), covar=cohort.covar, **options)


def all_columns(study: sg.Study) -> dict[str, np.ndarray]:
    """Result columns of the plain engine with DT_BOUND, over all variants."""
    (analysis,) = study.design.analyses
    if study.inputs.missing == "complete":
        (own,), blocks = sums.complete_case_strata(study.reader, study.strata, analysis.test, analysis.phenotype)
        (analysis,) = own.design.analyses
    else:
        blocks = sums.sums(study.reader, study.design.columns)
    parts = [result_columns(analysis, block) for block in blocks]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def gold(cohort, name: str) -> pd.DataFrame:
    return pd.read_csv(cohort.gold / f"{name}.tsv.gz", sep="\t", dtype={"ID": str, "A1": str})


def check_against(
    reference: pd.DataFrame, columns: dict[str, np.ndarray], covariates: int, what: str, slack=None
) -> float:
    """T, BETA and SE within the certain bound of each variant; returns the largest |ΔT| over its bound.

    slack: for each reference column its own relative rounding. BETA and SE move with the same angles as T:
    at most 2·SE·bound/(1 − bound/√df) and that over √df.
    """
    slack = slack or {"BETA": 1e-11, "SE": 1e-11, "T": 1e-11}
    here, there = columns["BETA"], reference["BETA"].to_numpy(float)
    known = ~np.isnan(there)
    assert (~np.isnan(here))[known].all(), f"{what}: a statistic of the reference is missing"
    df = columns["OBS_CT"][known] - covariates - 2
    bound = columns["DT_BOUND"][known]
    t, se = reference["T"].to_numpy(float)[known], reference["SE"].to_numpy(float)[known]
    error = np.abs(columns["T_STAT"][known] - t) - slack["T"] * np.abs(t)
    assert (error <= bound).all(), f"{what}: largest |ΔT|/bound {np.max(error / bound)}"
    angle = 2 * se * bound / (1 - bound / np.sqrt(df))
    assert (np.abs(here - there)[known] <= angle + slack["BETA"] * np.abs(there[known])).all(), what
    assert (np.abs(columns["SE"][known] - se) <= angle / np.sqrt(df) + slack["SE"] * se).all(), what
    return float(np.max(error / bound))


@pytest.mark.parametrize("name", COHORTS)
def test_mean_imputation_agrees_with_the_float64_reference(name, reference, record_property):
    cohort = reference(name)
    study = open_qt(cohort)
    columns, expected = all_columns(study), gold(cohort, "np_qt_linear_cov_meanimp")
    assert study.reader.variants.id.tolist() == expected["ID"].tolist()
    assert study.reader.variants.effect_allele.tolist() == expected["A1"].tolist()
    model = study.design.analyses[0].model
    ratio = check_against(expected, columns, len(model.covariates), name)
    print(f"{name}: largest |ΔT| / certain bound = {ratio:.3f}")
    record_property("largest ratio", float(ratio))
    known = ~np.isnan(expected["T"].to_numpy())
    assert known.sum() >= 11
    t = expected["T"].to_numpy()[known]
    df = model.samples - len(model.covariates) - 2
    assert (np.abs(columns["T_STAT"][known] - t) <= 1e-3 * (1 + t * t / df)).all()
    # p moves with T: |Δ ln p| ≤ |ΔT|·(|T| + 2) for every df (the hazard of a Student tail stays below |T| + 2)
    p, q = columns["P"][known], expected["P"].to_numpy()[known]
    assert (np.abs(np.log(p / q)) <= (np.abs(t) + 2) * columns["DT_BOUND"][known] + 1e-9).all()


@pytest.mark.parametrize("name", COHORTS)
def test_complete_cases_agree_with_the_float64_reference_and_plink2(name, reference):
    cohort = reference(name)
    study = open_qt(cohort, missing="complete")
    covariates = len(study.design.analyses[0].model.covariates)
    columns, expected = all_columns(study), gold(cohort, "np_qt_linear_cov")
    check_against(expected, columns, covariates, name)
    assert columns["OBS_CT"].tolist() == expected["N"].tolist()
    plink = pd.read_csv(cohort.gold / "qt_linear_cov.QT.glm.linear.gz", sep="\t", dtype={"ID": str, "A1": str})
    assert plink["ID"].tolist() == expected["ID"].tolist()
    six = 0.5e-5  # six significant digits
    check_against(
        plink.rename(columns={"T_STAT": "T"}),
        columns,
        covariates,
        f"{name}, plink2",
        dict.fromkeys(("BETA", "SE", "T"), six),
    )
    np.testing.assert_array_equal(columns["OBS_CT"], plink["OBS_CT"])
    np.testing.assert_allclose(columns["A1_FREQ"], plink["A1_FREQ"].astype(float), rtol=six)
    tested = columns["ERRCODE"] == "."
    assert (tested == (plink["ERRCODE"] == ".")).all()
    same_word = plink["ERRCODE"][plink["ERRCODE"].isin(["CONST_OMITTED_ALLELE", "CORR_TOO_HIGH"])]
    assert columns["ERRCODE"][same_word.index].tolist() == same_word.tolist()


@pytest.mark.parametrize("name", ("hail_1kg", "regenie_example", "sim_500x5k"))
def test_without_covariates(name, reference):
    cohort = reference(name)
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), missing="complete")
    check_against(gold(cohort, "np_qt_linear_nocov"), all_columns(study), 0, name)


@pytest.mark.parametrize("name", [c for c in COHORTS if c != "sim_500x5k"])
def test_encrypted_sums_and_tables_equal_the_plain_ones(name, reference, tmp_path):
    """The sixth cohort goes through the command line, in tests/cli/test_run_local.py."""
    study = open_qt(reference(name))
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, tmp_path / "study")
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")

    state = OwnerState(made.owner, key)
    info, secrets = read_info(state), read_secrets(state)
    ours = list(decrypt.decrypt(results, state, info, secrets))
    theirs = list(sums.sums(study.reader, study.design.columns))
    assert [b.start for b in ours] == np.cumsum([0, *(len(b) for b in ours[:-1])]).tolist()
    for stream in ("g", "m", "q"):
        found, expected = (np.concatenate([getattr(b, stream) for b in blocks]) for blocks in (ours, theirs))
        np.testing.assert_array_equal(found, expected)
    assert len(found) == len(study.reader.variants)

    (encrypted,) = sg.ckks.decrypt_tables(results, key, made.owner, str(tmp_path / "ckks"))
    (clear,) = write_plain(study, str(tmp_path / "plain"))
    assert encrypted.path.endswith("ckks.QT.glm.linear")
    assert Path(encrypted.path).read_bytes() == Path(clear.path).read_bytes()


def test_odd_variants_get_the_documented_codes(reference):
    cohort = reference("edge")
    expected = {
        "normal": ".", "mono_a1": "CONST_OMITTED_ALLELE", "mono_a2": "CONST_OMITTED_ALLELE",
        "all_het": "CONST_OMITTED_ALLELE", "all_missing": "ALL_MISSING", "singleton": ".", "doubleton": ".", "miss20": ".",
        "miss90": ".", "dup_of_normal": ".", "flipped_normal": ".", "separating": ".", "perfect": ".",
        "missing_in_cases": ".", "hwe_extreme": ".", "collinear_with_cov": "CORR_TOO_HIGH",
    }  # fmt: skip
    for missing in ("mean", "complete"):
        study = open_qt(cohort, missing=missing)
        columns = all_columns(study)
        assert dict(zip(study.reader.variants.id, columns["ERRCODE"], strict=True)) == expected
        absent = columns["ERRCODE"] != "."
        for name in STATISTICS:
            np.testing.assert_array_equal(np.isnan(columns[name]), absent, err_msg=name)
        where = {v: j for j, v in enumerate(study.reader.variants.id)}
        normal, twin, flipped = (where[v] for v in ("normal", "dup_of_normal", "flipped_normal"))
        assert columns["T_STAT"][normal] == columns["T_STAT"][twin]
        np.testing.assert_allclose(columns["T_STAT"][flipped], -columns["T_STAT"][normal], rtol=1e-10)
        assert np.isnan(columns["A1_FREQ"][where["all_missing"]])


def test_counts_and_frequencies_are_over_analysed_samples(reference):
    """With `mean`, OBS_CT is every analysed sample and A1_FREQ still over the called ones."""
    cohort = reference("sim_500x5k")
    study = open_qt(cohort)
    columns = all_columns(study)
    plink = pd.read_csv(cohort.gold / "qt_linear_cov.QT.glm.linear.gz", sep="\t")
    assert set(columns["OBS_CT"]) == {496}
    np.testing.assert_allclose(columns["A1_FREQ"], plink["A1_FREQ"], rtol=0.5e-5)


def regenie(cohort, name: str) -> pd.DataFrame:
    path = cohort.gold.with_name("gold_regenie") / f"{name}.regenie.gz"
    return pd.read_csv(path, sep=" ", dtype={"ID": str}).set_index("ID")


def test_a_quantitative_trait_as_regenie_has_it(reference):
    """Its χ² has the variance of the null model, (df + 1)·r² where T² = df·r²/(1 − r²); six digits are printed."""
    cohort = reference("sim_500x5k")
    study = open_qt(cohort)
    columns, expected = all_columns(study), regenie(cohort, "qt_nopred_QT")
    assert study.reader.variants.id.tolist() == expected.index.tolist() and (columns["ERRCODE"] == ".").all()
    model = study.design.analyses[0].model
    df = model.samples - len(model.covariates) - 2
    t, bound = columns["T_STAT"], columns["DT_BOUND"]
    chisq = (df + 1) * t**2 / (df + t**2)
    # |d χ²/dT| = 2 (df + 1) df |T| / (df + T²)² is below 2 (|T| + bound) (df + 1) / df between T and its bound
    allowed = 2 * (np.abs(t) + bound) * bound * (df + 1) / df
    six = 0.5e-5
    assert (np.abs(chisq - expected["CHISQ"]) <= allowed + six * expected["CHISQ"]).all()
    np.testing.assert_allclose(columns["BETA"], expected["BETA"], rtol=1e-4, atol=(2 * columns["SE"] * bound).max())
    np.testing.assert_array_equal(expected["ALLELE1"], study.reader.variants.effect_allele)


def test_a_conditional_analysis_as_regenie_has_it(reference):
    """Within what six printed digits and the bound of T leave; the conditioning variants are collinear with themselves."""
    cohort = reference("sim_500x5k")
    expected = regenie(cohort, "qt_condition_QT")
    study = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar,
        condition_list=cohort.gold.parent / "gold_regenie" / "cond.txt",
    )  # fmt: skip
    columns = all_columns(study)
    model = study.design.analyses[0].model
    df = model.samples - len(model.covariates) - 2
    t, bound = columns["T_STAT"], columns["DT_BOUND"]
    both = np.isfinite(t)
    ids = study.reader.variants.id[both]
    chisq, t, bound = ((df + 1) * t**2 / (df + t**2))[both], t[both], bound[both]
    rows = expected.reindex(ids)
    assert len(ids) > 1350 and rows["CHISQ"].notna().mean() > 0.99
    allowed = 2 * (np.abs(t) + bound) * bound * (df + 1) / df + 0.5e-5 * rows["CHISQ"]
    known = rows["CHISQ"].notna().to_numpy()
    assert (np.abs(chisq - rows["CHISQ"])[known] <= allowed[known]).all()


def test_a_binary_trait_as_regenie_has_it(reference):
    cohort = reference("sim_500x5k")
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=("CC",), covar=cohort.covar)
    columns, expected = all_columns(study), regenie(cohort, "cc_nopred_CC")
    assert study.reader.variants.id.tolist() == expected.index.tolist() and (columns["ERRCODE"] != "ALL_MISSING").all()
    error = np.abs(columns["CHISQ"] - expected["CHISQ"])
    assert (error <= columns["DCHISQ_BOUND"] + 0.5e-5 * expected["CHISQ"]).all()
