"""The dealer: makes correlated randomness from keys and sizes, and never sees data, masked or not.

For a cross product gᵀy the owner of g has a mask a, the owner of y a mask b, and c = aᵀb is split between them. The
dealer regenerates a and b from the 16-byte keys that the owners drew, and computes c. It sends one owner a key and the
other the rest. It learns the sizes of the blocks. It must not collude with anybody: together with whoever received a
masked matrix it can unmask it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.runs import hear_each
from securegen.engines.mpc.shares.additive import ring_dtype
from securegen.engines.mpc.shares.prg import MAX_BYTES, words
from securegen.engines.mpc.shares.ring import matmul_chunks, matmul_ring
from securegen.errors import ProtocolError
from securegen.io.schema import shown
from securegen.randomness import fresh_key

LEFT_MASK, RIGHT_MASK, CORRELATION = "left mask", "right mask", "correlation"


@dataclass(frozen=True)
class Dealt:
    """A block that was dealt for: its variants, and the seconds that took."""

    width: int
    seconds: float


def dealt_blocks(session: Session, *, left: str, right: str, threads: int = 1) -> Iterator[Dealt]:
    """Serve `vertical`, block by block: c = aᵀb for every stream announced by `left`; c − words goes to `right`."""
    samples, columns, bits, rows = sizes(session.receive_json(left, "dealer/sizes"), 4, left)
    bounded(left, (samples, columns))
    if not 0 < rows <= samples:
        raise ProtocolError(f"party {left!r} announced chunks of {rows} of {samples} samples")
    dtype = ring_dtype(bits)
    key_right = session.receive_key(right, "dealer/key")
    key_c = fresh_key()
    session.send_key(left, "dealer/correlation key", key_c)
    b = words(key_right, RIGHT_MASK, number=0, shape=(samples, columns), dtype=dtype)
    busy, number = 0.0, 0
    while True:
        width, last = sizes(session.receive_json(left, f"dealer/block/{number}"), 2, left)
        if width == 0:
            return
        bounded(left, (samples, columns), (samples, width), (-(-samples // rows), width, columns))
        key_left = session.receive_key(left, f"dealer/block key/{number}")
        start = time.perf_counter()
        a = words(key_left, LEFT_MASK, number=0, shape=(samples, width), dtype=dtype)
        c = matmul_chunks(a, b, rows, threads=threads)
        c -= words(key_c, CORRELATION, number=number, shape=c.shape, dtype=dtype)
        busy += time.perf_counter() - start
        session.send(right, f"dealer/c/{number}", c)
        number += 1
        if last:
            yield Dealt(width, busy)
            busy = 0.0


def block_dealer(session: Session, *, left: str, right: str, threads: int = 1) -> float:
    """Serve all blocks of `vertical`. Returns the seconds spent computing (the offline part of the run)."""
    return sum(block.seconds for block in dealt_blocks(session, left=left, right=right, threads=threads))


def score_dealer(session: Session, *, left: str, right: str, threads: int = 1) -> float:
    """Serve `scores`: one c = Σ_blocks aᵀb for all blocks together. Returns the seconds spent computing."""
    people, scores, bits = sizes(session.receive_json(left, "dealer/sizes"), 3, left)
    bounded(left, (people, scores))
    dtype = ring_dtype(bits)
    key_left, key_right = session.receive_key(left, "dealer/key"), session.receive_key(right, "dealer/key")
    c = np.zeros((people, scores), dtype)
    busy, number = 0.0, 0
    while True:
        (width,) = sizes(session.receive_json(left, f"dealer/block/{number}"), 1, left)
        if width == 0:
            break
        bounded(left, (width, people), (width, scores), (people, scores))
        start = time.perf_counter()
        a = words(key_left, LEFT_MASK, number=number, shape=(width, people), dtype=dtype)
        b = words(key_right, RIGHT_MASK, number=number, shape=(width, scores), dtype=dtype)
        c += matmul_ring(a, b, threads=threads)
        busy += time.perf_counter() - start
        number += 1
    key_c = fresh_key()
    session.send_key(left, "dealer/correlation key", key_c)
    session.send(right, "dealer/c", c - words(key_c, CORRELATION, number=0, shape=c.shape, dtype=dtype))
    return busy


def server_dealer(session: Session, *, left: str, right: str, servers: tuple[str, str], threads: int = 1) -> float:
    """Serve `outsourced`, run by run: both masks are sums of two server masks; c is split between the servers."""
    return sum(
        _serve_servers(session, value, left, right, servers, threads)
        for value in hear_each(session, left, "dealer/sizes")
    )


def _serve_servers(
    session: Session, value: object, left: str, right: str, servers: tuple[str, str], threads: int
) -> float:
    samples, columns, bits = sizes(value, 3, left)
    bounded(left, (samples, columns))
    dtype = ring_dtype(bits)
    keys_right = [session.receive_key(right, f"dealer/key/{i}") for i in range(2)]
    key_c = fresh_key()
    session.send_key(servers[0], "dealer/correlation key", key_c)
    b = sum_of_words(keys_right, RIGHT_MASK, (samples, columns), dtype)
    busy, number = 0.0, 0
    while True:
        (width,) = sizes(session.receive_json(left, f"dealer/block/{number}"), 1, left)
        if width == 0:
            return busy
        bounded(left, (samples, columns), (samples, width), (width, columns))
        keys_left = [session.receive_key(left, f"dealer/block key/{number}/{i}") for i in range(2)]
        start = time.perf_counter()
        c = matmul_ring(sum_of_words(keys_left, LEFT_MASK, (samples, width), dtype), b, threads=threads)
        c -= words(key_c, CORRELATION, number=number, shape=c.shape, dtype=dtype)
        busy += time.perf_counter() - start
        session.send(servers[1], f"dealer/c/{number}", c)
        number += 1


def bounded(sender: str, *shapes: tuple[int, ...]) -> None:
    """Raise ProtocolError unless masks and product of these shapes, of 64 bits, have at most MAX_BYTES together."""
    total = 8 * sum(math.prod(shape) for shape in shapes)
    if total > MAX_BYTES:
        raise ProtocolError(
            f"party {sender!r} announced sizes {', '.join(map(str, shapes))}: {total} bytes of masks and products, at most "
            f"{MAX_BYTES} are dealt at a time; let it take smaller blocks"
        )


def sum_of_words(keys: list[bytes], domain: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Σ over `keys` of array 0 of their stream."""
    total = words(keys[0], domain, number=0, shape=shape, dtype=dtype)
    for key in keys[1:]:
        total += words(key, domain, number=0, shape=shape, dtype=dtype)
    return total


def sizes(value: object, count: int, sender: str) -> list[int]:
    """`count` sizes, each small enough to be one frame's axis."""
    if isinstance(value, list) and len(value) == count and all(type(v) is int and 0 <= v < 1 << 32 for v in value):
        return value
    raise ProtocolError(f"party {sender!r} announced {shown(value)}, {count} sizes below 2^32 expected")
