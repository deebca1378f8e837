"""The Hardy–Weinberg exact test against big integers, wherever its probabilities lie."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.stats.hwe import TIE, exact_test


def exact_p(het: int, hom_a: int, hom_b: int) -> Fraction:
    """Wigginton's p from whole numbers: configurations no more likely than the observed one."""
    n, rare = het + hom_a + hom_b, 2 * min(hom_a, hom_b) + het
    h = rare % 2
    a = rare // 2
    way = 2**h * math.factorial(n) // (math.factorial(h) * math.factorial(a) * math.factorial(n - h - a))
    ways = {}
    while True:
        ways[h] = way
        if a == 0:
            break
        way = way * 4 * a * (n - h - a) // ((h + 1) * (h + 2))  # divides exactly: every way is a whole number
        h, a = h + 2, a - 1
    return Fraction(sum(w for w in ways.values() if w <= ways[het]), sum(ways.values()))


def log_p(het: int, hom_a: int, hom_b: int) -> float:
    return float(exact_test(*(np.array([c]) for c in (het, hom_a, hom_b)))[0])


def assert_exact(het: int, hom_a: int, hom_b: int) -> None:
    p = exact_p(het, hom_a, hom_b)
    expected = math.log(p.numerator) - math.log(p.denominator)
    # n steps of rounding in the ratios, and float64 of the logarithm itself
    steps = het + hom_a + hom_b + 4
    assert abs(log_p(het, hom_a, hom_b) - expected) <= steps * 2**-50 + abs(expected) * 2**-50 + (TIE - 1)


def test_every_configuration_of_small_cohorts():
    for n in range(25):
        for het in range(n + 1):
            for hom_a in range(n - het + 1):
                assert_exact(het, hom_a, n - het - hom_a)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
@settings(max_examples=150, deadline=None)
def test_larger_counts(het, hom_a, hom_b):
    assert_exact(het, hom_a, hom_b)


@pytest.mark.parametrize(
    "counts",
    [(0, 1000, 1000), (0, 2000, 2000), (1, 1500, 1500), (3000, 0, 0), (2400, 3, 0), (2, 2500, 2500), (10, 5, 3000)],
)
def test_p_far_below_float64(counts):
    """p down to 10^-1500 keeps every digit of its logarithm, also where heterozygotes are too many."""
    assert_exact(*counts)


def test_symmetric_in_the_alleles():
    rng = np.random.default_rng(0)
    het, a, b = rng.integers(0, 500, (3, 200))
    np.testing.assert_array_equal(exact_test(het, a, b), exact_test(het, b, a))


def test_nobody_called_or_one_allele():
    assert log_p(0, 0, 0) == log_p(0, 50, 0) == log_p(0, 0, 50) == log_p(1, 50, 0) == 0.0


def test_biobank_counts_are_finite_and_ordered():
    """500,000 people: p falls with the distance from equilibrium and never becomes NaN or −∞."""
    expected = 2 * 0.3 * 0.7 * 500_000
    het = np.array([expected, expected - 2000, expected - 20_000, 0], dtype=np.int64)
    rare = int(2 * 0.3 * 500_000)
    hom_a = (rare - het) // 2
    result = exact_test(het, hom_a, 500_000 - het - hom_a)
    assert np.isfinite(result).all() and (np.diff(result) < 0).all()
    assert result[0] > -0.1 and result[-1] < -200_000
