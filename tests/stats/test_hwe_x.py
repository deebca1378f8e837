"""Hardy–Weinberg on X against an enumeration in whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from securegen.stats.hwe_x import exact_test_x


def enumerated(het: int, hom_a: int, hom_b: int, male_a: int, male_b: int) -> float:
    """The p-value over the rationals: every genotype configuration with these alleles, by its number of orders."""
    females, males = het + hom_a + hom_b, male_a + male_b
    total = 2 * hom_a + het + male_a
    ways = {}
    for male in range(max(0, total - 2 * females), min(males, total) + 1):
        for h in range((total - male) % 2, min(total - male, 2 * females - total + male) + 1, 2):
            a = (total - male - h) // 2
            orders = math.factorial(females) // (
                math.factorial(a) * math.factorial(h) * math.factorial(females - a - h)
            )
            ways[male, h] = math.comb(males, male) * orders * 2**h
    seen = ways[male_a, het]
    return float(Fraction(sum(w for w in ways.values() if w <= seen), math.comb(2 * females + males, total)))


def test_small_counts_are_enumerated():
    rng = np.random.default_rng(5)
    counts = np.array(
        [[*rng.multinomial(rng.integers(0, 40), rng.dirichlet([1, 1, 1])), *rng.integers(0, 30, 2)] for _ in range(300)]
    )
    log_p = exact_test_x(*counts.T)
    expected = [enumerated(*map(int, row)) for row in counts]
    np.testing.assert_allclose(np.exp(log_p), expected, rtol=1e-10)


@pytest.mark.parametrize("counts", [(0, 0, 0, 0, 0), (0, 9, 0, 5, 0), (0, 0, 9, 0, 0)])
def test_one_allele_is_in_equilibrium(counts):
    assert exact_test_x(*[np.array([c]) for c in counts])[0] == 0


def test_small_p_values_do_not_underflow():
    """Females all heterozygous, and males of one allele: log p is far below that of the smallest float64."""
    log_p = exact_test_x(*[np.array([c]) for c in (3000, 0, 0, 2000, 0)])[0]
    assert -1e5 < log_p < -2000
