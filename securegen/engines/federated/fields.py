"""Rows of integers, each row as one integer modulo 2^W, so that adding rows modulo 2^W adds every number in them.

W is the sum of the planned widths of a row's fields. A field of w bits holds sums with |v| < 2^(w−1); the fields lie side
by side as Σ v_j 2^offset_j, negative ones by two's complement. What is opened is this one integer: no digit tells how the
sites' parts carried into each other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.errors import PlanError

MOST_BITS = 256  # of one field
NARROW = 63  # a field of int64
_WORD = 64
_PIECE = 8192


def field_bits(bound: int) -> int:
    """Bits of a field for sums with |v| ≤ bound.

    >>> field_bits(1), field_bits(127), field_bits(128)
    (2, 8, 9)
    """
    return int(bound).bit_length() + 1


@dataclass(frozen=True)
class Layout:
    """rows × fields. widths: bits of each field. Rows are held as (words, rows) uint64, lowest word first.

    Raises PlanError for a field that is too wide.
    """

    rows: int
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.widths or not all(2 <= w <= MOST_BITS for w in self.widths):
            raise PlanError(f"a sum of {max(self.widths, default=0)} bits does not fit: a field holds 2 to {MOST_BITS}")

    @property
    def bits(self) -> int:
        """W."""
        return sum(self.widths)

    @property
    def row_bytes(self) -> int:
        return -(-self.bits // 8)

    @property
    def size(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.row_bytes

    @property
    def _words(self) -> int:
        return -(-self.bits // _WORD)

    @property
    def _pieces(self) -> list[slice]:
        """Rows that are worked on at a time: what is between stays in the cache."""
        return [slice(at, min(at + _PIECE, self.rows)) for at in range(0, self.rows, _PIECE)]

    @property
    def _offsets(self) -> list[int]:
        return [sum(self.widths[:j]) for j in range(len(self.widths))]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(rows, fields) int64, or Python integers as object -> (words, rows) uint64.

        Raises PlanError when the shape is another or a value does not fit its field.
        """
        if values.shape != (self.rows, len(self.widths)):
            raise PlanError(f"sums of shape {values.shape} where {(self.rows, len(self.widths))} is planned")
        out = np.zeros((self._words, self.rows), np.uint64)
        for rows in self._pieces:
            self._encode(values[rows], out[:, rows])
        return out

    def _encode(self, values: np.ndarray, out: np.ndarray) -> None:
        borrow = np.zeros(len(values), np.int64)  # of the part below, as one integer: −1 where it is negative
        for width, offset, column in zip(self.widths, self._offsets, values.T, strict=True):
            half = 1 << (width - 1)
            if not (-half < int(column.min()) and int(column.max()) < half):
                raise PlanError(f"a sum of this site does not fit its field of {width} bits")
            column = column.astype(np.int64 if width <= NARROW else object) + borrow
            borrow = -(column < 0).astype(np.int64)
            content = column & ((1 << width) - 1)
            for low in range(0, width, _WORD):
                part = content if width <= NARROW else (content >> low) & ((1 << _WORD) - 1)
                word, shift = divmod(offset + low, _WORD)
                out[word] |= part.astype(np.uint64) << np.uint64(shift)
                if shift and word + 1 < len(out):
                    out[word + 1] |= part.astype(np.uint64) >> np.uint64(_WORD - shift)

    def decode(self, words: np.ndarray) -> np.ndarray:
        """Inverse of `encode`: (rows, fields), int64 when every field has at most 63 bits, else Python integers."""
        out = np.empty((self.rows, len(self.widths)), np.int64 if max(self.widths) <= NARROW else object)
        for rows in self._pieces:
            self._decode(words[:, rows], out[rows])
        return out

    def _decode(self, words: np.ndarray, out: np.ndarray) -> None:
        borrow = np.zeros(len(out), np.int64)
        for j, (width, offset) in enumerate(zip(self.widths, self._offsets, strict=True)):
            whole: np.ndarray = np.zeros(len(out), np.int64 if width <= NARROW else object)
            for low in range(0, width, _WORD):
                word, shift = divmod(offset + low, _WORD)
                part = words[word] >> np.uint64(shift)
                if shift and word + 1 < len(words):
                    part = part | words[word + 1] << np.uint64(_WORD - shift)
                part = part & np.uint64((1 << min(_WORD, width - low)) - 1)
                whole = whole + (part.astype(np.int64) if width <= NARROW else part.astype(object) << low)
            half = 1 << (width - 1)
            signed = (whole ^ half) - half
            out[:, j] = signed - borrow
            borrow = -(signed < 0).astype(np.int64)

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a + b mod 2^W."""
        out = np.empty_like(a)
        for rows in self._pieces:
            carry = np.zeros(1, np.uint64)
            for x, y, z in zip(a[:, rows], b[:, rows], out[:, rows], strict=True):
                total = x + y
                np.add(total, carry, out=z)
                carry = ((total < x) | (z < total)).astype(np.uint64)
        return self._cut(out)

    def subtract(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a − b mod 2^W."""
        return self._cut(~self.add(~a, b))

    def pack(self, words: np.ndarray) -> bytes:
        """The rows' bytes, each row rounded up to whole bytes, lowest byte first."""
        rows = np.ascontiguousarray(words.T).astype("<u8", copy=False).view(np.uint8)
        return rows.reshape(self.rows, 8 * self._words)[:, : self.row_bytes].tobytes()

    def unpack(self, raw: bytes | np.ndarray) -> np.ndarray:
        """Inverse of `pack`; bits above W are cut off. raw: exactly `size` bytes."""
        rows = np.zeros((self.rows, 8 * self._words), np.uint8)
        rows[:, : self.row_bytes] = np.frombuffer(raw, np.uint8).reshape(self.rows, self.row_bytes)
        return self._cut(np.ascontiguousarray(rows.view("<u8").astype(np.uint64, copy=False).T))

    def _cut(self, words: np.ndarray) -> np.ndarray:
        if self.bits % _WORD:
            words[-1] &= np.uint64((1 << self.bits % _WORD) - 1)
        return words
