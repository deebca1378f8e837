"""What pictures show is computed exactly: places on the genome axis, quantiles and band, λ_GC, densities, tenths."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from securegen.errors import InputError
from securegen.plot.association import compress
from securegen.plot.distribution import MARKS, density, tenths, wilson
from securegen.plot.genome import chromosome_order, genome_axis, lead_variants, thin
from securegen.plot.quantiles import qq_quantiles
from securegen.plot.run import costs, human_seconds
from securegen.plot.scores import Scores, groups_of
from securegen.stats.pvalue import chisq_1, chisq_1_inverse, student_t
from securegen.stats.qc import lambda_gc


def test_chromosomes_are_in_natural_order():
    names = ["X", "chr10", "2", "22", "1", "MT", "Y", "chrUn", "3"]
    assert sorted(names, key=chromosome_order) == ["1", "2", "3", "chr10", "22", "X", "Y", "MT", "chrUn"]


def test_cumulative_positions():
    """Three chromosomes in mixed order: each starts at its first variant, a gap after the one before."""
    axis = genome_axis(["10", "2", "2", "X", "10"], np.array([500, 1000, 3000, 7, 600]), gap=0.01)
    gap = 0.01 * (2000 + 100 + 0)
    assert axis.names == ("2", "10", "X")
    assert axis.start.tolist() == [0, 2000 + gap, 2100 + 2 * gap] and axis.stop.tolist() == [
        2000,
        2100 + gap,
        2100 + 2 * gap,
    ]
    assert axis.x.tolist() == [2000 + gap, 0, 2000, 2100 + 2 * gap, 2100 + gap]
    assert axis.index.tolist() == [1, 0, 0, 2, 1] and axis.first.tolist() == [1000, 500, 7]
    assert axis.centre.tolist() == [1000, 2050 + gap, 2100 + 2 * gap]


@given(st.lists(st.tuples(st.sampled_from(["1", "2", "11", "X", "chr3"]), st.integers(0, 10**8)), min_size=1))
def test_the_axis_keeps_order_and_distances(variants):
    chromosome, position = [c for c, _ in variants], np.array([p for _, p in variants])
    axis = genome_axis(chromosome, position)
    order = np.lexsort((position, axis.index))
    assert (np.diff(axis.x[order]) >= 0).all()
    for c in range(len(axis.names)):
        here = axis.index == c
        assert np.allclose(axis.x[here] - axis.x[here].min(), position[here] - position[here].min())


def test_empty_axis():
    axis = genome_axis([], np.empty(0, np.int64))
    assert axis.names == () and len(axis.x) == 0 and lead_variants(axis.index, axis.index, np.empty(0)) == []


def test_thinning_keeps_the_highest_of_every_column():
    rng = np.random.default_rng(1)
    x, y = rng.random(50_000), rng.exponential(size=50_000)
    kept = thin(x, y, columns=100, rows=50)
    assert len(kept) <= 100 * 50 and y.argmax() in kept
    column = ((x - x.min()) / np.ptp(x) * 99).astype(int)
    for c in range(100):
        assert y[kept][column[kept] == c].max() == y[column == c].max()


def test_leads_are_one_a_locus():
    position = np.array([1_000, 400_000, 700_000, 1_000, 5])
    index = np.array([0, 0, 0, 1, 2])
    log10p = np.array([6.0, 9.0, 5.5, 7.0, np.nan])
    assert lead_variants(index, position, log10p) == [1, 3]
    assert lead_variants(index, position, log10p, window=299_999) == [1, 3, 0, 2]
    assert lead_variants(index, position, log10p, count=1) == [1]
    assert lead_variants(index, position, log10p, threshold=1e-20) == [1]  # none: the strongest alone


def test_expected_quantiles_and_band_are_those_of_scipy():
    rng = np.random.default_rng(2)
    p = rng.random(997)
    q = qq_quantiles(np.r_[-np.log10(p), np.nan])
    rank = np.arange(997, 0, -1)
    assert q.tests == 997
    np.testing.assert_array_equal(q.observed, np.sort(-np.log10(p)))
    np.testing.assert_allclose(10**-q.expected, (rank - 0.5) / 997, rtol=1e-12)
    uniform = stats.probplot(p, dist="uniform", fit=False)[0]  # Filliben's medians: the same to half a rank
    assert np.abs(10 ** -q.expected[::-1] - uniform).max() < 0.5 / 997
    np.testing.assert_allclose(10**-q.high, stats.beta.ppf(0.025, rank, 998 - rank), rtol=1e-9)
    np.testing.assert_allclose(10**-q.low, stats.beta.ppf(0.975, rank, 998 - rank), rtol=1e-9)


def test_thinned_quantiles_are_a_part_of_all():
    log10p = -np.log10(np.random.default_rng(3).random(20_000))
    everything, few = qq_quantiles(log10p, points=20_000), qq_quantiles(log10p, points=1000)
    assert len(few.observed) <= 1000 and len(everything.observed) == 20_000
    pairs = set(zip(everything.expected, everything.observed, strict=True))
    assert set(zip(few.expected, few.observed, strict=True)) <= pairs
    np.testing.assert_array_equal(few.observed[-250:], everything.observed[-250:])


@given(st.floats(1e-3, 1e5))
def test_chi_square_comes_back_from_its_p(chisq):
    _, log10p = chisq_1(np.array([chisq]))
    assert chisq_1_inverse(log10p)[0] == pytest.approx(chisq, rel=1e-7)


def test_inflation_of_known_input():
    assert lambda_gc(-np.log10(np.linspace(0.0005, 0.9995, 1000))) == pytest.approx(1, abs=2e-3)
    chisq = np.random.default_rng(4).chisquare(1, 999) * 1.21
    assert lambda_gc(chisq_1(chisq)[1]) == pytest.approx(np.median(chisq) / stats.chi2.median(1), rel=1e-9)
    huge = np.full(11, 2500.0)  # p = 1e-545 underflows
    p, log10p = chisq_1(huge)
    assert (p == 0).all() and lambda_gc(log10p) == pytest.approx(2500 / stats.chi2.median(1), rel=1e-9)
    assert np.isfinite(lambda_gc(student_t(np.array([80.0]), np.array([1e5]))[1]))


def test_compressed_axis_is_continuous_and_monotone():
    y = np.linspace(0, 500, 5001)
    assert (np.diff(compress(y)) > 0).all() and np.abs(np.diff(compress(y))).max() <= 0.1 + 1e-9


def test_density_is_that_of_scipy():
    values = np.random.default_rng(5).normal(size=300)
    d = density(np.r_[values, np.nan])
    np.testing.assert_allclose(d.y, stats.gaussian_kde(values)(d.x))
    assert d.marks == tuple(np.percentile(values, MARKS)) and d.samples == 300
    assert np.trapezoid(d.y, d.x) == pytest.approx(1, abs=0.01)
    for flat in ([1.0], [2.0, 2.0], []):
        with pytest.raises(InputError, match="two or more scores that differ"):
            density(np.array(flat))


def test_tenths_of_known_input():
    """People 0..99 with risk i/100; the outcome is a case where i is odd or above 89."""
    i = np.arange(100)
    t = tenths(i / 100, ((i % 2 == 1) | (i > 89)).astype(float))
    assert t.binary and t.people.tolist() == [10] * 10
    np.testing.assert_allclose(t.observed, [0.5] * 9 + [1.0])
    np.testing.assert_allclose(t.predicted, i.reshape(10, 10).mean(1) / 100)
    for low, high, share in zip(t.low, t.high, t.observed, strict=True):
        interval = stats.binomtest(round(10 * share), 10).proportion_ci(method="wilson")
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_tenths_of_a_quantitative_trait_and_ties():
    p = np.repeat([0.0, 1.0, 1.0, 1.0], 25)  # ties stay together: two groups
    o = np.arange(100.0)
    o[3] = np.nan
    t = tenths(p, o)
    assert not t.binary and t.people.tolist() == [24, 75]
    group = o[(p == 1)]
    low, high = stats.t.interval(0.95, 74, group.mean(), stats.sem(group))
    assert (t.low[1], t.high[1]) == pytest.approx((low, high))
    with pytest.raises(InputError, match="do not make two groups"):
        tenths(np.ones(9), o[:9])
    with pytest.raises(InputError, match="0 people"):
        tenths(np.full(3, np.nan), np.ones(3))
    assert wilson(np.array([0.0]), np.array([10]))[0][0] == pytest.approx(0, abs=1e-12)


def test_cases_and_controls_are_split():
    total = np.array([1.0, 2.0, 3.0, 4.0])
    split = groups_of(Scores("S", total, outcome=np.array([0, 1, np.nan, 0]), outcome_name="CC"))
    assert {k: v.tolist() for k, v in split.items()} == {"controls": [1, 4], "cases": [2]}
    assert list(groups_of(Scores("S", total, outcome=np.array([1.5, 2, 3, 4])))) == ["cohort"]


def test_stages_are_in_the_order_they_run():
    c = costs({"seconds": {"total": 9, "decrypt": 1, "zeta": 2, "keygen": 3, "encrypt": 2}, "bytes": {"cohort": 10}})
    assert [s for s, _ in c.seconds] == ["keygen", "encrypt", "decrypt", "zeta"] and c.total == 9 and not c.sent
    assert costs({}).seconds == () and human_seconds(3599) == "1 h 0 min"
