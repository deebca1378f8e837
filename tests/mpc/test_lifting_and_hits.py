"""Exact lifts, squares and multiples on shares, signs, and the opening of hits alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.mpc import wide
from securegen.mpc.hits import deal_hits, open_hits
from securegen.mpc.lifting import Pair, deal_lift, deal_multiples, deal_square, lift, multiples, square

from .conftest import results

ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
PAIR = Pair("ada", "bob", "dan")
SIZES = st.integers(1, 3)


def wrap(value, words):
    half = 1 << (64 * words - 1)
    return (value + half) % (2 * half) - half


@given(SIZES, st.integers(), st.integers(), st.integers(0, 63))
def test_wide_arithmetic_is_that_of_integers_mod_a_power_of_two(words, x, y, bits):
    a, b = wide.constant(x, words), wide.constant(y, words)
    assert wide.integers(wide.add(a, b)) == wrap(x + y, words)
    assert wide.integers(wide.subtract(a, b)) == wrap(x - y, words)
    assert wide.integers(wide.multiply(a, b)) == wrap(x * y, words)
    assert wide.integers(wide.shift_left(a, bits)) == wrap(x << bits, words)
    assert int(wide.word_at(a, bits)) == ((x % (1 << (64 * words))) >> bits) & ((1 << 64) - 1)


@given(st.integers(-(1 << 180), 1 << 180), st.integers(0, (1 << 192) - 1), st.integers(0, 128))
def test_a_cut_share_is_off_by_one_unit_at_most(x, mask, bit):
    left, right = wide.constant(mask, 3), wide.constant(x - mask, 3)
    found = int(wide.word_at(left, bit)) + int(wide.word_at(right, bit))
    assert (found - (x >> bit)) % (1 << 64) in (0, (1 << 64) - 1)


def both(program, dealer):
    return {"ada": program, "bob": program, "dan": dealer}


def shares_of(values, dtype=np.uint64):
    own = np.random.default_rng(3).integers(0, 1 << (8 * np.dtype(dtype).itemsize), values.shape, dtype)
    return {"ada": own, "bob": values.astype(dtype) - own}


@pytest.mark.parametrize(("bits", "words"), [(32, 2), (32, 3), (64, 2), (64, 3)])
def test_lifted_numbers_are_exact(study, bits, words):
    limit = 1 << (bits - 2)
    draw = np.random.default_rng(bits)
    x = np.concatenate([draw.integers(1 - limit, limit, 195), [0, 1, -1, limit - 1, 1 - limit]]).reshape(40, 5)
    share = shares_of(x.astype(np.int64), f"u{bits // 8}")
    out = results(study(ROLES).run(both(
        lambda s: lift(s, PAIR, share[s.me], to=words, step="t"),
        lambda s: deal_lift(s, PAIR, x.shape, bits=bits, to=words, step="t"),
    )))  # fmt: skip
    assert (wide.integers(wide.add(out["ada"], out["bob"])) == x.astype(object)).all()


@pytest.mark.parametrize("words", [1, 2])
def test_squares_are_exact(study, words):
    limit = 1 << (62 if words == 1 else 95)
    draw = np.random.default_rng(words)
    x = [int(draw.integers(0, 1 << 62)) * limit >> int(62 + s) for s in draw.integers(0, 60, 195)]
    x = np.array([*x, 0, 1, -1, limit - 1, 1 - limit], object)
    own = wide.pack(np.array([int.from_bytes(draw.bytes(8 * words)) for _ in x], object), words)
    share = {"ada": own, "bob": wide.subtract(wide.pack(x, words), own)}
    out = results(study(ROLES).run(both(
        lambda s: square(s, PAIR, share[s.me], step="t"), lambda s: deal_square(s, PAIR, own.shape, step="t")
    )))  # fmt: skip
    assert (wide.integers(wide.add(out["ada"], out["bob"])) == x * x).all()


def test_multiples_by_numbers_of_one_party_are_exact(study):
    draw = np.random.default_rng(1)
    x, factors = draw.integers(-(1 << 60), 1 << 60, (30, 3)), draw.integers(0, 1 << 60, (30, 2))
    own = draw.integers(0, 1 << 64, (30, 3, 2), np.uint64)
    share = {"ada": own, "bob": wide.subtract(wide.pack(x, 2), own)}
    which = (0, 1, 1)
    out = results(study(ROLES).run(both(
        lambda s: multiples(s, PAIR, share[s.me], wide.pack(factors, 2) if s.me == "ada" else None, which, step="t"),
        lambda s: deal_multiples(s, PAIR, own.shape, which, step="t"),
    )))  # fmt: skip
    want = x.astype(object) * factors[:, list(which)].astype(object)
    assert (wide.integers(wide.add(out["ada"], out["bob"])) == want).all()


@pytest.mark.parametrize("count", [1, 64, 301])
def test_only_what_is_not_negative_is_opened_and_to_one_party(study, count):
    draw = np.random.default_rng(count)
    f = draw.integers(-(1 << 62), 1 << 62, count) >> draw.integers(0, 62, count)
    f[: min(count, 5)] = [0, -1, 1, (1 << 63) - 1, -(1 << 63)][: min(count, 5)]
    values = draw.integers(0, 1 << 64, (count, 2), np.uint64)
    fs, shares = shares_of(f), shares_of(values)
    out = results(study(ROLES).run(both(
        lambda s: open_hits(s, PAIR, fs[s.me], shares[s.me], step="h"),
        lambda s: deal_hits(s, PAIR, count, 2, step="h"),
    )))  # fmt: skip
    hit, opened = out["bob"]
    assert out["ada"] is None
    np.testing.assert_array_equal(hit, f >= 0)
    np.testing.assert_array_equal(opened, np.where(hit[:, None], values, 0))


def test_what_the_right_party_gets_of_the_others_is_covered(study):
    """Both covered copies are uniform words to it but for the pad it has: the other copy differs from run to run."""
    count, seen = 64, []
    f = np.where(np.arange(count) % 2 == 0, 5, -5)
    values = np.full((count, 1), 77, np.uint64)
    fs, shares, made = shares_of(f), shares_of(values), study(ROLES)
    for _ in range(2):
        received = []

        def bob(s, received=received):
            original = s.mesh.receive
            object.__setattr__(s, "mesh", _Recording(s.mesh, received, original))
            return open_hits(s, PAIR, fs["bob"], shares["bob"], step="h")

        results(made.run({
            "ada": lambda s: open_hits(s, PAIR, fs["ada"], shares["ada"], step="h"), "bob": bob,
            "dan": lambda s: deal_hits(s, PAIR, count, 1, step="h"),
        }))  # fmt: skip
        seen.append([a for step, a in received if "/values/" in step])
    for first, second in zip(*seen, strict=True):
        assert (first != second).mean() > 0.9  # with the pads left out, half of the words would repeat


class _Recording:
    def __init__(self, mesh, received, receive):
        self._mesh, self._received, self._receive = mesh, received, receive

    def __getattr__(self, name):
        return getattr(self._mesh, name)

    def receive(self, source, step, **kwargs):
        array = self._receive(source, step, **kwargs)
        self._received.append((step, array))
        return array
