"""p-values against closed forms, a convergent series and scipy, far into the tail."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from securegen.stats.pvalue import chisq_1, student_t

EPS = np.finfo(float).eps


def log10_tail_by_series(t: float, df: int) -> float:
    """log10 P(|T| > t) = log10 I_x(df/2, 1/2), x = df/(df+t²), by x^a(1−x)^½/(a B) · Σ (a+½)_n/(a+1)_n xⁿ.

    Every term is positive (Abramowitz and Stegun 26.5.4 with 15.3.3), so nothing cancels.
    """
    a, x = df / 2, df / (df + t * t)
    total, term, n = 0.0, 1.0, 0
    while term > total * EPS / 8:
        total += term
        term *= (a + 0.5 + n) / (a + 1 + n) * x
        n += 1
    log_x, log_1x = -math.log1p(t * t / df), math.log(t * t / (df + t * t))
    return (a * log_x + 0.5 * log_1x - math.log(a) - special.betaln(a, 0.5) + math.log(total)) / math.log(10)


def tolerance(t: float, df: int) -> float:
    """Rounding of −log10 p: a few ulps of each logarithm that is added up, and of `a`·ln x in particular."""
    a = df / 2
    return 32 * EPS * (a * math.log1p(t * t / df) + abs(special.betaln(a, 0.5)) + math.log(a + 1) + 1) / math.log(10)


@given(st.floats(0.5, 1e6), st.integers(1, 3000))
def test_student_tail_is_right_wherever_it_lies(t, df):
    p, log10p = student_t(np.array([t]), np.array([float(df)]))
    expected = -log10_tail_by_series(t, df)
    # scipy's stdtr is good to 1e-12 of p where p is representable
    assert abs(log10p[0] - expected) <= max(tolerance(t, df), 1e-11)
    if expected < 270:
        np.testing.assert_allclose(p[0], 2 * stats.t.sf(t, df), rtol=1e-11)
        np.testing.assert_allclose(p[0], 10**-expected, rtol=1e-9)


@pytest.mark.parametrize("t", [1e-9, 1e-3, 1.0, 30.0, 1e8, 1e140])
def test_student_tail_at_one_and_two_degrees_of_freedom(t):
    p, log10p = student_t(np.array([t, t]), np.array([1.0, 2.0]))
    root = math.hypot(math.sqrt(2), t)
    exact = [2 / math.pi * math.atan(1 / t), 2 / (root * (root + t))]
    # near p = 1 scipy's tail is 1 to nine digits, its logarithm 0
    np.testing.assert_allclose(p, exact, rtol=1e-13, atol=1e-9 if t < 1e-6 else 0)
    np.testing.assert_allclose(log10p, -np.log10(exact), rtol=1e-12, atol=1e-9 if t < 1e-6 else 1e-13)


def test_both_branches_meet_where_they_change():
    t = np.linspace(45, 130, 800)
    p, log10p = student_t(t, np.full(len(t), 480.0))
    assert p[0] > 1e-280 > p[-1]
    steps = np.diff(log10p)
    assert (steps > 0).all() and (np.abs(np.diff(steps)) < 0.01 * steps[1:]).all()


def test_no_logarithm_is_infinite_and_t_of_zero_is_one():
    p, log10p = student_t(np.array([0.0, -0.0, 1e150, -1e5]), np.array([10.0, 1.0, 5.0, 1e6]))
    assert p[0] == p[1] == 1 and log10p[0] == log10p[1] == 0
    assert np.isfinite(log10p).all() and (log10p >= 0).all() and log10p[2] > 740
    q, log10q = student_t(np.array([3.0, -3.0]), np.array([7.0, 7.0]))
    assert q[0] == q[1] and log10q[0] == log10q[1]


@given(st.floats(1e-8, 1e12))
def test_chi_square_tail_with_one_degree_of_freedom(x):
    p, log10p = chisq_1(np.array([x]))
    if x < 1000:
        np.testing.assert_allclose(p[0], stats.chi2.sf(x, 1), rtol=1e-11)
        np.testing.assert_allclose(log10p[0], -math.log10(stats.chi2.sf(x, 1)), rtol=1e-10, atol=1e-14)
    else:
        # Mills ratio: φ(z)/z·(1 − 1/z²) < tail < φ(z)/z
        z = math.sqrt(x)
        upper = (-x / 2 - math.log(z) - 0.5 * math.log(math.pi / 2)) / math.log(10)
        lower = upper + math.log1p(-1 / x) / math.log(10)
        slack = 8 * EPS * x
        assert -upper - slack <= log10p[0] <= -lower + slack
