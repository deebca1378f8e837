"""Which of many shared 64-bit integers are positive or zero, and some numbers of those alone: a bit protocol.

Sign of f, shared mod 2^64. The dealer shares a uniform ρ as a sum. The parties open c = f + ρ; the top bit of f = c − ρ
is c_63 ⊕ ρ_63 ⊕ [c′ < ρ′], c′ and ρ′ being the lower 63 bits. For each of their 16 digits the dealer shares, bit by bit
(XOR), the tables [i < ρ′_j] and [i = ρ′_j] for i = 0 … 15. Each party looks up in them the public digit of c′. A tree
of (less, equal) pairs, (l, e)∘(l′, e′) = (l ⊕ e l′, e e′), with Boolean Beaver triples, compares the whole numbers; e
is masked once for both products, and whether the lowest digits are equal is never needed.

Opening: the left party sends its shares of the hits, so the right one knows the hits h. Then oblivious transfer from
correlations of the dealer (Beaver 1995): the left party has two pads, the right one that of its bit σ. It asks for the
pad 1 ⊕ h ⊕ σ, uniform to the left party, which covers its share of the values with that one: the right party can take
it off exactly if h = 1. So it learns which are hits and the values of these, and the left one nothing, not even how
many there are. Values that several f of a variant have in common go once, where any of these is a hit. Semi-honest: a
right party that asks for another pad would get values of another variant; what is opened on the way is uniform.

| message | from | to | bytes a number f, for n values |
|---|---|---|---|
| tables, pads | dealer | right | 68 + 8 n |
| c, the tree | each party | the other | 13 |
| hit; the pad asked for | left; right | the other | 1/8 |
| covered values | left | right | 8 n |

Bits of V numbers are packed: arrays (bits, ceil(V/8)) of uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares.lifting import Pair, deal_keys, open_words
from securegen.engines.mpc.shares.prg import words

_DIGITS = 16
_EQUAL = _DIGITS - 1  # products have one of these as a factor
_ANDS = 26  # 2 (8 + 4 + 2 + 1), less the four lowest of their levels
_BELOW_TOP = np.uint64((1 << 63) - 1)


@dataclass(frozen=True)
class _Parts:
    """What the dealer shares of V numbers. mask: (V,); tables: (V, 16) uint32, bit i is [i < ρ′_j], bit 16 + i
    [i = ρ′_j]; top: (1, B); x: (15, B); y, z: (26, B)."""

    mask: np.ndarray
    tables: np.ndarray
    top: np.ndarray
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray


def _draw(key: bytes, count: int) -> _Parts:
    packed = (count + 7) // 8
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        "mask": ((count,), "u8"), "tables": ((count, _DIGITS), "u4"), "top": ((1, packed), "u1"),
        "x": ((_EQUAL, packed), "u1"), "y": ((_ANDS, packed), "u1"), "z": ((_ANDS, packed), "u1"),
    }  # fmt: skip
    return _Parts(**{n: words(key, f"hits/{n}", number=0, shape=s, dtype=d) for n, (s, d) in shapes.items()})


def _factors(count: int) -> list[int]:
    """For each product of the tree, in order, which of the 15 x it has: of all pairs, then again of all but the lowest."""
    out, used, pairs = [], 0, count // 2
    while pairs:
        out += [*range(used, used + pairs), *range(used + 1, used + pairs)]
        used, pairs = used + pairs, pairs // 2
    return out


def deal_hits(session: Session, pair: Pair, shape: tuple[int, int], own: int, common: int, *, step: str) -> None:
    """The dealer's part for numbers f of `shape` (V, P), each with `own` values, and `common` values per variant."""
    count = shape[0] * shape[1]
    keys = deal_keys(session, pair, step)
    a, b = (_draw(key, count) for key in keys)
    rho = a.mask + b.mask
    equal = np.uint32(1) << _digits(rho)
    tables = (equal << np.uint32(16)) | (equal - np.uint32(1))  # i < digit: the bits below it
    top = pack((rho >> np.uint64(63)).astype(np.uint8)[None])
    session.send(pair.right, f"{step}/tables", tables ^ a.tables)
    session.send(pair.right, f"{step}/top", top ^ a.top)
    session.send(pair.right, f"{step}/z", ((a.x ^ b.x)[_factors(_DIGITS)] & (a.y ^ b.y)) ^ a.z)
    for name, rows, values in (("own", count, own), ("common", shape[0], common)):
        if not values:
            continue
        pads, choice = _pads(keys[0], name, rows, values), _choice(keys[1], name, rows)
        session.send(pair.right, f"{step}/pad/{name}", np.where(choice[:, None], pads[1], pads[0]))


