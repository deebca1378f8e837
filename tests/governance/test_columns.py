"""Columns in which few people stand out, and a steered null model: read without the rules, refused with them."""

from __future__ import annotations

import math

import numpy as np
import pytest

import securegen.design.logistic as design_logistic
from securegen.design import fixedpoint as fp
from securegen.design.contingency import contingency_design
from securegen.design.exact import round_half_up
from securegen.design.linear import linear_design
from securegen.design.logistic import logistic_design
from securegen.errors import PolicyError
from securegen.governance import openings
from securegen.governance.guard import REFUSAL, SiteGuard, guarded

N = 300


def site(level=openings.STRICT, log=None, total=fp.pooled):
    return guarded(total, SiteGuard((log if log is not None else []).append, level=level))


def genotypes(n=N, variants=400, seed=1):
    rng = np.random.default_rng(seed)
    return rng.binomial(2, rng.uniform(0.05, 0.5, variants), (n, variants))


def everybody(n=N):
    return np.ones(n, bool)


def rare_loading(rng):
    """A component of one rare variant: its carrier's coordinate stands alone."""
    pc = np.full(N, -0.001)
    pc[77] = 1.0
    return pc


def one_in_a_category(rng):
    x = np.zeros(N)
    x[77] = 1
    return x


def hidden_in_an_offset(rng):
    """Nine tenths of the centred column, a thousandth of the column."""
    x = 1000 + rng.normal(size=N) * 0.01
    x[77] += 3
    return x


@pytest.mark.parametrize("make", [rare_loading, one_in_a_category, hidden_in_an_offset])
def test_a_covariate_in_which_one_person_stands_alone(make):
    rng = np.random.default_rng(2)
    x, y, g = make(rng)[:, None], rng.normal(size=(N, 1)), genotypes()
    design = linear_design(everybody(), x, ("PC1",), y, ("Y",))
    column = design.columns.values[:, 1]
    base = int(np.median(np.delete(column, 77)))
    read = np.rint((column @ g - base * g.sum(0)) / (column[77] - base))
    assert (read == g[77]).mean() > 0.9
    log: list[str] = []
    with pytest.raises(PolicyError) as error:
        linear_design(everybody(), x, ("PC1",), y, ("Y",), total=site(log=log))
    assert str(error.value) == REFUSAL and len(log) == 1
    linear_design(everybody(), x, ("PC1",), y, ("Y",), total=site(openings.ALL))


@pytest.mark.parametrize("test", ["trend", "logistic"])
@pytest.mark.parametrize("few", ["cases", "controls"])
def test_few_cases_or_controls_at_a_site(test, few):
    cases = np.zeros(N)
    cases[:9] = 1
    cases = cases if few == "cases" else 1 - cases
    x = np.random.default_rng(3).normal(size=(N, 1))
    make = {
        "trend": lambda total: contingency_design(everybody(), cases == 1, "CC", "trend", total=total),
        "logistic": lambda total: logistic_design(everybody(), x, ("A",), cases, "CC", total=total),
    }[test]
    with pytest.raises(PolicyError):
        make(site())
    make(site(openings.ALL))


def test_two_columns_that_differ_by_a_person():
    """Each passes alone; their difference is one person's genotypes."""
    rng = np.random.default_rng(4)
    b = rng.normal(size=N)
    y = np.stack([b, b], axis=1)
    y[5, 1] += 0.2
    design = linear_design(everybody(), np.empty((N, 0)), (), y, ("Y1", "Y2"))
    difference, g = design.columns.values[:, 1] - design.columns.values[:, 2], genotypes()
    base = int(np.median(difference))
    read = np.rint((difference @ g - base * g.sum(0)) / (difference[5] - base))
    assert (read == g[5]).mean() > 0.9
    linear_design(everybody(), np.empty((N, 0)), (), y[:, :1], ("Y1",), total=site())
    with pytest.raises(PolicyError):
        linear_design(everybody(), np.empty((N, 0)), (), y, ("Y1", "Y2"), total=site())


