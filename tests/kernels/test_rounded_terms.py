"""Sums of rounded terms: what they are sums of, and that no order, split or number of threads changes a bit."""

from __future__ import annotations

import mpmath
import numba
import numpy as np
import pytest

from securegen.kernels.exact_functions import exp, ln
from securegen.kernels.rounded_terms import (
    FARTHEST,
    MOST_COPIES,
    PIECE,
    UNIT,
    centred_genotypes,
    penalised_terms,
    score_terms,
    takes,
    tilted_terms,
)

PEOPLE = 3 * PIECE + 17
HALF = 2.0**-33


@pytest.fixture(scope="module")
def people() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    mean = 1 / (1 + np.exp(rng.normal(3, 1.5, PEOPLE)))
    cases = rng.random(PEOPLE) < mean
    x = rng.binomial(2, 0.1, PEOPLE) - 0.2 + 0.02 * rng.normal(size=PEOPLE)
    logits = np.log(mean / (1 - mean))
    return {"x": x, "mean": mean, "residual": cases - mean, "side": np.where(cases, 1.0, -1.0), "logits": logits}


def sums(of: dict[str, np.ndarray], rows=slice(None)) -> list[int]:
    x, mean, residual, side, logits = (np.ascontiguousarray(v[rows]) for v in of.values())
    out = score_terms(x, mean, residual)
    for t in (-20.0, -0.5, 0.0, 0.3, 8.0):
        out += tilted_terms(x, mean, t) + penalised_terms(x, side, logits, t)
    return out


def test_order_split_and_threads_change_nothing(people):
    whole = sums(people)
    rng = np.random.default_rng(9)
    order = rng.permutation(PEOPLE)
    assert sums(people, order) == whole
    parts = [sums(people, order[i::3]) for i in range(3)]
    assert [sum(v) for v in zip(*parts, strict=True)] == whole
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        assert sums(people) == whole
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("t", [-12.0, -0.7, 0.0, 1e-3, 2.5, 30.0])
def test_terms_are_those_of_mpmath(t):
    """Of single people: half a unit, and a thousandth for float64."""
    rng = np.random.default_rng(7)
    for _ in range(40):
        x, mean, logit = rng.normal(0, 1.5), 10.0 ** rng.uniform(-9, -0.01), rng.normal(0, 4)
        case = float(rng.random() < 0.5)
        one = [np.array([v]) for v in (x, mean, logit, 2 * case - 1)]
        with mpmath.workdps(90):
            grown = mpmath.e ** (mpmath.mpf(t) * x)
            share = mean * grown / (1 - mean + mean * grown)
            expected = [mpmath.log(1 - mean + mean * grown) - mpmath.mpf(t) * x * mean, x * (share - mean)]
            expected.append(x * x * share * (1 - share))
            p = 1 / (1 + mpmath.e ** (-(logit + mpmath.mpf(x) * t)))
            w = p * (1 - p)
            loss = -mpmath.log(p if case else 1 - p)
            expected += [x * (case - p), x * x * w, mpmath.mpf(x) ** 3 * w * (0.5 - p), loss]
        found = tilted_terms(one[0], one[1], t) + penalised_terms(one[0], one[3], one[2], t)
        for ours, theirs in zip(found, expected, strict=True):
            assert abs(ours / UNIT - float(theirs)) <= HALF * 1.001 + 1e-14 * abs(float(theirs))


def test_what_a_start_is(people):
    x, mean, residual = people["x"], people["mean"], people["residual"]
    w = mean * (1 - mean)
    expected = [(x * residual).sum(), (x * x * w).sum(), (x**3 * w * (1 - 2 * mean)).sum()]
    expected += [(np.maximum(x, 0) - x * mean).sum(), (x * mean - np.minimum(x, 0)).sum()]
    np.testing.assert_allclose(np.array(score_terms(x, mean, residual)) / UNIT, expected, atol=PEOPLE * HALF)


def test_exponentials_and_logarithms():
    for value in (-700.0, -31.7, -1e-9, 0.0, 1e-9, 0.4, 88.0, 700.0):
        assert exp(value) == pytest.approx(np.exp(value), rel=1e-14)
    assert (exp(0.0), ln(1.0), ln(0.5), exp(-1e4)) == (1.0, 0.0, -np.log(2), exp(-700.0))
    for value in (5e-308, 1e-20, 0.7, 0.7072, 1 - 1e-12, 1 + 1e-12, 1e300):
        assert ln(value) == pytest.approx(np.log(value), rel=1e-14, abs=1e-15)


def test_a_genotype_without_covariates():
    g, c, gamma = np.array([0.0, 1.0, 2.0]), np.array([[0.5, -1.0, 2.0], [1.0, 0.0, 3.0]]), np.array([0.25, 0.5, -1.0])
    np.testing.assert_array_equal(centred_genotypes(g, gamma, c), g - 0.25 - 0.5 * c[0] + c[1])


def test_sums_that_could_overflow_are_refused(people):
    x, mean = people["x"], people["mean"]
    assert takes(x) and takes(np.array([MOST_COPIES])) and not takes(np.array([-MOST_COPIES * 1.01]))
    assert not takes(np.array([np.nan]))
    with pytest.raises(ArithmeticError, match="is not tilted"):
        tilted_terms(x, mean, FARTHEST * 1.01)
    with pytest.raises(ArithmeticError, match="is not tilted"):
        penalised_terms(x, mean, mean, np.nan)
    with pytest.raises(ValueError, match="do not fit"):
        tilted_terms(x, mean[1:], 0.0)
    largest, all_but = np.full(PEOPLE, MOST_COPIES), np.full(PEOPLE, 1e-9)
    k = tilted_terms(largest, all_but, FARTHEST)[0] / UNIT
    assert k == pytest.approx(PEOPLE * (MOST_COPIES * FARTHEST + np.log(1e-9)), rel=1e-6)
