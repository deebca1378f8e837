"""Products of matrices of residues, one matrix product for every coefficient: the server's inner loop.

Polynomials lie as [prime, tile, group, row, lane]: a tile is `lanes` consecutive coefficients in NTT form, so every lane is
on its own, and a group is what is summed over: out[r, q] += Σ_groups row[r] · column[q]. A tile of the factors is first
copied into squares that the inner loop (see `product_tile`) reads in sequence (Goto and van de Geijn 2008), the
columns once for all blocks. Nothing here is secret: both factors are halves of ciphertexts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit, uint64

from securegen.kernels.emit import words
from securegen.kernels.product_tile import copy_vector, product_tile, square_side
from securegen.kernels.residue_mac import LANES_MULTIPLE, PRIME_LIMIT, wide_constants
from securegen.kernels.threads import over_range

GROUPS_AT_ONCE = 64


def matmul_residues(
    blocks: Sequence[Sequence[np.ndarray]],
    columns: Sequence[np.ndarray],
    primes: np.ndarray,
    out: np.ndarray,
    *,
    threads: int | None = None,
) -> None:
    """out[b, :, :, r, q] += Σ_groups row r of block b × column q, modulo each prime.

    blocks: B lists of arrays (k, T, G, R_i, L) uint32, taken one after the other as R = Σ R_i rows; columns: likewise
    (k, T, G, Q_i, L) as Q columns; primes: (k,) uint64, below 2^30; out: (B, k, T, R, Q, L) uint32. Residues are
    canonical in and out. L must be a multiple of 16 and contiguous. Threads (None: as many as Numba may use) share the
    tiles.
    """
    k, tiles, groups, _, lanes = columns[0].shape
    for factor in (*(f for rows in blocks for f in rows), *columns):
        assert factor.shape[:3] == (k, tiles, groups) and factor.shape[4] == lanes and factor.dtype == np.uint32
        assert factor.strides[4] == 4 or not factor.size
    assert lanes % LANES_MULTIPLE == 0, f"{lanes} lanes are not a multiple of {LANES_MULTIPLE}"
    assert int(primes.max()) < PRIME_LIMIT and len(primes) == k
    x, y = np.stack([_places(rows) for rows in blocks]), _places(columns)
    assert out.shape == (len(blocks), k, tiles, x.shape[1], len(y), lanes) and out.dtype == np.uint32
    if groups and out.size:
        constants = wide_constants(primes)
        over_range(k * tiles, lambda a, z: _matmul(x, y, groups, primes, constants, out, a, z), threads=threads)


def _places(factors: Sequence[np.ndarray]) -> np.ndarray:
    """(rows, 4) uint64: address, and bytes to the next prime, tile and group, of every row of several arrays."""
    rows = [
        (f.ctypes.data + i * f.strides[3], f.strides[0], f.strides[1], f.strides[2])
        for f in factors
        for i in range(f.shape[3])
    ]
    return np.array(rows, np.uint64).reshape(-1, 4)


_SIDE = square_side()
_square = product_tile(_SIDE)


@njit(inline="always")
def _pack(place, prime, tile, first, groups, vectors, squares):
    """Copy a tile of some rows into squares, (vectors, ⌈rows/side⌉, groups, side, vector) uint32; the rest stays zero."""
    size, side = uint64(4 * squares.shape[4]), squares.shape[3]
    to_vector = uint64(squares.strides[0])
    for g in range(groups):  # in the order of memory
        for i in range(len(place)):
            source = place[i, 0] + prime * place[i, 1] + tile * place[i, 2] + uint64(first + g) * place[i, 3]
            target = uint64(squares[0, i // side, g, i % side].ctypes.data)
            for _ in range(vectors):
                copy_vector(target, source)
                source += size
                target += to_vector


@njit(cache=True, nogil=True)
def _matmul(x, y, groups, primes, constants, out, first_task, last_task):
    blocks, k, tiles, rows, columns, lanes = out.shape
    side, vector = _SIDE, words() * 2
    vectors, high_squares, wide_squares = lanes // vector, -(-rows // side), -(-columns // side)
    depth = min(groups, GROUPS_AT_ONCE)
    left = np.zeros((vectors, high_squares, depth, side, vector), np.uint32)
    above = np.zeros((vectors, wide_squares, depth, side, vector), np.uint32)
    scratch = np.empty((side * side, vector), np.uint32)
    row, column, room = uint64(out.strides[3]), uint64(out.strides[4]), uint64(scratch.ctypes.data)
    lefts, aboves, square = uint64(left.ctypes.data), uint64(above.ctypes.data), uint64(left.strides[1])
    left_vector, above_vector = uint64(left.strides[0]), uint64(above.strides[0])
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        q, (r, r_quotient, one_quotient) = primes[p], constants[p]
        for first in range(0, groups, GROUPS_AT_ONCE):
            n = min(GROUPS_AT_ONCE, groups - first)
            _pack(y, uint64(p), uint64(t), first, n, vectors, above)
            for b in range(blocks):
                _pack(x[b], uint64(p), uint64(t), first, n, vectors, left)
                target = uint64(out[b, p, t].ctypes.data)
                for v in range(vectors):
                    for i in range(high_squares):
                        for j in range(wide_squares):
                            _square(
                                lefts + uint64(v) * left_vector + uint64(i) * square,
                                aboves + uint64(v) * above_vector + uint64(j) * square, room,
                                target + uint64(i * side) * row + uint64(j * side) * column + uint64(4 * v * vector),
                                row, column, uint64(rows - i * side), uint64(columns - j * side), uint64(n), q, r,
                                r_quotient, one_quotient,
                            )  # fmt: skip
