"""Linear regression from sums: exact rational oracles, the certain error bound, codes, and statsmodels."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from support import MemoryReader, solve_exactly

from securegen.design import column_bits
from securegen.design import fixedpoint as fp
from securegen.design.linear import linear_design
from securegen.engines.plain import sums
from securegen.stats.linear import linear

N = 160


def designed(covariates, y, *, bits=None, complete=False, analysed=None):
    names = tuple(f"C{k}" for k in range(covariates.shape[1]))
    analysed = np.ones(len(y), bool) if analysed is None else analysed
    return linear_design(analysed, covariates[analysed], names, y[analysed, None], ("QT",), bits=bits, even=complete)


def run(dosage, covariates, y, *, bits=None, complete=False, analysed=None):
    """Result columns of one trait over all variants."""
    design = designed(covariates, y, bits=bits, complete=complete, analysed=analysed)
    (block,) = sums.sums(MemoryReader(dosage), design.columns, block=len(dosage), pairs=complete)
    return linear(block, design.analyses[0].model)


def exact_statistics(g, covariates, y) -> tuple[float, float, float]:
    """β, SE and T of one variant with the given real dosages, from rational arithmetic on the doubles themselves."""
    rows = [
        [Fraction(1), *map(Fraction, c), Fraction(u), Fraction(v)]
        for c, u, v in zip(covariates.tolist(), y, g, strict=True)
    ]
    width = len(rows[0])
    gram = [[sum(r[i] * r[j] for r in rows) for j in range(width)] for i in range(width)]
    k = width - 2
    cc, cross = [row[:k] for row in gram[:k]], [[row[k], row[k + 1]] for row in gram[:k]]
    x = solve_exactly(cc, cross)
    left = lambda i, j: gram[k + i][k + j] - sum(cross[m][i] * x[m][j] for m in range(k))  # noqa: E731
    yy, gy, gg = left(0, 0), left(0, 1), left(1, 1)
    df = len(rows) - k - 1
    beta, rss = gy / gg, yy - gy * gy / gg
    se = float(rss / df / gg) ** 0.5
    return float(beta), se, float(beta) / se


def shortened(g, covariates, columns, use) -> float:
    """The share of a variant's residual by which rounding the covariates may change it, ‖δC α‖/‖ĝ‖, by least squares."""
    whole = columns[use, 1:-1] - columns[use, 1:-1].mean(0)
    real = covariates[use] - covariates[use].mean(0)
    unit = (whole * real).sum(0) / (whole * whole).sum(0)
    off = whole - real / unit
    alpha, *_ = np.linalg.lstsq(whole, g - g.mean(), rcond=None)
    return float(np.linalg.norm(off @ alpha) / np.linalg.norm(g - g.mean() - whole @ alpha))


