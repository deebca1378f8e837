"""X, Y, MT and PAR against plink2 2.00a3.5 (tests/gold/sexes, odd_calls), to the printed digits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.errors import UsageError


def gold(cohort, name: str) -> pd.DataFrame:
    return pd.read_csv(cohort.gold / f"{name}.gz", sep="\t", dtype=str)


def equal_as_printed(here, there, what: str, slack: np.ndarray | float = 0.0) -> None:
    """Equal as six digits are. slack: what columns of 24 bits change beside."""
    ours, theirs = np.asarray(here, float), there.astype(float).to_numpy()
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs), err_msg=what)
    known = ~np.isnan(theirs)
    error = np.abs(ours - theirs) - 0.501e-5 * np.abs(theirs) - slack
    assert error[known].max() <= 0, what


def open_sexes(cohort, **options) -> sg.Study:
    told = {"pheno": cohort.pheno, "pheno_name": "QT", "covar": cohort.covar, "missing": "complete"}
    return sg.open_study(cohort.bfile, **told | options)


@pytest.mark.parametrize(
    "cohort, name, options",
    [
        ("sexes", "qt_x2", {"split_par": "b38"}), ("sexes", "qt_x1", {"split_par": "b38", "xchr_model": 1}),
        ("sexes", "nopar", {}), ("odd_calls", "qt_x2", {}), ("odd_calls", "qt_x1", {"xchr_model": 1}),
    ],
)  # fmt: skip
def test_linear_regression_of_all_chromosomes_as_plink2(cohort, name, options, reference):
    """odd_calls: heterozygous males on X and Y, heterozygotes of MT, females with calls on Y."""
    cohort = reference(cohort)
    study = open_sexes(cohort, bits=24, **options)
    frame, expected = sg.run(study).frame, gold(cohort, f"{name}.QT.glm.linear")
    for column in ("#CHROM", "ID", "A1", "ERRCODE"):
        assert frame[column].astype(str).tolist() == expected[column].tolist(), column
    assert frame["OBS_CT"].tolist() == expected["OBS_CT"].astype(int).tolist()
    equal_as_printed(frame["A1_FREQ"], expected["A1_FREQ"], "A1_FREQ")
    equal_as_printed(frame["SE"], expected["SE"], "SE")
    for column, unit in (("BETA", frame["SE"]), ("T_STAT", 1.0), ("P", frame["P"])):
        equal_as_printed(frame[column], expected[column], column, 2e-6 * unit)


@pytest.mark.parametrize("cohort, options", [("sexes", {"split_par": "b38"}), ("odd_calls", {})])
def test_quality_control_of_all_chromosomes_as_plink2(cohort, options, reference):
    cohort = reference(cohort)
    tables = sg.run(sg.open_qc(cohort.bfile, **options), qc_only=True)
    assert list(tables) == ["afreq", "vmiss", "hardy", "hardy.x"]
    for name, frame in tables.items():
        expected = gold(cohort, f"qc.{name}")
        assert list(frame) == list(expected), name
        for column in expected:
            if column.endswith(("FREQS", "FREQ", "F_MISS", ")", "P")):
                equal_as_printed(frame[column], expected[column], column)
            else:
                assert frame[column].astype(str).tolist() == expected[column].tolist(), (name, column)


@pytest.mark.parametrize("cohort, options", [("sexes", {"split_par": "b38"}), ("odd_calls", {"min_variants": 1})])
def test_scores_of_all_chromosomes_as_plink2(cohort, options, reference):
    cohort = reference(cohort)
    study = sg.scores.open(
        bfile=cohort.bfile, score=cohort.gold.parent / "score.tsv", score_col_nums=(1, 2, 3), digits=17, **options
    )
    found, expected = sg.scores.run(study).scores, gold(cohort, "prs.sscore")
    assert found["IID"].tolist() == expected["IID"].tolist()
    assert found["ALLELE_CT"].tolist() == expected["ALLELE_CT"].astype(int).tolist()
    assert found["NAMED_ALLELE_DOSAGE_SUM"].tolist() == expected["NAMED_ALLELE_DOSAGE_SUM"].astype(float).tolist()
    (name,) = study.plan.names
    total, denominator = found[f"{name}_SUM"], expected["DENOM"].astype(int)
    assert np.abs(total - expected["SCORE1_SUM"].astype(float)).max() < 5e-6
    np.testing.assert_allclose(found[f"{name}_AVG"] * denominator, total, rtol=1e-12)
    for engine in ("ckks", "mpc", "private-model") if "min_variants" not in options else ():
        with pytest.raises(UsageError, match="this model has weights on X, Y or MT, which only engine plain scores"):
            sg.scores.run(study, engine=engine)
