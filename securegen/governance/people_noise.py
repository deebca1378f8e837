"""Noise of whole people: ε and δ of all that a person brings, genotypes, phenotypes and being there.

Two cohorts are neighbours where one of them has one person more. A summary is drawn with noise for the most that one person can
move it in any cohort, its sensitivity, which is known without the data (Dwork, McSherry, Nissim and Smith 2006). The k largest of
several scores are those with the largest noisy scores, all k of one draw: with exponential noise by ε (permute and flip, McKenna
and Sheldon 2020), with Gumbel noise by ε and δ (Durfee and Rogers 2019).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from securegen.governance import integer_noise
from securegen.governance.label_noise import GAUSSIAN, LAPLACE, LEAST_EPSILON, MOST_DELTA, MOST_EPSILON, number_within

_ROUNDING: Final = 1e-12  # of shares in float64


@dataclass(frozen=True)
class PeopleNoise:
    """ε of a person, and δ for Gaussian noise, None for pure ε."""

    epsilon: float
    delta: float | None = None

    @property
    def mechanism(self) -> str:
        return LAPLACE if self.delta is None else GAUSSIAN

    def share(self, part: int, parts: int) -> PeopleNoise:
        """Part of parts equal shares; shares of all parts never add up to more than the whole."""
        of = part / parts * (1 - _ROUNDING)
        return PeopleNoise(self.epsilon * of, None if self.delta is None else self.delta * of)

    def line(self) -> str:
        """What it protects, for receipts and logs."""
        more = "" if self.delta is None else f", δ = {self.delta:g}"
        return f"each person has ε = {self.epsilon:g}{more}, of genotypes, phenotypes and being there at all"


def people_noise_of(epsilon: Any, delta: Any = None) -> PeopleNoise:
    """What the arguments `epsilon` and `delta` ask for. Raises UsageError naming the argument."""
    number_within("epsilon", epsilon, LEAST_EPSILON, MOST_EPSILON)
    if delta is not None:
        number_within("delta", delta, 1e-12, MOST_DELTA)
    return PeopleNoise(float(epsilon), None if delta is None else float(delta))


@dataclass(frozen=True)
class Sensitivity:
    """The most that one person moves a list of whole numbers: l1, the sum of the changes; l2_squared, that of their squares."""

    l1: int
    l2_squared: int


def noisy_sums(values: Sequence[int], noise: PeopleNoise, moved: Sensitivity) -> list[int]:
    """Fresh draws around sums over people."""
    return integer_noise.drawn_sums(values, scale_of_sums(noise, moved), noise.delta)


def deviation_of_sums(noise: PeopleNoise, moved: Sensitivity) -> float:
    """Standard deviation of what `noisy_sums` adds to each number."""
    return math.sqrt(integer_noise.variance(noise.delta, scale_of_sums(noise, moved)))


@functools.cache
def scale_of_sums(noise: PeopleNoise, moved: Sensitivity) -> float:
    """Of the noise: the least that OpenDP bounds by ε (and δ)."""
    distance = moved.l1 if noise.delta is None else integer_noise.norm(moved.l2_squared)
    return integer_noise.least_scale(partial(integer_noise.adding, noise.delta), distance, noise.epsilon, noise.delta)


def largest(scores: Sequence[int], k: int, noise: PeopleNoise, moved: int) -> list[int]:
    """Places of k of the scores, the largest noisy one first. moved: the most that one person moves any score."""
    found: list[int] = integer_noise.choosing(noise.delta, k, scale_of_scores(noise, k, moved))(list(scores))
    return found


@functools.cache
def scale_of_scores(noise: PeopleNoise, k: int, moved: int) -> float:
    """Of the noise on scores; by ε alone 2·k·moved/ε."""
    made = partial(integer_noise.choosing, noise.delta, k)
    return integer_noise.least_scale(made, moved, noise.epsilon, noise.delta, guess=2 * k)
