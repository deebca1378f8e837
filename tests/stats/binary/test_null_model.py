"""The null model of the score test: convergence, separation, one owner against three sites, and its own exponential."""

from __future__ import annotations

import threading
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.design import fixedpoint as fp
from securegen.design import null_model
from securegen.design.logistic import logistic_design
from securegen.design.penalised_null import fit_penalised_null
from securegen.errors import DesignError


class OpenedSum:
    """`total` of several sites in threads: every site adds its integers, all of them leave with the sum."""

    def __init__(self, sites: int) -> None:
        self.sites, self.rounds = sites, 0
        self.pending: list[list[int]] = []
        self.result: list[int] = []
        self.barrier = threading.Barrier(sites, action=self._add, timeout=300)
        self.lock = threading.Lock()

    def _add(self) -> None:
        self.result = [sum(values) for values in zip(*self.pending, strict=True)]
        self.pending = []
        self.rounds += 1

    def __call__(self, values) -> list[int]:
        with self.lock:
            self.pending.append([int(v) for v in values])
        self.barrier.wait()
        return list(self.result)  # nobody can reach the next sum before all have left this barrier and added again


def cohort(samples: int, covariates: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, K−1) covariates of different sizes and (N,) 0/1 cases that depend on them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, covariates)) * 10.0 ** rng.integers(-2, 3, covariates) + rng.normal(size=covariates)
    eta = -0.7 + (x - x.mean(0)) @ (rng.normal(size=covariates) / x.std(0)) * 0.5
    return np.round(x, 6), (rng.random(samples) < 1 / (1 + np.exp(-eta))).astype(float)


@given(st.lists(st.floats(-60, 60), min_size=1, max_size=50))
@settings(max_examples=200, deadline=None)
def test_exponential_is_that_of_numpy_to_1e15(values):
    x = np.array(values)
    ours = null_model.exp_exactly_rounded_steps(x)
    assert (np.abs(ours / np.exp(x) - 1) <= 1e-15).all()


def test_exponential_against_exact_rationals():
    """The Taylor series in rationals, at points of the whole range: relative error below 1e-15."""
    for x in (-59.9, -7.25, -0.3466, 1e-9, 0.3465, 1.0, 13.1, 60.0):
        exact, term = Fraction(0), Fraction(1)
        for i in range(1, 400):
            exact += term
            term = term * Fraction(x) / i
        ours = Fraction(float(null_model.exp_exactly_rounded_steps(np.array([x]))[0]))
        assert abs(ours / exact - 1) < Fraction(1, 10**15)


def test_logistic_is_clipped_and_symmetric():
    eta = np.array([-1e6, -60.0, -1.0, 0.0, 1.0, 60.0, 1e6])
    mean = null_model.logistic(eta)
    assert mean[3] == 0.5 and mean[0] == mean[1] > 0 and mean[5] == mean[6] <= 1
    np.testing.assert_allclose(mean + mean[::-1], 1, rtol=0, atol=2e-16)


@pytest.mark.parametrize(("samples", "covariates", "seed"), [(200, 1, 0), (500, 5, 1), (2000, 12, 2)])
def test_null_model_of_statsmodels(samples, covariates, seed):
    x, cases = cohort(samples, covariates, seed)
    names = [f"c{i}" for i in range(covariates)]
    scaled = (x - x.mean(0)) / x.std(0)
    design = np.column_stack([np.ones(samples), scaled])
    ours = null_model.fit_null_model(cases, design, ("INTERCEPT", *names), "Y", fp.pooled)
    theirs = sm.GLM(cases, design, family=sm.families.Binomial()).fit(tol=1e-14, maxiter=100)
    # β is rounded to 2^-24, and so is the step at which iteration stops
    np.testing.assert_allclose(ours.beta, theirs.params, rtol=0, atol=2.0**-23)
    np.testing.assert_allclose(
        ours.mean, theirs.fittedvalues, rtol=0, atol=2.0**-23 * (1 + np.abs(design).sum(1)).max()
    )
    assert ours.steps < null_model.STEPS
    assert all((b * 2**fp.COEFFICIENT_BITS).is_integer() for b in ours.beta)


def test_without_covariates_the_mean_is_the_share_of_cases():
    cases = np.r_[np.ones(30), np.zeros(90)]
    fitted = null_model.fit_null_model(cases, np.ones((120, 1)), ("INTERCEPT",), "Y", fp.pooled)
    np.testing.assert_allclose(fitted.mean, 0.25, rtol=0, atol=2.0**-24)


