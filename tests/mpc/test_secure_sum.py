"""Secure sums: exact totals, one round, and what a curious site can and cannot see."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.errors import PlanError, PolicyError
from securegen.mpc.prg import Stream
from securegen.mpc.secure_sum import PairwiseMasks, secure_sum

from .conftest import results

TRIO = ("ada", "bob", "cyd")
DATA = np.random.default_rng(3)


@pytest.mark.parametrize(("bits", "size"), [(64, 1 << 61), (32, 1 << 29)])
def test_total_is_exact_at_every_site_in_one_round(study, bits, size):
    values = {n: DATA.integers(-size, size, (50, 4)) for n in TRIO}

    def site(s):
        masks = PairwiseMasks.agree(s)
        for other in s.others:  # everybody has keys
            s.send(other, "keys", np.zeros(1, np.int8))
        for other in s.others:
            s.receive(other, "keys")
        before = s.traffic.rounds
        total = secure_sum(s, masks, values[s.me], step="a", bits=bits)
        return total, s.traffic.rounds - before

    out = results(study(TRIO).run(dict.fromkeys(TRIO, site)))
    for name in TRIO:
        np.testing.assert_array_equal(out[name][0], sum(values.values()))
        assert out[name][1] == 1


def test_only_the_receiver_learns_when_there_is_one(study):
    def site(s):
        masks = PairwiseMasks.agree(s)
        return [secure_sum(s, masks, np.arange(3) * (s.rank + 1), step=f"s{i}", to="bob") for i in range(2)]

    out = results(study(TRIO).run(dict.fromkeys(TRIO, site)))
    assert out["ada"] == out["cyd"] == [None, None]
    np.testing.assert_array_equal(out["bob"], [[0, 6, 12]] * 2)


def _what_bob_receives(study, covered):
    """The message of ada as bob sees it, with her masks or (the attack) without."""
    secret = np.arange(100, dtype=np.int64)

    def ada(s):
        masks = PairwiseMasks.agree(s)
        if not covered:
            masks.streams = {n: (0, stream) for n, (_, stream) in masks.streams.items()}
            masks.cover = lambda values: values
        secure_sum(s, masks, secret, step="a")

    def bob(s):
        PairwiseMasks.agree(s)
        for other in s.others:
            s.send(other, "a", np.zeros(100, np.uint64))
        return [s.receive(n, "a").view(np.int64) for n in ("ada", "cyd")]

    def cyd(s):
        secure_sum(s, PairwiseMasks.agree(s), secret * 0, step="a")

    return secret, results(study(TRIO).run({"ada": ada, "bob": bob, "cyd": cyd}))["bob"]


def test_a_message_reads_out_a_site_without_masks(study):
    secret, (seen, _) = _what_bob_receives(study, covered=False)
    np.testing.assert_array_equal(seen, secret)


def test_a_message_is_uniform_with_masks_and_even_minus_bobs_own_mask(study):
    secret, (seen, other) = _what_bob_receives(study, covered=True)
    assert not np.isin(seen, secret).any()
    magnitude = np.abs(seen.astype(np.float64))
    # mean of |uniform int64| is 2^62 with a relative SD of 1/sqrt(3·100): 6 σ
    assert abs(magnitude.mean() / 2.0**62 - 1) < 6 / np.sqrt(300)
    assert not np.array_equal(seen + other, secret)  # bob's own masks still cover the sum of both


def test_masks_are_never_drawn_twice():
    masks = PairwiseMasks({"bob": (1, Stream(bytes(16), "t"))})
    zero = np.zeros(64, np.uint64)
    assert not np.isin(masks.cover(zero), masks.cover(zero)).any()


def test_two_sites_need_to_agree_by_name(study):
    out = study(("ada", "bob")).run(dict.fromkeys(("ada", "bob"), PairwiseMasks.agree))
    assert any(isinstance(e, PolicyError) and "--two-sites-learn-each-other" in str(e) for e in out.values()), out


def test_two_sites_do_learn_each_other(study):
    """Why the flag exists: the other's numbers are the total minus one's own."""
    values = {"ada": np.array([5, 7]), "bob": np.array([100, -3])}

    def site(s):
        total = secure_sum(s, PairwiseMasks.agree(s, two_sites_learn_each_other=True), values[s.me], step="a")
        return total - values[s.me]

    out = results(study(("ada", "bob")).run(dict.fromkeys(values, site)))
    np.testing.assert_array_equal(out["ada"], values["bob"])


def test_a_value_that_could_wrap_is_refused(study):
    def site(s):
        secure_sum(s, PairwiseMasks.agree(s), np.array([1 << 62]), step="a")

    out = study(TRIO).run(dict.fromkeys(TRIO, site))
    assert any(isinstance(e, PlanError) and "wrap" in str(e) for e in out.values()), out
