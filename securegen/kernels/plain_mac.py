"""Ciphertexts × plaintext polynomials, added up: the inner loop of scores, and of whatever else has a public factor.

A sum runs over R ciphertexts for each of G people at once. Arrays lie as [prime, tile, ciphertext, person, lane]: the rows
of all people for one tile of one ciphertext are neighbours, and the plaintexts of a tile stay in the cache for all
people. Nothing here is secret: one factor is a ciphertext, the other a plaintext of the server.
"""

from __future__ import annotations

import numpy as np
from numba import njit, uint64

from securegen.kernels.emit import words
from securegen.kernels.panel import PLAINTEXT, panel
from securegen.kernels.plain_fold import fold
from securegen.kernels.residue_mac import LANES_MULTIPLE, PRIME_LIMIT, wide_constants
from securegen.kernels.threads import over_range

RUN = 16  # ciphertexts whose residues stay in the first cache for all columns


def mac_plain(
    g0: np.ndarray,
    g1: np.ndarray,
    plain: np.ndarray,
    primes: np.ndarray,
    out: np.ndarray,
    *,
    columns: np.ndarray | None = None,
) -> None:
    """out += Σ_r (g0, g1)[r] × plain[r] modulo each prime, for every person.

    g0, g1: (k, T, R, G, L) uint32, halves of ciphertexts; plain: (k, T, R, J, L) uint32; primes: (k,) uint64, below 2^30;
    out: (k, T, G, C, 2, L) uint32, canonical residues. columns: (J,) int64, where in out each column of `plain` goes;
    None: all, in order. Views are fine where the lanes are contiguous. Numba's threads share the tiles.
    """
    k, tiles, ciphertexts, people, lanes = g0.shape
    width = plain.shape[3]
    columns = np.arange(width) if columns is None else columns
    if g1.shape != g0.shape or g1.strides != g0.strides:
        raise ValueError(f"halves of shape {g0.shape} and {g1.shape} lie differently")
    if plain.shape != (k, tiles, ciphertexts, width, lanes) or columns.shape != (width,):
        raise ValueError(f"weights of shape {plain.shape} do not fit ciphertexts of {g0.shape}")
    if out.shape != (k, tiles, people, out.shape[3], 2, lanes) or out.strides[-2:] != (4 * lanes, 4):
        raise ValueError(f"sums of shape {out.shape} do not fit ciphertexts of {g0.shape}")
    if width and not (0 <= columns.min() and columns.max() < out.shape[3]):
        raise ValueError(f"columns from {columns.min()} to {columns.max()}, there are {out.shape[3]}")
    if lanes % LANES_MULTIPLE or int(primes.max()) >= PRIME_LIMIT:
        raise ValueError(f"{lanes} lanes modulo {int(primes.max())} are not for this kernel")
    if not all(x.dtype == np.uint32 and (x.strides[-1] == 4 or not x.size) for x in (g0, g1, plain, out)):
        raise ValueError("ciphertexts and weights are uint32 with contiguous lanes")
    if ciphertexts and people and width:
        constants = wide_constants(primes)
        over_range(k * tiles, lambda a, z: _mac_plain(g0, g1, plain, columns, primes, constants, out, a, z))


_plain_1, _plain_2, _plain_4 = (panel(PLAINTEXT, j) for j in (1, 2, 4))


@njit(cache=True, nogil=True)
def _mac_plain(g0, g1, plain, into, primes, constants, out, first_task, last_task):
    k, tiles, ciphertexts, people, lanes = g0.shape
    columns = plain.shape[3]
    vector = words() * 8
    step, person = uint64(g0.strides[2]), uint64(g0.strides[3])
    c_step, c_column = uint64(plain.strides[2]), uint64(plain.strides[3])
    out_person, out_column = uint64(out.strides[2]), uint64(out.strides[3])
    row = uint64(lanes * 4)  # bytes of an accumulator: lanes/2 words
    low = np.empty((columns, 2, 2, lanes // 2), np.uint64)
    high = np.empty((columns, 2, 2, lanes // 2), np.uint64)
    lows, highs = uint64(low.ctypes.data), uint64(high.ctypes.data)
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        block0, block1 = uint64(g0[p, t].ctypes.data), uint64(g1[p, t].ctypes.data)
        factors, sums = uint64(plain[p, t].ctypes.data), uint64(out[p, t].ctypes.data)
        q, (r, r_quotient, one_quotient) = primes[p], constants[p]
        for g in range(people):
            low[:] = 0
            high[:] = 0
            ahead = person if g + 1 < people else uint64(0)
            for first in range(0, ciphertexts, RUN):
                n = uint64(min(RUN, ciphertexts - first))
                shift = uint64(first) * step + uint64(g) * person
                x0, x1 = block0 + shift, block1 + shift
                j = 0
                while j < columns:
                    y = factors + uint64(first) * c_step + uint64(j) * c_column
                    at = uint64(j * 4) * row
                    width = 4 if columns - j >= 4 else 2 if columns - j >= 2 else 1
                    for lane in range(0, lanes * 4, vector):
                        o = uint64(lane)
                        a, b, c, lo, hi = x0 + o, x1 + o, y + o, lows + at + o, highs + at + o
                        if width == 4:
                            _plain_4(a, b, c, c, lo, hi, n, step, c_step, c_column, row, ahead, uint64(0))
                        elif width == 2:
                            _plain_2(a, b, c, c, lo, hi, n, step, c_step, c_column, row, ahead, uint64(0))
                        else:
                            _plain_1(a, b, c, c, lo, hi, n, step, c_step, c_column, row, ahead, uint64(0))
                    j += width
            total = sums + uint64(g) * out_person
            for j in range(columns):
                for half in range(2):
                    o = uint64((2 * j + half) * 2) * row
                    fold(
                        lows + o, highs + o, row, uint64(lanes // 2),
                        total + uint64(into[j]) * out_column + uint64(half) * row, q, r, r_quotient, one_quotient,
                    )  # fmt: skip
