"""statsmodels as an independent oracle of every test, on simulated cohorts without missing calls.

Tolerances: integer tests agree to rounding of float64. The others differ by what quantisation allows, which the program
bounds itself (DT_BOUND, DCHISQ_BOUND): asserted on every variant.
"""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.contingency_tables import Table, Table2x2

import securegen as sg
from securegen.engines.plain import sums
from securegen.results.block_columns import result_columns
from securegen.study.opening import open_study

N, M = 240, 25


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """(dosages (M, N), covariates (N, 2), cases (N,), trait (N,), model -> result columns)."""
    rng = np.random.default_rng(20)
    dosage = rng.binomial(2, rng.uniform(0.1, 0.9, M)[:, None], (M, N))
    age, sex = np.round(rng.normal(50, 12, N), 1), rng.integers(1, 3, N)
    eta = 0.03 * (age - 50) + 0.6 * (sex - 1.5) + 0.8 * (dosage[0] - dosage[0].mean()) - 0.4
    cases = (rng.random(N) < 1 / (1 + np.exp(-eta))).astype(int)
    trait = np.round(100 + 0.4 * age - 3 * sex + 4 * dosage[1] + rng.normal(0, 6, N), 3)
    folder = tmp_path_factory.mktemp("simulated")
    rows = [f"P{i}\t{1 + cases[i]}\t{trait[i]}\t{age[i]}\t{sex[i]}" for i in range(N)]
    (folder / "p.tsv").write_text("#IID\tCC\tQT\tAGE\tSEX\n" + "\n".join(rows) + "\n")
    variants = {"chromosome": ["1"] * M, "position": range(M), "id": [f"v{j}" for j in range(M)],
                "effect_allele": ["A"] * M, "other_allele": ["C"] * M}  # fmt: skip
    reader = sg.from_arrays(dosage, [f"P{i}" for i in range(N)], variants=variants)

    def columns(phenotype: str, model: str) -> dict[str, np.ndarray]:
        table = str(folder / "p.tsv")
        study = open_study(
            reader, pheno=table, pheno_name=(phenotype,), covar=table, covar_name=("AGE", "SEX"), model=model
        )
        (block,) = sums.sums(reader, study.design.columns)
        return result_columns(study.design.analyses[0], block)

    return dosage, np.column_stack([age, sex]), cases, trait, columns


def test_score_test(simulated):
    dosage, covariates, cases, _, columns = simulated
    ours = columns("CC", "logistic")
    null = sm.GLM(cases, sm.add_constant(covariates), family=sm.families.Binomial()).fit(tol=1e-14, maxiter=100)
    for j in range(M):
        result = null.score_test(exog_extra=dosage[j].astype(float)[:, None])
        chisq, p = (float(np.squeeze(v)) for v in result[:2])
        bound = ours["DCHISQ_BOUND"][j]
        assert abs(ours["CHISQ"][j] - chisq) <= bound
        # −d log10 p/dχ² falls from ∞ at 0 to 1/(2 ln 10); it is below 1 from χ² = 0.2
        assert chisq < 0.2 or abs(ours["LOG10_P"][j] + np.log10(p)) <= bound
    assert ours["CHISQ"].max() > 8 and ours["DCHISQ_BOUND"].max() < 1e-2


def test_linear_regression(simulated):
    dosage, covariates, _, trait, columns = simulated
    ours = columns("QT", "linear")
    for j in range(M):
        fit = sm.OLS(trait, sm.add_constant(np.column_stack([covariates, dosage[j]]))).fit()
        bound = ours["DT_BOUND"][j]
        assert abs(ours["T_STAT"][j] - fit.tvalues[-1]) <= bound
        assert abs(ours["LOG10_P"][j] + np.log10(fit.pvalues[-1])) <= bound * (1 + abs(fit.tvalues[-1]))
        # β = T·SE, and SE moves with T: relative error of SE below the bound too
        assert abs(ours["BETA"][j] / ours["SE"][j] - fit.params[-1] / fit.bse[-1]) <= bound
        assert abs(ours["SE"][j] / fit.bse[-1] - 1) <= bound
    assert np.abs(ours["T_STAT"]).max() > 4 and ours["DT_BOUND"].max() < 3e-3


def test_trend(simulated):
    """statsmodels' linear-by-linear association has the permutation variance, n/(n−1) times Armitage's."""
    dosage, _, cases, _, columns = simulated
    ours = columns("CC", "trend")
    for j in range(M):
        counts = np.array([[((dosage[j] == g) & (cases == c)).sum() for g in range(3)] for c in range(2)])
        kept = counts.sum(0) > 0
        result = Table(counts[:, kept], shift_zeros=False).test_ordinal_association(
            row_scores=np.arange(2), col_scores=np.arange(3)[kept]
        )
        np.testing.assert_allclose(ours["CHISQ"][j], result.zscore**2 * N / (N - 1), rtol=1e-9)


def test_allelic(simulated):
    dosage, _, cases, _, columns = simulated
    ours = columns("CC", "allelic")
    for j in range(M):
        alleles = [dosage[j][cases == 1].sum(), dosage[j][cases == 0].sum()]
        totals = [2 * cases.sum(), 2 * (N - cases.sum())]
        table = Table2x2(np.array([[a, t - a] for a, t in zip(alleles, totals, strict=True)]), shift_zeros=False)
        result = table.test_nominal_association()
        np.testing.assert_allclose(ours["CHISQ"][j], result.statistic, rtol=1e-9)
        np.testing.assert_allclose(ours["P"][j], result.pvalue, rtol=1e-8)
        np.testing.assert_allclose(ours["OR"][j], table.oddsratio, rtol=1e-12)
        # Z95 has seven digits
        np.testing.assert_allclose([ours["L95"][j], ours["U95"][j]], table.oddsratio_confint(), rtol=1e-6)
