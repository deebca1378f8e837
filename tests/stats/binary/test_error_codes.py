"""Variants that cannot be tested: every number is finite or the row has a named code, in every test."""

from __future__ import annotations

import numpy as np
import pytest

import securegen as sg
from securegen import vocabulary as voc
from securegen.catalogue import TESTS
from securegen.engines.plain.engine import write_plain
from securegen.study.opening import open_study

N = 120
CASES = np.r_[np.ones(50), np.zeros(70)]
STATISTICS = {
    "logistic": ["U", "V", "BETA", "SE", "CHISQ", "Z_STAT", "P", "LOG10_P", "WALD_LIKE_Z"],
    "trend": ["CHISQ", "P", "LOG10_P"],
    "allelic": ["CHISQ", "P", "LOG10_P"],
}


def awkward_variants() -> dict[str, np.ndarray]:
    """Name -> (N,) dosages, NaN where missing."""
    rng = np.random.default_rng(11)
    normal = rng.binomial(2, 0.3, N).astype(float)
    one = np.zeros(N)
    one[3] = 1
    half = normal.copy()
    half[CASES == 1] = np.nan
    few = np.full(N, np.nan)
    few[[3, 80]] = [1, 0]
    return {
        "normal": normal,
        "one_carrier": one,
        "one_control_carrier": one[::-1].copy(),
        "perfect": 2 * CASES,
        "perfect_reversed": 2 * (1 - CASES),
        "never": np.zeros(N),
        "always": np.full(N, 2.0),
        "all_heterozygous": np.ones(N),
        "all_missing": np.full(N, np.nan),
        "missing_in_cases": half,
        "two_called": few,
        "covariate_again": (np.arange(N) % 3).astype(float),
    }


@pytest.fixture
def study(tmp_path):
    """model -> study of the awkward variants, the covariate being one of them."""
    rows = awkward_variants()
    ids = [f"P{i}" for i in range(N)]
    lines = [f"{p}\t{int(c)}\t{i % 3}" for i, (p, c) in enumerate(zip(ids, CASES, strict=True))]
    (tmp_path / "p.tsv").write_text("#IID\tCC\tDOSE\n" + "\n".join(lines) + "\n")
    count = len(rows)
    variants = {"chromosome": ["1"] * count, "position": range(1, count + 1), "id": list(rows),
                "effect_allele": ["A"] * count, "other_allele": ["C"] * count}  # fmt: skip
    reader = sg.from_arrays(np.array(list(rows.values())), ids, variants=variants)

    def make(model: str):
        table = str(tmp_path / "p.tsv")
        return open_study(reader, pheno=table, pheno_name=("CC",), covar=table, covar_name=("DOSE",), model=model)

    return make


EXPECTED = {
    "logistic": {
        "normal": voc.OK, "one_carrier": voc.LOW_MAC, "one_control_carrier": voc.LOW_MAC, "perfect": voc.OK,
        "perfect_reversed": voc.OK, "never": voc.CONST_OMITTED_ALLELE, "always": voc.CONST_OMITTED_ALLELE,
        "all_heterozygous": voc.CONST_OMITTED_ALLELE, "all_missing": voc.ALL_MISSING, "missing_in_cases": voc.OK,
        "two_called": voc.OK, "covariate_again": voc.CORR_TOO_HIGH,
    },
    "trend": {
        "normal": voc.OK, "one_carrier": voc.OK, "one_control_carrier": voc.OK, "perfect": voc.OK,
        "perfect_reversed": voc.OK, "never": voc.CONST_OMITTED_ALLELE, "always": voc.CONST_OMITTED_ALLELE,
        "all_heterozygous": voc.CONST_OMITTED_ALLELE, "all_missing": voc.ALL_MISSING,
        "missing_in_cases": voc.ZERO_CELL, "two_called": voc.OK, "covariate_again": voc.OK,
    },
    "allelic": {
        "normal": voc.OK, "one_carrier": voc.ZERO_CELL, "one_control_carrier": voc.ZERO_CELL, "perfect": voc.ZERO_CELL,
        "perfect_reversed": voc.ZERO_CELL, "never": voc.CONST_OMITTED_ALLELE, "always": voc.CONST_OMITTED_ALLELE,
        "all_heterozygous": voc.OK, "all_missing": voc.ALL_MISSING, "missing_in_cases": voc.ZERO_CELL,
        "two_called": voc.ZERO_CELL, "covariate_again": voc.OK,
    },
}  # fmt: skip
TESTED = {voc.OK, voc.LOW_MAC, voc.VIF_TOO_HIGH}


