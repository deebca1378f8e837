"""Products of matrices of residues, one matrix product for every coefficient: the server's inner loop.

Polynomials lie as [prime, tile, group, row, lane]: a tile is `lanes` consecutive coefficients in NTT form, so every lane is
on its own, and a group is what is summed over: out[r, q] += Σ_groups row[r] · column[q]. Both factors are copied into
squares that the inner loop (see `product_tile`) reads in sequence (Goto and van de Geijn 2008): the columns once for all
blocks, the rows a tile at a time. Nothing here is secret: both factors are halves of ciphertexts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, uint64

from securegen.kernels.product_tile import copy_line, product_tile, square_side
from securegen.kernels.residue_mac import PRIME_LIMIT, wide_constants
from securegen.kernels.threads import over_range

LANES = 16  # a cache line
GROUPS_AT_ONCE = 64  # so that the rows of a tile stay in the second cache


@dataclass(frozen=True, eq=False)
class PackedColumns:
    """Columns in squares: (k, T, ⌈Q/side⌉, G, side, LANES) uint32; count: Q."""

    squares: np.ndarray
    count: int


def pack_columns(columns: Sequence[np.ndarray], *, threads: int | None = None) -> PackedColumns:
    """Arrays (k, T, G, Q_i, L) uint32, taken one after the other as Q = Σ Q_i columns, for `matmul_residues`."""
    k, tiles, groups = columns[0].shape[:3]
    y = _places(columns, (k, tiles, groups))
    squares = _aligned((k, tiles, -(-len(y) // _SIDE), groups, _SIDE, LANES))
    over_range(k * tiles, lambda a, z: _pack_all(y, squares, a, z), threads=threads)
    return PackedColumns(squares, len(y))


def _aligned(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros that begin at a cache line."""
    memory = np.zeros(math.prod(shape) + LANES, np.uint32)
    start = -memory.ctypes.data // 4 % LANES
    return memory[start : start + math.prod(shape)].reshape(shape)


def matmul_residues(
    blocks: Sequence[Sequence[np.ndarray]],
    columns: PackedColumns,
    primes: np.ndarray,
    out: np.ndarray,
    *,
    threads: int | None = None,
) -> None:
    """out[b, :, :, r, q] += Σ_groups row r of block b × column q, modulo each prime.

    blocks: B lists of arrays (k, T, G, R_i, L) uint32, taken one after the other as R = Σ R_i rows; primes: (k,) uint64,
    below 2^30; out: (B, k, T, R, Q, L) uint32. Residues are canonical in and out. L must be LANES. Threads (None: as many
    as Numba may use) share the tiles.
    """
    k, tiles, _, groups = columns.squares.shape[:4]
    if int(primes.max()) >= PRIME_LIMIT or len(primes) != k:
        raise ValueError(f"{len(primes)} primes up to {int(primes.max())}, expected {k} below {PRIME_LIMIT}")
    x = np.stack([_places(rows, (k, tiles, groups)) for rows in blocks])
    if out.shape != (len(blocks), k, tiles, x.shape[1], columns.count, LANES) or out.dtype != np.uint32:
        raise ValueError(f"products of {out.dtype} {out.shape} do not fit their factors")
    if groups and out.size:
        arguments = x, columns.squares, primes, wide_constants(primes), out
        over_range(k * tiles, lambda a, z: _matmul(*arguments, a, z), threads=threads)


def _places(factors: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """(rows, 4) uint64: address, and bytes to the next prime, tile and group, of every row of several arrays."""
    for f in factors:
        if f.ndim != 5 or f.shape[:3] != shape or f.dtype != np.uint32 or f.shape[4] != LANES:
            raise ValueError(f"lanes of {LANES} and {shape} expected, not {f.dtype} {f.shape}")
        if f.strides[4] != 4 and f.size:
            raise ValueError("lanes are contiguous")
    rows = [
        (f.ctypes.data + i * f.strides[3], f.strides[0], f.strides[1], f.strides[2])
        for f in factors
        for i in range(f.shape[3])
    ]
    return np.array(rows, np.uint64).reshape(-1, 4)


_SIDE = square_side()
_square = product_tile(_SIDE, LANES)
_copy = copy_line(LANES)


@njit(inline="always")
def _pack(place, prime, tile, first, squares, at):
    """Copy a tile of some rows, from a group on, into squares, (⌈rows/side⌉, groups, side, L) uint32."""
    _, groups, side, _ = squares.shape
    step = uint64(squares.strides[1])
    source, stride, target = at
    for i in range(len(place)):
        source[i] = place[i, 0] + prime * place[i, 1] + tile * place[i, 2] + uint64(first) * place[i, 3]
        stride[i] = place[i, 3]
        target[i] = uint64(squares.ctypes.data) + uint64(i // side * squares.strides[0] + i % side * squares.strides[2])
    for _ in range(groups):  # in the order of memory
        for i in range(len(place)):
            _copy(target[i], source[i])
            source[i] += stride[i]
            target[i] += step


@njit(cache=True, nogil=True)
def _pack_all(y, squares, first_task, last_task):
    tiles = squares.shape[1]
    at = np.empty((3, len(y)), np.uint64)
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        _pack(y, uint64(p), uint64(t), 0, squares[p, t], at)


@njit(cache=True, nogil=True)
def _matmul(x, squares, primes, constants, out, first_task, last_task):
    blocks, k, tiles, rows, columns, lanes = out.shape
    groups, side = squares.shape[3], _SIDE
    shape = (-(-rows // side), min(groups, GROUPS_AT_ONCE), side, lanes)
    memory = np.zeros(shape[0] * shape[1] * side * lanes + lanes, np.uint32)
    start = int(-memory.ctypes.data // 4 % lanes)
    left = memory[start : start + shape[0] * shape[1] * side * lanes].reshape(shape)
    scratch, at = np.empty((side * side, 16), np.uint32), np.empty((3, rows), np.uint64)
    row, column = uint64(out.strides[3]), uint64(out.strides[4])
    beside, above, group = uint64(left.strides[0]), uint64(squares.strides[2]), uint64(squares.strides[3])
    lefts, room = uint64(left.ctypes.data), uint64(scratch.ctypes.data)
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        q, (r, r_quotient, one_quotient) = primes[p], constants[p]
        for first in range(0, groups, GROUPS_AT_ONCE):
            n = min(GROUPS_AT_ONCE, groups - first)
            aboves = uint64(squares[p, t].ctypes.data) + uint64(first) * group
            for b in range(blocks):
                _pack(x[b], uint64(p), uint64(t), first, left[:, :n], at)
                target = uint64(out[b, p, t].ctypes.data)
                for i in range(0, rows, side):
                    for j in range(0, columns, side):
                        _square(
                            lefts + uint64(i // side) * beside, aboves + uint64(j // side) * above, room,
                            target + uint64(i) * row + uint64(j) * column, row, column, uint64(rows - i),
                            uint64(columns - j), uint64(n), q, r, r_quotient, one_quotient,
                        )  # fmt: skip
