"""Checks on what engines hand on: a block out of order or absent is an error, not another table; so are lost digits."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.mpc.shares.radix import choose_form, to_digits
from securegen.errors import ArtefactError, PlanError
from securegen.model import Sums
from securegen.results.write import _consecutive
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_tiles, expand_uniform


def block(start: int, size: int) -> Sums:
    zeros = np.zeros((size, 1), np.int64)
    return Sums(start, zeros, zeros, zeros)


@pytest.mark.parametrize(
    "starts", [((2, 2), (0, 2)), ((0, 2),), ((0, 2), (0, 2)), ((0, 2), (3, 1))], ids=["order", "few", "twice", "gap"]
)
def test_blocks_out_of_order_or_absent_make_no_table(starts):
    with pytest.raises(ValueError, match=r"the sums of variant|sums of \d variants"):
        list(_consecutive((block(*s) for s in starts), 4))
    assert len(list(_consecutive(iter([block(0, 2), block(2, 2)]), 4))) == 2


def test_values_beyond_the_planned_digits_are_refused():
    form = choose_form(100, {"g": 2, "m": 1}, 8, few=True)
    most = np.full((1, 1), 1 << 7)
    assert to_digits(most, form).size == form.digits
    with pytest.raises(PlanError, match="beyond the digits"):
        to_digits(most << 20, form)


def test_seeds_and_tiles_that_are_none():
    ring = Ring.standard(4096, 3)
    for seed in (b"", bytes(15), bytes(17)):
        with pytest.raises(ArtefactError, match="the seed of a ciphertext has"):
            expand_uniform(seed, 1, ring)
    with pytest.raises(ValueError, match="tile 64 of 64"):
        expand_uniform(bytes(16), 1, ring, tile=ring.tiles)
    with pytest.raises(ValueError, match="the ring has 64"):
        expand_tiles(bytes(16), ring, 0, 63, np.empty((2, 1, ring.lanes), np.uint32))
    with pytest.raises(ValueError, match="contiguous"):
        expand_uniform(bytes(16), 1, ring, out=np.empty((3, 64, 1, 64), np.uint64))
