"""Weights as integers: how many bits a score needs, the scale of each, and what rounding can change.

Who learns what: whoever rounds weights sees them; nothing else is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.model import FloatArray, IntArray
from securegen.scores.files import ADDITIVE, DOMINANT, DOSAGE, RECESSIVE
from securegen.scores.match import Match

MINIMUM_BITS: Final = 16
MAXIMUM_BITS: Final = 40
ROUNDING_SHARE: Final = 64  # of the last digit released: what rounding weights may change
SPREADS: Final = 6  # standard deviations of that
# Weights of 0, 1 and 2 copies of the effect allele, per unit of effect_weight.
COPIES: Final = {ADDITIVE: (0, 1, 2), DOMINANT: (0, 1, 1), RECESSIVE: (0, 0, 1)}


def exact(text: str) -> Fraction:
    """The rational number that a weight's text stands for."""
    return Fraction(*Decimal(text).as_integer_ratio())


def scale_exponent(largest: Fraction, bits: int) -> int:
    """k such that 2^(bits−1) ≤ largest·2^k < 2^bits: the largest weight gets that many significant bits.

    >>> scale_exponent(Fraction(3, 4), 20)
    20
    """
    if largest <= 0:
        raise ValueError("largest must be positive")
    floor_log2 = largest.numerator.bit_length() - largest.denominator.bit_length()
    floor_log2 -= largest < Fraction(2) ** floor_log2
    return bits - 1 - floor_log2


def bits_for(weights: Sequence[Fraction], digits: int, grid: int = 1) -> int:
    """Bits of the largest weight, so that a score as large as ‖w‖₂ is right in every digit released.

    Rounding moves each weight by half a unit at most, a score of V of them by V units at most and, its roundings being as
    good as independent, by √V units at 6 standard deviations (each is uniform: a variance of 1/12 a copy). The smaller of
    the two stays below a 64th of 10^-digits·‖w‖₂. Fewer bits where sums would pass 2^58.

    >>> bits_for([Fraction(1, 3)] * 800, 6)
    29
    >>> bits_for([Fraction(1, 3)] * 800, 3)
    19
    """
    largest = max(abs(w) for w in weights)
    power = Fraction(2) ** -scale_exponent(largest, 1)  # of two, below the largest weight
    relative = [float(abs(w) / power) for w in weights if w]
    norm, total = math.sqrt(math.fsum(r * r for r in relative)), math.fsum(relative)
    moved = min(float(len(relative)), SPREADS * math.sqrt(4 * len(relative) / 12))
    wanted = math.ceil(math.log2(ROUNDING_SHARE * moved * 10.0**digits / norm)) + 1
    room = 59 - math.ceil(math.log2(6 * grid * total))
    return max(MINIMUM_BITS, min(wanted, room, MAXIMUM_BITS))


def _round_scaled(weight: Decimal, exponent: int) -> tuple[int, float]:
    """weight·2^exponent rounded half up, and how far that moved it."""
    p, q = weight.as_integer_ratio()
    p, q = (p << exponent, q) if exponent >= 0 else (p, q << -exponent)
    integer = (2 * p + q) // (2 * q)
    return integer, abs(integer * q - p) / q


def quantise(
    match: Match, rows: IntArray, s: int, bits: int | None, *, digits: int, grid: int
) -> tuple[int, IntArray, FloatArray]:
    """Exponent, (K, 3) integers of 0, 1 and 2 copies of the effect allele, and (K,) what rounding can change a row by.

    bits: of the largest weight; None: `bits_for` the digits. A weight is rounded once, so that two copies of an additive
    one count twice its integer. Raises InputError when all weights are zero, or when half of those that are not would become
    it beside the largest.
    """
    file = match.scoring
    texts = [
        tuple(file.dosage_weight[r]) if file.dosage_weight is not None and file.effect_type[r] == DOSAGE
        else (file.weight[r, s],)
        for r in rows
    ]  # fmt: skip
    weights = [tuple(Decimal(text) for text in row) for row in texts]
    largest = max(w.copy_abs() for row in weights for w in row)
    if largest == 0:
        raise InputError(f"score {file.names[s]}: every weight of the variants matched is zero")
    if bits is None:
        bits = bits_for([Fraction(max(w.copy_abs() for w in row)) for row in weights], digits, grid)
    exponent = scale_exponent(Fraction(*largest.as_integer_ratio()), bits)
    out = np.zeros((len(rows), 3), np.int64)
    moved = []
    for k, (r, row) in enumerate(zip(rows, weights, strict=True)):
        rounded = [_round_scaled(w, exponent) for w in row]
        if len(row) == 3:
            out[k] = [integer for integer, _ in rounded]
            moved.append(max(error for _, error in rounded))
        else:
            copies, (integer, error) = COPIES[file.effect_type[r]], rounded[0]
            out[k] = [c * integer for c in copies]
            moved.append(copies[2] * error)
    given = np.array([any(w != 0 for w in row) for row in weights], bool)
    lost = given & (out == 0).all(axis=1)
    if 2 * int(lost.sum()) >= int(given.sum()):
        top = max(range(len(rows)), key=lambda k: max(w.copy_abs() for w in weights[k]))
        raise InputError(
            f"{file.path}: {int(lost.sum())} of {int(given.sum())} weights of {file.names[s]} become 0 in {bits} bits beside "
            f"{max(texts[top], key=lambda t: abs(Decimal(t)))} on line {file.line[rows[top]]}: correct it, or give more bits "
            f"(`weight_bits`, up to {MAXIMUM_BITS})"
        )
    return exponent, out, np.array(moved, np.float64) * (1 + 2.0**-40)  # the factor covers float64 division
