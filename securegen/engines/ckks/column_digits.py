"""Columns of a design in digits: Σ g c = Σ_d 2^(hd) Σ g c_d, exactly.

The bits of a sum are those of its column, and a packed coefficient pays for them twice. So a plan may encrypt a column as
several, of h bits each: balanced digits, the top one takes what remains, and a column of fewer bits has fewer. The server sees
how many columns there are in all. The
owner verifies the sums of every digit before it joins them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from securegen.engines.ckks.column_pool import ColumnPool
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.workload import largest_size, of_top_digit


def digits_of(column: np.ndarray, count: int, bits: int) -> list[np.ndarray]:
    """(N,) int64 -> `count` arrays (N,) int64, the lowest digit first, all but the top one in [−2^(bits−1), 2^(bits−1)).

    >>> [d.tolist() for d in digits_of(np.array([1000, -1000, 127, 128]), 2, 8)]
    [[-24, 24, 127, -128], [4, -4, 0, 1]]
    """
    out, rest = [], np.asarray(column, np.int64)
    for _ in range(count - 1):
        half = np.int64(1) << (bits - 1)
        low = ((rest + half) & (2 * half - 1)) - half
        out.append(low)
        rest = (rest - low) >> bits
    return [*out, rest]


def digits_needed(norm: float, p: Parameters) -> int:
    """As how many digits a column of this 2-norm is encrypted: as few as stay within the plan for all data, at most those of
    the plan. The norm counts as that of the bits it needs, so that the server learns these and nothing else of it."""
    root = math.sqrt(p.samples)
    size = next(size for size in map(largest_size, itertools.count(1)) if root * size >= norm)
    for count in range(1, p.column_digits):
        if root * of_top_digit(size, count, p.column_bits) <= p.norm:
            return count
    return p.column_digits


def in_digits(pool: ColumnPool, p: Parameters) -> ColumnPool:
    """The same columns as they are encrypted: digits are neighbours, the lowest first; a public column stays one.

    places: where the lowest digit of each column is; digits: how many it has.
    """
    if p.column_digits == 1:
        return pool
    columns: list[np.ndarray] = []
    own: list[range] = []
    for j, (column, one) in enumerate(zip(pool.columns, pool.sets.public_ones, strict=True)):
        made = [column] if one else digits_of(column, digits_needed(pool.norm(j), p), p.column_bits)
        own.append(range(len(columns), len(columns) + len(made)))
        columns += made
    old = pool.sets
    ones, squared = (
        tuple(mark for mark, r in zip(marks, own, strict=True) for _ in r) for marks in (old.public_ones, old.squared)
    )
    sets = ColumnSets(ones, squared, tuple(tuple(d for j in some for d in own[j]) for some in old.sets), old.set_of)
    places, digits = (tuple(tuple(of(own[j]) for j in some) for some in pool.places) for of in (lambda r: r.start, len))
    return ColumnPool(tuple(columns), sets, places, digits)


def joined(sums: np.ndarray, places: Sequence[int], digits: Sequence[int], p: Parameters) -> np.ndarray:
    """(V, J) int64 sums of digits -> (V, columns): of those whose lowest digits are at `places`; digits: how many each has."""
    out = np.ascontiguousarray(sums[:, list(places)])
    for j, (place, several) in enumerate(zip(places, digits, strict=True)):
        for d in range(1, several):
            out[:, j] += sums[:, place + d] << (p.column_bits * d)
    return out
