"""Computations that share the messages of their sums."""

from __future__ import annotations

import pytest

from securegen.design import fixedpoint as fp
from securegen.design.side_by_side import side_by_side
from securegen.errors import DesignError


class Sums:
    """A sum over two sites that have the same numbers. calls: how many numbers each message had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def total(self, values):
        self.calls.append(len(values))
        return [2 * v for v in values]


def asks(*rounds):
    """Asks for a sum of each of these sizes, and returns all answers."""
    return lambda total: [total(list(range(size))) for size in rounds]


def test_sums_of_one_round_are_one_message():
    sums = Sums()
    found = side_by_side(sums.total, [asks(1, 3), asks(2), asks(), asks(4, 1, 2)])
    assert sums.calls == [1 + 2 + 4, 3 + 1, 2]
    assert found == [[[0], [0, 2, 4]], [[0, 2]], [], [[0, 2, 4, 6], [0], [0, 2]]]
    sums = Sums()
    nested = side_by_side(sums.total, [lambda total: side_by_side(total, [asks(1, 1), asks(2)]), asks(3)])
    assert sums.calls == [6, 1] and nested == [[[[0], [0]], [[0, 2]]], [[0, 2, 4]]]


def test_one_computation_asks_as_it_would_alone():
    sums = Sums()
    assert side_by_side(sums.total, [asks(2, 1)]) == [[[0, 2], [0]]] and sums.calls == [2, 1]
    assert side_by_side(fp.pooled, [asks(2), asks(1)]) == [[[0, 1]], [[0]]]


def test_the_first_error_ends_all():
    ended = []

    def waits(total):
        try:
            total([1])
            total([1])
        finally:
            ended.append(True)

    def fails(total):
        total([1])
        raise DesignError("the second of them")

    with pytest.raises(DesignError, match="the second of them"):
        side_by_side(Sums().total, [waits, fails, waits])
    assert len(ended) == 2

    def lost(values):
        raise OSError("no answer")

    with pytest.raises(OSError, match="no answer"):
        side_by_side(lost, [waits, waits])
    assert len(ended) == 4
