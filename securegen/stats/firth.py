"""Firth's penalised likelihood for one coefficient: l(β) + ½ log I(β), the null model's own coefficients kept.

The likelihood ratio against β = 0 has χ² with one degree of freedom (Firth 1993; Heinze and Schemper 2002). As regenie's
`--firth --approx` defines it: covariates are fitted once under the penalty, their linear predictor is an offset, and x is g
without what covariates say of it (Mbatchou et al. 2021). β is finite where every carrier is a case.
"""

from __future__ import annotations

import numpy as np

from securegen.stats.corrected import Correction, NullFit, Variant
from securegen.stats.firth_null import CONVERGED, STEPS, Array, logistic
from securegen.stats.pvalue import chisq_1

FEWEST = 50  # minor alleles, below which regenie's approximation penalises carriers alone


class _Penalised:
    """−2(l(β) + ½ log I(β)) and its derivative over these people."""

    def __init__(self, cases: np.ndarray, x: Array, logits: Array) -> None:
        self.cases, self.x, self.logits = cases, x, logits
        self.side = np.where(cases, -1.0, 1.0)

    def value(self, b: float) -> float:
        eta = self.logits + self.x * b
        p = logistic(eta)
        information = float((self.x * self.x * p * (1 - p)).sum())
        if information <= 0:  # beyond what float64 tells from certainty
            return np.inf
        return 2 * float(np.logaddexp(0, self.side * eta).sum()) - float(np.log(information))

    def score(self, b: float) -> tuple[float, float]:
        """The derivative of the penalised log likelihood, and the information."""
        p = logistic(self.logits + self.x * b)
        square = self.x * self.x * p * (1 - p)
        information = float(square.sum())
        leverage = square / information if information > 0 else 0 * square
        return float((self.x * (self.cases - p + leverage * (0.5 - p))).sum()), information


def firth(fit: NullFit, variant: Variant) -> Correction:
    """Effect, its error from the information, and the penalised likelihood ratio."""
    only = variant.carriers if variant.carriers is not None and variant.minor < FEWEST else slice(None)
    cases: Array = fit.cases.astype(np.float64)
    own = _Penalised(cases[only], variant.x[only], fit.firth_logits[only])
    b, information = _maximum(own)
    chisq = max(own.value(0.0) - own.value(b), 0.0)
    return Correction(variant.sign * b, information**-0.5, chisq, float(chisq_1(np.array([chisq]))[1][0]))


def _maximum(own: _Penalised) -> tuple[float, float]:
    """Where the derivative is 0, by Newton's method inside a bracket, and the information there."""
    low, high, b = -np.inf, np.inf, 0.0
    for _ in range(STEPS):
        slope, information = own.score(b)
        if information <= 0:  # too far out
            b /= 2
            continue
        if abs(slope) <= CONVERGED * information**0.5:
            break
        if slope > 0:
            low = b
        else:
            high = b
        reach = 5 / float(np.abs(own.x).max())
        there = b + float(np.clip(slope / information, -reach, reach))
        if not low < there < high:
            there = (low + high) / 2
        if there == b:
            break
        b = there
    return b, information