def split_design(x, cases, owner, sites: int, names):
    """The design that every site computes from its own people, and the number of opened sums."""
    total = OpenedSum(sites)
    out: list = [None] * sites
    errors: list[BaseException] = []

    def run(site: int) -> None:
        try:
            own = owner == site
            out[site] = logistic_design(np.ones(own.sum(), bool), x[own], names, cases[own], "Y", total=total)
        except BaseException as error:
            errors.append(error)
            total.barrier.abort()

    threads = [threading.Thread(target=run, args=(site,)) for site in range(sites)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise next((e for e in errors if not isinstance(e, threading.BrokenBarrierError)), errors[0])
    return out, total.rounds


@pytest.mark.parametrize("covariates", [0, 4])
def test_three_sites_get_the_integers_of_one_owner(covariates):
    x, cases = cohort(301, covariates, 5)
    names = [f"c{i}" for i in range(covariates)]
    owner = np.arange(301) % 3
    owner[:60] = 0  # sites of different sizes
    pooled = logistic_design(np.ones(301, bool), x, names, cases, "Y")
    parts, rounds = split_design(x, cases, owner, 3, names)
    assert rounds > 5
    for site, part in enumerate(parts):
        np.testing.assert_array_equal(part.columns.values, pooled.columns.values[owner == site])
        assert asdict(part.analyses[0].model) == asdict(pooled.analyses[0].model)


def test_separation_names_the_covariate():
    x, _ = cohort(100, 2, 3)
    cases = (x[:, 1] > np.median(x[:, 1])).astype(float)
    with pytest.raises(DesignError, match=r"null model of Y does not converge in 25 steps: covariate BATCH "):
        logistic_design(np.ones(100, bool), x, ["AGE", "BATCH"], cases, "Y")


def test_separation_by_a_category_names_it():
    """Quasi-complete separation: one level has no case at all."""
    x, cases = cohort(200, 1, 4)
    level = (np.arange(200) % 10 == 0).astype(float)
    cases[level == 1] = 0
    with pytest.raises(DesignError, match="covariate SITE=B "):
        logistic_design(np.ones(200, bool), np.column_stack([x, level]), ["AGE", "SITE=B"], cases, "Y")


def test_separation_is_found_by_sites_too():
    x, _ = cohort(90, 1, 6)
    cases = (x[:, 0] > np.median(x[:, 0])).astype(float)
    with pytest.raises(DesignError, match="covariate AGE "):
        split_design(x, cases, np.arange(90) % 3, 3, ["AGE"])


@pytest.mark.parametrize("cases", [0, 50])
def test_only_cases_or_only_controls(cases):
    x, _ = cohort(50, 1, 7)
    with pytest.raises(DesignError, match="too few cases or controls"):
        logistic_design(np.ones(50, bool), x, ["AGE"], np.r_[np.ones(cases), np.zeros(50 - cases)], "Y")


def test_collinear_and_constant_covariates_are_named():
    x, cases = cohort(80, 2, 8)
    with pytest.raises(DesignError, match="AGE, TWICE are collinear"):
        logistic_design(np.ones(80, bool), np.column_stack([x[:, 0], 2 * x[:, 0]]), ["AGE", "TWICE"], cases, "Y")
    with pytest.raises(DesignError, match="covariate SITE is constant"):
        logistic_design(np.ones(80, bool), np.column_stack([x[:, 0], np.ones(80)]), ["AGE", "SITE"], cases, "Y")


@pytest.mark.parametrize("seed", (98, 163, 262))
def test_an_optimum_half_way_between_two_multiples_is_found(seed):
    """Newton's steps go from one multiple of 2^-24 to its neighbour and back: no covariate separates anything."""
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(30), np.round(rng.normal(size=(30, 2)) * 2**30) / 2**30])
    cases = (np.arange(30) % 3 == 0).astype(float)
    fitted = null_model.fit_null_model(cases, design, ("INTERCEPT", "A", "B"), "Y", fp.pooled)
    expected = sm.GLM(cases, design, family=sm.families.Binomial()).fit(tol=1e-14).params
    assert np.abs(fitted.beta - expected).max() < 2.0**-24 and fitted.steps < 12


@pytest.mark.parametrize(
    ("people", "cases", "sexes"), [(5000, 20, 1), (20_000, 10, 1), (20_000, 19_980, 1), (20_000, 20, 2)]
)
def test_few_cases_among_people_who_are_alike(people, cases, sexes):
    """Errors of 2^-31 of people with the same covariates add up: no β is where the gradient is 0, and nothing separates them."""
    design = np.column_stack([np.ones(people), np.arange(people) % 2])[:, :sexes]
    y = (np.arange(people) < cases).astype(float)
    fitted = null_model.fit_null_model(y, design, ("INTERCEPT", "SEX")[:sexes], "Y", fp.pooled)
    rarer = min(cases, people - cases)
    assert abs(fitted.mean.sum() - cases) < people * 2.0**-30 + rarer * 2.0**-24 and fitted.steps < 12
    penalised = fit_penalised_null(y, design, fitted.beta, "Y", fp.pooled, people)
    if sexes == 1:
        exact = np.log((cases + 0.5) / (people - cases + 0.5))
        assert np.abs(penalised - exact).max() < (people * 2.0**-30 / rarer) + 2.0**-23
