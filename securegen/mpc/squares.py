"""Shares of x mod 2^64 become shares of x and of x² mod 2^128, exactly, for |x| < 2^62: one round with a dealer.

Let t = x + 2^62, which is in [0, 2^63), and r a mask with top bit m. Both parties open c = t + r mod 2^64, uniform. The
addition wrapped exactly if m = 1 and the top bit of c is 0 (ν = 1 says the latter), since t < 2^63. So, mod 2^128,
    t  = c − r + 2^64 ν m,      t² = c² − 2cr + r² + 2^65 ν (c m − r m),
both linear in the dealer's r, r², m and r m (the last two are needed mod 2^64 only). The idea of the top bit is that of
Escudero et al. 2020 (deterministic truncation). Semi-honest; each party learns c.

| message | from | to | bytes a value |
|---|---|---|---|
| two keys | dealer | each party one | 16 a batch |
| corrections | dealer | right | 48 |
| share of c | each party | the other | 8 |
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.mpc import wide
from securegen.mpc.prg import words
from securegen.mpc.session import Session
from securegen.randomness import fresh_key

OFFSET = 62
_MASK, _CORRECTIONS = "square mask", "square corrections"
_TOP = np.uint64(63)


@dataclass(frozen=True)
class Lifted:
    """One party's shares mod 2^128 of x and x², each of the shape of x with a last axis of 2."""

    x: np.ndarray
    square: np.ndarray


def deal_squares(session: Session, left: str, right: str, shape: tuple[int, ...], step: str) -> None:
    """The dealer's part for one batch of values."""
    keys = [fresh_key(), fresh_key()]
    for party, key in zip((left, right), keys, strict=True):
        session.send_key(party, f"{step}/key", key)
    r = _mask(keys[0], shape) + _mask(keys[1], shape)
    m = r >> _TOP
    whole = np.concatenate([wide.widen(r), wide.product(r, r), m[..., None], (r * m)[..., None]], axis=-1)
    own = _corrections(keys[0], shape)
    for at in (0, 2):
        whole[..., at : at + 2] = wide.subtract(whole[..., at : at + 2], own[..., at : at + 2])
    whole[..., 4:] -= own[..., 4:]
    session.send(right, f"{step}/corrections", whole)


def lift_and_square(
    session: Session, x: np.ndarray, *, between: tuple[str, str], dealer: str, step: str
) -> Lifted:  # fmt: skip
    """One party's part. x: its share, uint64; the shared integers must lie in (−2^62, 2^62). between: left and right."""
    first = session.me == between[0]
    key = session.receive_key(dealer, f"{step}/key")
    if first:
        given = _corrections(key, x.shape)
    else:
        given = session.receive(dealer, f"{step}/corrections", shape=(*x.shape, 6), dtype=np.uint64)
    share = x + _mask(key, x.shape)
    if first:
        share = share + np.uint64(1 << OFFSET)
    c = exchange(session, share, between=between, step=f"{step}/open")
    r, rr, m, rm = given[..., :2], given[..., 2:4], given[..., 4], given[..., 5]
    nu = np.uint64(1) - (c >> _TOP)
    zero = np.zeros_like(c)
    twice = wide.add(cr := wide.multiply(wide.widen(c), r), cr)
    t = wide.subtract(wide.pair(zero, nu * m), r)
    square = wide.add(wide.subtract(rr, twice), wide.pair(zero, np.uint64(2) * nu * (c * m - rm)))
    if first:
        t, square = wide.add(t, wide.widen(c)), wide.add(square, wide.product(c, c))
    shifted = wide.multiply(t, wide.constant(1 << (OFFSET + 1)))
    square = wide.subtract(square, shifted)
    if first:
        t = wide.subtract(t, wide.constant(1 << OFFSET))
        square = wide.add(square, wide.constant(1 << (2 * OFFSET)))
    return Lifted(t, square)


def exchange(session: Session, share: np.ndarray, *, between: tuple[str, str], step: str) -> np.ndarray:
    """Open shares mod 2^64 to both parties."""
    other = between[1] if session.me == between[0] else between[0]
    session.send(other, step, share)
    return share + session.receive(other, step, shape=share.shape, dtype=share.dtype)


def exchange_wide(session: Session, share: np.ndarray, *, between: tuple[str, str], step: str) -> np.ndarray:
    """Open shares mod 2^128 to both parties."""
    other = between[1] if session.me == between[0] else between[0]
    session.send(other, step, share)
    return wide.add(share, session.receive(other, step, shape=share.shape, dtype=share.dtype))


def _mask(key: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return words(key, _MASK, number=0, shape=shape)


def _corrections(key: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return words(key, _CORRECTIONS, number=0, shape=(*shape, 6))
