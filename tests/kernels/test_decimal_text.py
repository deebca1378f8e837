"""Text of numbers against Python's own formatting, digit by digit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.kernels.decimal_text import float_text, integer_text

EDGES = np.array(
    [0.0, -0.0, 1, 10, 100, 1e16, 1e17, 1e22, 1e23, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, np.inf, -np.inf,
     np.nan, 9.9999999999999995e22, 0.1, 1e-4, 1e-5, 123456, 1234567, 999999.5, 99999.95, -0.5]
    + [2.0**k for k in range(-1074, 1024)] + [10.0**k for k in range(-320, 309)] + [5 * 10.0**k for k in range(-320, 308)]
)  # fmt: skip


def written(values: np.ndarray, digits: int) -> list[str]:
    text, length = float_text(values, digits)
    return [bytes(row[:n]).decode() for row, n in zip(text, length, strict=True)]


def expected(values: np.ndarray, digits: int) -> list[str]:
    return ["NA" if v != v else f"%.{digits}g" % v for v in values.tolist()]


@pytest.mark.parametrize("digits", range(1, 18))
def test_powers_halves_and_any_bits(digits):
    """Every power of two has a last digit that is exactly a half at some number of digits."""
    rng = np.random.default_rng(digits)
    for values in (
        EDGES,
        rng.integers(0, 1 << 64, 3000, dtype=np.uint64).view(np.float64),
        np.round(rng.normal(size=1000), 3) * 10.0 ** rng.integers(-9, 9, 1000),
    ):
        assert written(values, digits) == expected(values, digits)


@given(st.lists(st.floats(width=64), min_size=1), st.integers(1, 17))
def test_any_float(values, digits):
    assert written(np.array(values), digits) == expected(np.array(values), digits)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_any_integer(values):
    text, length = integer_text(np.array(values, np.int64))
    assert [bytes(row[:n]).decode() for row, n in zip(text, length, strict=True)] == list(map(str, values))


@pytest.mark.parametrize("digits", [0, 18])
def test_other_numbers_of_digits_are_refused(digits):
    with pytest.raises(ValueError, match="1 to 17"):
        float_text(np.ones(1), digits)
