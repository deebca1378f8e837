"""Meta-analysis against plink 1.9, statsmodels and the formulas of textbooks. statsmodels lets τ² be negative."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD
from scipy import stats

import securegen as sg
from securegen.stats.meta import Studies, controlled, inflation, meta_analysis

META = GOLD / "meta"
TABLES = [META / f"{name}.tsv" for name in "abc"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> pd.DataFrame:
    return sg.meta(TABLES, tmp_path_factory.mktemp("meta") / "m").frame.set_index("ID")


def test_numbers_are_plinks(ours):
    """plink prints four digits; its I is per cent, its Q the P of Cochran's."""
    theirs = pd.read_csv(META / "plink19.meta.gz", sep=r"\s+").set_index("SNP").loc[ours.index]
    turned = np.where(theirs["A1"] == ours["A1"], 1, -1)
    np.testing.assert_array_equal(ours["STUDY_CT"], theirs["N"])
    pairs = {
        "BETA": turned * theirs["BETA"], "BETA_RANDOM": turned * theirs["BETA(R)"], "P": theirs["P"], "P_Q": theirs["Q"],
        "Z_STOUFFER": turned * theirs["WEIGHTED_Z"],
    }  # fmt: skip
    for name, wanted in pairs.items():
        np.testing.assert_allclose(ours[name], wanted, rtol=6e-4, atol=6e-5, err_msg=name)
    np.testing.assert_allclose(10 ** -ours["LOG10_P_RANDOM"], theirs["P(R)"], rtol=6e-4)
    np.testing.assert_allclose(10 ** -ours["LOG10_P_STOUFFER"], theirs["P(WZ)"], rtol=6e-4)
    np.testing.assert_allclose(100 * ours["I2"], theirs["I"], atol=6e-3)
    assert (turned == -1).any() and (ours["STUDY_CT"] == 1).any() and (ours["I2"] > 0.5).any()


def test_numbers_are_those_of_statsmodels():
    combine = pytest.importorskip("statsmodels.stats.meta_analysis").combine_effects
    rng = np.random.default_rng(2)
    beta, se = rng.normal(0, 1, (5, 20)), rng.uniform(0.05, 0.2, (5, 20))
    columns = meta_analysis(Studies(beta, se, beta * 0 + 1.0, beta * 0 + 100, beta * 0 + 0.5))
    for j in range(20):
        found = combine(beta[:, j], se[:, j] ** 2, method_re="chi2")
        ours = {name: values[j] for name, values in columns.items() if values.dtype != object}
        assert ours["BETA"] == pytest.approx(found.mean_effect_fe) and ours["SE"] == pytest.approx(found.sd_eff_w_fe)
        assert ours["BETA_RANDOM"] == pytest.approx(found.mean_effect_re)
        assert ours["SE_RANDOM"] == pytest.approx(found.sd_eff_w_re)
        assert ours["Q"] == pytest.approx(found.q) and ours["TAU2"] == pytest.approx(found.tau2)
        assert ours["P_Q"] == pytest.approx(stats.chi2.sf(found.q, 4))
        assert ours["I2"] == pytest.approx(found.i2)


def test_ps_are_right_where_they_underflow():
    """Two studies of z = 40: fixed z = 40√2."""
    one = np.ones((2, 1))
    log10p = -(stats.norm.logsf(40) + np.log(2)) / np.log(10)
    columns = meta_analysis(Studies(one, one / 40, one * log10p, one * 500, one * 0.3))
    exact = -(stats.norm.logsf(40 * 2**0.5) + np.log(2)) / np.log(10)
    assert columns["LOG10_P"][0] == pytest.approx(exact, rel=1e-12) and exact > 600
    assert columns["LOG10_P_STOUFFER"][0] == pytest.approx(exact, rel=1e-6)


def test_genomic_control_is_of_each_study_above_1():
    rng = np.random.default_rng(4)
    beta, se = rng.normal(size=(2, 5001)) * np.array([[1.3], [0.8]]), np.ones((2, 5001))
    log10p = -np.log10(stats.chi2.sf(beta**2, 1))
    factors = np.array([inflation(b, s) for b, s in zip(beta, se, strict=True)])
    assert (
        factors[0] == pytest.approx(np.median(beta[0] ** 2) / stats.chi2.isf(0.5, 1))
        and factors[0] > 1.4 > 1 > factors[1]
    )
    after = controlled(Studies(beta, se, log10p, se * 10, se), factors)
    assert inflation(after.beta[0], after.se[0]) == pytest.approx(1) and (after.se[1] == 1).all()
    np.testing.assert_allclose(10 ** -after.log10p[0], stats.chi2.sf((beta[0] / after.se[0]) ** 2, 1), rtol=1e-9)


def test_equal_effects_are_not_heterogeneous():
    one = np.ones((2, 1))
    for beta in (0.0, 0.25):
        columns = meta_analysis(Studies(beta * one, one, one, one * 500, one * 0.3))
        assert columns["Q"][0] == columns["I2"][0] == columns["TAU2"][0] == 0 and columns["P_Q"][0] == 1


@pytest.mark.parametrize("power", [-1000, -530, 0, 510, 1000])
def test_the_unit_of_effects_does_not_matter(power):
    """Weights 1/SE² of far units are no longer float64, or have lost their digits."""
    beta, se, one = np.array([[0.2], [0.5], [-0.4]]), np.array([[0.1], [0.12], [0.2]]), np.ones((3, 1))
    near = meta_analysis(Studies(beta, se, one, one * 500, one * 0.3))
    far = meta_analysis(Studies(np.ldexp(beta, power), np.ldexp(se, power), one, one * 500, one * 0.3))
    for name in ("BETA", "SE", "BETA_RANDOM", "SE_RANDOM"):
        assert far[name][0] == np.ldexp(near[name][0], power)
    assert near["TAU2"][0] > 0.05 and all(
        far[n][0] == near[n][0] for n in ("Z_STAT", "LOG10_P", "LOG10_P_RANDOM", "Q", "I2")
    )


@pytest.mark.parametrize("wide", [1e2, 1e6, 1e9])
def test_a_study_that_hardly_weighs_takes_no_digits(wide):
    """A logistic model that nearly separates has such an error. (Σw)² − Σw² lost its digits, and then all of them."""
    beta, se = [0.1, -0.05, 4 * wide], [0.01, 2 * wide, wide]
    one = np.ones((3, 1))
    found = meta_analysis(Studies(np.c_[beta], np.c_[se], one, one * 500, one * 0.3))
    b, w = [Fraction(x) for x in beta], [1 / Fraction(x) ** 2 for x in se]
    total = sum(w)
    fixed = sum(x * y for x, y in zip(w, b, strict=True)) / total
    q = sum(x * (y - fixed) ** 2 for x, y in zip(w, b, strict=True))
    tau2 = (q - 2) / (total - sum(x * x for x in w) / total)
    both = [1 / (Fraction(x) ** 2 + tau2) for x in se]
    assert found["TAU2"][0] == pytest.approx(float(tau2), rel=1e-13) and tau2 > 0
    expected = float(sum(x * y for x, y in zip(both, b, strict=True)) / sum(both))
    assert found["BETA_RANDOM"][0] == pytest.approx(expected, rel=1e-12)
