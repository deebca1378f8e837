"""Scaling and exact integer arithmetic against Python integers and fractions, and refusals by name."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import solve_exactly

from securegen.design import column_bits, solving
from securegen.design import fixedpoint as fp
from securegen.design.exact import combination, exact_cross, exact_gram, fraction_free, round_half_up
from securegen.design.solving import Solver
from securegen.errors import DesignError, PlanError

entries = st.integers(-(1 << 40), 1 << 40)


def column(values) -> np.ndarray:
    return np.array(values, np.int64)


@st.composite
def matrices(draw, elements=entries):
    rows, a, b = draw(st.integers(0, 9)), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    fill = lambda width: np.array(draw(st.lists(elements, min_size=rows * width, max_size=rows * width)), np.int64)  # noqa: E731
    return fill(a).reshape(rows, a), fill(b).reshape(rows, b)


@given(matrices())
def test_gram_matrix_is_exact(both):
    x, y = both
    expected = [[sum(int(u) * int(v) for u, v in zip(x[:, i], y[:, j], strict=True)) for j in range(y.shape[1])]
                for i in range(x.shape[1])]  # fmt: skip
    assert exact_gram(x, y) == expected


@pytest.mark.parametrize("pairs", [1, 35], ids=["few columns", "many"])
def test_gram_matrix_is_exact_at_its_largest_entries(pairs):
    x = np.full((5000, 2 * pairs), 1 << 40, np.int64)
    x[:, 1::2] *= -1
    whole = 5000 << 80
    assert exact_gram(x, x) == [[whole, -whole] * pairs, [-whole, whole] * pairs] * pairs


@given(st.integers(1, 5).flatmap(lambda k: st.tuples(
    st.lists(st.lists(st.integers(-50, 50), min_size=k, max_size=k), min_size=k, max_size=k),
    st.lists(st.lists(st.integers(-(1 << 70), 1 << 70), min_size=2, max_size=2), min_size=k, max_size=k),
)))  # fmt: skip
def test_solution_of_a_linear_system_is_exact(system):
    a, b = system
    try:
        x = solve_exactly(a, b)
    except ZeroDivisionError:
        assert abs(np.linalg.det(np.array(a, float))) < 1e-6
        return
    for i, row in enumerate(a):
        for j in range(2):
            assert sum(v * x[k][j] for k, v in enumerate(row)) == b[i][j]


def test_a_singular_system_is_refused():
    with pytest.raises(ZeroDivisionError):
        solve_exactly([[1, 2], [2, 4]], [[1], [2]])


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_rounding_half_up(numerator, denominator):
    exact = Fraction(numerator, denominator)
    assert round_half_up(numerator, denominator) == math.floor(exact + Fraction(1, 2))


@given(st.lists(st.integers(-(2**52), 2**52), min_size=2, max_size=30), st.sampled_from([1, 10**6, 10**12, 1 << 54]))
def test_scale_is_the_power_of_two_from_the_standard_deviation_and_the_centre_is_near_the_mean(values, grid):
    n, s1, s2 = fp.moments(column(values), fp.pooled)
    assert (n, s1, s2) == (len(values), sum(values), sum(v * v for v in values))
    scaling = fp.scale_of(n, s1, s2, grid)
    variance = Fraction(n * s2 - s1 * s1, (n * grid) ** 2)
    if variance == 0:
        assert scaling is None
        return
    assert Fraction(4) ** (scaling.exponent - 1) < variance <= Fraction(4) ** scaling.exponent
    centre = Fraction(scaling.centre_16th, 16) * Fraction(2) ** scaling.exponent
    assert abs(centre - Fraction(s1, n * grid)) <= Fraction(2) ** scaling.exponent / 32


@given(
    st.lists(st.integers(-(2**45), 2**45), min_size=1, max_size=20), st.integers(-30, 40), st.integers(-(10**4), 10**4),
    st.sampled_from([1, 10**6, 1 << 54]), st.integers(1, 1 << 24), st.integers(1, 9),
)  # fmt: skip
@settings(max_examples=200)
def test_integers_are_the_exact_quotients_rounded_half_up(values, exponent, centre, grid, numerator, denominator):
    scaling = fp.Scaling(grid, exponent, centre)
    scale = Fraction(2) ** exponent
    exact = [
        (Fraction(v, grid) - Fraction(centre, 16) * scale) / scale * Fraction(numerator, denominator) for v in values
    ]
    expected = [math.floor(e + Fraction(1, 2)) for e in exact]
    if max(abs(e) for e in expected) >= 1 << 40:
        with pytest.raises(DesignError, match="standard deviations from the mean"):
            scaling.integers(column(values), numerator, denominator)
    else:
        assert scaling.integers(column(values), numerator, denominator).tolist() == expected


@given(st.lists(st.floats(-1e5, 1e5), min_size=3, max_size=40), st.integers(14, 20))
def test_a_fitted_column_is_within_its_rounding_of_the_value(values, bits):
    x = np.array(values)
    assume(x.std() > 1e-3)
    scaling, decimals = fp.fit_scaling(x, "x")
    unit = 5 * Fraction(2) ** scaling.exponent / (1 << bits)
    integers = fp.column_integers(scaling, decimals, bits)
    centre = Fraction(scaling.centre_16th, 16) * Fraction(2) ** scaling.exponent
    # half a unit of rounding, half a decimal of reading, and one rounding of x·10^digits to a double
    for value, integer in zip(values, integers.tolist(), strict=True):
        reading = Fraction(1, 2 * scaling.grid) + abs(Fraction(value)) * Fraction(1, 1 << 52)
        assert abs(Fraction(value) - centre - integer * unit) <= unit / 2 + reading


@pytest.mark.parametrize("factor", [1e-7, 1e-5, 1.0, 1e4])
def test_a_column_of_small_numbers_is_read_with_more_decimals(factor):
    x = factor * np.random.default_rng(1).normal(size=200)
    scaling, decimals = fp.fit_scaling(x, "x")
    assert decimals.std() >= 1e5 or scaling.grid == 10 ** fp.MORE_DIGITS[-1]
    np.testing.assert_allclose(decimals / scaling.grid, x, rtol=0, atol=0.6 / scaling.grid)


def test_a_constant_column_is_refused_by_name():
    with pytest.raises(DesignError, match="covariate BATCH is constant over the analysed samples"):
        fp.fit_scaling(np.full(4, 3.25), "covariate BATCH")


def test_values_too_large_for_decimals_are_refused_by_name():
    with pytest.raises(DesignError, match="INCOME: values up to 1e[+]11 are too large"):
        fp.fit_scaling(np.array([1e11, 2.0, 3.0]), "INCOME")


def gram_of(columns: np.ndarray) -> list[list[int]]:
    design = np.column_stack([np.full(len(columns), 1 << 30), columns]).astype(np.int64)
    return exact_gram(design, design)


def test_collinear_covariates_are_refused_by_name_and_others_are_not_named():
    rng = np.random.default_rng(3)
    free, one = rng.integers(-(1 << 30), 1 << 30, (2, 300))
    names = ("INTERCEPT", "FREE", "ONE", "TWO")
    with pytest.raises(DesignError, match="covariates ONE, TWO are collinear"):
        fp.refuse_collinear(gram_of(np.column_stack([free, one, -2 * one])), names)
    almost = one.copy()
    almost[0] += 1 << 12  # condition number far above 1e8, though not singular
    with pytest.raises(DesignError, match="covariates ONE, TWO are collinear .*e[+]"):
        fp.refuse_collinear(gram_of(np.column_stack([free, one, almost])), names)
    near = one + rng.integers(-(1 << 20), 1 << 20, 300)
    assert fp.refuse_collinear(gram_of(np.column_stack([free, one, near])), names) > 0


def test_smallest_eigenvalue_is_that_of_the_correlation_matrix():
    x = np.random.default_rng(5).integers(-(1 << 30), 1 << 30, (500, 3))
    x[:, 2] += x[:, 0]
    expected = np.linalg.eigvalsh(np.corrcoef(x.T))[0]
    np.testing.assert_allclose(fp.refuse_collinear(gram_of(x), ("I", "A", "B", "C")), expected, rtol=1e-12)


@given(st.integers(1, 1 << 20), st.floats(0.5000001, 1), st.integers(0, 40))
def test_bits_keep_the_planned_bound_of_t_below_a_thousandth(df, share, covariates):
    bits = column_bits.bits_for(df, share, covariates)
    assert column_bits.DEFAULT_BITS <= bits <= column_bits.MAXIMUM_BITS
    bound = lambda b: math.sqrt(df) * 2.5 * (1 / share + math.sqrt(covariates)) / 2.0**b  # noqa: E731
    assert bound(bits) <= column_bits.TARGET_ERROR * (1 + 1e-12) or bits == column_bits.MAXIMUM_BITS
    assert bits == column_bits.DEFAULT_BITS or bound(bits - 1) > column_bits.TARGET_ERROR


@given(st.integers(1, 1 << 20), st.floats(0.5000001, 1))
def test_bits_of_a_phenotype_keep_what_its_rounding_turns_below_half_a_thousandth(df, share):
    bits = column_bits.phenotype_bits(df, share)
    turned = lambda b: math.sqrt(df / 12) * 5 / (share * 2.0**b)  # noqa: E731
    assert column_bits.MINIMUM_BITS <= bits <= column_bits.MAXIMUM_BITS
    assert turned(bits) <= 5e-4 * (1 + 1e-12) or bits == column_bits.MAXIMUM_BITS
    assert bits == column_bits.MINIMUM_BITS or turned(bits - 1) > 5e-4


@given(st.lists(st.integers(-(1 << 40), 1 << 40), max_size=5), st.integers(1, 30), st.integers(0, 2**32))
def test_products_with_wide_integers_are_exact(values, width, seed):
    rng = np.random.default_rng(seed)
    x = np.array(values, np.int64)[:, None] * np.ones(2, np.int64)
    wide = np.array([int(rng.integers(-(1 << 60), 1 << 60)) << (5 * width) | 1 for _ in values], dtype=object)
    expected = sum(int(a) * b for a, b in zip(values, wide.tolist(), strict=True))
    assert exact_cross(x, wide) == [expected, expected]


@given(st.integers(14, 34), st.integers(-(1 << 40), 1 << 40))
def test_rounding_errors_are_known_to_a_billionth_of_an_integer(bits, value):
    scaling, x = fp.Scaling(1 << 30, 0, 0), np.array([value])
    assume(abs(value) << bits >> 30 < 1 << 37)
    integers = fp.column_integers(scaling, x, bits)
    exact = int(integers[0]) - Fraction(value << bits, 5 << 30)
    for found in (fp.errors_of(integers, x, bits), scaling.errors(x, integers, 1 << bits, 5)):
        assert abs(Fraction(int(found[0]), 1 << 30) - exact) <= Fraction(1, 1 << 31)


def test_sums_that_could_wrap_are_refused():
    fp.check_sum_bound((1 << 63) - 1, "the sums of QT")
    with pytest.raises(PlanError, match=r"the sums of QT could reach 2\^64"):
        fp.check_sum_bound(1 << 63, "the sums of QT")


@given(st.integers(1, 6).flatmap(lambda k: st.tuples(
    st.lists(st.lists(st.integers(-50, 50), min_size=k, max_size=k), min_size=k, max_size=k),
    st.lists(st.integers(-(1 << 70), 1 << 70), min_size=k, max_size=k), st.booleans(), st.integers(0, 60),
)))  # fmt: skip
def test_rounded_solutions_are_those_of_exact_rationals(system):
    a, b, definite, bits = system
    if definite:
        a = [[sum(x * y for x, y in zip(p, q, strict=True)) for q in a] for p in a]
    try:
        exact = solve_exactly(a, [[v] for v in b])
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            Solver(a).rounded(b, bits)
        return
    expected = [round_half_up(r[0].numerator << bits, r[0].denominator) for r in exact]
    assert Solver(a).rounded(b, bits) == expected


@pytest.mark.parametrize("near", [1.0, 1e-3, 1e-7, 1e-8])
@pytest.mark.parametrize("k", [1, 2, 13, 30])
def test_the_certain_way_and_the_exact_way_agree_on_covariates(k, near, monkeypatch):
    rng = np.random.default_rng(k)
    x = rng.normal(size=(300, k))
    x[:, -1] = (x[:, 0] if k > 1 else 1.0) + near * x[:, -1]
    integers = np.rint(x * 2.0**fp.PRECISE_BITS).astype(np.int64)
    gram = exact_gram(integers, integers)
    (cross,) = exact_gram(np.rint(rng.normal(size=(300, 1)) * 2**30).astype(np.int64), integers)
    numerators, denominator = fraction_free(gram, [[v] for v in cross])
    exact = [round_half_up(row[0] << 24, denominator) for row in numerators]
    if near >= 1e-3:  # collinear beyond that is refused before
        monkeypatch.setattr(solving, "fraction_free", None)  # the certain way is taken
    assert Solver(gram).rounded(cross, 24) == exact


def test_a_tie_is_decided_as_the_exact_rational_is():
    assert Solver([[2, 0], [0, 8]]).rounded([1, -4], 0) == [1, 0]  # 1/2 and −1/2, rounded up
    assert Solver([[4, 1], [1, 4]]).rounded([7 * 15, -7 * 15], 23) == [(7 * 5) << 23, -((7 * 5) << 23)]


@given(
    st.lists(st.lists(entries, min_size=3, max_size=3), max_size=6),
    st.lists(st.integers(-(1 << 90), 1 << 90), min_size=3, max_size=3),
)
def test_combinations_are_exact(rows, weights):
    x = np.array(rows, np.int64).reshape(-1, 3)
    assert combination(x, weights).tolist() == [sum(map(math.prod, zip(r, weights, strict=True))) for r in rows]


@pytest.mark.parametrize("value", [(1 << 40) + 1, np.iinfo(np.int64).min])
def test_combinations_beyond_the_bound_are_refused(value):
    with pytest.raises(PlanError, match="not summed exactly"):
        combination(np.full((1, 1), value), [1])


@pytest.mark.parametrize(
    "x",
    [
        np.array([[(1 << 40) + 1]]), np.array([[-(1 << 40) - 1]]), np.array([[np.iinfo(np.int64).min]]),
        np.broadcast_to(np.int64(1), (1 << 22, 1)),
    ],
    ids=["large", "small", "smallest", "many"],
)  # fmt: skip
def test_sums_that_could_overflow_are_refused_not_wrong(x):
    with pytest.raises(PlanError, match="are not exact here"):
        exact_gram(x, x)