def nasty(name: str):
    """Dosages (V, N), covariates (N, 3) and a trait."""
    rng = np.random.default_rng(sum(map(ord, name)))
    dosage = rng.binomial(2, rng.uniform(0.05, 0.6, (9, 1)), (9, N)).astype(np.int8)
    covariates = np.column_stack([rng.normal(50, 9, N), rng.integers(0, 2, N), rng.normal(0, 1, N)]).astype(float)
    noise = rng.normal(size=N)
    y = 100 + 0.1 * covariates[:, 0] + noise
    if name == "covariates explain 97 %":
        y = 100 + 5.7 / 9 * covariates[:, 0] + noise
    elif name == "rare variants":
        dosage[:] = 0
        for j in range(9):
            dosage[j, rng.permutation(N)[: 1 + j // 3]] = 1 + j % 2
        covariates[:, 1] = dosage[4] * 0.5 + rng.normal(size=N) * 0.01
    elif name == "strong hits":
        y = 3 * noise + 8 * dosage[1] + 60 * dosage[2]
    elif name == "missing calls":
        dosage[rng.random(dosage.shape) < 0.15] = -127
    elif name == "few called samples":  # fewer each time, down to two degrees of freedom
        for j in range(9):
            dosage[j, 7 + 2 * j :] = -127
            dosage[j, : 7 + 2 * j] = rng.permutation(np.arange(7 + 2 * j) % 3)
        y += 0.3 * covariates[:, 2] ** 2
    elif name == "nearly collinear covariates":
        covariates[:, 2] = covariates[:, 0] + rng.normal(size=N) * 0.05
        y = y + 30 * (covariates[:, 2] - covariates[:, 0])
    elif name == "variants explained by covariates":
        covariates[:, 2] = dosage[0] + rng.normal(size=N) * 0.12
    elif name == "an outlier":
        y[7] += 400
        covariates[3, 0] = 5000
    elif name == "tiny units":
        y, covariates = 1e-5 * y, covariates * [1e-4, 1, 1e3]
    return dosage, covariates, y


DESIGNS = (
    "plain", "covariates explain 97 %", "rare variants", "strong hits", "missing calls", "nearly collinear covariates",
    "variants explained by covariates", "an outlier", "tiny units",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "bits", "complete"),
    [(name, bits, False) for name in DESIGNS for bits in (None, 14)]
    + [("missing calls", 14, True), ("few called samples", 14, True)],
)
def test_the_certain_bound_holds_against_exact_rationals(name, bits, complete, record_property):
    dosage, covariates, y = nasty(name)
    columns = run(dosage, covariates, y, bits=bits, complete=complete)
    integers = designed(covariates, y, bits=bits, complete=complete).columns.values
    ratios = []
    for j, g in enumerate(dosage):
        if columns["ERRCODE"][j] not in (".", "VIF_TOO_HIGH"):
            continue
        called = g >= 0
        mean = Fraction(int(g[called].sum()), int(called.sum()))
        use = called if complete else np.ones(N, bool)
        beta, se, t = exact_statistics([Fraction(int(v)) if v >= 0 else mean for v in g[use]], covariates[use], y[use])
        bound, df = columns["DT_BOUND"][j], use.sum() - 5
        ratios.append(abs(columns["T_STAT"][j] - t) / bound)
        # β and SE move with the same angles: R·2φ/(1−φ) with R = SE·√df·√(1+T²/df) and φ ≤ bound/√df; and as ‖ĝ‖ does
        size = (
            1.2 * shortened(np.where(called, g, float(mean))[use], covariates, integers, use) if name in DESIGNS else 0
        )
        assert abs(columns["BETA"][j] - beta) <= 2 * se * bound / (1 - bound / df**0.5) + 2 * size * abs(beta)
        assert abs(columns["SE"][j] - se) <= se * (2 * bound / df**0.5 / (1 - bound / df**0.5) + size)
    print(f"{name}: largest |ΔT|/bound {max(ratios):.3f}")
    record_property("largest ratio", float(max(ratios)))
    assert len(ratios) >= 6 and max(ratios) <= 1


def test_the_certain_bound_is_nearly_reached_by_the_worst_trait():
    """Every phenotype lies 0.49 units from its integer, on the side of its genotype: the bound is no wider than it must be."""
    rng = np.random.default_rng(12)
    side = rng.permutation(np.repeat([-1, 1], N // 2))
    units = rng.integers(-4500, 4500, N)  # a standard deviation of 2600 lies in (½, 1] of 2^14/5
    units[0] -= units.sum() % N  # a whole mean, which residualising takes away
    y = 1e-3 * (units + 0.49 * side)
    none = np.empty((N, 0))
    first = linear_design(np.ones(N, bool), none, (), y[:, None], ("QT",), bits=14).analyses[0].model
    y *= first.unit / 1e-3  # now one integer is one unit
    columns = run((1 + side).astype(np.int8)[None], none, y, bits=14)
    _, _, t = exact_statistics([Fraction(int(1 + s)) for s in side], none, y)
    assert 0.9 < abs(columns["T_STAT"][0] - t) / columns["DT_BOUND"][0] <= 1


def test_default_precision_keeps_the_promise():
    """|ΔT| ≤ 1e-3·(1 + T²/df) as a certain bound, where covariates do not explain most of the variant."""
    for name in ("plain", "covariates explain 97 %", "strong hits", "missing calls", "tiny units"):
        dosage, covariates, y = nasty(name)
        columns = run(dosage, covariates, y)
        assert (columns["DT_BOUND"] <= 1e-3 * (1 + columns["T_STAT"] ** 2 / (N - 5))).all(), name


def test_more_bits_give_a_smaller_bound():
    dosage, covariates, y = nasty("plain")
    wide, narrow = (run(dosage, covariates, y, bits=b)["DT_BOUND"] for b in (14, 20))
    assert (narrow < wide / 30).all()  # of reading decimals it is the same


@pytest.mark.parametrize("complete", [False, True])
def test_statistics_agree_with_statsmodels(complete):
    dosage, covariates, y = nasty("missing calls")
    columns = run(dosage, covariates, y, complete=complete, bits=24)
    for j, g in enumerate(dosage):
        called = g >= 0
        if complete:
            x, target = np.column_stack([g[called], np.ones(called.sum()), covariates[called]]), y[called]
        else:
            x, target = np.column_stack([np.where(called, g, g[called].mean()), np.ones(N), covariates]), y
        fit = sm.OLS(target, x.astype(float)).fit()
        assert columns["OBS_CT"][j] == len(target)
        assert columns["A1_FREQ"][j] == g[called].sum() / (2 * called.sum())
        assert abs(columns["T_STAT"][j] - fit.tvalues[0]) <= columns["DT_BOUND"][j]
        np.testing.assert_allclose(columns["P"][j], fit.pvalues[0], rtol=2e-4)
        low, high = columns["L95"][j], columns["U95"][j]
        assert (low, high) == (
            columns["BETA"][j] - 1.959964 * columns["SE"][j],
            columns["BETA"][j] + 1.959964 * columns["SE"][j],
        )


def test_samples_that_are_not_analysed_do_not_count():
    dosage, covariates, y = nasty("missing calls")
    analysed = np.arange(N) % 3 != 1
    some = run(dosage, covariates, y, analysed=analysed)
    alone = run(dosage[:, analysed], covariates[analysed], y[analysed])
    for name in some:
        np.testing.assert_array_equal(some[name], alone[name])


def test_counting_the_other_allele_turns_the_sign():
    dosage, covariates, y = nasty("missing calls")
    a = run(dosage, covariates, y)
    b = run(np.where(dosage < 0, dosage, 2 - dosage).astype(np.int8), covariates, y)
    np.testing.assert_allclose(a["A1_FREQ"], 1 - b["A1_FREQ"], rtol=1e-14)
    # the same integers up to a shift; float64 rounding of sums of N·2^16 is all that differs
    np.testing.assert_allclose(a["BETA"], -b["BETA"], rtol=1e-9)
    np.testing.assert_allclose(a["SE"], b["SE"], rtol=1e-9)


def test_codes_of_odd_variants():
    rng = np.random.default_rng(8)
    covariates = np.column_stack([rng.normal(size=N), rng.integers(0, 3, N)]).astype(float)
    dosage = rng.binomial(2, 0.4, (9, N)).astype(np.int8)
    dosage[0] = -127
    dosage[1] = 0
    dosage[2] = 1
    dosage[3] = 2
    dosage[4] = covariates[:, 1]
    dosage[5, 5:] = -127
    dosage[6, 1:] = -127
    dosage[7] = 2 - covariates[:, 1]
    dosage[7, 0] = (dosage[7, 0] + 1) % 3
    y = rng.normal(size=N)
    code = lambda **options: run(dosage, covariates, y, **options)["ERRCODE"].tolist()  # noqa: E731
    shared = ["ALL_MISSING", "CONST_OMITTED_ALLELE", "CONST_OMITTED_ALLELE", "CONST_OMITTED_ALLELE", "CORR_TOO_HIGH"]
    assert code()[:5] == shared and code(complete=True)[:5] == shared
    assert code()[6:] == ["CONST_OMITTED_ALLELE", "VIF_TOO_HIGH", "."]
    # five called samples leave 5 − 3 − 1 = 1 degree of freedom, four leave none
    dosage[5, :5] = [0, 1, 2, 1, 0]
    assert code(complete=True)[5] == "."
    dosage[5, 4] = -127
    assert code(complete=True)[5] == "SAMPLE_CT<=PREDICTOR_CT"
    for name, values in run(dosage, covariates, y, complete=True).items():
        if name in ("BETA", "SE", "L95", "U95", "T_STAT", "P", "LOG10_P"):
            assert np.isnan(values[:6]).all() and np.isfinite(values[[7, 8]]).all(), name


def test_covariates_enter_the_product_with_y_unrounded():
    """Coarse covariates beside a fine phenotype: T errs by T times what they are off, where both rounded err by √df times."""
    dosage, covariates, y = nasty("plain")
    exact = run(dosage, covariates, y)["T_STAT"]  # to 16 bits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_bits, "COVARIATE_BITS", 5)
        design = designed(covariates, y)
    (model,) = (a.model for a in design.analyses)
    assert (model.bits, model.covariate_bits) == (16, 5)
    (block,) = sums.sums(MemoryReader(dosage), design.columns, block=len(dosage))
    found = linear(block, model)
    assert (np.abs(found["T_STAT"] - exact) <= found["DT_BOUND"]).all()
    # with the products of rounded covariates and y, which no longer are orthogonal, T is off by far more
    both = linear(block, dataclasses.replace(model, moved=tuple(v << fp.PRECISE_BITS for v in model.cty)))["T_STAT"]
    assert (np.abs(both - exact) > found["DT_BOUND"]).any()
    assert np.abs(found["T_STAT"] - exact).max() < np.abs(both - exact).max() / 4


def test_a_perfect_fit_is_said_to_be_one():
    rng = np.random.default_rng(9)
    g = rng.permutation(np.repeat([0, 1, 2], [60, 60, 40])).astype(np.int8)
    columns = run(g[None], np.empty((N, 0)), 3.0 + 0.5 * g)
    assert columns["ERRCODE"].tolist() == ["PERFECT_FIT"] and np.isnan(columns["T_STAT"]).all()
    covariates = np.column_stack([rng.normal(size=N) + 0.5 * g, rng.normal(50, 9, N)]).round(4)
    columns = run(g[None], covariates, 3.0 + 0.5 * g + 2.5 * covariates[:, 0])
    assert columns["ERRCODE"].tolist() == ["PERFECT_FIT"]
