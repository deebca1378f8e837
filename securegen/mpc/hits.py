"""Which of many shared 64-bit integers are positive or zero, and some numbers of those alone: a bit protocol.

Sign of f, shared mod 2^64. The dealer shares a uniform ρ as a sum. The parties open c = f + ρ; the top bit of f = c − ρ is
c_63 ⊕ ρ_63 ⊕ [c′ < ρ′], c′ and ρ′ being the lower 63 bits. For each of their 16 digits the dealer shares, bit by bit
(XOR), the tables [i < ρ′_j] and [i = ρ′_j] for i = 0 … 15, in which each party looks up the public digit of c′. A tree of
(less, equal) pairs, (l, e)∘(l′, e′) = (l ⊕ e l′, e e′), with Boolean Beaver triples, compares the whole numbers.

Opening: the hit is the XOR of two shares; the left party sends its share of the values twice, for either share of the
right party, each covered by a pad of which the right party has one (oblivious transfer from correlations of the dealer,
Beaver 1995). So the right party learns which are hits and the values of these, and the left one nothing, not even how
many there are. Semi-honest; what is opened on the way is uniform.

| message | from | to | bytes a variant, for n values |
|---|---|---|---|
| tables, pads | dealer | right | 69 + 8 n |
| c, the tree | each party | the other | 15.5 |
| covered values | left | right | 16 n |

Bits of V variants are packed: arrays (bits, ceil(V/8)) of uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.mpc.lifting import Pair, deal_keys, open_words
from securegen.mpc.prg import words
from securegen.mpc.session import Session

_DIGITS = 16
_ANDS = 2 * (_DIGITS - 1)
_BELOW_TOP = np.uint64((1 << 63) - 1)


@dataclass(frozen=True)
class _Parts:
    """What the dealer shares of one batch. mask: (V,); tables: (V, 16) uint32, bit i is [i < ρ′_j], bit 16 + i
    [i = ρ′_j]; top: (1, B); x, y, z: (30, B); pads: (2, V, n), of which the right party gets the one of `choice` (1, B)."""

    mask: np.ndarray
    tables: np.ndarray
    top: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    choice: np.ndarray
    pads: np.ndarray


def _draw(key: bytes, variants: int, values: int) -> _Parts:
    packed = (variants + 7) // 8
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "mask": ((variants,), "u8"), "tables": ((variants, _DIGITS), "u4"), "top": ((1, packed), "u1"),
        "x": ((_ANDS, packed), "u1"), "y": ((_ANDS, packed), "u1"), "z": ((_ANDS, packed), "u1"),
        "choice": ((1, packed), "u1"), "pads": ((2, variants, values), "u8"),
    }  # fmt: skip
    return _Parts(**{n: words(key, f"hits/{n}", number=0, shape=s, dtype=d) for n, (s, d) in shapes.items()})


def deal_hits(session: Session, pair: Pair, variants: int, values: int, *, step: str) -> None:
    """The dealer's part for one batch of V variants with n values."""
    a, b = (_draw(key, variants, values) for key in deal_keys(session, pair, step))
    rho = a.mask + b.mask
    digits = _digits(rho)
    equal = np.uint32(1) << digits
    tables = (equal << np.uint32(16)) | (equal - np.uint32(1))  # i < digit: the bits below it
    top = pack((rho >> np.uint64(63)).astype(np.uint8)[None])
    chosen = unpack(b.choice, variants)[0].astype(bool)
    session.send(pair.right, f"{step}/tables", tables ^ a.tables)
    session.send(pair.right, f"{step}/top", top ^ a.top)
    session.send(pair.right, f"{step}/z", ((a.x ^ b.x) & (a.y ^ b.y)) ^ a.z)
    session.send(pair.right, f"{step}/pad", np.where(chosen[:, None], a.pads[1], a.pads[0]))


def open_hits(
    session: Session, pair: Pair, f: np.ndarray, values: np.ndarray, *, step: str
) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    """One party's part. f: (V,) and values: (V, n), its shares mod 2^64.

    Returns, at the right party, (V,) bool, f >= 0, and the values (V, n), 0 where f < 0; None at the left one.
    """
    me = _Side(session, pair, step, *values.shape)
    hit = me.not_negative(f)
    return me.transfer(hit, values)


