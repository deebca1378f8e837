"""By what a ledger knows a model: its weights, whatever the file, and also where a few of them, or all ids, were changed.

A name is a digest of all weights, as multiples of the median one and without sign, and four sketches of them: by variant id
and by position, each of those multiples and of the digits alone. So a model that is scaled, or written for the other
alleles, has the same digest; one of which rows or weights were changed shares most of a sketch. Two models are alike when
their digests are equal or half of a sketch is: they then share about half of their weights.

Who learns what: names stay in the model owner's ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal

BUCKETS = 24
_DIGITS = 6  # hex, of a bucket
_EMPTY = "-" * _DIGITS
_PARTS = 5
MOST_NAME = 64 + (_PARTS - 1) * (1 + BUCKETS * _DIGITS)


def name(rows: Sequence[tuple[str, str, tuple[Decimal, ...]]]) -> str:
    """The name of a model: rows of id, position ('' where there is none) and the weights of a variant, not all zero."""
    sizes = sorted(abs(w) for *_, weights in rows for w in weights if w)
    median = sizes[(len(sizes) - 1) // 2] if sizes else Decimal(1)
    multiples = [" ".join(sorted(f"{abs(w) / median:.15g}" for w in weights)) for *_, weights in rows]
    digits = [" ".join(sorted(str(w.normalize().as_tuple().digits) for w in weights)) for *_, weights in rows]
    digest = hashlib.sha256("\n".join(sorted(multiples)).encode()).hexdigest()
    sketches = (
        _sketch(f"{row[at]}\t{weights}" for row, weights in zip(rows, told, strict=True) if row[at])
        for told in (multiples, digits)
        for at in (0, 1)
    )
    return ":".join([digest, *sketches])


def _sketch(elements: Iterable[str]) -> str:
    """The least hash of each of 24 parts of a set (MinHash by one permutation)."""
    least = [1 << 64] * BUCKETS
    for element in elements:
        value = int.from_bytes(hashlib.blake2b(element.encode(errors="surrogatepass"), digest_size=8).digest(), "big")
        bucket, rest = value % BUCKETS, value // BUCKETS
        least[bucket] = min(least[bucket], rest)
    return "".join(_EMPTY if v >> 64 else f"{v % 16**_DIGITS:0{_DIGITS}x}" for v in least)


def likeness(one: str, other: str) -> float:
    """Of two names, from 0 to 1: the larger share of a sketch that they have in common; 1 for equal digests."""
    a, b = one.split(":"), other.split(":")
    if one == other or (len(a) == len(b) == _PARTS and a[0] == b[0]):
        return 1.0
    if not len(a) == len(b) == _PARTS:  # of an earlier version
        return 0.0
    return max(_shared(x, y) for x, y in zip(a[1:], b[1:], strict=True))


def _shared(one: str, other: str) -> float:
    if len(one) != len(other):
        return 0.0
    pairs = [(one[i : i + _DIGITS], other[i : i + _DIGITS]) for i in range(0, len(one), _DIGITS)]
    used = [(x, y) for x, y in pairs if (x, y) != (_EMPTY, _EMPTY)]
    return sum(x == y for x, y in used) / len(used) if used else 0.0


def known_as(model: str, names: Iterable[str]) -> str:
    """The one of these names that a model is counted under: its own, or the most alike, or else its own, new."""
    best, found = 0.5, model
    for other in names:
        if other == model:
            return model
        if (share := likeness(model, other)) >= best:
            best, found = share, other
    return found
