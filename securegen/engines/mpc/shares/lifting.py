"""Shares in a small ring become exact shares in a larger one, of numbers, their products or multiples: one round each.

Lift. Let B be the bits of the small ring, |x| < 2^(B−2), T = x + 2^(B−2) in [0, 2^(B−1)), s and s′ its shares, in
[0, 2^B). As integers T = s + s′ − 2^B w, and since T < 2^(B−1) the sum wrapped exactly if either share has its top bit set:
w = 1 − p q with p, q the negated top bits, one known to each party. So a lift is a product of two private bits, by Beaver
with masks α, β that the dealer knows: d = p ⊕ α and e = q ⊕ β are opened, and p q = (d + (1−2d) α)(e + (1−2e) β).

Products, squares among them. Both parties open c = t + r mod 2^B with r a mask with top bit m, t = x + 2^(B−2). The
addition wrapped exactly if m = 1 and the top bit of c is 0 (ν = 1 says the latter), so mod 2^(2B) t = c − r + 2^B ν m and
    t t′ = c c′ − c r′ − c′ r + r r′ + 2^B (ν (m c′ − m r′) + ν′ (m′ c − m′ r)),
linear in what the dealer shares of r, m, r r′, m r′ and m′ r. That top bits tell of a wrap is an idea of Escudero et al.
2020 (deterministic truncation). A multiple φ x of a shared x by a number φ of the left party is one Beaver product.
Semi-honest; each party learns uniform words and bits.

| message | from | to | bytes a number (W words in the larger ring) |
|---|---|---|---|
| two keys | dealer | each party one | 16 a batch |
| corrections: lift; multiple | dealer | right | 8 (W − floor(B/64)); 8 W |
| corrections: number; square; product | dealer | right | 8 W + 8; 8 W + 8; 8 W + 16 |
| d, e (lift) | each party | the other | 1/8 |
| share of c (a number in products) | each party | the other | B/8 |
| φ − a, once a variant; x − b | left; right | the other | 8 W |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.shares import multiword
from securegen.engines.mpc.shares.prg import words
from securegen.randomness import fresh_key

Shape = tuple[int, ...]
Pairs = Sequence[tuple[int, int]]
_PARTS = ("numbers", "pairs", "mixed")


@dataclass(frozen=True)
class Pair:
    """The two parties of a batch, left first, and their dealer."""

    left: str
    right: str
    dealer: str

    def other(self, me: str) -> str:
        return self.right if me == self.left else self.left


def deal_lift(session: Session, pair: Pair, shape: Shape, *, bits: int, to: int, step: str) -> None:
    """The dealer's part of `lift`. shape: of the shares; bits: of their ring; to: words of the larger one."""
    keys = deal_keys(session, pair, step)
    both = _bits(keys[0], shape) & _bits(keys[1], shape)
    shared = (*shape, to - bits // 64)
    session.send(
        pair.right, f"{step}/corrections",
        multiword.subtract(multiword.widen(both.astype(np.uint64), shared[-1]), _draw(keys[0], shared)),
    )  # fmt: skip


def lift(session: Session, pair: Pair, x: np.ndarray, *, bits: int, to: int, step: str) -> np.ndarray:
    """One party's part: its share x mod 2^bits, uint32 or uint64 whatever above, of numbers in (−2^(bits−2), 2^(bits−2)).

    bits: at most 64, and fewer than to·64. Returns (*x.shape, to).
    """
    if bits > 8 * x.dtype.itemsize or bits >= 64 * to:
        raise ValueError(f"{bits} bits of {x.dtype} cannot be lifted to {to} words")
    first = session.me == pair.left
    key = session.receive_key(pair.dealer, f"{step}/key")
    given = _given(session, pair, key, (*x.shape, to - bits // 64), step)
    whole = x.astype(np.uint64)
    if first:
        whole += np.uint64(1 << (bits - 2))
    if bits < 64:
        whole &= np.uint64((1 << bits) - 1)
    own = (whole >> np.uint64(bits - 1)).astype(np.uint8) ^ np.uint8(1)
    mask = _bits(key, x.shape)
    mine, theirs = own ^ mask, swap_bits(session, pair, own ^ mask, step=f"{step}/open")
    local = (
        own & theirs if first else _signed(multiword.widen((theirs & mask).astype(np.uint64), given.shape[-1]), mine)
    )
    if first:
        local = multiword.widen(local.astype(np.uint64), given.shape[-1])
    product = multiword.add(_signed(given, mine ^ theirs), local)
    out = multiword.add(multiword.widen(whole, to), multiword.shift_left(multiword.extend(product, to), bits))
    return multiword.subtract(out, multiword.constant((1 << bits) + (1 << (bits - 2)), to)) if first else out


def deal_products(session: Session, pair: Pair, shape: Shape, which: Pairs, *, step: str) -> None:
    """The dealer's part of `products`. shape: (V, n, w) of the shares, w of 1 or 2 words."""
    keys = deal_keys(session, pair, step)
    r = multiword.add(_mask(keys[0], shape, 64), _mask(keys[1], shape, 64))
    m, wider, (i, j, mixed) = multiword.top_bit(r), multiword.extend(r, shape[-1] + 1), _indices(which)
    made = (
        np.concatenate([wider, m[..., None]], axis=-1),
        np.concatenate([multiword.multiply(wider[:, i], wider[:, j]), (m[:, i] * r[:, j, 0])[..., None]], axis=-1),
        (m[:, j] * r[:, i, 0])[:, mixed, None],
    )
    for name, x, own in zip(_PARTS, made, _product_draws(keys[0], shape, which), strict=True):
        for word in (slice(None, -1), slice(-1, None)):  # all but the last word are one number
            x[..., word] = multiword.subtract(x[..., word], own[..., word])
        session.send(pair.right, f"{step}/{name}", x)


def products(session: Session, pair: Pair, x: np.ndarray, which: Pairs, *, step: str) -> np.ndarray:
    """One party's part: its share x, (V, n, w) uint64, w of 1 or 2 words, of numbers below 2^(64 w − 2) in size.

    Returns its share (V, len(which), w + 1) of x_i x_j for every (i, j) of `which`. Each number is opened, masked, once.
    """
    small, to = x.shape[-1], x.shape[-1] + 1
    bits, first, (i, j, mixed) = 64 * small, session.me == pair.left, _indices(which)
    key = session.receive_key(pair.dealer, f"{step}/key")
    given = _product_draws(key, x.shape, which)
    if not first:
        given = [
            session.receive(pair.dealer, f"{step}/{name}", shape=like.shape, dtype=np.uint64)
            for name, like in zip(_PARTS, given, strict=True)
        ]
    share = multiword.add(x, _mask(key, x.shape, 64))
    if first:
        share = multiword.add(share, multiword.constant(1 << (bits - 2), small))
    c = open_wide(session, pair, share, step=f"{step}/open")
    r, m, rr, mr = given[0][..., :to], given[0][..., to], given[1][..., :to], given[1][..., to]
    rm = mr.copy()  # of m_j r_i, which is m_i r_j in a square
    rm[:, mixed] = given[2][..., 0]
    nu, wider = np.uint64(1) - multiword.top_bit(c), multiword.extend(c, to)
    t = multiword.negate(r)
    t[..., -1] += nu * m
    out = multiword.subtract(
        rr, multiword.add(multiword.multiply(wider[:, i], r[:, j]), multiword.multiply(wider[:, j], r[:, i]))
    )
    out[..., -1] += nu[:, i] * (m[:, i] * c[:, j, 0] - mr) + nu[:, j] * (m[:, j] * c[:, i, 0] - rm)
    if first:
        t = multiword.add(t, wider)
        out = multiword.add(out, multiword.multiply(wider[:, i], wider[:, j]))
        out = multiword.add(out, multiword.constant(1 << (2 * bits - 4), to))
    return multiword.subtract(out, multiword.shift_left(multiword.add(t[:, i], t[:, j]), bits - 2))


def deal_multiples(session: Session, pair: Pair, shape: Shape, which: Sequence[int], *, step: str) -> None:
    """The dealer's part of `multiples`. shape: (V, n, W) of the shares."""
    keys = deal_keys(session, pair, step)
    a, b = _factor_mask(keys[0], shape, which), _draw(keys[1], shape)
    product = multiword.multiply(a[:, list(which)], b)
    session.send(pair.right, f"{step}/corrections", multiword.subtract(product, _draw(keys[0], shape)))


def multiples(
    session: Session, pair: Pair, x: np.ndarray, factors: np.ndarray | None, which: Sequence[int], *, step: str
) -> np.ndarray:
    """One party's part: shares of φ x. x: its share (V, n, W); factors: (V, f, W), the left party's numbers, None at the
    right one; which: for each of the n, its factor. Each variant has its own factors."""
    key = session.receive_key(pair.dealer, f"{step}/key")
    given = _given(session, pair, key, x.shape, step)
    if session.me == pair.left:
        if factors is None:
            raise ValueError("the left party multiplies by its factors")
        session.send(pair.right, f"{step}/factor", multiword.subtract(factors, _factor_mask(key, x.shape, which)))
        d = session.receive(pair.right, f"{step}/shares", shape=x.shape, dtype=np.uint64)
        return multiword.add(multiword.multiply(factors[:, list(which)], multiword.add(x, d)), given)
    b = _draw(key, x.shape)
    session.send(pair.left, f"{step}/shares", multiword.subtract(x, b))
    e = session.receive(pair.left, f"{step}/factor", shape=(len(x), max(which) + 1, x.shape[-1]), dtype=np.uint64)
    return multiword.add(multiword.multiply(e[:, list(which)], b), given)


def open_words(session: Session, pair: Pair, share: np.ndarray, *, step: str) -> np.ndarray:
    """Open shares of one word to both parties."""
    other = pair.other(session.me)
    session.send(other, step, share)
    opened: np.ndarray = share + session.receive(other, step, shape=share.shape, dtype=share.dtype)
    return opened


def open_wide(session: Session, pair: Pair, share: np.ndarray, *, step: str) -> np.ndarray:
    """Open shares of several words to both parties."""
    other = pair.other(session.me)
    session.send(other, step, share)
    return multiword.add(share, session.receive(other, step, shape=share.shape, dtype=share.dtype))


def swap_bits(session: Session, pair: Pair, bits: np.ndarray, *, step: str) -> np.ndarray:
    """Send an array of 0 and 1, packed, and receive the other party's."""
    other, packed = pair.other(session.me), np.packbits(bits.reshape(-1), bitorder="little")
    session.send(other, step, packed)
    theirs = session.receive(other, step, shape=packed.shape, dtype=np.uint8)
    return np.unpackbits(theirs, count=bits.size, bitorder="little").reshape(bits.shape)


def deal_keys(session: Session, pair: Pair, step: str) -> list[bytes]:
    """A fresh key for each of the two parties."""
    keys = [fresh_key(), fresh_key()]
    for party, key in zip((pair.left, pair.right), keys, strict=True):
        session.send_key(party, f"{step}/key", key)
    return keys


def _given(session: Session, pair: Pair, key: bytes, shape: Shape, step: str) -> np.ndarray:
    """What the dealer shared: of the left party's key, or sent to the right one."""
    if session.me == pair.left:
        return _draw(key, shape)
    return session.receive(pair.dealer, f"{step}/corrections", shape=shape, dtype=np.uint64)


def _mask(key: bytes, shape: Shape, bits: int) -> np.ndarray:
    return words(key, "lift mask", number=0, shape=shape, dtype=f"u{bits // 8}")


def _bits(key: bytes, shape: Shape) -> np.ndarray:
    """Uniform 0 and 1, uint8."""
    count = int(np.prod(shape, dtype=np.int64))
    drawn = words(key, "lift bits", number=0, shape=(-(-count // 8),), dtype=np.uint8)
    return np.unpackbits(drawn, count=count, bitorder="little").reshape(shape)


def _signed(x: np.ndarray, flip: np.ndarray) -> np.ndarray:
    """Wide numbers, −x where flip is 1."""
    one = flip.astype(np.uint64)
    return multiword.add(x ^ (np.uint64(0) - one)[..., None], multiword.widen(one, x.shape[-1]))


def _draw(key: bytes, shape: Shape) -> np.ndarray:
    return words(key, "lift share", number=0, shape=shape)


def _indices(which: Pairs) -> tuple[list[int], list[int], list[int]]:
    """The first and the second of each pair, and the pairs of two numbers that are not the same."""
    return [i for i, _ in which], [j for _, j in which], [k for k, (i, j) in enumerate(which) if i != j]


def _product_draws(key: bytes, shape: Shape, which: Pairs) -> list[np.ndarray]:
    """Shares of (r, m) of each number, (r_i r_j, m_i r_j) of each pair, m_j r_i of pairs of two."""
    to, count, mixed = shape[-1] + 1, len(which), len(_indices(which)[2])
    shapes = ((*shape[:-1], to + 1), (shape[0], count, to + 1), (shape[0], mixed, 1))
    return [words(key, f"product/{n}", number=0, shape=s) for n, s in zip(_PARTS, shapes, strict=True)]


def _factor_mask(key: bytes, shape: Shape, which: Sequence[int]) -> np.ndarray:
    return words(key, "factor mask", number=0, shape=(shape[0], max(which) + 1, shape[-1]))