class _Side:
    """One party in one batch."""

    def __init__(self, session: Session, pair: Pair, step: str, variants: int, values: int) -> None:
        self.session, self.pair, self.step, self.variants, self.used = session, pair, step, variants, 0
        self.first = session.me == pair.left
        own = _draw(session.receive_key(pair.dealer, f"{step}/key"), variants, values)
        if not self.first:
            take = lambda name, like: session.receive(  # noqa: E731
                pair.dealer, f"{step}/{name}", shape=like.shape, dtype=like.dtype
            )
            tables, top, z = take("tables", own.tables), take("top", own.top), take("z", own.z)
            pad = take("pad", own.pads[0])
            own = _Parts(own.mask, tables, top, own.x, own.y, z, own.choice, pad)
        self.own = own

    def not_negative(self, f: np.ndarray) -> np.ndarray:
        """(1, B): XOR share of [f >= 0]."""
        c = open_words(self.session, self.pair, f + self.own.mask, step=f"{self.step}/c")
        found = (self.own.tables >> _digits(c)) & np.uint32((1 << 16) | 1)
        less, equal = pack(found.astype(np.uint16).T), pack((found >> np.uint32(16)).T)
        top, level = pack((c >> np.uint64(63)).astype(np.uint8)[None]), 0
        while len(less) > 1:  # pairs (lower, higher); the higher decides unless equal
            both = self._and(np.concatenate([equal[1::2], equal[1::2]]), np.concatenate([less[::2], equal[::2]]), level)
            half = len(both) // 2
            less, equal, level = less[1::2] ^ both[:half], both[half:], level + 1
        return self._public(~top) ^ self.own.top ^ less

    def transfer(self, hit: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Give the right party the hits and their values. hit: this party's share, (1, B)."""
        left, right = self.pair.left, self.pair.right
        if self.first:
            turned = unpack(self.session.receive(right, f"{self.step}/choice", shape=hit.shape, dtype=np.uint8),
                            self.variants)[0].astype(bool)[:, None]  # fmt: skip
            mine = unpack(hit, self.variants)[0].astype(np.uint64)[:, None]
            pads = np.where(turned, self.own.pads[1], self.own.pads[0]), np.where(turned, *self.own.pads)
            self.session.send(right, f"{self.step}/hit", hit)
            for share in (0, 1):  # of the right party
                self.session.send(
                    right, f"{self.step}/values/{share}", values * (mine ^ np.uint64(share)) ^ pads[share]
                )  # fmt: skip
            return None
        self.session.send(left, f"{self.step}/choice", hit ^ self.own.choice)
        which = unpack(hit ^ self.session.receive(left, f"{self.step}/hit", shape=hit.shape, dtype=np.uint8),
                       self.variants)[0].astype(bool)  # fmt: skip
        both = [
            self.session.receive(left, f"{self.step}/values/{s}", shape=values.shape, dtype=np.uint64) for s in (0, 1)
        ]  # fmt: skip
        mine = unpack(hit, self.variants)[0].astype(bool)[:, None]
        theirs = np.where(mine, both[1], both[0]) ^ self.own.pads
        return which, np.where(which[:, None], values + theirs, np.uint64(0))

    def _public(self, bits: np.ndarray) -> np.ndarray:
        """A public constant as an XOR share."""
        return bits if self.first else np.zeros_like(bits)

    def _and(self, p: np.ndarray, q: np.ndarray, level: int) -> np.ndarray:
        rows = slice(self.used, self.used + len(p))
        self.used += len(p)
        x, y, z = self.own.x[rows], self.own.y[rows], self.own.z[rows]
        other, step = self.pair.other(self.session.me), f"{self.step}/and/{level}"
        share = np.concatenate([p ^ x, q ^ y])
        self.session.send(other, step, share)
        opened = share ^ self.session.receive(other, step, shape=share.shape, dtype=np.uint8)
        d, e = opened[: len(p)], opened[len(p) :]
        return self._public(d & e) ^ (d & y) ^ (e & x) ^ z


def _digits(x: np.ndarray) -> np.ndarray:
    """(V,) words -> (V, 16) base-16 digits of their lower 63 bits, lowest first."""
    shifts = np.arange(0, 64, 4, dtype=np.uint64)
    return (((x & _BELOW_TOP)[:, None] >> shifts) & np.uint64(15)).astype(np.uint32)


def pack(bits: np.ndarray) -> np.ndarray:
    """(n, V) of 0 and 1 -> (n, ceil(V/8)) packed bits."""
    return np.packbits(bits, axis=1, bitorder="little")


def unpack(bits: np.ndarray, variants: int) -> np.ndarray:
    """(n, B) packed bits to (n, V) of 0 and 1."""
    return np.unpackbits(bits, axis=1, bitorder="little")[:, :variants]
