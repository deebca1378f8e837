"""The linear check itself, and its secrets."""

from __future__ import annotations

import numpy as np

import securegen as sg
from securegen.engines.ckks.owner import verify
from securegen.model import GenotypeBlock


def test_verification_accepts_the_honest_and_only_the_honest():
    """The linear check itself, over random blocks."""
    rng = np.random.default_rng(5)
    for _ in range(15):
        g = rng.integers(0, 3, (30, 20)).astype(np.int8)
        c = rng.integers(-(2**40), 2**40, (20, 3))
        r = rng.integers(0, verify.MODULUS, 30).astype(np.uint64)
        h = verify.block_check(r, GenotypeBlock(0, g, g == 1), True)
        for row, stored in zip(h, (g, g == 1, g.astype(np.int16) ** 2), strict=True):
            sums = stored.astype(np.int64) @ c
            expected = verify.expected_check(row, c)
            assert verify.passes(r, sums, expected)
            sums[rng.integers(30), rng.integers(3)] += rng.choice([-1, 1, 2**50])
            assert not verify.passes(r, sums, expected)


def test_verification_secrets_differ_for_every_key_cohort_and_block(small_key, small_study):
    other = sg.ckks.generate_key(sg.ckks.plan(small_study))
    draws = [
        verify.block_secrets(key, cohort_id, block, 50)
        for key in (small_key, other) for cohort_id in ("a", "b") for block in (0, 1)
    ]  # fmt: skip
    assert len({d.tobytes() for d in draws}) == 8 and all((d < verify.MODULUS).all() for d in draws)
    np.testing.assert_array_equal(verify.block_secrets(small_key, "a", 1, 20), draws[1][:20])
