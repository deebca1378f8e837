"""Which of many shared 128-bit integers are positive or zero, and two numbers of those alone: a bit protocol.

Sign of f, shared mod 2^128. The dealer shares a uniform ρ twice, as a sum and bit by bit (XOR). The parties open c = f + ρ;
the top bit of f = c − ρ is c_127 ⊕ ρ_127 ⊕ [c′ < ρ′], c′ and ρ′ being the lower 127 bits. The comparison of public c′ with
shared bits is a tree of (less, equal) pairs, (l, e)∘(l′, e′) = (l ⊕ e l′, e e′), seven levels of two ANDs a node with
Boolean Beaver triples. Selection: with a dealer's random bit β in both sharings, e = hit ⊕ β is opened, hit = e + (1 − 2e)β,
and β x is one Beaver product. So hits, and u and v of hits (0 elsewhere), can be opened to one party, and the other learns
nothing, not even how many there are. Semi-honest; what is opened on the way is uniform.

Each variant costs the dealer about 150 bytes, each party about 100, in ten rounds for any number of variants.
Bits of V variants are packed: arrays (bits, ceil(V/8)) of uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.mpc import wide
from securegen.mpc.prg import words
from securegen.mpc.session import Session
from securegen.mpc.squares import exchange_wide
from securegen.randomness import fresh_key

BITS = 128
_ANDS = 2 * (BITS - 1)
_STREAMS = ("sign mask", "sign bits", "and x", "and y", "and z", "chosen bit", "chosen sum", "product mask", "product")


@dataclass(frozen=True)
class _Parts:
    """What the dealer shares of one batch. mask, sum: (V, 2), (V, 2); bits: (128, B); x, y, z: (254, B); chosen: (1, B);
    a, product: (V, 2, 2), masks of u and v and β times them."""

    mask: np.ndarray
    bits: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    chosen: np.ndarray
    sum: np.ndarray
    a: np.ndarray
    product: np.ndarray


def _draw(key: bytes, variants: int) -> _Parts:
    packed = (variants + 7) // 8
    shapes: tuple[tuple[int, ...], ...] = (
        (variants, 2), (BITS, packed), (_ANDS, packed), (_ANDS, packed), (_ANDS, packed), (1, packed), (variants, 2),
        (variants, 2, 2), (variants, 2, 2),
    )  # fmt: skip
    kinds = (np.uint64, *(np.uint8,) * 5, *(np.uint64,) * 3)
    drawn = zip(_STREAMS, shapes, kinds, strict=True)
    return _Parts(*(words(key, f"hits/{n}", number=0, shape=s, dtype=d) for n, s, d in drawn))


def deal_hits(session: Session, left: str, right: str, variants: int, step: str) -> None:
    """The dealer's part for one batch of V variants."""
    keys = [fresh_key(), fresh_key()]
    for party, key in zip((left, right), keys, strict=True):
        session.send_key(party, f"{step}/key", key)
    a, b = (_draw(key, variants) for key in keys)
    chosen = a.chosen ^ b.chosen
    beta = unpack(chosen, variants)[0].astype(np.uint64)
    masks = wide.add(a.a, b.a)
    scaled = masks * beta[:, None, None]
    session.send(right, f"{step}/bits", slices(wide.add(a.mask, b.mask)) ^ a.bits)
    session.send(right, f"{step}/z", ((a.x ^ b.x) & (a.y ^ b.y)) ^ a.z)
    session.send(right, f"{step}/sum", wide.subtract(wide.widen(beta), a.sum))
    session.send(right, f"{step}/product", wide.subtract(scaled, a.product))


def open_hits(
    session: Session, f: np.ndarray, values: np.ndarray, *, between: tuple[str, str], dealer: str, step: str
) -> tuple[np.ndarray, np.ndarray] | None:  # fmt: skip
    """One party's part. f: (V, 2) and values: (V, 2, 2), its shares mod 2^128.

    Returns, at the right party, (V,) bool, f >= 0, and the values (V, 2, 2), 0 where f < 0; None at the left one.
    """
    me = _Side(session, between, dealer, step, len(f))
    hit = me.not_negative(f)
    return me.select(hit, values)


