"""Domain-separated pseudorandom words for masks and shares: AES-CTR under a key derived for each purpose.

A stream is named by (key, domain, number). The domain is text such as "genotype mask"; two domains never share
keystream because each has its own AES key, HMAC-SHA256(key, domain). Whoever holds a key and knows a domain can
recompute its words, which is how two parties hold the same mask without sending it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from securegen.errors import ProtocolError
from securegen.randomness import KEY_BYTES, keystream

_LABEL = b"securegen prg v1\0"
MAX_BYTES = 1 << 30  # of one array: sizes come from peers, and no frame holds more


def derive_key(key: bytes, domain: str) -> bytes:
    """The 128-bit key of `domain` under a 128-bit `key`: HMAC-SHA256, cut to 16 bytes.

    >>> derive_key(bytes(16), "a") == derive_key(bytes(16), "b")
    False
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, this one has {len(key)}")
    return hmac.new(key, _LABEL + domain.encode(), hashlib.sha256).digest()[:KEY_BYTES]


def words(key: bytes, domain: str, *, number: int, shape: tuple[int, ...], dtype: DTypeLike = np.uint64) -> np.ndarray:
    """Array `number` of the stream (key, domain): uniform unsigned integers of `dtype` in `shape`.

    The rule is the caller's: one (key, domain, number) masks one secret, ever.

    >>> words(bytes(16), "doc", number=1, shape=(2, 3)).shape
    (2, 3)
    """
    dtype = np.dtype(dtype)
    count = math.prod(shape)
    if min(shape, default=0) < 0 or count * dtype.itemsize > MAX_BYTES:
        raise ProtocolError(f"a party announced sizes {tuple(shape)}, more than this protocol masks at once")
    return keystream(derive_key(key, domain), number, count * dtype.itemsize).view(dtype).reshape(shape)


@dataclass
class Stream:
    """Successive arrays of one (key, domain): the n-th call draws array n, so that a word is never drawn twice.

    Two parties with the same key that draw the same shapes in the same order hold the same arrays.
    """

    key: bytes
    domain: str
    drawn: int = 0

    def draw(self, shape: tuple[int, ...], dtype: DTypeLike = np.uint64) -> np.ndarray:
        """The next array of uniform integers."""
        self.drawn += 1
        return words(self.key, self.domain, number=self.drawn, shape=shape, dtype=dtype)
