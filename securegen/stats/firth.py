"""Firth's penalised likelihood for one coefficient: l(β) + ½ log I(β), the null model's own coefficients kept.

The likelihood ratio against β = 0 has χ² with one degree of freedom (Firth 1993; Heinze and Schemper 2002). As regenie's
`--firth --approx` defines it: covariates are fitted once under the penalty, their linear predictor is an offset, and x is g
without what covariates say of it (Mbatchou et al. 2021). β is finite where every carrier is a case. It is found from four
sums over people at a few points, so that whoever sums them takes the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from securegen.kernels.exact_functions import ln
from securegen.kernels.rounded_terms import FARTHEST, UNIT, penalised_terms
from securegen.stats.corrected import Correction, NullFit, Variant
from securegen.stats.pvalue import chisq_1

FEWEST = 50  # minor alleles, below which regenie's approximation penalises carriers alone
STEPS, FEWER_STEPS = 60, 14  # points at most; the latter where each is a round of several sites
SETTLED = 2.0**-17  # of β, in units of its error: from there a series to the second order reaches the maximum
POINTS = 2.0**-30  # β are multiples of it
# logits of a carrier, the longest step; twice as long after each that was cut off. Beyond the first maximum may lie another one,
# of who is no carrier: a step of any length from as far as the latter, where carriers have none
REACH, FARTHEST_REACH = 4.0, 16.0
FIRST = 2  # steps, until there are derivatives to compare
FAR = 2.0  # slope, over what the penalty takes off: above it the slope falls like e^-β, and its logarithm like a line
FEWEST_P = 2.0**-20  # mean of a carrier, at least


class Ascent:
    """The search for the largest penalised likelihood.

    at: where Σ x(y − p), Σ x²p(1 − p), Σ x³p(1 − p)(½ − p) and minus the log likelihood are wanted next, None at the end;
    steps: points so far."""

    def __init__(self, *, limit: int = STEPS) -> None:
        """limit: points at most."""
        self.at: float | None = 0.0
        self._limit = limit
        self.steps = 0
        self._low, self._high = -math.inf, math.inf
        self._before: tuple[float, float] | None = None  # a point and the derivative there
        self._none = 0.0
        self._copies, self._reach = 1, REACH
        self._found: Correction | None = None

    def take(self, slope: float, information: float, third: float, loss: float) -> None:
        """The four sums at `at`."""
        if self.at is None:
            raise ValueError("this search has ended")
        b, self.steps = self.at, self.steps + 1
        if information <= 0:  # beyond what sums tell from certainty
            self._go(b / 2 if b else math.nan)
            return
        value = 2 * loss - ln(information)
        if self.steps == 1:
            self._none, self._copies = value, max(math.ceil(2 * abs(third) / information), 1)
        rise = slope + third / information
        if rise > 0:
            self._low = b
        else:
            self._high = b
        curve = self._curve(b, rise, information)
        move = rise / curve
        if abs(move) * math.sqrt(information) <= SETTLED:
            self.at = None
            # the derivative of the information is 2 Σ x³p(1 − p)(½ − p)
            moved = information + 2 * third * move
            self._end(b + move, moved, value - rise * move)
            return
        if self.steps <= FIRST:
            alike = _alike(slope, information, third, self._copies)
            move = alike if alike * rise > 0 else move
        elif slope * third < 0 and abs(slope) * information > FAR * abs(third):
            move = slope / information * float(ln(abs(slope) * information / abs(third)))
        reach = self._reach / self._copies if abs(b) * self._copies < FARTHEST_REACH else math.inf
        if abs(move) > reach:
            move, self._reach = math.copysign(reach, move), min(2 * self._reach, FARTHEST_REACH)
        there = b + move
        wide = (self._high - self._low) / 2
        if not self._low < there < self._high or abs(there - b) > wide:
            there = (self._low + self._high) / 2
            if abs(there - b) * math.sqrt(information) <= SETTLED:  # as near as rounded sums tell
                self.at = None
                self._end(b, information, value)
                return
        self._before = (b, rise)
        self._go(there)

    def _curve(self, b: float, rise: float, information: float) -> float:
        """Minus the second derivative: from the point before, where that is not far off the information."""
        if self._before is not None and self._before[0] != b:
            curve = (self._before[1] - rise) / (b - self._before[0])
            if curve < 4 * information:
                return max(curve, information / 4)
        return information

    def _go(self, b: float) -> None:
        b = round(b / POINTS) * POINTS if math.isfinite(b) else math.nan
        if self.steps == self._limit or b == self.at or not abs(b) <= FARTHEST:
            self.at = None
        else:
            self.at = b

    def _end(self, b: float, information: float, value: float) -> None:
        if information > 0:
            chisq = max(self._none - value, 0.0)
            self._found = Correction(b, information**-0.5, chisq, float(chisq_1(np.array([chisq]))[1][0]))

    def correction(self) -> Correction | None:
        """At the end: effect, its error from the information, and the penalised likelihood ratio. None where none was found."""
        return self._found


def _alike(slope: float, information: float, third: float, copies: int) -> float:
    """The step that is right where carriers are alike: m of mean p of whom k are cases have (k + ½)/(m + 1) at the maximum.

    copies: of each, no fewer than 2|third|/information, since p(1 − p) bounds both."""
    p = min(max(0.5 - third / (information * copies), FEWEST_P), 1 - FEWEST_P)
    m = information / (copies * copies * p * (1 - p))
    there = (slope / copies + m * p + 0.5) / (m + 1)
    there = min(max(there, 0.5 / (m + 1)), (m + 0.5) / (m + 1))
    return float(ln(there / (1 - there) * ((1 - p) / p))) / copies


def search(ascent: Ascent, x: np.ndarray, side: np.ndarray, logits: np.ndarray) -> None:
    """Go to the end over people here. (n,) float64 each, as of `penalised_terms`."""
    while ascent.at is not None:
        ascent.take(*values(penalised_terms(x, side, logits, ascent.at)))


def values(terms: Sequence[int]) -> list[float]:
    """Sums from their integers."""
    return [t / UNIT for t in terms]


def firth(fit: NullFit, variant: Variant) -> Correction | None:
    """Effect, its error and the ratio from the people here. None where they were not found."""
    only = variant.carriers if variant.carriers is not None and variant.minor < FEWEST else slice(None)
    ascent = Ascent(limit=STEPS if variant.singly else FEWER_STEPS)
    search(ascent, variant.x[only], fit.side[only], fit.firth_logits[only])
    return ascent.correction()
