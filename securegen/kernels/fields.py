"""Several small unsigned integers in one record of few bytes: the form in which masked genotypes travel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from securegen.kernels.threads import over_range

MOST = 64  # bits of a record


def record_bytes(widths: Sequence[int]) -> int:
    """Bytes of a record of fields of `widths` bits.

    >>> record_bytes([24, 23])
    6
    """
    if not 0 < sum(widths) <= MOST:
        raise ValueError(f"fields of {sum(widths)} bits, 1 to {MOST} can be packed")
    return -(-sum(widths) // 8)


def pack(parts: Sequence[np.ndarray], widths: Sequence[int], *, threads: int = 1) -> np.ndarray:
    """The low widths[s] bits of each parts[s], (N, V) uint32 or uint64, first field lowest.

    Returns a plane for every byte of the records: (bytes, N, V) uint8.

    >>> pack([np.array([[0x102]], np.uint32), np.array([[3]], np.uint32)], [8, 4]).tolist()
    [[[2]], [[3]]]
    """
    stack, shifts, masks = np.stack(parts), *_layout(widths)
    out = np.empty((record_bytes(widths), *stack.shape[1:]), np.uint8)
    over_range(stack.shape[1], lambda a, z: _pack(stack[:, a:z], shifts, masks, out[:, a:z]), threads=threads)
    return out


def unpack(planes: np.ndarray, widths: Sequence[int], dtype: np.dtype, *, threads: int = 1) -> list[np.ndarray]:
    """The fields of `pack`, each (N, V) of dtype (uint32 or uint64)."""
    if planes.ndim != 3 or planes.dtype != np.uint8 or len(planes) != record_bytes(widths):
        raise ValueError(f"{planes.dtype} of shape {planes.shape} are not records of {record_bytes(widths)} bytes")
    shifts, masks = _layout(widths)
    out = np.empty((len(widths), *planes.shape[1:]), dtype)
    over_range(planes.shape[1], lambda a, z: _unpack(planes[:, a:z], shifts, masks, out[:, a:z]), threads=threads)
    return list(out)


def _layout(widths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    shifts = np.cumsum([0, *widths[:-1]]).astype(np.uint64)
    return shifts, np.array([(1 << w) - 1 for w in widths], np.uint64)


@njit(cache=True, nogil=True)
def _pack(parts, shifts, masks, out):
    streams, samples, variants = parts.shape
    words = np.empty(variants, np.uint64)
    for i in range(samples):
        words[:] = 0
        for s in range(streams):
            shift, mask = shifts[s], masks[s]
            for j in range(variants):
                words[j] |= (np.uint64(parts[s, i, j]) & mask) << shift
        for b in range(len(out)):
            shift = np.uint64(8 * b)
            for j in range(variants):
                out[b, i, j] = np.uint8(words[j] >> shift)


@njit(cache=True, nogil=True)
def _unpack(planes, shifts, masks, out):
    size, samples, variants = planes.shape
    words = np.empty(variants, np.uint64)
    for i in range(samples):
        words[:] = 0
        for b in range(size):
            shift = np.uint64(8 * b)
            for j in range(variants):
                words[j] |= np.uint64(planes[b, i, j]) << shift
        for s in range(len(shifts)):
            shift, mask = shifts[s], masks[s]
            for j in range(variants):
                out[s, i, j] = (words[j] >> shift) & mask
