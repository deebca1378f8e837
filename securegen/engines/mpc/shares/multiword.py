"""Integers mod 2^(64 W): uint64 arrays whose last axis holds the W words, lowest first. Two's complement.

Products of long sums do not fit one word; everything here wraps silently, which is the arithmetic of the ring.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_LOW = np.uint64((1 << 32) - 1)
_HALF = np.uint64(32)
_TOP = np.uint64(63)


def widen(x: np.ndarray, words: int) -> np.ndarray:
    """(…,) uint64, not sign-extended -> (…, words)."""
    out = np.zeros((*x.shape, words), np.uint64)
    out[..., 0] = x
    return out


def extend(x: np.ndarray, words: int) -> np.ndarray:
    """Wide integers, not sign-extended, with zero words on top up to `words`; cut to it where they have more."""
    out = np.zeros((*x.shape[:-1], words), np.uint64)
    kept = min(words, x.shape[-1])
    out[..., :kept] = x[..., :kept]
    return out


def constant(value: int, words: int) -> np.ndarray:
    """(words,) of a Python integer.

    >>> integers(constant(-5, 3))
    -5
    """
    return np.array([(value >> (64 * i)) & ((1 << 64) - 1) for i in range(words)], np.uint64)


def pack(values: np.ndarray, words: int) -> np.ndarray:
    """(…,) Python or NumPy integers -> (…, words)."""
    values = np.asarray(values, object)
    low = (1 << 64) - 1
    return np.stack([((values >> (64 * i)) & low).astype(np.uint64) for i in range(words)], axis=-1)


def add(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x + y."""
    x, y = np.broadcast_arrays(x, y)
    out: np.ndarray = x + y
    carry = out[..., :1] < y[..., :1]  # slices stay arrays: NumPy warns of scalars that wrap
    for i in range(1, out.shape[-1]):
        word, before = out[..., i : i + 1], y[..., i : i + 1]
        wrapped = word < before
        word += carry
        carry = wrapped | (word < carry)
    return out


def negate(x: np.ndarray) -> np.ndarray:
    """−x."""
    return add(~x, constant(1, x.shape[-1]))


def subtract(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x − y."""
    return add(x, negate(y))


def multiply(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x · y mod 2^(64 W).

    >>> integers(multiply(constant(-3, 2), constant(1 << 80, 2))) == -3 << 80
    True
    """
    count = x.shape[-1]
    out = np.zeros(np.broadcast_shapes(x.shape, y.shape), np.uint64)
    for i in range(count):
        for j in range(count - i):
            low, high = _product(x[..., i : i + 1], y[..., j : j + 1])
            part = np.zeros_like(out)
            part[..., i + j : i + j + 1] = low
            if i + j + 1 < count:
                part[..., i + j + 1 : i + j + 2] = high
            out = add(out, part)
    return out


def _product(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two words of the product of uint64 arrays."""
    a, b, c, d = x >> _HALF, x & _LOW, y >> _HALF, y & _LOW
    low, middle, other = b * d, a * d, b * c
    carry = (low >> _HALF) + (middle & _LOW) + (other & _LOW)  # below 3·2^32
    return (low & _LOW) | (carry << _HALF), a * c + (middle >> _HALF) + (other >> _HALF) + (carry >> _HALF)


def shift_left(x: np.ndarray, bits: int) -> np.ndarray:
    """x · 2^bits."""
    whole, part = divmod(bits, 64)
    out = np.zeros_like(x)
    out[..., whole:] = x[..., : x.shape[-1] - whole] << np.uint64(part)
    if part:
        out[..., whole + 1 :] |= x[..., : x.shape[-1] - whole - 1] >> np.uint64(64 - part)
    return out


def word_at(x: np.ndarray, bit: int) -> np.ndarray:
    """(…,) uint64: the 64 bits from `bit` up, zeros above the top.

    Of additive shares mod 2^(64 W): shares mod 2^64 of floor(x/2^bit) or one less, when bit <= 64 (W − 1).
    """
    whole, part = divmod(bit, 64)
    out = x[..., whole] >> np.uint64(part)
    if part and whole + 1 < x.shape[-1]:
        out = out | (x[..., whole + 1] << np.uint64(64 - part))
    return out


def top_bit(x: np.ndarray) -> np.ndarray:
    """(…,) uint64, 0 or 1."""
    return x[..., -1] >> _TOP


def total(x: np.ndarray) -> np.ndarray:
    """Sum over the last axis but one: (…, n, W) to (…, W)."""
    out = np.zeros((*x.shape[:-2], x.shape[-1]), np.uint64)
    for i in range(x.shape[-2]):
        out = add(out, x[..., i, :])
    return out


def integers(x: np.ndarray) -> Any:
    """Signed Python integers: an object array, or one integer for a (W,) array."""
    out = x[..., -1].astype(np.int64).astype(object)
    for i in range(x.shape[-1] - 2, -1, -1):
        out = out * (1 << 64) + x[..., i].astype(object)
    return out
