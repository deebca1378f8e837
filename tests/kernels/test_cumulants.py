"""Sums of tilted Bernoulli variables against their formulas, and with any number of threads."""

from __future__ import annotations

import mpmath
import numba
import numpy as np
import pytest

from securegen.kernels.cumulants import tilted_sums


@pytest.mark.parametrize("t", [-800.0, -3.0, -1e-6, 0.0, 1e-6, 0.9, 3.0, 800.0])
def test_they_are_the_derivatives_of_the_cumulant_function(t):
    """To 1e-13 of the sum of the terms' sizes."""
    rng = np.random.default_rng(6)
    x, mean = rng.normal(size=9), rng.uniform(1e-6, 1 - 1e-6, 9)
    terms = []
    with mpmath.workdps(60):
        for a, m in zip(map(mpmath.mpf, x.tolist()), map(mpmath.mpf, mean.tolist()), strict=True):
            grown = mpmath.exp(t * a)
            share = m * grown / (1 - m + m * grown)
            terms.append((mpmath.log(1 - m + m * grown) - t * m * a, a * (share - m), a * a * share * (1 - share)))
        for ours, exact in zip(tilted_sums(x, mean, t), zip(*terms, strict=True), strict=True):
            assert abs(ours - sum(exact)) <= 1e-13 * float(sum(abs(e) for e in exact)) + 1e-15 * (1 + abs(t))


def test_threads_change_no_bit():
    rng = np.random.default_rng(2)
    x, mean = rng.normal(size=20_000), rng.uniform(0, 1, 20_000)
    before = numba.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(min(threads, before))
            found.append(tilted_sums(x, mean, 0.7))
    finally:
        numba.set_num_threads(before)
    assert found[0] == found[1]


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        tilted_sums(np.zeros(3), np.zeros(2), 0.0)
    with pytest.raises(ValueError, match="do not fit"):
        tilted_sums(np.zeros(3, np.float32), np.zeros(3), 0.0)
