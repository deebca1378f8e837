"""Rooms: memory that is used again is never that of an array which is still in use."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from securegen.kernels.memory import LINE, Rooms


def test_rooms_of_several_threads_never_overlap():
    rooms = Rooms()

    def use(number: int) -> bool:
        mine = rooms.take((3, 100 + number % 3))
        mine[:] = number
        alone = bool((mine == number).all()) and mine.ctypes.data % LINE == 0
        rooms.give(mine)
        return alone

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(use, range(400)))


def test_a_room_that_is_too_small_is_left():
    rooms = Rooms()
    small, other = rooms.take((4,)), rooms.take((4,))
    rooms.give(small)
    large = rooms.take((1000,))
    other[:], large[:] = 1, 2
    assert (other == 1).all() and large.shape == (1000,)
    with pytest.raises(ValueError, match="taken"):
        rooms.give(np.empty(3, np.uint32))
