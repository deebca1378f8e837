"""Polynomials with 64-bit integer coefficients as residues in NTT form, in tiles: plaintext factors of `plain_mac`."""

from __future__ import annotations

import numpy as np
from numba import njit, uint32, uint64

from securegen.kernels.ntt import NttTables, forward_line, stack_tables
from securegen.kernels.threads import over_range


def message_tiles(messages: np.ndarray, tables: tuple[NttTables, ...], lanes: int) -> np.ndarray:
    """(C, n) int64 -> (k, n/L, C, L) uint32: canonical residues modulo each prime, NTT form, of any int64."""
    count, n = messages.shape
    if messages.dtype != np.int64 or n != tables[0].n or n % lanes:
        raise ValueError(f"messages of {messages.dtype} {messages.shape} do not fit a ring of dimension {tables[0].n}")
    primes, roots, _, _ = stack_tables(tables)
    # x + 2^63 = high·2^32 + low; 2^32 mod q and 1 with their quotients floor(w·2^32/q), then −2^63 mod q
    rows = [(w := (1 << 32) % q, (w << 32) // q, (1 << 32) // q, -(1 << 63) % q) for q in map(int, primes)]
    constants = np.array(rows, np.uint64)
    out = np.empty((len(tables), n // lanes, count, lanes), np.uint32)
    over_range(count * len(tables), lambda a, z: _fill(messages, primes, roots, constants, out, a, z), least=4)
    return out


@njit(cache=True, nogil=True)
def _fill(messages, primes, roots, constants, out, first, last):
    k, tiles, _, lanes = out.shape
    low_half, half = uint64(0xFFFFFFFF), uint64(32)
    row = np.empty(messages.shape[1], np.uint32)
    for task in range(first, last):
        c, p = task // k, task % k
        q, (w, w_quotient, one_quotient, shift) = primes[p], constants[p]
        for j in range(len(row)):
            x = uint64(messages[c, j]) + uint64(1 << 63)
            high, low = x >> half, x & low_half
            y = high * w - ((high * w_quotient) >> half) * q + low - ((low * one_quotient) >> half) * q + shift
            y = y - uint64(4) * q if y >= uint64(4) * q else y  # y is below 5q
            row[j] = uint32(y - uint64(2) * q if y >= uint64(2) * q else y)
        forward_line(row, roots[p], q)
        for t in range(tiles):
            for l in range(lanes):
                out[p, t, c, l] = row[t * lanes + l]