@pytest.mark.parametrize("model", ["logistic", "trend", "allelic"])
def test_codes_and_finite_numbers(model, study, same_as_plain, frame):
    plain = same_as_plain(study(model))
    table = frame(f"{plain}.CC.{TESTS[model].suffix}")
    assert table.ERRCODE.to_dict() == EXPECTED[model]
    for variant, row in table.iterrows():
        numbers = row[STATISTICS[model]].astype(float)
        if row.ERRCODE in TESTED or (
            row.ERRCODE == voc.ZERO_CELL and model == "allelic" and variant != "missing_in_cases"
        ):
            assert np.isfinite(numbers).all(), variant
        else:
            assert numbers.isna().all(), variant


def test_perfect_separation_is_finite(study, tmp_path, frame):
    """Wald's test has no finite answer here; the score test has: χ² close to N, WALD_LIKE_Z below z."""
    (summary,) = write_plain(study("logistic"), str(tmp_path / "t"))
    row = frame(summary.path).loc["perfect"]
    assert 0.9 * N < row.CHISQ <= N * 1.02 and row.WALD_LIKE_Z < row.Z_STAT
    assert row.LOG10_P > 20


def test_zero_cell_has_an_odds_ratio_and_no_interval(study, tmp_path, frame):
    (summary,) = write_plain(study("allelic"), str(tmp_path / "t"))
    table = frame(summary.path)
    assert table.OR["perfect"] == np.inf and table.OR["perfect_reversed"] == 0
    assert table.loc[["perfect", "perfect_reversed", "one_carrier"], ["L95", "U95"]].isna().all(axis=None)
    assert table.loc["normal", ["OR", "L95", "U95"]].notna().all()


def test_low_mac_counts_expected_alleles_of_the_minor_allele(tmp_path, frame):
    """LOW_MAC below ten expected minor alleles in cases, whichever allele is A1; MAC_CASE counts the observed ones."""
    n, cases = 200, 40
    rows = np.zeros((4, n))
    rows[0, 40:90] = 1  # 50 alleles, expected in cases: 10
    rows[1, 40:89] = 1  # 49
    rows[2:] = 2 - rows[:2]
    variants = {"chromosome": ["1"] * 4, "position": range(4), "id": ["ten", "nine", "ten_major", "nine_major"],
                "effect_allele": ["A"] * 4, "other_allele": ["C"] * 4}  # fmt: skip
    ids = [f"P{i}" for i in range(n)]
    (tmp_path / "p.tsv").write_text("#IID CC\n" + "\n".join(f"{p} {1 + (i < cases)}" for i, p in enumerate(ids)) + "\n")
    study = open_study(sg.from_arrays(rows, ids, variants=variants), pheno=str(tmp_path / "p.tsv"))
    (summary,) = write_plain(study, str(tmp_path / "t"))
    table = frame(summary.path)
    assert list(table.ERRCODE) == [voc.OK, voc.LOW_MAC] * 2
    assert list(table.MAC_CASE) == [0, 0, 0, 0]
    np.testing.assert_allclose(table.CHISQ["nine"], table.CHISQ["nine_major"], rtol=1e-9)
    assert table.CHISQ.notna().all() and (table.BETA["nine"] < 0 < table.BETA["nine_major"])


def test_collinear_variants_of_the_edge_cohort(open_cohort, tmp_path, frame):
    (summary,) = write_plain(open_cohort("edge"), str(tmp_path / "t"))
    codes = frame(summary.path).ERRCODE
    assert codes["mono_a1"] == codes["mono_a2"] == codes["all_het"] == voc.CONST_OMITTED_ALLELE
    assert codes["all_missing"] == voc.ALL_MISSING and codes["singleton"] == voc.LOW_MAC
    assert set(summary.codes) == set(codes)
