"""Arithmetic of residues that the cryptosystem's kernels share: no branch, no division and no table is addressed by a value."""

from __future__ import annotations

from numba import njit, uint32, uint64


@njit(inline="always")
def less_once(x, bound):
    """x − bound where x >= bound, else x, for x below 2^63, by a mask."""
    d = x - bound
    return d + (bound & (uint64(0) - (d >> uint64(63))))


@njit(inline="always")
def times(x, w, quotient, q):
    """x·w mod q, below 2q, for x below 2^32 (Shoup)."""
    return x * w - ((x * quotient) >> uint64(32)) * q


@njit(inline="always")
def count_ones(x):
    """How many of 32 bits are set, by sums in parallel within the word."""
    x = x - ((x >> uint32(1)) & uint32(0x55555555))
    x = (x & uint32(0x33333333)) + ((x >> uint32(2)) & uint32(0x33333333))
    x = (x + (x >> uint32(4))) & uint32(0x0F0F0F0F)
    return uint32(x * uint32(0x01010101)) >> uint32(24)
