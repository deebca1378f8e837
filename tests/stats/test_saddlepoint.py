"""Saddlepoint tails against exact probabilities: of binomial sums, far out, at ten carriers, and as sizes of a test."""

from __future__ import annotations

import math
from dataclasses import replace

import mpmath
import numpy as np
import pytest
from scipy import special, stats

from securegen.design.null_people import NullPeople
from securegen.kernels.rounded_terms import score_terms
from securegen.stats.corrected import NullFit, Start, Variant, fewest_carriers
from securegen.stats.few_carriers import log_tails
from securegen.stats.saddlepoint import POINTS, Tail, Tails, log_tail, saddlepoint


def fit_of(samples: int, cases: np.ndarray, mean: float | None = None) -> NullFit:
    """A null model of an intercept alone. cases: indices of people."""
    y = np.zeros(samples, bool)
    y[cases] = True
    mu = np.full(samples, y.mean() if mean is None else mean)
    return NullFit(NullPeople(np.arange(samples), y, np.full((samples, 1), 1 << 30, np.int64), mu))


def variant_of(fit: NullFit, g: np.ndarray, missing: np.ndarray | None = None, *, fast: bool = False) -> Variant:
    """A variant of people with an intercept alone."""
    mean = float(g[slice(None) if missing is None else ~missing].mean())
    copies = g if missing is None else np.where(missing, mean, g)
    level = float((fit.weight * copies).sum() / fit.weight.sum())
    (few,) = fewest_carriers(np.array([mean]), 2, len(g), float(fit.weight.sum()))
    return fit.variant(g, missing, 2, mean, np.array([level]), fast=fast, fewest=few)


def carriers_first(fit: NullFit, carriers: int) -> Variant:
    """The variant that the first people carry once."""
    g = np.zeros(len(fit.mean))
    g[:carriers] = 1
    return variant_of(fit, g)


def cases_of(carriers: int, among: int, others: int) -> np.ndarray:
    """Indices of cases: so many of the carriers, who come first, and of the others."""
    return np.concatenate([np.arange(among), carriers + np.arange(others)])


def exact_log10p(samples: int, carriers: int, mean: float, u: float) -> float:
    """−log10 of the mid-p of |U| by the joint distribution of cases among carriers and others, two binomials."""
    share = carriers / samples
    x = np.arange(carriers + 1)[:, None]
    y = np.arange(int(stats.binom.isf(1e-300, samples - carriers, mean)) + 2)[None]
    far = np.abs((x - carriers * mean) * (1 - share) - (y - (samples - carriers) * mean) * share)
    log_p = stats.binom.logpmf(x, carriers, mean) + stats.binom.logpmf(y, samples - carriers, mean)
    reached, passed = (special.logsumexp(log_p[far >= abs(u) + d]) for d in (-1e-9, 1e-9))
    return float(np.log(2) - np.logaddexp(reached, passed)) / np.log(10)


@pytest.mark.parametrize("among", [330, 400, 560, 700, 840, 900])
def test_a_tail_is_right_down_to_1e_300(among):
    """900 carriers of 3000, mean 0.3: from 1e-6 to 1e-312."""
    fit = fit_of(3000, cases_of(900, among, 630), mean=0.3)
    variant = carriers_first(fit, 900)
    exact = exact_log10p(3000, 900, 0.3, float((variant.x * fit.residual).sum()))
    assert saddlepoint(fit, variant).log10p == pytest.approx(exact, abs=0.01)
    assert among < 900 or exact > 300


@pytest.mark.parametrize("among", [1, 2, 5, 9, 10])
def test_ten_carriers_among_twenty_cases_in_100_000(among):
    """Within 5 % of the mid-p; the score test is off by a hundred orders of magnitude and more, the curve of everybody by up
    to a factor of 6."""
    fit = fit_of(100_000, cases_of(10, among, 20 - among))
    variant = carriers_first(fit, 10)
    exact = exact_log10p(100_000, 10, 20 / 100_000, float((variant.x * fit.residual).sum()))
    assert abs(saddlepoint(fit, variant).log10p - exact) < np.log10(1.05)
    assert variant.few.sum() == 10
    if among == 9:
        assert abs(saddlepoint(fit, replace(variant, few=None)).log10p - exact) > np.log10(6)
    assert -stats.norm.logsf(abs(variant.start.u) / variant.start.v**0.5) / np.log(10) > exact + 100


