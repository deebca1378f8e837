"""Rows of integers in the coefficients of ciphertexts, several to a coefficient, so that adding ciphertexts adds rows.

A field of w bits holds sums with |v| < 2^(w−1); fields lie side by side in a coefficient as Σ v_j 2^offset_j and are read
back from the top, each by rounding, so that negative sums need no carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.ckks.threshold import ThresholdParameters, scaled_residues
from securegen.errors import PlanError, ProtocolError
from securegen.kernels.crt import round_residues

MOST_BITS = 62  # of one field: what the rounding kernel returns
LIMB_BITS = 48
LIMBS = 5


def field_bits(bound: int) -> int:
    """Bits of a field for sums with |v| ≤ bound.

    >>> field_bits(1), field_bits(127), field_bits(128)
    (2, 8, 9)
    """
    return int(bound).bit_length() + 1


@dataclass(frozen=True)
class Layout:
    """Where rows × fields lie. widths: bits of each field; coefficient of (row, slot s) is s·rows + row.

    Raises PlanError when a field is wider than a message.
    """

    parameters: ThresholdParameters
    rows: int
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        most = min(MOST_BITS, self.parameters.message_bits)
        if max(self.widths, default=0) > most:
            raise PlanError(f"a sum needs {max(self.widths)} bits, a ciphertext holds {most}: use fewer --bits")

    @property
    def slots(self) -> list[list[tuple[int, int]]]:
        """For every coefficient of a row: its (field, offset) pairs, lowest first. First fit, widest field first."""
        out: list[list[tuple[int, int]]] = []
        used: list[int] = []
        for field in sorted(range(len(self.widths)), key=lambda f: (-self.widths[f], f)):
            room = self.parameters.message_bits - self.widths[field]
            slot = next((s for s, bits in enumerate(used) if bits <= room), len(out))
            if slot == len(out):
                out.append([])
                used.append(0)
            out[slot].append((field, used[slot]))
            used[slot] += self.widths[field]
        return out

    @property
    def ciphertexts(self) -> int:
        return -(-self.rows * len(self.slots) // self.parameters.ring.n)

    def encode(self, values: np.ndarray) -> np.ndarray:
        """(rows, fields) int64 -> (C, k, n) uint64 residues of the scaled messages, coefficients."""
        assert values.shape == (self.rows, len(self.widths)) and values.dtype == np.int64
        largest = np.abs(values).max(axis=0, initial=0)
        assert all(int(v) < 1 << (w - 1) for v, w in zip(largest, self.widths, strict=True)), "a sum exceeds its field"
        ring, scale, slots = self.parameters.ring, self.parameters.scale, self.slots
        modulus = np.array(ring.primes, np.uint64)[:, None]
        out = np.zeros((len(ring.primes), self.ciphertexts * ring.n), np.uint64)
        for s, fields in enumerate(slots):
            part = out[:, s * self.rows : (s + 1) * self.rows]
            for field, offset in fields:
                column = np.ascontiguousarray(values[:, field])[None]
                total = part + scaled_residues(column, 1 << (scale + offset), ring.primes)[0]
                part[...] = np.minimum(total, total - modulus)
        return np.ascontiguousarray(out.reshape(len(ring.primes), -1, ring.n).transpose(1, 0, 2))

    def decode(self, residues: np.ndarray) -> np.ndarray:
        """(C, k, n) residues of the opened sums -> (rows, fields) int64.

        Raises ProtocolError when they are not near integers: a partial decryption was wrong.
        """
        ring, scale, slots = self.parameters.ring, self.parameters.scale, self.slots
        assert residues.shape == (self.ciphertexts, len(ring.primes), ring.n)
        flat = np.ascontiguousarray(residues.transpose(1, 0, 2)).reshape(len(ring.primes), -1)
        out = np.empty((self.rows, len(self.widths)), np.int64)
        modulus = np.array(ring.primes, np.uint64)[:, None]
        for s, fields in enumerate(slots):
            part = np.ascontiguousarray(flat[:, s * self.rows : (s + 1) * self.rows])
            for field, offset in reversed(fields):
                value, distance = round_residues(part, ring.primes, scale + offset)
                wide = bool((value < -(1 << 61)).any() or (value > 1 << 61).any())
                if wide or (offset == 0 and bool((distance > self.parameters.error_share).any())):
                    raise ProtocolError(
                        "the sites' partial decryptions do not add up to integers: one of them is wrong, or was made with "
                        "another key share"
                    )
                out[:, field] = value
                if offset:
                    total = part + scaled_residues(-value[None], 1 << (scale + offset), ring.primes)[0]
                    part = np.minimum(total, total - modulus)
        return out


def limbs_of(values: Sequence[int]) -> np.ndarray:
    """Python integers below 2^239 -> (V, 5) int64 signed digits to base 2^48.

    >>> limbs_of([-1, 1 << 48])[:, :2].tolist()
    [[-1, 0], [0, 1]]
    """
    out = np.zeros((len(values), LIMBS), np.int64)
    half = 1 << (LIMB_BITS - 1)
    for row, value in enumerate(values):
        rest = int(value)
        for i in range(LIMBS):
            digit = (rest + half) % (1 << LIMB_BITS) - half
            out[row, i] = digit
            rest = (rest - digit) >> LIMB_BITS
        if rest:
            raise PlanError(f"an exact sum of {int(value).bit_length()} bits does not fit {LIMBS * LIMB_BITS - 1}")
    return out


def from_limbs(limbs: np.ndarray) -> list[int]:
    """Inverse of `limbs_of`, also for sums of digits over sites."""
    return [sum(int(d) << (LIMB_BITS * i) for i, d in enumerate(row)) for row in limbs]