def test_two_designs_of_one_study_share_the_span():
    rng = np.random.default_rng(5)
    b = rng.normal(size=(N, 1))
    other = b.copy()
    other[5] += 0.2
    total = site()
    linear_design(everybody(), np.empty((N, 0)), (), b, ("Y1",), total=total)
    with pytest.raises(PolicyError):
        linear_design(everybody(), np.empty((N, 0)), (), other, ("Y2",), total=total)


def test_ordinary_designs_pass():
    n = 900
    rng = np.random.default_rng(6)
    x = np.column_stack([rng.integers(30, 70, n), rng.integers(0, 2, n), rng.normal(size=(n, 2))]).astype(float)
    names, y = tuple("ABCD"), rng.normal(size=(n, 2)) + 100
    cases = (rng.random(n) < 1 / (1 + np.exp(1 - x[:, 2]))).astype(float)
    pooled = linear_design(everybody(n), x, names, y, ("Y1", "Y2"))
    total = site()
    same = linear_design(everybody(n), x, names, y, ("Y1", "Y2"), total=total)
    assert np.array_equal(same.columns.values, pooled.columns.values)
    logistic_design(everybody(n), x, names, cases, "CC", total=site())


def test_a_site_of_200_people_passes_with_a_trait_and_not_with_a_disease():
    """Case, residual and weights are columns that nearly determine each other: a person's leverage is larger."""
    rng, n = np.random.default_rng(0), 200
    x = np.column_stack([rng.integers(30, 70, n), rng.integers(0, 2, n), rng.normal(size=(n, 2))]).astype(float)
    linear_design(everybody(n), x, tuple("ABCD"), rng.normal(size=(n, 1)) + 100, ("Y",), total=site())
    cases = (rng.random(n) < 1 / (1 + np.exp(1 - x[:, 2]))).astype(float)
    with pytest.raises(PolicyError, match=REFUSAL[:40]):
        logistic_design(everybody(n), x, tuple("ABCD"), cases, "CC", total=site())


class Steering:
    """A site that adds 2^130·I to Hessians and what moves β where it wants to gradients, and bisects for the outermost
    person of a direction by the opened gradients. It knows nothing of anybody."""

    def __init__(self, cases, names, seed):
        self.width = names + 1
        d = np.random.default_rng(seed).normal(size=names)
        self.direction = d / np.linalg.norm(d)
        self.ones, self.n, self.low, self.high, self.at = int(cases.sum()), 0, 0.5, 6.0, 3.0
        start = math.log(self.ones / (len(cases) - self.ones)) * 2**24
        self.beta = [round_half_up(*start.as_integer_ratio())] + [0] * names

    def __call__(self, values):
        values = list(values)
        if len(values) != self.width + self.width * (self.width + 1) // 2:
            return values
        beyond = self.ones - values[0] / 2**30
        if 1 <= self.n <= 18:
            self.low, self.high = (self.at, self.high) if beyond > 0.5 else (self.low, self.at)
        if self.n < 18:
            self.at = (self.low + self.high) / 2
        self.n += 1
        steep = min(58 / self.at, 58 / np.abs(self.direction).max())
        target = [int(round(q * 2**24)) for q in np.r_[-steep * self.at, steep * self.direction]]
        hessian = [(1 << 130) * (i == j) for i in range(self.width) for j in range(i, self.width)]
        gradient = [(a - b) * (1 << 106) for a, b in zip(target, self.beta, strict=True)]
        self.beta = target
        return [a + e for a, e in zip(values, gradient + hessian, strict=True)]


def steered(guard=None, seed=1, n=600):
    rng = np.random.default_rng(11)
    x, cases = np.round(rng.normal(size=(n, 5)), 4), (rng.random(n) < 0.3).astype(float)
    attack = Steering(cases, 5, seed)
    total = attack if guard is None else guarded(attack, guard())
    return logistic_design(everybody(n), x, tuple("abcde"), cases, "CC", total=total)


def scales_are_those_of_the_attacker(monkeypatch):
    """The attacker thinks in the sites' scales; let one be 1 and one centre 0."""
    real = fp.fit_scaling

    def fit(values, name, total=fp.pooled):
        _, decimals = real(values, name, total)
        return fp.Scaling(10**6, 0, 0), decimals

    monkeypatch.setattr(fp, "fit_scaling", fit)


