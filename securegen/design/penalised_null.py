"""A logistic model of covariates alone under Firth's penalty, l + ½ log|CᵀWC| (Firth 1993): the null model of his test.

Newton's method in the integers of `null_model`, from the model without the penalty. Each step's gradient Cᵀ(y − μ + h(½ − μ))
has leverages h from the Hessian of the step before, so that a step is one sum over the sites; at the end both are of the same β.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.null_model import UNIT, linear_predictor, logistic, rounding_alone, symmetric
from securegen.design.solving import Solver
from securegen.errors import DesignError
from securegen.kernels.rounded_products import rounded_products

STEPS = 50


def fit_penalised_null(
    cases: np.ndarray, covariates: np.ndarray, beta: Sequence[float], phenotype: str, total: fp.SumOverSites, samples: int,
    offset: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """(n,) float64 logits. cases: (n,) float64 of 0 and 1; covariates: (n, K) float64, intercept first, in scales; beta: of the
    model without the penalty; samples: of all sites; offset: (n,) float64 that the logits have beside them.

    Raises DesignError where it does not converge.
    """
    k, guard = covariates.shape[1], fp.guard_of(total)
    now = [round(b * 2**fp.COEFFICIENT_BITS) for b in beta]
    before: list[int] | None = None
    last = 0
    solver: Solver | None = None
    inverse = np.zeros((k, k))
    for _ in range(STEPS):
        eta = linear_predictor(now, covariates, offset)
        mean = logistic(eta)
        weight = mean * (1.0 - mean)
        residual = cases - mean + weight * _squares(covariates, inverse) * (0.5 - mean)
        guard.step(
            f"the null model of {phenotype} under Firth's penalty", weight,
            np.column_stack([residual, weight[:, None] * covariates]),
        )  # fmt: skip
        gradient = [int(np.rint(residual * covariates[:, i] * UNIT).sum()) for i in range(k)]
        upper = rounded_products(weight, covariates, UNIT)
        summed = total(gradient + upper)
        own = gradient, symmetric(upper, k)
        gradient, hessian = summed[:k], symmetric(summed[k:], k)
        guard.newton(own, (gradient, hessian))
        ready = solver is not None
        try:
            solver = Solver(hessian)
            # whole columns of the inverse: a common factor of 2^k keeps their digits
            columns = [solver.rounded([int(i == j) << fp.PRECISE_BITS for i in range(k)], _INVERSE) for j in range(k)]
            moves = solver.rounded(gradient, fp.COEFFICIENT_BITS)
        except ZeroDivisionError:
            break
        inverse = np.array(columns, dtype=object).astype(np.float64) * 2.0**-_INVERSE
        new = [b + m for b, m in zip(now, moves, strict=True)]
        largest = max(map(abs, moves))
        ended = new == now or (new == before and largest == 1) or rounding_alone(gradient, samples, largest, last)
        if ready and ended:
            return eta
        before, now, last = now, new, largest
        if max(map(abs, now)) > 60 << fp.COEFFICIENT_BITS:
            break
    raise DesignError(
        f"the null model of {phenotype} under Firth's penalty does not converge in {STEPS} steps: leave a covariate out"
    )


_INVERSE = 96  # bits below 1 of an inverse: of millions of people its entries are small


def _squares(covariates: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """(n,) cᵀAc of each person, added in one order."""
    out = np.zeros(len(covariates))
    for i in range(len(inverse)):
        for j in range(len(inverse)):
            out = out + covariates[:, i] * covariates[:, j] * inverse[i, j]
    return out
