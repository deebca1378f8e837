"""Sums over people of products of the rows of one set, over carriers alone: exact integers.

Of rows g (dosages, 0 where missing) and m (1 where missing), a weight w and columns x: Σ w g gᵀ, Σ w g mᵀ, Σ w m mᵀ,
Σ g x and Σ m x. A row of few carriers costs as many steps as it has carriers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

_AHEAD = 8  # words


class Carriers(NamedTuple):
    """Entries of k rows that are not 0. people: of all rows, one row after the other, int32; values: int32; ends: (k + 1,)."""

    people: np.ndarray
    values: np.ndarray
    ends: np.ndarray

    def __repr__(self) -> str:
        return f"Carriers({len(self.ends) - 1} rows, {int(self.ends[-1])} entries)"


class SetProducts(NamedTuple):
    """Of k rows: gg, gm, mm: (k, k) int64, gm's rows are dosages; gx, mx: (k, J) int64."""

    gg: np.ndarray
    gm: np.ndarray
    mm: np.ndarray
    gx: np.ndarray
    mx: np.ndarray


def carriers_of(rows: np.ndarray | None, count: int) -> Carriers:
    """Of (k, N) int8, int16, int32 or bool, contiguous in people; None: of `count` rows without any."""
    if rows is None:
        return Carriers(np.empty(0, np.int32), np.empty(0, np.int32), np.zeros(count + 1, np.int64))
    flat = np.ascontiguousarray(rows)
    ends = np.zeros(len(flat) + 1, np.int64)
    step = 8 // flat.itemsize
    whole = flat.shape[1] // step
    words = flat[:, : whole * step].view(np.uint64) if whole * step == flat.shape[1] else None
    if words is None:
        words = np.ascontiguousarray(flat[:, : whole * step]).view(np.uint64)
    people, values = (
        np.empty(flat.size, np.int32),
        np.empty(flat.size, np.int32),
    )  # pages that are not filled cost nothing
    found = _scan(flat, words, step, people, values, ends)
    return Carriers(people[:found], values[:found], ends)


