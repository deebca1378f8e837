"""Integers mod 2^128 as pairs of uint64: arrays whose last axis is (low word, high word). Two's complement.

Squares of 62-bit sums do not fit one word; everything here wraps silently, which is the arithmetic of the ring.
"""

from __future__ import annotations

import numpy as np

_LOW = np.uint64((1 << 32) - 1)
_HALF = np.uint64(32)


def pair(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(…, 2) from the two words."""
    return np.stack(np.broadcast_arrays(low, high), axis=-1).astype(np.uint64, copy=False)


def widen(x: np.ndarray) -> np.ndarray:
    """uint64 integers as wide ones, not sign-extended."""
    return pair(x, np.zeros_like(x))


def add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y."""
    low = x[..., :1] + y[..., :1]  # slices stay arrays: NumPy warns of scalars that wrap
    return np.concatenate([low, x[..., 1:] + y[..., 1:] + (low < y[..., :1])], axis=-1)


def negate(x: np.ndarray) -> np.ndarray:
    """−x."""
    return add(~x, constant(1))


def subtract(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x − y."""
    return add(x, negate(y))


def constant(value: int) -> np.ndarray:
    """(2,) of a Python integer.

    >>> integers(constant(-5))
    -5
    """
    words = [(value >> shift) & ((1 << 64) - 1) for shift in (0, 64)]
    return np.array(words, np.uint64)


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The whole 128-bit product of two uint64 arrays.

    >>> integers(product(np.array([2**63], np.uint64), np.array([4], np.uint64)))[0] == 2**65
    True
    """
    a, b, c, d = x >> _HALF, x & _LOW, y >> _HALF, y & _LOW
    low, middle, other = b * d, a * d, b * c
    carry = (low >> _HALF) + (middle & _LOW) + (other & _LOW)  # below 3·2^32
    high = a * c + (middle >> _HALF) + (other >> _HALF) + (carry >> _HALF)
    return pair((low & _LOW) | (carry << _HALF), high)


def multiply(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x · y mod 2^128 of wide arrays."""
    out = product(x[..., :1], y[..., :1])[..., 0, :]
    out[..., 1:] += x[..., :1] * y[..., 1:] + x[..., 1:] * y[..., :1]
    return out


def total(x: np.ndarray) -> np.ndarray:
    """Sum over the last axis but one: (…, n, 2) to (…, 2)."""
    out = np.zeros((*x.shape[:-2], 2), np.uint64)
    for i in range(x.shape[-2]):
        out = add(out, x[..., i, :])
    return out


def total_of_squares(x: np.ndarray) -> np.ndarray:
    """Σ x² over the last axis of (V, N) int64 with |x| < 2^31.5: (V, 2), exact for N < 2^32.

    >>> integers(total_of_squares(np.full((1, 8), 1 << 31)))[0] == 2**65
    True
    """
    square = (x * x).view(np.uint64)
    low, high = (square & _LOW).sum(axis=-1), (square >> _HALF).sum(axis=-1)
    return add(widen(low), pair(high << _HALF, high >> _HALF))


def integers(x: np.ndarray):
    """Signed Python integers: an object array, or one integer for a (2,) array."""
    high = x[..., 1].astype(np.int64).astype(object)
    return high * (1 << 64) + x[..., 0].astype(object)
