"""Exact lifts, squares and multiples on shares, signs, and the opening of hits alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.engines.mpc.shares import lifting, multiword
from securegen.engines.mpc.shares.hits import deal_hits, open_hits
from securegen.engines.mpc.shares.lifting import (
    Pair,
    deal_lift,
    deal_multiples,
    deal_products,
    lift,
    multiples,
    products,
)

from .conftest import results

ROLES = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
PAIR = Pair("ada", "bob", "dan")
SIZES = st.integers(1, 3)


def wrap(value, words):
    half = 1 << (64 * words - 1)
    return (value + half) % (2 * half) - half


@given(SIZES, st.integers(), st.integers(), st.integers(0, 63))
def test_wide_arithmetic_is_that_of_integers_mod_a_power_of_two(words, x, y, bits):
    a, b = multiword.constant(x, words), multiword.constant(y, words)
    assert multiword.integers(multiword.add(a, b)) == wrap(x + y, words)
    assert multiword.integers(multiword.subtract(a, b)) == wrap(x - y, words)
    assert multiword.integers(multiword.multiply(a, b)) == wrap(x * y, words)
    assert multiword.integers(multiword.shift_left(a, bits)) == wrap(x << bits, words)
    assert int(multiword.word_at(a, bits)) == ((x % (1 << (64 * words))) >> bits) & ((1 << 64) - 1)


@given(st.integers(-(1 << 180), 1 << 180), st.integers(0, (1 << 192) - 1), st.integers(0, 128))
def test_a_cut_share_is_off_by_one_unit_at_most(x, mask, bit):
    left, right = multiword.constant(mask, 3), multiword.constant(x - mask, 3)
    found = int(multiword.word_at(left, bit)) + int(multiword.word_at(right, bit))
    assert (found - (x >> bit)) % (1 << 64) in (0, (1 << 64) - 1)


def both(program, dealer):
    return {"ada": program, "bob": program, "dan": dealer}


def shares_of(values, dtype=np.uint64):
    own = np.random.default_rng(3).integers(0, 1 << (8 * np.dtype(dtype).itemsize), values.shape, dtype)
    return {"ada": own, "bob": values.astype(dtype) - own}


@pytest.mark.parametrize(("bits", "words"), [(5, 1), (17, 1), (32, 1), (32, 2), (32, 3), (40, 2), (64, 2), (64, 3)])
def test_lifted_numbers_are_exact(study, bits, words):
    """Edges, for every shape of shares: with every bit above the ring's whatever it is."""
    limit = 1 << (bits - 2)
    draw = np.random.default_rng(bits)
    x = np.concatenate([draw.integers(1 - limit, limit, 195), [0, 1, -1, limit - 1, 1 - limit]]).reshape(40, 5)
    share = shares_of(x.astype(np.int64), np.uint32 if bits <= 32 else np.uint64)
    out = results(study(ROLES).run(both(
        lambda s: (lift(s, PAIR, share[s.me], bits=bits, to=words, step="t"), s.traffic.total),
        lambda s: deal_lift(s, PAIR, x.shape, bits=bits, to=words, step="t"),
    )))  # fmt: skip
    lifted = {name: out[name][0] for name in ("ada", "bob")}
    assert (multiword.integers(multiword.add(lifted["ada"], lifted["bob"])) == x.astype(object)).all()
    assert out["ada"][1] + out["bob"][1] < 2 * (x.size // 8 + 600)  # a bit each way for each number


def test_every_pair_of_shares_in_a_small_ring_lifts_to_the_same_number(study):
    bits = 6
    x, own = (a.reshape(-1) for a in np.meshgrid(np.arange(1 - (1 << 4), 1 << 4), np.arange(1 << bits)))
    share = {"ada": own.astype(np.uint32), "bob": (x - own).astype(np.uint32)}
    out = results(study(ROLES).run(both(
        lambda s: lift(s, PAIR, share[s.me], bits=bits, to=1, step="t"),
        lambda s: deal_lift(s, PAIR, x.shape, bits=bits, to=1, step="t"),
    )))  # fmt: skip
    np.testing.assert_array_equal((out["ada"] + out["bob"])[:, 0].view(np.int64), x)


@pytest.mark.parametrize("masked", [False, True])
def test_the_bit_of_a_lift_tells_nothing(study, monkeypatch, masked):
    """The attack: a party compares the other's top bit with its own and reads whether the number is large or small."""
    bits, count = 20, 4000
    if not masked:
        monkeypatch.setattr(lifting, "_bits", lambda key, shape: np.zeros(shape, np.uint8))
    large = np.random.default_rng(4).random(count) < 0.5
    share = shares_of(np.where(large, 1, -1) * ((1 << (bits - 2)) - 1), np.uint32)
    received = []

    def ada(s):
        object.__setattr__(s, "mesh", _Recording(s.mesh, received, s.mesh.receive))
        return lift(s, PAIR, share["ada"], bits=bits, to=1, step="t")

    results(study(ROLES).run({
        "ada": ada, "bob": lambda s: lift(s, PAIR, share["bob"], bits=bits, to=1, step="t"),
        "dan": lambda s: deal_lift(s, PAIR, (count,), bits=bits, to=1, step="t"),
    }))  # fmt: skip
    theirs = np.unpackbits(dict(received)["t/open"], count=count, bitorder="little") ^ 1
    own = ((share["ada"] + np.uint32(1 << (bits - 2))) >> np.uint32(bits - 1)) & np.uint32(1)
    right = ((theirs == own) == large).mean()
    assert right > 0.99 if not masked else abs(right - 0.5) < 0.05


@pytest.mark.parametrize("words", [1, 2])
@pytest.mark.parametrize("which", [[(0, 0), (1, 1)], [(0, 1)], [(0, 0), (1, 0), (1, 2), (0, 2)]])
def test_products_are_exact(study, words, which):
    """Squares, one product, and several that share numbers; edges among them."""
    limit = 1 << (62 if words == 1 else 95)
    draw = np.random.default_rng(words)
    x = [int(draw.integers(0, 1 << 62)) * limit >> int(62 + s) for s in draw.integers(0, 60, 295)]
    x = np.array([*x, 0, 1, -1, limit - 1, 1 - limit], object).reshape(100, 3)
    x[:9] = [[a, b, a] for a in (0, 1 - limit, limit - 1) for b in (-1, limit - 1, 1 - limit)]
    own = multiword.pack(
        np.array([int.from_bytes(draw.bytes(8 * words)) for _ in x.flat], object).reshape(x.shape), words
    )
    share = {"ada": own, "bob": multiword.subtract(multiword.pack(x, words), own)}
    out = results(study(ROLES).run(both(
        lambda s: products(s, PAIR, share[s.me], which, step="t"),
        lambda s: deal_products(s, PAIR, own.shape, which, step="t"),
    )))  # fmt: skip
    wanted = np.stack([x[:, i] * x[:, j] for i, j in which], axis=1)
    assert (multiword.integers(multiword.add(out["ada"], out["bob"])) == wanted).all()


def test_multiples_by_numbers_of_one_party_are_exact(study):
    draw = np.random.default_rng(1)
    x, factors = draw.integers(-(1 << 60), 1 << 60, (30, 3)), draw.integers(0, 1 << 60, (30, 2))
    own = draw.integers(0, 1 << 64, (30, 3, 2), np.uint64)
    share = {"ada": own, "bob": multiword.subtract(multiword.pack(x, 2), own)}
    which = (0, 1, 1)
    out = results(study(ROLES).run(both(
        lambda s: multiples(s, PAIR, share[s.me], multiword.pack(factors, 2) if s.me == "ada" else None, which, step="t"),
        lambda s: deal_multiples(s, PAIR, own.shape, which, step="t"),
    )))  # fmt: skip
    want = x.astype(object) * factors[:, list(which)].astype(object)
    assert (multiword.integers(multiword.add(out["ada"], out["bob"])) == want).all()


@pytest.mark.parametrize(("count", "phenotypes", "common"), [(1, 1, 0), (64, 1, 2), (301, 3, 2)])
def test_only_what_is_not_negative_is_opened_and_to_one_party(study, count, phenotypes, common):
    draw = np.random.default_rng(count)
    f = draw.integers(-(1 << 62), 1 << 62, (count, phenotypes)) >> draw.integers(0, 62, (count, phenotypes))
    f[: min(count, 5), 0] = [0, -1, 1, (1 << 63) - 1, -(1 << 63)][: min(count, 5)]
    values = draw.integers(0, 1 << 64, (count, phenotypes, 2), np.uint64)
    of_all = draw.integers(0, 1 << 64, (count, common), np.uint64)
    fs, shares, commons = shares_of(f), shares_of(values), shares_of(of_all)
    out = results(study(ROLES).run(both(
        lambda s: open_hits(s, PAIR, fs[s.me], shares[s.me], commons[s.me], step="h"),
        lambda s: deal_hits(s, PAIR, f.shape, 2, common, step="h"),
    )))  # fmt: skip
    hit, opened, together = out["bob"]
    assert out["ada"] is None
    np.testing.assert_array_equal(hit, f >= 0)
    np.testing.assert_array_equal(opened, np.where(hit[..., None], values, 0))
    np.testing.assert_array_equal(together, np.where(hit.any(axis=1)[:, None], of_all, 0))


def test_the_values_of_others_stay_covered(study):
    """The pad that the right party has uncovers the values of hits, and not those of other rows."""
    count = 64
    f = np.where(np.arange(count) % 2 == 0, 5, -5)[:, None]
    values = np.full((count, 1, 1), 77, np.uint64)
    none = {name: np.zeros((count, 0), np.uint64) for name in ("ada", "bob")}
    fs, shares, made, received = shares_of(f), shares_of(values), study(ROLES), []

    def bob(s):
        object.__setattr__(s, "mesh", _Recording(s.mesh, received, s.mesh.receive))
        return open_hits(s, PAIR, fs["bob"], shares["bob"], none["bob"], step="h")

    out = results(made.run({
        "ada": lambda s: open_hits(s, PAIR, fs["ada"], shares["ada"], none["ada"], step="h"), "bob": bob,
        "dan": lambda s: deal_hits(s, PAIR, f.shape, 1, 0, step="h"),
    }))  # fmt: skip
    steps = dict(received)
    uncovered = shares["bob"][:, 0] + (steps["h/values/own"] ^ steps["h/pad/own"])
    hit = f[:, 0] >= 0
    assert (uncovered[hit] == 77).all() and (uncovered[~hit] != 77).all()
    assert (out["bob"][1][~hit] == 0).all()


class _Recording:
    def __init__(self, mesh, received, receive):
        self._mesh, self._received, self._receive = mesh, received, receive

    def __getattr__(self, name):
        return getattr(self._mesh, name)

    def receive(self, source, step, **kwargs):
        array = self._receive(source, step, **kwargs)
        self._received.append((step, array))
        return array
