"""Fused multiply-accumulate of CKKS ciphertexts in residues: the server's inner loop.

Arrays lie as [prime, tile, group, column, lane]: a tile is `lanes` consecutive coefficients (in NTT form, so every lane is
on its own), and a group is one ciphertext of the sum. Each genotype residue is read from memory once for all columns.
Nothing here is secret: both factors are ciphertexts. (Products with plaintexts: `plain_mac`.)
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from securegen.kernels.emit import words
from securegen.kernels.panel import CIPHERTEXT, panel
from securegen.kernels.threads import over_range

LANES_MULTIPLE = 16  # a vector of 8 words, 2 lanes a word
RUN = 16  # groups whose genotype residues stay in the first cache for all columns; also how far ahead is prefetched
PRIME_LIMIT = 1 << 30


def mac(g0: np.ndarray, g1: np.ndarray, c0: np.ndarray, c1: np.ndarray, primes: np.ndarray, out: np.ndarray) -> None:
    """out += Σ_groups (g0, g1) × (c0, c1): size-3 products modulo each prime.

    g0, g1: (k, T, G, L) uint32, halves of ciphertexts; c0, c1: (k, T, G, J, L) uint32, columns; primes: (k,) uint64, below
    2^30; out: (k, T, J, 3, L) uint64. Residues are canonical in and out. L must be a multiple of 16. Views are fine where
    the lanes are contiguous. Numba's threads share the tiles. Raises ValueError for arrays that do not fit.
    """
    k, tiles, groups, lanes = g0.shape
    columns = c0.shape[3]
    if not (g1.shape == g0.shape and c0.shape == c1.shape == (k, tiles, groups, columns, lanes)):
        raise ValueError(f"halves of {g0.shape}, {g1.shape} and {c0.shape}, {c1.shape} do not fit")
    if out.shape != (k, tiles, columns, 3, lanes) or g1.strides != g0.strides or c1.strides != c0.strides:
        raise ValueError(f"sums of shape {out.shape} do not fit the factors, or halves lie differently")
    if lanes % LANES_MULTIPLE:
        raise ValueError(f"{lanes} lanes are not a multiple of {LANES_MULTIPLE}")
    if out.dtype != np.uint64 or int(primes.max()) >= PRIME_LIMIT:
        raise ValueError(f"sums of {out.dtype} could overflow modulo {int(primes.max())}")
    if not all(f.dtype == np.uint32 and (f.strides[-1] == 4 or not f.size) for f in (g0, g1, c0, c1)):
        raise ValueError("factors are uint32 with contiguous lanes")
    if groups:
        constants = wide_constants(primes)
        over_range(k * tiles, lambda a, z: _mac(g0, g1, c0, c1, primes, constants, out, a, z))


def wide_constants(primes: np.ndarray) -> np.ndarray:
    """(k, 3) uint64: 2^32 mod q, and the quotients floor(w·2^32/q) of w = 2^32 mod q and w = 1."""
    rows = [(r := (1 << 32) % q, (r << 32) // q, (1 << 32) // q) for q in map(int, primes)]
    return np.array(rows, np.uint64)


@njit(inline="always")
def reduce_wide(high, low, q, r, r_quotient, one_quotient):
    """(high·2^32 + low) mod q for any high and low < 2^32.

    The estimated quotients are floors, so never too large: a product x·w − floor(x·floor(w·2^32/q)/2^32)·q lies in
    [0, 2q) for every x < 2^32 (Shoup), and nothing wraps below zero.
    """
    s, m = uint64(32), uint64(0xFFFFFFFF)
    h1, h0, r, r_quotient, one_quotient, q32 = high >> s, high & m, r & m, r_quotient & m, one_quotient & m, q & m
    # every factor is masked to 32 bits, so that a product is one instruction
    x = h1 * r - ((h1 * r_quotient) >> s) * q32 + h0 - ((h0 * one_quotient) >> s) * q32  # below 4q
    x &= m
    y = x * r - ((x * r_quotient) >> s) * q32 + low - (((low & m) * one_quotient) >> s) * q32
    y = y - uint64(2) * q if y >= uint64(2) * q else y
    return y - q if y >= q else y


@njit(inline="always")
def _finish(high, low, q, constants, out):
    """out (J, terms, L) += accumulators (J, terms, 2, L/2)."""
    columns, terms, _, half = low.shape
    r, r_quotient, one_quotient = constants
    for j in range(columns):
        for i in range(terms):
            for parity in range(2):
                for l in range(half):
                    x = reduce_wide(high[j, i, parity, l], low[j, i, parity, l], q, r, r_quotient, one_quotient)
                    x += out[j, i, 2 * l + parity]
                    out[j, i, 2 * l + parity] = x - q if x >= q else x


_pair_1, _pair_2, _pair_3, _pair_4 = (panel(CIPHERTEXT, j) for j in (1, 2, 3, 4))


@njit(cache=True, nogil=True)
def _mac(g0, g1, c0, c1, primes, constants, out, first_task, last_task):
    k, tiles, groups, lanes = g0.shape
    columns = c0.shape[3]
    vector = words() * 8
    g_group, c_group, c_column = uint64(g0.strides[2]), uint64(c0.strides[2]), uint64(c0.strides[3])
    g_ahead, c_ahead = uint64(RUN) * g_group, uint64(RUN) * c_group
    row = uint64(lanes * 4)  # bytes of an accumulator: lanes/2 words
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        low = np.zeros((columns, 3, 2, lanes // 2), np.uint64)
        high = np.zeros((columns, 3, 2, lanes // 2), np.uint64)
        lows, highs = uint64(low.ctypes.data), uint64(high.ctypes.data)
        groups0, groups1 = uint64(g0[p, t].ctypes.data), uint64(g1[p, t].ctypes.data)
        columns0, columns1 = uint64(c0[p, t].ctypes.data), uint64(c1[p, t].ctypes.data)
        for first in range(0, groups, RUN):
            n = uint64(min(RUN, groups - first))
            x0, x1 = groups0 + uint64(first) * g_group, groups1 + uint64(first) * g_group
            for j in range(0, columns, 4):
                shift = uint64(first) * c_group + uint64(j) * c_column
                y0, y1 = columns0 + shift, columns1 + shift
                at = uint64(j * 6) * row
                width = min(columns - j, 4)
                for lane in range(0, lanes * 4, vector):
                    o = uint64(lane)
                    a, b, c, d, lo, hi = x0 + o, x1 + o, y0 + o, y1 + o, lows + at + o, highs + at + o
                    if width == 4:
                        _pair_4(a, b, c, d, lo, hi, n, g_group, c_group, c_column, row, g_ahead, c_ahead)
                    elif width == 3:
                        _pair_3(a, b, c, d, lo, hi, n, g_group, c_group, c_column, row, g_ahead, c_ahead)
                    elif width == 2:
                        _pair_2(a, b, c, d, lo, hi, n, g_group, c_group, c_column, row, g_ahead, c_ahead)
                    else:
                        _pair_1(a, b, c, d, lo, hi, n, g_group, c_group, c_column, row, g_ahead, c_ahead)
        _finish(high, low, primes[p], constants[p], out[p, t])
