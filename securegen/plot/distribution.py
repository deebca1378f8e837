"""What the pictures of scores show: densities with percentiles, and predicted against observed by tenths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from securegen.errors import InputError
from securegen.model import FloatArray

MARKS = (5.0, 25.0, 50.0, 75.0, 95.0)


@dataclass(frozen=True)
class Density:
    """x, y: (G,) float64 curve of area 1; marks: values at the percentiles MARKS; samples: people behind it."""

    x: FloatArray
    y: FloatArray
    marks: tuple[float, ...]
    samples: int


def density(values: FloatArray, *, points: int = 400) -> Density:
    """Gaussian kernel density (Scott's bandwidth) of scores, NaN left out, on a grid three bandwidths wider than them.

    Raises InputError for fewer than two scores or no variation.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2 or np.ptp(values) == 0:
        raise InputError(f"a density needs two or more scores that differ; {len(values)} were given")
    kernel = stats.gaussian_kde(values)
    margin = 3 * float(np.sqrt(kernel.covariance[0, 0]))
    x = np.linspace(values.min() - margin, values.max() + margin, points)
    return Density(x, kernel(x), tuple(float(v) for v in np.percentile(values, MARKS)), len(values))


@dataclass(frozen=True)
class Tenths:
    """Groups of people by predicted value, ascending, all (B,): mean predicted and observed value, 95 % interval of the
    observed mean, people. binary: observed values are shares of cases (Wilson intervals), else means."""

    predicted: FloatArray
    observed: FloatArray
    low: FloatArray
    high: FloatArray
    people: np.ndarray
    binary: bool


def tenths(predicted: FloatArray, outcome: FloatArray, *, groups: int = 10) -> Tenths:
    """Split people at the quantiles of `predicted`, equal values together; NaN in either is left out.

    outcome: (N,) of 0 and 1, or a quantitative trait. Raises InputError when fewer than two people or groups are left.
    """
    both = np.isfinite(predicted) & np.isfinite(outcome)
    p, o = predicted[both], outcome[both]
    binary = bool(np.isin(o, (0, 1)).all())
    edges = np.unique(np.quantile(p, np.arange(1, groups) / groups)) if len(p) else np.empty(0)
    _, group = np.unique(np.searchsorted(edges, p, side="left"), return_inverse=True)
    people = np.bincount(group)
    if len(people) < 2:
        raise InputError(f"{len(p)} people with a score and an outcome do not make two groups")

    def mean(v: np.ndarray) -> np.ndarray:
        out: np.ndarray = np.bincount(group, v) / people
        return out

    observed = mean(o)
    low, high = wilson(observed, people) if binary else _interval(o, observed, group, people)
    return Tenths(mean(p), observed, low, high, people, binary)


def wilson(share: FloatArray, people: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """95 % interval of a proportion (Wilson 1927).

    >>> [round(float(v[0]), 4) for v in wilson(np.array([0.1]), np.array([50]))]
    [0.0435, 0.2136]
    """
    z = stats.norm.ppf(0.975)
    centre = (share + z * z / (2 * people)) / (1 + z * z / people)
    half = z / (1 + z * z / people) * np.sqrt(share * (1 - share) / people + z * z / (4 * people**2))
    return centre - half, centre + half


def _interval(o: FloatArray, mean: FloatArray, group: np.ndarray, people: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """95 % t-interval of a mean; NaN for one person."""
    squares = np.bincount(group, (o - mean[group]) ** 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(squares / (people - 1) / people)
    half = stats.t.ppf(0.975, np.maximum(people - 1, 1)) * error
    return mean - half, mean + half