def test_a_steered_null_model(monkeypatch):
    scales_are_those_of_the_attacker(monkeypatch)
    g = genotypes(600, 500, seed=7)
    read = []
    for seed in range(4):
        w = steered(seed=seed).columns.values[:, 3]
        person = int(w.argmax())
        read.append((np.clip(np.rint(w @ g / w[person]), 0, 2) == g[person]).mean())
    assert max(read) == 1.0, "the attack reads nobody: this test shows nothing"
    log: list[str] = []
    with pytest.raises(PolicyError):
        steered(lambda: SiteGuard(log.append))
    assert "Hessian" in log[0]
    # the others' parts are checked whatever may be opened
    with pytest.raises(PolicyError):
        steered(lambda: SiteGuard(log.append, level=openings.ALL))


def test_weights_that_rest_on_few_people(monkeypatch):
    """The same, had the Hessian been possible: each step looks at its own weights."""
    scales_are_those_of_the_attacker(monkeypatch)
    log: list[str] = []

    class Blind(SiteGuard):
        def newton(self, own, opened):
            pass

    with pytest.raises(PolicyError):
        steered(lambda: Blind(log.append))
    assert "null model" in log[0]


def test_the_others_moments_and_grams_must_be_of_people():
    rng = np.random.default_rng(8)
    x, y = rng.normal(size=(N, 2)), rng.normal(size=(N, 1))
    for place, by in ((2, -(10**12)), (0, -5), (1, 10**12)):

        def total(values, place=place, by=by):
            values = list(values)
            if len(values) == 3:
                values[place] += by
            return values

        with pytest.raises(PolicyError):
            linear_design(everybody(), x, ("A", "B"), y, ("Y",), total=site(openings.ALL, total=total))

    def gram(values):
        return [
            v + (i == 1) * (1 << 70) + (i == 3) * (1 << 70) if len(values) == 9 else v for i, v in enumerate(values)
        ]

    with pytest.raises(PolicyError):
        linear_design(everybody(), x, ("A", "B"), y, ("Y",), total=site(openings.ALL, total=gram))


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3])
def test_leverage_beside_what_is_open_is_that_of_all_columns(noise):
    rng = np.random.default_rng(7)
    open_, t = rng.normal(size=(80, 3)), rng.uniform(0, 1, 80)
    fresh = np.column_stack([t, t**2, np.zeros(80), open_[:, 0] + 1e-5 * t**3, np.exp(t)])
    stacked = np.vstack([np.column_stack([open_, fresh]), noise * np.eye(8)[3:]])
    found = openings.leverages_beside(openings.span(open_, intercept=False), fresh, noise)
    np.testing.assert_allclose(found, openings.leverages(stacked, intercept=False)[:80], atol=1e-6)
    assert np.isnan(openings.leverages_beside(open_ * 0, fresh * np.nan, noise)).all()


def test_leverage_is_that_of_the_best_combination():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(200, 5))
    full = np.column_stack([np.ones(200), x])
    hat = full @ np.linalg.inv(full.T @ full) @ full.T
    np.testing.assert_allclose(openings.leverages(np.column_stack([x, x[:, 0] + x[:, 1]])), np.diag(hat), atol=1e-12)


@pytest.mark.parametrize(
    ("matrix", "good"),
    [([[0]], True), ([[2, -2], [-2, 2]], True), ([[0, 1], [1, 0]], False), ([[0, 0], [0, -1]], False),
     ([[1, 2], [2, 3]], False), ([[0, 0, 0], [0, 5, 1], [0, 1, 1]], True), ([[10**40, 1], [1, -(10**-9)]], False)],
)  # fmt: skip
def test_exact_semidefiniteness(matrix, good):
    from fractions import Fraction

    assert openings.positive_semidefinite([[Fraction(v) for v in row] for row in matrix]) is good


def test_no_steering_without_a_guard_changes_the_design():
    assert design_logistic.fp.guard_of(fp.pooled) is fp.UNGUARDED