class _Side:
    """One party in one batch."""

    def __init__(self, session: Session, between: tuple[str, str], dealer: str, step: str, variants: int) -> None:
        self.session, self.between, self.step, self.variants = session, between, step, variants
        self.first = session.me == between[0]
        own = _draw(session.receive_key(dealer, f"{step}/key"), variants)
        if not self.first:
            take = lambda name, like: session.receive(dealer, f"{step}/{name}", shape=like.shape, dtype=like.dtype)  # noqa: E731
            bits, z, total, product = (
                take("bits", own.bits), take("z", own.z), take("sum", own.sum), take("product", own.product)
            )  # fmt: skip
            own = _Parts(own.mask, bits, own.x, own.y, z, own.chosen, total, own.a, product)
        self.own, self.used = own, 0

    def not_negative(self, f: np.ndarray) -> np.ndarray:
        """(1, B): XOR share of [f >= 0]."""
        c = slices(exchange_wide(self.session, wide.add(f, self.own.mask), between=self.between, step=f"{self.step}/c"))
        rho = self.own.bits
        less, equal = rho & ~c, self._public(~c) ^ rho
        top = c[-1:]
        less[-1], equal[-1] = 0, self._public(np.full_like(c[-1], 255))  # the top bit takes no part
        level = 0
        while len(less) > 1:  # pairs (lower, higher); the higher decides unless equal
            both = self._and(np.concatenate([equal[1::2], equal[1::2]]), np.concatenate([less[::2], equal[::2]]), level)
            half = len(both) // 2
            less, equal, level = less[1::2] ^ both[:half], both[half:], level + 1
        return self._public(~top) ^ rho[-1:] ^ less

    def select(self, hit: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Open hit, and hit · values, to the right party."""
        e = unpack(self._exchange(hit ^ self.own.chosen, "e"), self.variants)[0].astype(bool)
        d = exchange_wide(
            self.session, wide.subtract(values, self.own.a), between=self.between, step=f"{self.step}/d"
        )  # fmt: skip
        scaled = wide.add(wide.multiply(d, self.own.sum[:, None, :]), self.own.product)
        chosen = np.where(e[:, None, None], wide.subtract(values, scaled), scaled)
        left, right = self.between
        if self.first:
            self.session.send(right, f"{self.step}/hit", hit)
            self.session.send(right, f"{self.step}/values", chosen)
            return None
        hit = hit ^ self.session.receive(left, f"{self.step}/hit", shape=hit.shape, dtype=np.uint8)
        theirs = self.session.receive(left, f"{self.step}/values", shape=chosen.shape, dtype=np.uint64)
        return unpack(hit, self.variants)[0].astype(bool), wide.add(chosen, theirs)

    def _public(self, bits: np.ndarray) -> np.ndarray:
        """A public constant as an XOR share."""
        return bits if self.first else np.zeros_like(bits)

    def _and(self, p: np.ndarray, q: np.ndarray, level: int) -> np.ndarray:
        rows = slice(self.used, self.used + len(p))
        self.used += len(p)
        x, y, z = self.own.x[rows], self.own.y[rows], self.own.z[rows]
        opened = self._exchange(np.concatenate([p ^ x, q ^ y]), f"and/{level}")
        d, e = opened[: len(p)], opened[len(p) :]
        return self._public(d & e) ^ (d & y) ^ (e & x) ^ z

    def _exchange(self, share: np.ndarray, name: str) -> np.ndarray:
        other = self.between[1] if self.first else self.between[0]
        step = f"{self.step}/{name}"
        self.session.send(other, step, share)
        return share ^ self.session.receive(other, step, shape=share.shape, dtype=np.uint8)


def slices(x: np.ndarray) -> np.ndarray:
    """(V, 2) words to (128, ceil(V/8)) packed bits, least significant first."""
    octets = np.ascontiguousarray(x.astype("<u8")).view(np.uint8).reshape(len(x), 16)
    return np.packbits(np.unpackbits(octets, axis=1, bitorder="little").T, axis=1, bitorder="little")


def unpack(bits: np.ndarray, variants: int) -> np.ndarray:
    """(n, B) packed bits to (n, V) of 0 and 1."""
    return np.unpackbits(bits, axis=1, bitorder="little")[:, :variants]