@pytest.mark.parametrize(("people", "carriers", "cases", "among", "off"), [
    (100_000, 20, 50, 2, 0.5), (100_000, 39, 50, 3, 0.6), (100_000, 30, 500, 4, 0.65), (100_000, 36, 2000, 10, 0.8),
    (100_000, 20, 20_000, 15, 0.85), (3000, 25, 15, 9, 1.5), (1000, 20, 20, 12, 1.5), (1000, 39, 20, 11, 1.5),
    (1000, 24, 50, 14, 1.3),
])  # fmt: skip
def test_twenty_to_39_carriers_beside_whom_few_people_vary(people, carriers, cases, among, off):
    """Within 3 % of the mid-p; the curve of everybody has `off` of it or less, or more."""
    fit = fit_of(people, cases_of(carriers, among, cases - among))
    variant = carriers_first(fit, carriers)
    exact = exact_log10p(people, carriers, cases / people, float((variant.x * fit.residual).sum()))
    assert saddlepoint(fit, variant).log10p == pytest.approx(exact, abs=np.log10(1.03))
    curve = 10 ** (exact - saddlepoint(fit, replace(variant, few=None)).log10p)
    assert curve < off if off < 1 else curve > off


@pytest.mark.parametrize("carriers", [8, 19, 25, 39])
@pytest.mark.parametrize("seed", range(3))
def test_carriers_of_all_sorts_are_those_of_the_whole_distribution(carriers, seed):
    """Every value of the sum and its probability, of effects that are multiples of 1/4096 copy: within 1 %."""
    rng = np.random.default_rng([carriers, seed])
    n, step = 2000, 2.0**-12
    mean = 1 / (1 + np.exp(rng.normal(4, 1, n)))
    x = -carriers / n * rng.uniform(0.3, 1.7, n)
    x[:carriers] += rng.choice([1.0, 1.0, 2.0, 0.7], carriers)
    units = np.rint(x / step).astype(int)
    x = units * step
    low = int(np.minimum(units, 0).sum())
    likely = np.zeros(int(np.abs(units).sum()) + 1)
    likely[-low] = 1.0
    for unit, p in zip(units.tolist(), mean.tolist(), strict=True):
        likely = (1 - p) * likely + p * np.roll(likely, unit)
    y = rng.random(n) < mean
    y[:carriers] = rng.random(carriers) < 0.6
    s = abs(float((x * (y - mean)).sum()))
    far = np.abs((np.arange(len(likely)) + low) * step - float((x * mean).sum()))
    exact = np.log((likely[far >= s - 1e-9].sum() + likely[far > s + 1e-9].sum()) / 2)
    held = np.arange(n) < carriers
    assert np.logaddexp(*log_tails(x, mean, held, s)) == pytest.approx(exact, abs=0.01)
    assert exact < -4


def test_type_i_error_at_prevalence_1_percent_and_ten_minor_alleles():
    """Every outcome with its probability: 10 carriers of 1000 people. Score tests of P ≤ 1e-3 come 16 times as often, of 1e-5
    500 times; corrected ones at most as often as they say. At 0.05 the statistic is discrete: one case among ten carriers has
    a probability of 0.1, and its exact mid-p is 0.05."""
    samples, carriers, prevalence = 1000, 10, 0.01
    sizes = {level: {"score": 0.0, "spa": 0.0} for level in (0.05, 1e-3, 1e-5)}
    for others in range(1, 29):
        for among in range(8):
            weight = stats.binom.pmf(among, carriers, prevalence)
            weight *= stats.binom.pmf(others, samples - carriers, prevalence)
            fit = fit_of(samples, cases_of(carriers, among, others))
            variant = carriers_first(fit, carriers)
            p = {"score": float(stats.chi2.sf(variant.start.u**2 / variant.start.v, 1))}
            p["spa"] = 10 ** -saddlepoint(fit, variant).log10p if p["score"] < 0.05 else p["score"]
            for level, size in sizes.items():
                for test in size:
                    size[test] += weight * (p[test] <= level) / level
    assert sizes[1e-3]["score"] > 15 and sizes[1e-5]["score"] > 500
    assert 0.6 < sizes[1e-3]["spa"] <= 1 and 0.6 < sizes[1e-5]["spa"] <= 1
    assert sizes[0.05]["spa"] < 1.2 and sizes[0.05]["spa"] <= sizes[0.05]["score"]


