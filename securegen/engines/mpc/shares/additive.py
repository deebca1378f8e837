"""Additive shares: x = x_0 + x_1 + … mod 2^64 (or 2^32), all but one of them uniform.

Any proper subset of the shares is uniform and independent of x. Integers are signed in two's complement; nothing is
scaled or truncated, so adding the shares gives back exactly the integer as long as it fits the ring.
"""

from __future__ import annotations

import numpy as np

from securegen.engines.mpc.shares.prg import words
from securegen.errors import PlanError, ProtocolError

RINGS: dict[int, np.dtype] = {64: np.dtype(np.uint64), 32: np.dtype(np.uint32)}


def ring_dtype(bits: int) -> np.dtype:
    """The unsigned dtype of the ring of integers mod 2^bits; bits is 64 or 32."""
    if bits not in RINGS:
        raise PlanError(f"no ring of {bits} bits: use 64, or 32 where every sum is below 2^31")
    return RINGS[bits]


def to_ring(x: np.ndarray, bits: int = 64) -> np.ndarray:
    """Signed integers as elements of the ring.

    Raises PlanError when a value does not fit: it would come back as another integer.

    >>> int(to_ring(np.array([-1]), 32)[0]) == 2**32 - 1
    True
    """
    dtype = ring_dtype(bits)
    x = np.asarray(x)
    if x.dtype == dtype:
        return x
    if x.dtype.kind not in "iub":
        raise TypeError(f"shares hold integers, not {x.dtype}")
    if bits == 32 and x.dtype.itemsize > 2 and x.size and not (x.min() >= -(1 << 31) and x.max() < 1 << 31):
        raise PlanError("a value does not fit the 32-bit ring; use the 64-bit ring")
    return x.astype(np.int64).astype(dtype) if dtype.itemsize == 4 else x.astype(np.int64).view(dtype)


def from_ring(x: np.ndarray) -> np.ndarray:
    """Ring elements as signed int64.

    >>> from_ring(np.array([2**64 - 5], np.uint64))
    array([-5])
    """
    return x.view(np.int64).copy() if x.dtype == np.uint64 else x.view(np.int32).astype(np.int64)


def split(x: np.ndarray, keys: list[bytes], *, domain: str, number: int = 0, bits: int = 64) -> np.ndarray:
    """The share that is not a key: x − Σ words(key). Each key stands for one further share (16 bytes to send).

    x: integers of any shape; returns ring elements of the same shape. A (key, domain, number) must be used once.
    """
    share = to_ring(x, bits).copy()
    for key in keys:
        share -= words(key, domain, number=number, shape=share.shape, dtype=share.dtype)
    return share


def combine(shares: list[np.ndarray]) -> np.ndarray:
    """The signed int64 integers that the shares stand for.

    >>> k = bytes(16)
    >>> s = split(np.array([-7, 3]), [k], domain="doc")
    >>> combine([s, words(k, "doc", number=0, shape=(2,))])
    array([-7,  3])
    """
    total = shares[0].copy()
    for share in shares[1:]:
        if share.shape != total.shape or share.dtype != total.dtype:
            raise ProtocolError(
                f"shares of {share.dtype} {share.shape} and {total.dtype} {total.shape} do not belong together"
            )
        total += share
    return from_ring(total)
