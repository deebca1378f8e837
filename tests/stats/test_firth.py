"""Firth's likelihood ratio against a general optimiser of the same function."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from securegen.design.fixedpoint import pooled
from securegen.design.null_people import NullPeople
from securegen.design.penalised_null import fit_penalised_null
from securegen.stats.corrected import NullFit
from securegen.stats.firth import FEWER_STEPS, Ascent, firth, search

SAMPLES = 240


@pytest.fixture(scope="module")
def fit() -> NullFit:
    rng = np.random.default_rng(21)
    c = np.column_stack([np.ones(SAMPLES), rng.normal(size=(SAMPLES, 2))])
    eta = c @ [-2.5, 0.8, -0.4]
    y = rng.random(SAMPLES) < 1 / (1 + np.exp(-eta))
    found = optimize.minimize(lambda b: np.logaddexp(0, c @ b).sum() - y @ (c @ b), np.zeros(3), tol=1e-12)
    mean = 1 / (1 + np.exp(-c @ found.x))
    logits = fit_penalised_null(y.astype(float), c, np.rint(found.x * 2**24) / 2**24, "CC", pooled, SAMPLES)
    return NullFit(NullPeople(np.arange(SAMPLES), y, np.rint(c * 2**30).astype(np.int64), mean, logits))


def penalised(fit: NullFit, x: np.ndarray, logits: np.ndarray, b: float) -> float:
    eta = logits + x * b
    p = 1 / (1 + np.exp(-eta))
    likelihood = np.log(np.where(fit.cases, p, 1 - p)).sum()
    return float(likelihood + 0.5 * np.log((x**2 * p * (1 - p)).sum()))


def test_the_null_model_has_the_largest_penalised_likelihood(fit):
    c = fit._null.covariates

    def value(b):
        p = 1 / (1 + np.exp(-c @ b))
        information = (c * (p * (1 - p))[:, None]).T @ c
        return -(np.log(np.where(fit.cases, p, 1 - p)).sum() + 0.5 * np.linalg.slogdet(information)[1])

    found = optimize.minimize(value, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14})
    np.testing.assert_allclose(fit.firth_logits, c @ found.x, atol=1e-5)


@pytest.mark.parametrize("kind", ["common", "rare", "every carrier a case", "every carrier a control"])
def test_effect_and_ratio_are_those_of_a_general_optimiser(fit, kind):
    rng = np.random.default_rng(5)
    g = rng.binomial(2, 0.3 if kind == "common" else 0.02, SAMPLES).astype(float)
    if kind.startswith("every"):
        g[:] = 0
        g[np.flatnonzero(fit.cases == kind.endswith("case"))[:4]] = 1
    c = fit._null.covariates
    projection = np.linalg.solve((c * fit.weight[:, None]).T @ c, (c * fit.weight[:, None]).T @ g)
    variant = fit.variant(g, None, 2, float(g.mean()), projection, fast=False)
    found = optimize.minimize_scalar(lambda b: -penalised(fit, variant.x, fit.firth_logits, b), (-1, 1), tol=1e-12)
    ours = firth(fit, variant)
    ratio = 2 * (-found.fun - penalised(fit, variant.x, fit.firth_logits, 0))
    assert ours.beta == pytest.approx(found.x, abs=1e-6)
    assert ours.chisq == pytest.approx(ratio, abs=SAMPLES * 2.0**-32)
    assert ours.log10p == pytest.approx(-np.log10(stats.chi2.sf(ours.chisq, 1)), rel=1e-8)
    p = 1 / (1 + np.exp(-(fit.firth_logits + variant.x * found.x)))
    assert ours.se == pytest.approx((variant.x**2 * p * (1 - p)).sum() ** -0.5, rel=1e-6)


def first_maximum(x: np.ndarray, cases: np.ndarray, logits: np.ndarray) -> float:
    """Where the penalised likelihood first stops to rise, going from 0 in small steps."""

    def rise(b):
        p = 1 / (1 + np.exp(-(logits + x * b)))
        w = x**2 * p * (1 - p)
        return x @ (cases - p) + (w * x * (0.5 - p)).sum() / w.sum()

    step = np.sign(rise(0.0)) * 0.1
    b = 0.0
    while rise(b + step) * step > 0:
        b += step
    return float(optimize.brentq(rise, b, b + step, xtol=1e-12))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("people", "cases", "carriers", "copies"), [
    (300, 20, 5, 1), (60, 3, 1, 2), (300, 10, 1, 2), (300, 10, 2, 2), (2000, 20, 2, 2), (2000, 1900, 3, 2), (500, 25, 4, 6),
])  # fmt: skip
def test_where_all_carriers_are_cases_the_nearest_maximum_is_found(people, cases, carriers, copies, sign):
    """Far off lies a second one, of people who carry nothing, with an error many times as large."""
    y = np.arange(people) < cases
    g = np.where(np.arange(people) < carriers, float(copies), 0.0)
    logits = np.full(people, np.log((cases + 0.5) / (people - cases + 0.5)))
    ours = Ascent(limit=FEWER_STEPS)
    x = sign * (g - g.mean())
    search(ours, x, np.where(y, 1.0, -1.0), logits)
    found = ours.correction()
    expected = first_maximum(x, y, logits)
    assert found.beta == pytest.approx(expected, rel=1e-5) and abs(expected) < 12
    assert found.se == pytest.approx(fit_se(x, logits, expected), rel=1e-4)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("people", "cases", "carriers", "copies"), [
    (539, 20, 20, 2), (898, 25, 25, 2), (1500, 40, 40, 1),
])  # fmt: skip
def test_where_carriers_have_no_maximum_that_of_the_others_is_found_in_as_few_points_as_sites_have(
    people, cases, carriers, copies, sign
):
    """Dozens of logits away; the rounding of sums moves the slope there by more than the search's last step."""
    y = np.arange(people) < cases
    g = np.where(np.arange(people) < carriers, float(copies), 0.0)
    logits = np.full(people, np.log((cases + 0.5) / (people - cases + 0.5)))
    x = sign * (g - g.mean())
    ours = Ascent(limit=FEWER_STEPS)
    search(ours, x, np.where(y, 1.0, -1.0), logits)
    expected = first_maximum(x, y, logits)
    assert ours.correction().beta == pytest.approx(expected, rel=1e-3) and abs(expected) > 40


def fit_se(x: np.ndarray, logits: np.ndarray, b: float) -> float:
    p = 1 / (1 + np.exp(-(logits + x * b)))
    return float((x**2 * p * (1 - p)).sum() ** -0.5)
