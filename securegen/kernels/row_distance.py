"""Rows of genotypes as bit planes, and which of them are far enough from those already taken.

Two planes a row: `odd` is set where one copy or no call, `high` where two copies or no call. The distance of two rows is
the number of samples whose genotype differs; a missing call is a genotype of its own. Turned round, 0 and 2 copies swap.
"""

from __future__ import annotations

import numpy as np
from numba import njit

MISSING = 3  # code of a genotype without a call


def planes(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(V, N) uint8 of 0, 1, 2 copies and MISSING -> odd and high planes, (V, W) uint64 each, tail bits 0."""
    words = -(-codes.shape[1] // 64)
    out = []
    for bit in (codes & 1, codes >> 1):
        packed = np.zeros((len(codes), words * 8), np.uint8)
        packed[:, : -(-codes.shape[1] // 8)] = np.packbits(bit, axis=1, bitorder="little")
        out.append(packed.view(np.uint64))
    return out[0], out[1]


def valid_bits(samples: int) -> np.ndarray:
    """(W,) uint64: which bits of a row are samples."""
    out: np.ndarray = planes(np.full((1, samples), 1, np.uint8))[0][0]
    return out


def take_rows(
    odd: np.ndarray, high: np.ndarray, samples: int, at: np.ndarray, allowed: np.ndarray, *, window: int, least: int,
    fine: np.ndarray | None = None, top: int = 0,
) -> np.ndarray:  # fmt: skip
    """(V,) bool: rows that are taken, in order, each against those taken at most `window` places before it.

    at: (V,) int64 increasing places; allowed: (V,) bool. A row is taken if its distance, either way round, to each of them
    is 0 or at least `least`. fine: (V, N) fractional dosages up to `top`, -1 without a call: rows of distance 0 must then
    be equal, or have no sample whose squared difference is more than 1/least of all.

    >>> codes = np.array([[0] * 8 + [1] * 8, [0] * 7 + [1] * 9, [2] * 8 + [1] * 8, [1] * 8 + [0] * 8], np.uint8)
    >>> odd, high = planes(codes)
    >>> take_rows(odd, high, 16, np.arange(4), np.ones(4, bool), window=9, least=3).tolist()
    [True, False, True, True]
    """
    taken = np.zeros(len(at), bool)
    parts = np.zeros((0, 0), np.int32) if fine is None else fine
    _take(odd, high, valid_bits(samples), at, allowed, window, least, parts, top, taken)
    return taken


@njit(cache=True, nogil=True, inline="always")
def _ones(x):
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _close(a, b, odd, high, valid, least):
    """(bad, same, turned): whether a distance of rows a and b is from 1 to least − 1, and which of them are 0."""
    same = turned = 0
    for w in range(len(valid)):
        apart = odd[a, w] ^ odd[b, w]
        differ = high[a, w] ^ high[b, w]
        same += _ones(apart | differ)
        turned += _ones((apart | (differ ^ ~odd[b, w])) & valid[w])
        if same >= least and turned >= least:
            return False, False, False
    return 0 < same < least or 0 < turned < least, same == 0, turned == 0


@njit(cache=True, nogil=True)
def _stands_out(x, y, turned, top, least):
    """Whether one sample's squared difference is more than 1/least of the sum of all."""
    total = np.int64(0)
    most = np.int64(0)
    for i in range(len(x)):
        if x[i] < 0:  # without a call in both rows
            continue
        d = np.int64(x[i]) - (top - np.int64(y[i]) if turned else np.int64(y[i]))
        total += d * d
        most = max(most, d * d)
    return most * least > total


@njit(cache=True, nogil=True)
def _take(odd, high, valid, at, allowed, window, least, fine, top, taken):
    rows = np.empty(len(at), np.int64)
    count = first = 0
    for r in range(len(at)):
        if not allowed[r]:
            continue
        while first < count and at[r] - at[rows[first]] > window:
            first += 1
        good = True
        for t in range(count - 1, first - 1, -1):
            bad, same, turned = _close(r, rows[t], odd, high, valid, least)
            if not bad and fine.size:
                if same:
                    bad = _stands_out(fine[r], fine[rows[t]], False, top, least)
                if turned and not bad:
                    bad = _stands_out(fine[r], fine[rows[t]], True, top, least)
            if bad:
                good = False
                break
        if good:
            taken[r] = True
            rows[count] = r
            count += 1
