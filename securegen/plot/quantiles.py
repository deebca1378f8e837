"""What a QQ plot shows: ordered −log10 p against those of uniform p-values, and their 95 % band."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from securegen.model import FloatArray


@dataclass(frozen=True)
class Quantiles:
    """Points in ascending order, all (R,) float64 of −log10 p: expected, observed, and the band low..high."""

    expected: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    tests: int


def qq_quantiles(log10p: FloatArray, *, points: int = 4000) -> Quantiles:
    """Observed against expected −log10 p of M tests; NaN left out.

    Expected: −log10((i − ½)/M) for the i-th smallest p. Band: the middle 95 % of the i-th of M uniform numbers, which is
    Beta(i, M − i + 1), pointwise. Above `points` tests, ranks are thinned evenly in their logarithm; the smallest p
    are all there.
    """
    observed = np.sort(log10p[~np.isnan(log10p)])[::-1]
    m = len(observed)
    rank = np.arange(1, m + 1)
    if m > points:
        few = points // 4
        rank = np.unique(np.concatenate([rank[:few], np.geomspace(few, m, points - few).round().astype(np.int64)]))
    smallest, largest = (special.betaincinv(rank, m - rank + 1.0, q) for q in (0.025, 0.975))
    expected = -np.log10((rank - 0.5) / m)
    return Quantiles(expected[::-1], observed[rank - 1][::-1], -np.log10(largest)[::-1], -np.log10(smallest)[::-1], m)