def open_hits(
    session: Session, pair: Pair, f: np.ndarray, own: np.ndarray, common: np.ndarray, *, step: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """One party's part. f: (V, P), own: (V, P, n) and common: (V, n′), its shares mod 2^64.

    Returns, at the right party, (V, P) bool, f >= 0, the values own, 0 where f < 0, and common, 0 where all of a variant's f
    are; None at the left party.
    """
    variants, phenotypes = f.shape
    count = variants * phenotypes
    key = session.receive_key(pair.dealer, f"{step}/key")
    hit = _Comparison(session, pair, step, key, count).not_negative(f.reshape(-1))
    which = None
    if session.me == pair.left:
        session.send(pair.right, f"{step}/hit", hit)
    else:
        theirs = session.receive(pair.left, f"{step}/hit", shape=hit.shape, dtype=np.uint8)
        which = unpack(hit ^ theirs, count)[0].astype(bool)
    values = own.reshape(count, own.shape[2])
    of_each = _transfer(session, pair, key, which, values, step=step, name="own")
    any_hit = None if which is None else which.reshape(f.shape).any(axis=1)
    of_all = _transfer(session, pair, key, any_hit, common, step=step, name="common")
    if which is None or of_each is None or of_all is None:
        return None
    return which.reshape(f.shape), of_each.reshape(own.shape), of_all


def _transfer(
    session: Session, pair: Pair, key: bytes, wanted: np.ndarray | None, values: np.ndarray, *, step: str, name: str
) -> np.ndarray | None:
    """The values of the rows that are wanted, (rows, n), to the right party; wanted: (rows,) bool there, None at the left."""
    rows = len(values)
    if not values.size:
        return values
    if wanted is None:
        asked = session.receive(pair.right, f"{step}/ask/{name}", shape=(1, (rows + 7) // 8), dtype=np.uint8)
        pads = _pads(key, name, rows, values.shape[1])
        pad = np.where(unpack(asked, rows)[0].astype(bool)[:, None], pads[1], pads[0])
        session.send(pair.right, f"{step}/values/{name}", values ^ pad)
        return None
    own = session.receive(pair.dealer, f"{step}/pad/{name}", shape=values.shape, dtype=np.uint64)
    choice = _choice(key, name, rows)
    session.send(pair.left, f"{step}/ask/{name}", pack((choice ^ wanted ^ 1).astype(np.uint8)[None]))
    theirs = session.receive(pair.left, f"{step}/values/{name}", shape=values.shape, dtype=np.uint64) ^ own
    return np.where(wanted[:, None], values + theirs, np.uint64(0))


def _pads(key: bytes, name: str, rows: int, values: int) -> np.ndarray:
    """(2, rows, values): the left party's."""
    return words(key, f"hits/pads/{name}", number=0, shape=(2, rows, values))


def _choice(key: bytes, name: str, rows: int) -> np.ndarray:
    """(rows,) of 0 and 1: which of the pads the right party has."""
    drawn = words(key, f"hits/choice/{name}", number=0, shape=(1, (rows + 7) // 8), dtype=np.uint8)
    out: np.ndarray = unpack(drawn, rows)[0]
    return out


class _Comparison:
    """One party in the comparison of one batch."""

    def __init__(self, session: Session, pair: Pair, step: str, key: bytes, count: int) -> None:
        self.session, self.pair, self.step = session, pair, step
        self.first, self.used_x, self.used_y = session.me == pair.left, 0, 0
        own = _draw(key, count)
        if not self.first:
            tables, top, z = (
                session.receive(pair.dealer, f"{step}/{name}", shape=like.shape, dtype=like.dtype)
                for name, like in (("tables", own.tables), ("top", own.top), ("z", own.z))
            )
            own = _Parts(own.mask, tables, top, own.x, own.y, z)
        self.own = own

    def not_negative(self, f: np.ndarray) -> np.ndarray:
        """(1, B): XOR share of [f >= 0]."""
        c = open_words(self.session, self.pair, f + self.own.mask, step=f"{self.step}/c")
        found = (self.own.tables >> _digits(c)) & np.uint32((1 << 16) | 1)
        less, equal = pack(found.astype(np.uint16).T), pack((found >> np.uint32(16)).T)
        top = pack((c >> np.uint64(63)).astype(np.uint8)[None])
        while len(less) > 1:  # pairs (lower, higher); the higher decides unless equal
            both = self._products(equal[1::2], less[::2], equal[2::2])
            less = less[1::2] ^ both[: len(less) // 2]
            equal = np.concatenate([equal[:1], both[len(less) :]])  # the lowest is not used
        out: np.ndarray = self._public(~top) ^ self.own.top ^ less
        return out

    def _products(self, p: np.ndarray, q: np.ndarray, r: np.ndarray) -> np.ndarray:
        """p q, then p r without the first of p."""
        n, m = len(p), len(q) + len(r)
        x = self.own.x[self.used_x : self.used_x + n]
        y, z = self.own.y[self.used_y : self.used_y + m], self.own.z[self.used_y : self.used_y + m]
        step = f"{self.step}/and/{self.used_x}"
        self.used_x, self.used_y = self.used_x + n, self.used_y + m
        share = np.concatenate([p ^ x, np.concatenate([q, r]) ^ y])
        other = self.pair.other(self.session.me)
        self.session.send(other, step, share)
        opened = share ^ self.session.receive(other, step, shape=share.shape, dtype=np.uint8)
        again = [*range(n), *range(1, n)]
        d, e = opened[:n][again], opened[n:]
        out: np.ndarray = self._public(d & e) ^ (d & y) ^ (e & x[again]) ^ z
        return out

    def _public(self, bits: np.ndarray) -> np.ndarray:
        """A public constant as an XOR share."""
        return bits if self.first else np.zeros_like(bits)


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