@pytest.mark.parametrize(
    ("carriers", "cases", "others"),
    [(20, 20, (8, 5)), (39, 39, (8, 5)), (20, 19, (5, 6)), (20, 3, (4, 9)), (1, 1, (6, 6)), (12, 0, (15, 13))],
)
def test_few_carriers_are_those_of_every_outcome_in_mpmath(carriers, cases, others):
    """Carriers of unequal probabilities down to 1e-16 beside 600 others of mean 0.02: P of 1e-300 within 2 %.

    The others' sum has steps of its own, of which the observed one counts half; of two sizes, so that they are close."""
    steps = (0.01, 0.0137)
    mean = np.concatenate([np.linspace(1, 20, carriers) * 1e-16, np.full(600, 0.02)])
    x = np.concatenate([1 + np.arange(carriers) % 2, np.repeat([-v for v in steps], 300)]).astype(float)
    held = np.arange(len(x)) < carriers
    expected = float((x * mean).sum())
    s = abs(float(x[:carriers][:cases].sum()) - float(np.dot(others, steps)) - expected)
    with mpmath.workdps(40):
        sums = {0: mpmath.mpf(1)}  # of minor alleles in cases: a convolution
        for p, g in zip(map(mpmath.mpf, mean[:carriers].tolist()), x[:carriers].astype(int).tolist(), strict=True):
            sums = {
                k: sums.get(k, 0) * (1 - p) + sums.get(k - g, 0) * p for k in sorted({*sums, *(k + g for k in sums)})
            }
        q = mpmath.mpf(0.02)
        rest = [float(mpmath.log(mpmath.binomial(300, k) * q**k * (1 - q) ** (300 - k))) for k in range(60)]
        alleles, likely = np.array(list(sums)), np.array([float(mpmath.log(v)) for v in sums.values()])
    k = np.arange(60)
    at = alleles[:, None, None] - steps[0] * k[:, None] - steps[1] * k - expected
    log_p = likely[:, None, None] + np.array(rest)[:, None] + np.array(rest)
    reached, passed = (special.logsumexp(log_p[np.abs(at) >= s + d]) for d in (-1e-9, 1e-9))
    exact = float(np.logaddexp(reached, passed)) - np.log(2)
    assert np.logaddexp(*log_tails(x, mean, held, s)) == pytest.approx(exact, abs=0.02)
    assert cases < 20 or exact / np.log(10) < -300


def test_of_carriers_alone_the_observed_outcome_counts_half():
    x, mean = np.ones(3), np.full(3, 0.5)
    upper, lower = log_tails(x, mean, np.ones(3, bool), 1.5)
    assert np.exp([upper, lower]) == pytest.approx([1 / 16, 1 / 16])
    assert np.exp(log_tails(x, mean, np.ones(3, bool), 1.0)) == pytest.approx([1 / 8, 1 / 8])


def test_who_is_a_carrier_of_few():
    """Called people with more than a tenth of a copy; imputed ones are among the others, and regenie's form has none."""
    fit = fit_of(300, np.arange(12))
    g, missing = np.zeros(300), np.zeros(300, bool)
    g[:19], g[19], missing[30:60] = 1, 0.05, True
    assert variant_of(fit, g, missing).few.sum() == 19
    assert variant_of(fit, 2 - g, missing).few.sum() == 19
    assert variant_of(fit, g, missing, fast=True).few is None
    g[20] = 0.2
    assert variant_of(fit, g, missing).few.sum() == 20  # twelve cases: the others vary by 0.22 copies
    fit = fit_of(300, np.arange(24))
    assert variant_of(fit, g, missing).few is None


def tail(x: np.ndarray, mean: np.ndarray, s: float) -> float:
    """ln P(Σ x(y − μ) ≥ s)."""
    told = Start.of(score_terms(x, mean, np.zeros(len(x))))
    return log_tail(x, mean, Tails(replace(told, u=s)).both[0])


def test_at_the_largest_value_the_tail_is_its_own_probability_and_beyond_it_nothing():
    x, mean = np.array([1.0, 2.0, -1.0]), np.array([0.1, 0.2, 0.3])
    most = 3 - float((x * mean).sum())
    assert tail(x, mean, most) == pytest.approx(np.log(0.1 * 0.2 * 0.7))
    assert tail(x, mean, most * 1.001) == -np.inf


def test_a_step_that_has_no_slope_to_follow_halves_the_bracket():
    tail = Tail(3.0, 1, 1.0, 0.0, math.inf)
    above = tail.at
    tail.take(1.0, 4.0, 1.0)  # K' is beyond s
    below = tail.at
    assert 0 < below < above
    tail.take(0.5, -1.0, 1.0)
    assert tail.at == pytest.approx((below + above) / 2, abs=POINTS)


def test_near_the_mean_the_tail_is_continuous():
    rng = np.random.default_rng(3)
    x, mean = rng.normal(size=400), rng.uniform(0.01, 0.2, 400)
    x = x / np.sqrt((x**2 * mean * (1 - mean)).sum())
    tails = [tail(x, mean, s) for s in (0.0, 0.0009, 0.0011, 0.002)]
    assert np.allclose(np.diff(tails), -0.8 * np.diff([0.0, 0.0009, 0.0011, 0.002]), atol=2e-5)
    assert np.exp(tail(x, mean, 0.0)) + np.exp(tail(-x, mean, 0.0)) == pytest.approx(1, abs=1e-3)


def test_counting_the_other_allele_turns_the_sign_alone():
    rng = np.random.default_rng(8)
    fit = fit_of(300, rng.permutation(300)[:12])
    g = rng.binomial(2, 0.05, 300).astype(float)
    missing = rng.random(300) < 0.03
    one, other = (saddlepoint(fit, variant_of(fit, d, missing)) for d in (g, 2 - g))
    assert other.beta == pytest.approx(-one.beta, rel=1e-9)
    assert (other.chisq, other.log10p) == pytest.approx((one.chisq, one.log10p), rel=1e-9)
