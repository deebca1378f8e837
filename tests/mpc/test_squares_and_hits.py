"""Exact squares mod 2^128, signs, and the opening of hits alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.mpc import wide
from securegen.mpc.hits import deal_hits, open_hits
from securegen.mpc.squares import deal_squares, lift_and_square

from .conftest import results

ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
BETWEEN = ("ada", "bob")
WORD = st.integers(-(1 << 127), (1 << 127) - 1)


def wrap(value):
    return (value + (1 << 127)) % (1 << 128) - (1 << 127)


@given(WORD, WORD)
def test_wide_arithmetic_is_that_of_integers_mod_2_128(x, y):
    a, b = wide.constant(x), wide.constant(y)
    assert wide.integers(wide.add(a, b)) == wrap(x + y)
    assert wide.integers(wide.subtract(a, b)) == wrap(x - y)
    assert wide.integers(wide.multiply(a, b)) == wrap(x * y)


def wides(values):
    return np.stack([wide.constant(int(v)) for v in values])


def shares_of(values, draw):
    own = draw.integers(0, 1 << 64, (len(values), 2), np.uint64)
    return {"ada": own, "bob": wide.subtract(wides(values), own)}


def test_lifted_values_and_squares_are_exact(study):
    draw = np.random.default_rng(3)
    edge = [0, 1, -1, (1 << 62) - 1, 1 - (1 << 62)]
    x = np.concatenate([draw.integers(1 - (1 << 62), 1 << 62, 995), edge]).reshape(200, 5)
    own = draw.integers(0, 1 << 64, x.shape, np.uint64)
    share = {"ada": own, "bob": x.astype(np.int64).view(np.uint64) - own}

    def party(s):
        return lift_and_square(s, share[s.me], between=BETWEEN, dealer="dan", step="t")

    out = results(
        study(ROLES).run({"ada": party, "bob": party, "dan": lambda s: deal_squares(s, *BETWEEN, x.shape, "t")})
    )
    lifted = wide.integers(wide.add(out["ada"].x, out["bob"].x))
    squared = wide.integers(wide.add(out["ada"].square, out["bob"].square))
    assert (lifted == x.astype(object)).all() and (squared == x.astype(object) ** 2).all()


@pytest.mark.parametrize("count", [1, 64, 301])
def test_only_what_is_not_negative_is_opened_and_to_one_party(study, count):
    draw = np.random.default_rng(count)
    sizes = draw.integers(0, 126, count)
    f = [int(draw.integers(-(1 << 62), 1 << 62)) * 2 ** int(s) // 2**62 for s in sizes]
    f[: min(count, 5)] = [0, -1, 1, (1 << 126), -(1 << 126)][: min(count, 5)]
    values = [[int(v) << 40 for v in row] for row in draw.integers(-(1 << 62), 1 << 62, (count, 2))]
    fs = shares_of(f, draw)
    columns = [shares_of([row[i] for row in values], draw) for i in range(2)]

    def party(s):
        own = np.stack([c[s.me] for c in columns], axis=1)
        return open_hits(s, fs[s.me], own, between=BETWEEN, dealer="dan", step="h")

    out = results(study(ROLES).run({"ada": party, "bob": party, "dan": lambda s: deal_hits(s, *BETWEEN, count, "h")}))
    hit, opened = out["bob"]
    assert out["ada"] is None
    np.testing.assert_array_equal(hit, [v >= 0 for v in f])
    expected = [[v if h else 0 for v in row] for h, row in zip(hit, values, strict=True)]
    np.testing.assert_array_equal(wide.integers(opened), np.array(expected, object))