def carriers_of_packed(rows: np.ndarray, place: np.ndarray, unit: int) -> tuple[Carriers, Carriers]:
    """Carriers, and who is missing, of (k, ⌈N/4⌉) uint8 rows of a bed (`engines.set_sums.PackedReader`): no dosages are made.

    place: (N,) int32, where a stored sample is among those that are read, −1 for none; unit: of a copy.
    """
    k, width = rows.shape
    padded = np.full((k, -(-width // 8) * 8), 0xFF, np.uint8)
    padded[:, :width] = rows
    if len(place) % 4:
        padded[:, width - 1] |= 0xFF << 2 * (len(place) % 4) & 0xFF
    size = k * len(place)
    people, values, lost = (np.empty(size, np.int32) for _ in range(3))
    ends, lost_ends = (np.zeros(k + 1, np.int64) for _ in range(2))
    _scan_packed(padded.view(np.uint64), place, unit, people, values, ends, lost, lost_ends)
    found, gone = int(ends[-1]), int(lost_ends[-1])
    return Carriers(people[:found], values[:found], ends), Carriers(lost[:gone], np.ones(gone, np.int32), lost_ends)


def totals(carriers: Carriers, people: np.ndarray) -> np.ndarray:
    """(k,) int64, Σ of each row over the people chosen by (N,) bool."""
    out = np.zeros(len(carriers.ends) - 1, np.int64)
    _totals(*carriers, people, out)
    return out


def assembled(
    carriers: Carriers, single: np.ndarray, groups: Sequence[np.ndarray], people: int, *, every: bool
) -> Carriers:
    """The rows `single`, then a row for each group of rows: the largest value a person has in them, or with `every`, 1 for
    who is in all of them. people: N."""
    if not carriers.ends[-1]:
        return carriers_of(None, len(single) + len(groups))
    ends = np.cumsum([0, *map(len, groups)], dtype=np.int64)
    rows = np.concatenate([np.zeros(0, np.int64), *groups]).astype(np.int64)
    size = int(
        (carriers.ends[single + 1] - carriers.ends[single]).sum()
        + (carriers.ends[rows + 1] - carriers.ends[rows]).sum()
    )
    out = Carriers(
        np.empty(size, np.int32), np.empty(size, np.int32), np.zeros(len(single) + len(groups) + 1, np.int64)
    )
    found = _assemble(*carriers, single.astype(np.int64), rows, ends, np.zeros(people, np.int32), every, *out)
    return Carriers(out.people[:found], out.values[:found], out.ends)


def set_products(g: Carriers, m: Carriers, weight: np.ndarray, columns: np.ndarray) -> SetProducts:
    """weight: (N,) int64, columns: (N, J) int64, both 0 for who is not analysed. Sums must fit 64 bits
    (`design.fixedpoint.check_sum_bound`)."""
    if weight.ndim != 1 or len(columns) != len(weight) or weight.dtype != np.int64 or columns.dtype != np.int64:
        raise ValueError("weight and columns are int64 of the same people")
    k = len(g.ends) - 1
    out = SetProducts(
        *(np.zeros((k, k), np.int64) for _ in range(3)), *(np.zeros((k, columns.shape[1]), np.int64) for _ in range(2))
    )
    _products(*g, *m, weight, columns, *out)
    return out


@njit(cache=True, nogil=True)
def _scan(rows, words, step, people, values, ends):
    found = 0
    for a in range(len(rows)):
        row, word = rows[a], words[a]
        whole = len(word) // _AHEAD * _AHEAD
        for first in range(0, len(word), _AHEAD):  # where few carry, most words are 0
            some = np.uint64(0)
            if first < whole:
                for k in range(first, first + _AHEAD):
                    some |= word[k]
                if some == 0:
                    continue
            for k in range(first, min(first + _AHEAD, len(word))):
                if word[k] != 0:
                    for i in range(k * step, (k + 1) * step):
                        if row[i] != 0:
                            people[found], values[found] = i, row[i]
                            found += 1
        for i in range(len(word) * step, len(row)):
            if row[i] != 0:
                people[found], values[found] = i, row[i]
                found += 1
        ends[a + 1] = found
    return found


@njit(cache=True, nogil=True)
def _scan_packed(words, place, unit, people, values, ends, lost, lost_ends):
    found = gone = 0
    nobody = ~np.uint64(0)
    for a in range(len(words)):
        for b in range(words.shape[1]):
            word = words[a, b]
            if word == nobody:  # where few carry, most are
                continue
            first = 32 * b
            for i in range(first, min(first + 32, len(place))):
                code = word & np.uint64(3)
                word >>= np.uint64(2)
                if code != 3 and place[i] >= 0:
                    if code == 1:
                        lost[gone] = place[i]
                        gone += 1
                    else:
                        people[found], values[found] = place[i], unit if code == 2 else 2 * unit
                        found += 1
        ends[a + 1], lost_ends[a + 1] = found, gone


@njit(cache=True, nogil=True)
def _totals(people, values, ends, chosen, out):
    for a in range(len(out)):
        for k in range(ends[a], ends[a + 1]):
            if chosen[people[k]]:
                out[a] += values[k]


@njit(cache=True, nogil=True)
def _assemble(people, values, ends, single, rows, row_ends, spread, every, out_people, out_values, out_ends):
    found = 0
    for a in range(len(single)):
        for k in range(ends[single[a]], ends[single[a] + 1]):
            out_people[found], out_values[found] = people[k], values[k]
            found += 1
        out_ends[a + 1] = found
    for b in range(len(row_ends) - 1):
        first = found
        for a in range(row_ends[b], row_ends[b + 1]):
            for k in range(ends[rows[a]], ends[rows[a] + 1]):
                i = people[k]
                if spread[i] == 0:
                    out_people[found] = i
                    found += 1
                spread[i] = spread[i] + 1 if every else max(spread[i], values[k])
        kept = first
        for k in range(first, found):
            i = out_people[k]
            if not every or spread[i] == row_ends[b + 1] - row_ends[b]:
                out_people[kept], out_values[kept] = i, 1 if every else spread[i]
                kept += 1
            spread[i] = 0
        found = kept
        out_ends[len(single) + b + 1] = found
    return found


@njit(cache=True, nogil=True)
def _pairs(people, values, ends, weight, last, before, row_of, out):
    """Σ w g gᵀ, person by person: an entry meets those of the same person in the rows before. last: (N,) the last entry of a
    person, −1 where there is none; before: the one before an entry; row_of: the row of each."""
    for a in range(len(ends) - 1):
        for k in range(ends[a], ends[a + 1]):
            i = people[k]
            weighed = weight[i] * values[k]
            out[a, a] += weighed * values[k]
            other = last[i]
            while other >= 0:
                out[row_of[other], a] += weighed * values[other]
                other = before[other]
            before[k], row_of[k] = last[i], a
            last[i] = k
    for a in range(len(out)):
        for b in range(a):
            out[a, b] = out[b, a]


@njit(cache=True, nogil=True)
def _crossed(people, values, ends, weight, last, before, row_of, other_values, out):
    """Σ w g mᵀ: an entry of m meets those of the same person in g."""
    for b in range(len(ends) - 1):
        for k in range(ends[b], ends[b + 1]):
            i = people[k]
            other = last[i]
            while other >= 0:
                out[row_of[other], b] += weight[i] * values[k] * other_values[other]
                other = before[other]


@njit(cache=True, nogil=True)
def _with_columns(people, values, ends, columns, out):
    for a in range(len(out)):
        for k in range(ends[a], ends[a + 1]):
            i, value = people[k], np.int64(values[k])
            for j in range(columns.shape[1]):
                out[a, j] += value * columns[i, j]


@njit(cache=True, nogil=True)
def _products(g_people, g_values, g_ends, m_people, m_values, m_ends, weight, columns, gg, gm, mm, gx, mx):
    last = np.full(len(weight), -1, np.int32)
    before, row_of = np.empty(len(g_people), np.int32), np.empty(len(g_people), np.int32)
    _pairs(g_people, g_values, g_ends, weight, last, before, row_of, gg)
    _with_columns(g_people, g_values, g_ends, columns, gx)
    if len(m_people):
        _crossed(m_people, m_values, m_ends, weight, last, before, row_of, g_values, gm)
        last[:] = -1
        before, row_of = np.empty(len(m_people), np.int32), np.empty(len(m_people), np.int32)
        _pairs(m_people, m_values, m_ends, weight, last, before, row_of, mm)
        _with_columns(m_people, m_values, m_ends, columns, mx)
