"""Products of matrices of residues, one matrix product for every coefficient: the server's inner loop.

Polynomials lie as [prime, tile, group, row, lane]: a tile is `lanes` consecutive coefficients in NTT form, so every lane is
on its own, and a group is what is summed over: out[r, q] += Σ_groups row[r] · column[q]. Both factors are copied, as the
inner loop (see `product_tile`) reads them in sequence (Goto and van de Geijn 2008): the columns once for all blocks, the
rows per tile at a time. Nothing here is secret: both factors are halves of ciphertexts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit, uint64

from securegen.kernels.memory import aligned
from securegen.kernels.product_tile import GROUPS, balanced_line, product_tile, rectangle
from securegen.kernels.residue_mac import PRIME_LIMIT
from securegen.kernels.threads import over_range

LANES = 16  # a cache line
Factor = Sequence[Sequence[np.ndarray]]
"""Chunks of groups, one after the other. Each is arrays (k, T, G, R_i, L) uint32 of its groups, side by side as R = Σ R_i rows
or columns."""


@dataclass(frozen=True, eq=False)
class PackedColumns:
    """Columns for rectangles of some width: (k, T, ⌈Q/width⌉, G, width, LANES) int32, times 2^32 and balanced; count: Q."""

    strips: np.ndarray
    count: int


def pack_columns(
    columns: Factor, primes: np.ndarray, *, room: Callable[..., np.ndarray] = aligned, threads: int | None = None
) -> PackedColumns:
    """The columns of all groups, Q, for `matmul_residues`.

    primes: (k,) uint64, odd and below 2^30, of which the residues are canonical; room: makes the array of a shape and type
    that they are copied into."""
    k, tiles = columns[0][0].shape[:2]
    constants = _constants(primes, k)
    y, ends = _places(columns, (k, tiles))
    count = y.shape[1]
    strips = room((k, tiles, -(-count // _WIDTH), int(ends[-1]), _WIDTH, LANES), np.int32)
    over_range(k * tiles, lambda a, z: _pack_all(y, ends, strips, primes, constants, a, z), threads=threads)
    return PackedColumns(strips, count)


def _constants(primes: np.ndarray, count: int) -> np.ndarray:
    """(k, 2) uint64: 2^32 modulo each prime with its quotient, as `butterfly` has roots; the inverse modulo 2^32."""
    if len(primes) != count or int(primes.max()) >= PRIME_LIMIT or not (primes & np.uint64(1)).all():
        raise ValueError(
            f"{len(primes)} primes up to {int(primes.max())}, expected {count} odd ones below {PRIME_LIMIT}"
        )
    rows = [((r := (1 << 32) % q) | (r << 32) // q << 32, pow(q, -1, 1 << 32)) for q in map(int, primes)]
    return np.array(rows, np.uint64)


def matmul_residues(
    blocks: Sequence[Factor],
    columns: PackedColumns,
    primes: np.ndarray,
    out: np.ndarray,
    *,
    fresh: bool = False,
    threads: int | None = None,
) -> None:
    """out[b, :, :, r, q] += Σ_groups row r of block b × column q, modulo each prime. fresh: out, which may hold anything,
    becomes the sums.

    blocks: the rows of each, R, of the same groups; primes: (k,) uint64, below 2^30; out: (B, k, T, R, Q, L) uint32.
    Residues are canonical in and out. L must be LANES. Threads (None: as many as Numba may use) share the tiles.
    """
    k, tiles, _, groups = columns.strips.shape[:4]
    constants = _constants(primes, k)
    found = [_places(rows, (k, tiles)) for rows in blocks]
    x, ends = np.stack([places for places, _ in found]), found[0][1]
    if any((other != ends).any() for _, other in found) or ends[-1] != groups:
        raise ValueError(f"rows of {ends[-1]} groups do not fit columns of {groups}")
    if out.shape != (len(blocks), k, tiles, x.shape[2], columns.count, LANES) or out.dtype != np.uint32:
        raise ValueError(f"products of {out.dtype} {out.shape} do not fit their factors")
    if fresh and not groups:
        out[...] = 0
    if groups and out.size:
        arguments = x, ends, columns.strips, primes, constants, out, fresh
        over_range(k * tiles, lambda a, z: _matmul(*arguments, a, z), threads=threads)


def _places(factor: Factor, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(chunks, rows, 4) uint64: address, and bytes to the next prime, tile and group, of every row; and (chunks,) int64:
    where the groups of each chunk end."""
    chunks: list[np.ndarray] = []
    for arrays in factor:
        groups, places = arrays[0].shape[2], []
        for f in arrays:
            if f.ndim != 5 or f.shape[:3] != (*shape, groups) or f.dtype != np.uint32 or f.shape[4] != LANES:
                raise ValueError(f"lanes of {LANES} and {(*shape, groups)} expected, not {f.dtype} {f.shape}")
            if f.strides[4] != 4 and f.size:
                raise ValueError("lanes are contiguous")
            own = np.empty((f.shape[3], 4), np.uint64)
            own[:, 0] = f.ctypes.data + np.arange(f.shape[3]) * f.strides[3]
            own[:, 1:] = f.strides[:3]
            places.append(own)
        chunks.append(np.concatenate(places))
    return np.stack(chunks), np.cumsum([arrays[0].shape[2] for arrays in factor])


