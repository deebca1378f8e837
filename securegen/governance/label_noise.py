"""Noise on a phenotype before anything is computed of it: ε protects a person's value of that phenotype, and nothing else.

Case/control: randomised response (Warner 1965), the value is kept with probability e^ε/(1 + e^ε). Quantitative: clipped to
bounds that are public, put on a grid of `STEPS` steps between them, and given discrete Laplace noise, or discrete Gaussian noise
with δ (Canonne, Kamath and Steinke 2020). Both are OpenDP's, which draws from the operating system and has no seed here.
Genotypes, covariates, who is in the cohort and whose phenotype is missing stay as they are.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from securegen.errors import UsageError
from securegen.governance import integer_noise
from securegen.governance.integer_noise import load_opendp

RANDOMISED, LAPLACE, GAUSSIAN = "randomised response", "discrete Laplace", "discrete Gaussian"
STEPS: Final = 1 << 10  # of the grid between the bounds
LEAST_EPSILON, MOST_EPSILON, MOST_DELTA = 0.01, 10.0, 1e-3  # e^10: no protection that a person could name


@dataclass(frozen=True)
class LabelNoise:
    """What is asked for. bounds: public, of quantitative phenotypes; delta: None for pure ε."""

    epsilon: float
    delta: float | None = None
    bounds: tuple[float, float] | None = None

    def mechanism(self, *, binary: bool) -> str:
        """Raises UsageError for bounds that lack, or δ that a phenotype's mechanism has not."""
        if binary:
            if self.delta is not None:
                raise UsageError("`dp_delta` is for quantitative phenotypes: randomised response has ε alone")
            return RANDOMISED
        if self.bounds is None:
            raise UsageError(
                "`dp_bounds` is needed for a quantitative phenotype: the least and greatest value by general knowledge, never "
                "those of the data, which would tell of a person"
            )
        return LAPLACE if self.delta is None else GAUSSIAN

    @property
    def factor(self) -> float:
        """Of randomised response: BETA is that of the true cases and controls times this, (e^ε − 1)/(e^ε + 1).

        >>> round(LabelNoise(1.0).factor, 4)
        0.4621
        """
        return math.tanh(self.epsilon / 2)

    def variance(self) -> float:
        """Of the noise of a quantitative phenotype, in its units squared. The Gaussian's is σ², which it does not pass."""
        low, high = self.checked_bounds
        return integer_noise.variance(self.delta, _scale(self)) * ((high - low) / STEPS) ** 2

    def to_json(self) -> dict[str, Any]:
        """What run.json says: ε, δ and bounds, the factor of cases and controls, the deviation of quantitative phenotypes."""
        deviation = None if self.bounds is None else math.sqrt(self.variance())
        return {
            "epsilon": self.epsilon, "delta": self.delta, "bounds": None if self.bounds is None else list(self.bounds),
            "case_control_factor": self.factor, "noise_deviation": deviation,
        }  # fmt: skip

    @property
    def checked_bounds(self) -> tuple[float, float]:
        self.mechanism(binary=False)
        return self.bounds or (0.0, 0.0)


def noise_line(epsilon: float, delta: float | None) -> str:
    """What noise protects, for receipts."""
    more = "" if delta is None else f", δ = {delta:g}"
    return (
        f"noise: each person's value of a phenotype has ε = {epsilon:g}{more}; genotypes, covariates, who takes part and who has "
        "no value are as exact as without it"
    )


def noise_of(epsilon: Any, delta: Any, bounds: str | None) -> LabelNoise | None:
    """What the fields `dp_epsilon`, `dp_delta` and `dp_bounds` ask for. Raises UsageError naming the field."""
    if epsilon is None:
        for name, value in (("dp_delta", delta), ("dp_bounds", bounds)):
            if value is not None:
                raise UsageError(f"`{name}` {value!r} is for noise: give `dp_epsilon`")
        return None
    number_within("dp_epsilon", epsilon, LEAST_EPSILON, MOST_EPSILON)
    if delta is not None:
        number_within("dp_delta", delta, 1e-12, MOST_DELTA)
    return LabelNoise(float(epsilon), None if delta is None else float(delta), parse_bounds(bounds))


def bounds_text(value: Any) -> str | None:
    """Bounds as text; two numbers become it. Raises UsageError.

    >>> bounds_text((10, 60))
    '10,60'
    """
    if value is not None and not isinstance(value, str):
        pair = list(value) if isinstance(value, list | tuple) else []
        if len(pair) != 2 or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in pair):
            raise UsageError(f"`dp_bounds` is {value!r}: two numbers are expected, the lower one first")
        value = f"{pair[0]!r},{pair[1]!r}"
    parse_bounds(value)
    return None if value is None else str(value)


def parse_bounds(text: str | None) -> tuple[float, float] | None:
    """LO,HI as two numbers. Raises UsageError.

    >>> parse_bounds("10,60")
    (10.0, 60.0)
    """
    if text is None:
        return None
    wrong = UsageError(f"`dp_bounds` is {text!r}: two numbers are expected, the lower one first, as 10,60")
    try:
        low, high = map(float, text.split(",")) if isinstance(text, str) else ()
    except ValueError:
        raise wrong from None
    if not (abs(low) <= 1e12 and abs(high) <= 1e12 and high - low >= 1e-9 * max(abs(low), abs(high), 1e-6)):
        raise wrong
    return low, high


def number_within(name: str, value: Any, least: float, most: float) -> None:
    """Raise UsageError for anything but a number from `least` to `most`; NaN is not within."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise UsageError(f"`{name}` is {value!r}: a number from {least:g} to {most:g} is expected")


def drawn(noise: LabelNoise, values: np.ndarray, *, binary: bool) -> list[int]:
    """Fresh draws, one per person: 0 or 1, or steps of the grid above the lower bound. values: (n,) 0/1 or float64, none missing.

    Whoever draws twice for a person has spent ε twice.
    """
    noise.mechanism(binary=binary)
    if not len(values):
        return []
    if binary:
        response = _response(noise.epsilon)
        return [int(response(bool(v))) for v in values]
    low, high = noise.checked_bounds
    steps = np.rint((np.clip(values, low, high) - low) / (high - low) * STEPS).astype(np.int64)
    return integer_noise.drawn_sums(steps.tolist(), _scale(noise), noise.delta)


def in_units(noise: LabelNoise, draws: list[int], *, binary: bool) -> np.ndarray:
    """(n,) float64: draws as values of the phenotype."""
    out = np.array(draws, np.float64)
    if binary:
        return out
    low, high = noise.checked_bounds
    return low + out * ((high - low) / STEPS)


def _response(epsilon: float) -> Any:
    """The measurement, whose ε as OpenDP bounds it is at most `epsilon`."""
    dp = load_opendp()
    kept = 1 / (1 + math.exp(-epsilon))
    while (found := dp.m.make_randomized_response_bool(prob=kept)).map(1) > epsilon:
        kept -= (1 - kept) * 1e-12
    return found


@functools.cache
def _scale(noise: LabelNoise) -> float:
    """Of the noise, in steps: the least that OpenDP bounds by ε (and δ)."""
    distance = STEPS if noise.delta is None else float(STEPS)
    return integer_noise.least_scale(partial(integer_noise.adding, noise.delta), distance, noise.epsilon, noise.delta)
