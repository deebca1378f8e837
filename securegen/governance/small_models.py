"""What a released score says of the genotypes that it sums: how many of their combinations print the same number.

A score of V variants has 3^V combinations. Whoever knows the weights lists those that print as the released sum, beside the
dosage of the named alleles where it is released too (Nikitin and Gürsoy 2026, doi:10.64898/2026.02.16.706191). Combinations
are counted exactly, sum by sum, as long as there are few different sums; else a bound is said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from securegen.errors import InputError
from securegen.model import FloatArray, IntArray

MOST_SUMS = 1 << 17  # different sums that are counted one by one
MOST_VARIANTS = 200  # of a score whose sums are counted
_KEYS = 1 << 62


@dataclass(frozen=True)
class SmallModel:
    """One score. combinations: log10 of 3^variants; values: different released numbers, at most that many where `exact` is
    False; alone: share of the combinations that no other shares its number with, whose genotypes are read, NaN where they
    are not counted."""

    name: str
    variants: int
    digits: int
    combinations: float
    values: float
    alone: float
    exact: bool

    @property
    def per_value(self) -> float:
        """log10 of the combinations a value, on average, at least."""
        return self.combinations - math.log10(self.values)

    def line(self) -> str:
        """One line for people."""
        many = f"{self.name}: {self.variants} variants, {_power(self.combinations)} combinations of genotypes"
        if not self.exact:
            return f"{many} on at most {self.values:.3g} printed values: {_power(self.per_value)} or more a value on average"
        return (
            f"{many} on {self.values:.6g} printed values: {_power(self.per_value)} a value on average; {self.alone:.2%} of "
            "the combinations are read from their value"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "score": self.name, "variants": self.variants, "digits": self.digits, "log10_combinations": self.combinations,
            "values": self.values, "exact": self.exact, "read_from_value": self.alone if self.exact else None,
        }  # fmt: skip


def bounded_model(name: str, variants: int, digits: int, *, named: bool = True) -> SmallModel:
    """A score whose weights are not at hand: its printed values are at most 10^(digits + 1), the digit more for scores ten
    times smaller than the largest, times the dosages of the named alleles."""
    combinations = variants * math.log10(3)
    most = digits + 1 + (math.log10(2 * variants + 1) if named else 0)
    return SmallModel(name, variants, digits, combinations, 10 ** min(most, combinations), math.nan, False)


def small_model(name: str, weights: Sequence[str], digits: int, *, named: bool = True) -> SmallModel:
    """Count the combinations behind the printed values of a score.

    weights: as text, one per variant, of the effect allele; named: the dosage of the named alleles is released beside the sum.
    Raises InputError for a weight that is not finite.
    """
    whole, scale = _integers(name, weights)
    bound = bounded_model(name, len(whole), digits, named=named)
    width = 2 * len(whole) + 1 if named else 1
    if len(whole) > MOST_VARIANTS or (2 * sum(map(abs, whole)) + 1) * width >= _KEYS:
        return bound
    keys, count = _enumerate(whole, width)
    if not len(keys):
        return bound
    _, printed = np.unique([f"%.{digits}g" % (k / 10**scale) for k in (keys // width).tolist()], return_inverse=True)
    _, place = np.unique(printed * width + keys % width, return_inverse=True)
    behind = np.bincount(place, count)
    alone = float((behind == 1).sum()) / 10**bound.combinations
    return SmallModel(name, len(whole), digits, bound.combinations, float(len(behind)), alone, True)


def _power(log10: float) -> str:
    """A number by its logarithm.

    >>> _power(2.0), _power(57.25)
    ('100', '10^57.2')
    """
    return f"{10**log10:.3g}" if log10 < 5 else f"10^{log10:.1f}"


def _integers(name: str, weights: Sequence[str]) -> tuple[list[int], int]:
    """Weights as integers of 10^−scale."""
    try:
        exact = [Decimal(str(w)) for w in weights]
    except InvalidOperation:
        raise InputError(f"{name}: a weight is not a number") from None
    if not all(w.is_finite() and w.adjusted() < 300 for w in exact):
        raise InputError(f"{name}: a weight is not finite")
    scale = min(max([0, *(-int(w.as_tuple().exponent) for w in exact)]), 300)
    return [int(w.scaleb(scale)) for w in exact], scale


def _enumerate(whole: Sequence[int], width: int) -> tuple[IntArray, FloatArray]:
    """Different sums·width + dosages of the named alleles, and their numbers of combinations; nothing if there are too many.

    With width 1 the dosage is not counted.
    """
    step = int(width > 1)
    keys, count = np.zeros(1, np.int64), np.ones(1)
    for w in whole:
        shift = w * width + step
        keys, place = np.unique(np.concatenate([keys, keys + shift, keys + 2 * shift]), return_inverse=True)
        count = np.minimum(np.bincount(place, np.tile(count, 3)), 1e300)
        if len(keys) > MOST_SUMS:
            return keys[:0], count[:0]
    return keys, count