_HEIGHT, _WIDTH = rectangle()
_multiply = product_tile(_HEIGHT, _WIDTH, LANES)
_balance, _scale = balanced_line(LANES, scaled=False), balanced_line(LANES, scaled=True)


@njit(inline="always")
def _lines(place, prime, tile, first, lines):
    """Address and stride of the lines of a tile of some rows, from a group on."""
    for i in range(len(place)):
        lines[0, i] = (
            place[i, 0] + uint64(prime) * place[i, 1] + uint64(tile) * place[i, 2] + uint64(first) * place[i, 3]
        )
        lines[1, i] = place[i, 3]


@njit(inline="always")
def _targets(strips, target):
    """Addresses of the first lines in strips, (⌈rows/width⌉, groups, width, L)."""
    width = strips.shape[2]
    for i in range(len(target)):
        target[i] = uint64(strips.ctypes.data) + uint64(i // width * strips.strides[0] + i % width * strips.strides[2])


@njit(inline="always")
def _chunk_of(ends, group):
    """The chunk that has this group."""
    chunk = 0
    while ends[chunk] <= group:
        chunk += 1
    return chunk


@njit(cache=True, nogil=True)
def _pack_all(y, ends, strips, primes, constants, first_task, last_task):
    tiles, step, rows = strips.shape[1], uint64(strips.strides[3]), y.shape[1]
    lines, target = np.empty((2, rows), np.uint64), np.empty(rows, np.uint64)
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        q, factor = primes[p], constants[p, 0]
        _targets(strips[p, t], target)
        start = 0
        for chunk in range(len(ends)):
            _lines(y[chunk], p, t, 0, lines)
            for _ in range(start, ends[chunk]):  # in the order of memory
                for i in range(rows):
                    _scale(target[i], lines[0, i], q, factor)
                    lines[0, i] += lines[1, i]
                    target[i] += step
            start = ends[chunk]


@njit(cache=True, nogil=True)
def _matmul(x, ends, strips, primes, constants, out, fresh, first_task, last_task):
    blocks, k, tiles, rows, columns, lanes = out.shape
    groups, height, width = strips.shape[3], _HEIGHT, _WIDTH
    shape = (-(-rows // height), min(groups, GROUPS), height, lanes)
    memory = np.zeros(shape[0] * shape[1] * height * lanes + lanes, np.int32)
    start = int(-memory.ctypes.data // 4 % lanes)
    left = memory[start : start + shape[0] * shape[1] * height * lanes].reshape(shape)
    lines, target = np.empty((2, rows), np.uint64), np.empty(rows, np.uint64)
    soon, later = np.empty_like(lines), np.empty_like(lines)
    row, column, step = uint64(out.strides[3]), uint64(out.strides[4]), uint64(left.strides[1])
    beside, above, group = uint64(left.strides[0]), uint64(strips.strides[2]), uint64(strips.strides[3])
    lefts, count = uint64(left.ctypes.data), strips.shape[2]
    for task in range(first_task, last_task):
        p, t = task // tiles, task % tiles
        q, (factor, inverse) = primes[p], constants[p]
        for first in range(0, groups, GROUPS):
            n, keep = min(GROUPS, groups - first), uint64(0 if fresh and first == 0 else 0xFFFFFFFF)
            aboves = uint64(strips[p, t].ctypes.data) + uint64(first) * group
            here = _chunk_of(ends, first)
            for b in range(blocks):
                _targets(left, target)
                chunk, at = here, first
                while at < first + n:
                    stop = min(first + n, ends[chunk])
                    _lines(x[b, chunk], p, t, at - (ends[chunk - 1] if chunk else 0), lines)
                    for _ in range(at, stop):
                        for i in range(rows):
                            _balance(target[i], lines[0, i], q, factor)
                            lines[0, i] += lines[1, i]
                            target[i] += step
                    chunk, at = chunk + 1, stop
                # what is copied next, of this chunk and the one after, read into the second cache while these are multiplied
                last_block, last_groups = b + 1 == blocks, first + GROUPS >= groups
                following = min(task + (last_block and last_groups), last_task - 1)
                some = (0 if last_groups else first + GROUPS) if last_block else first
                source, chunk = x[0 if last_block else b + 1], _chunk_of(ends, some)
                begin = ends[chunk - 1] if chunk else 0
                _lines(source[chunk], following // tiles, following % tiles, some - begin, soon)
                after, begin = min(chunk + 1, len(ends) - 1), ends[chunk] if chunk + 1 < len(ends) else begin
                _lines(source[after], following // tiles, following % tiles, some - begin, later)
                products = uint64(out[b, p, t].ctypes.data)
                for i in range(0, rows, height):
                    for j in range(count):
                        strip = aboves + uint64(j + 1 if j + 1 < count else 0) * above
                        one = (i // height * count + j) % rows
                        _multiply(
                            lefts + uint64(i // height) * beside, aboves + uint64(j) * above,
                            products + uint64(i) * row + uint64(j * width) * column, row, column, uint64(rows - i),
                            uint64(columns - j * width), uint64(n), q, inverse, keep, strip, soon[0, one],
                            soon[1, one], later[0, one], later[1, one],
                        )  # fmt: skip
