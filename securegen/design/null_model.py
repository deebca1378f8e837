"""Logistic regression of a binary phenotype on covariates alone: the null model of the score test.

Newton's method with the same integers everywhere: gradient and Hessian are sums of integers at 2^-30, each step is solved
over the rationals, and β is rounded to 2^-24 after it, until β repeats. The logistic function uses only additions,
multiplications and divisions, whose results IEEE 754 fixes, so that sites with different processors agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.exact import round_half_up
from securegen.design.solving import Solver
from securegen.errors import DesignError
from securegen.kernels.rounded_products import rounded_products

STEPS = 25
QUIET = 1 << 10  # units of 2^-24: a step that rounding can make
UNIT = float(1 << fp.PRECISE_BITS)
_LN2_HIGH, _LN2_LOW = 0.693147180369123816490, 1.90821492927058770002e-10
_TAYLOR = tuple(1.0 / math.factorial(i) for i in range(14))


def exp_exactly_rounded_steps(x: np.ndarray) -> np.ndarray:
    """e^x for |x| <= 60 by range reduction and a Taylor polynomial: relative error below 1e-15, the same on every
    machine (np.exp is not)."""
    k = np.rint(x * 1.4426950408889634)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    total = np.full_like(r, _TAYLOR[-1])
    for coefficient in _TAYLOR[-2::-1]:
        total = total * r + coefficient
    return np.ldexp(total, k.astype(np.int32))


def logistic(eta: np.ndarray) -> np.ndarray:
    """1/(1 + e^-η), η clipped to ±60."""
    return 1.0 / (1.0 + exp_exactly_rounded_steps(-np.clip(eta, -60.0, 60.0)))


@dataclass(frozen=True)
class NullModel:
    """beta: K coefficients per scale, multiples of 2^-24, intercept first; mean: (n,) float64, μ of the own samples."""

    beta: tuple[float, ...]
    mean: np.ndarray
    steps: int


def fit_null_model(
    cases: np.ndarray,
    covariates: np.ndarray,
    names: Sequence[str],
    phenotype: str,
    total: fp.SumOverSites,
    offset: np.ndarray | None = None,
) -> NullModel:
    """Fit y ~ covariates. cases: (n,) float64 of 0 and 1; covariates: (n, K) float64, intercept first, in scales;
    offset: (n,) float64 that η has beside them, as a whole-genome model predicts it.

    Raises DesignError when it does not converge in 25 steps or the covariates separate cases from controls.
    """
    k, guard = covariates.shape[1], fp.guard_of(total)
    n, ones = total([len(cases), int(cases.sum())])
    if ones in (0, n):
        raise DesignError(f"phenotype {phenotype} has no {'controls' if ones else 'cases'} among the analysed samples")
    beta = [round_half_up(*(math.log(ones / (n - ones)) * 2**fp.COEFFICIENT_BITS).as_integer_ratio())] + [0] * (k - 1)
    before: list[int] | None = None
    last = 0
    for step in range(1, STEPS + 1):
        mean = logistic(linear_predictor(beta, covariates, offset))
        weight = mean * (1.0 - mean)
        guard.step(
            f"the null model of {phenotype}", weight, np.column_stack([cases - mean, weight[:, None] * covariates])
        )
        gradient = [int(np.rint((cases - mean) * covariates[:, i] * UNIT).sum()) for i in range(k)]
        upper = rounded_products(weight, covariates, UNIT)
        summed = total(gradient + upper)
        own = gradient, symmetric(upper, k)
        gradient, hessian = summed[:k], symmetric(summed[k:], k)
        guard.newton(own, (gradient, hessian))
        try:
            moves = Solver(hessian).rounded(gradient, fp.COEFFICIENT_BITS)
        except ZeroDivisionError:
            raise _separated(beta, names, phenotype) from None
        new = [b + m for b, m in zip(beta, moves, strict=True)]
        # where the optimum lies half way between two multiples, steps go from one to the other and back for ever
        largest = max(map(abs, moves))
        if new == beta or (new == before and largest == 1) or rounding_alone(gradient, n, largest, last):
            return NullModel(tuple(b * 2.0**-fp.COEFFICIENT_BITS for b in beta), mean, step)
        before, beta, last = beta, new, largest
        if max(map(abs, beta)) > 60 << fp.COEFFICIENT_BITS:
            raise _separated(beta, names, phenotype)
    raise _separated(beta, names, phenotype)


def rounding_alone(gradient: Sequence[int], samples: int, largest: int, last: int) -> bool:
    """Whether nothing but rounding is left of a gradient, and the largest move is no longer smaller than the last one.

    Of people who are alike, 20 cases among 20,000 say, errors of 2^-31 each add up, and no β is where the gradient is 0."""
    return max(map(abs, gradient)) <= samples and largest <= QUIET and 2 * largest >= last > 0


def linear_predictor(beta: Sequence[int], covariates: np.ndarray, offset: np.ndarray | None) -> np.ndarray:
    """(n,) float64 of β in units of 2^-24; arguments as of `fit_null_model`."""
    eta = np.zeros(len(covariates)) if offset is None else offset.astype(np.float64)
    for k, b in enumerate(beta):
        eta = eta + covariates[:, k] * (b * 2.0**-fp.COEFFICIENT_BITS)
    return eta


def symmetric(upper: Sequence[int], k: int) -> list[list[int]]:
    """The k × k matrix of which these are the entries on the diagonal and above, row by row."""
    out = [[0] * k for _ in range(k)]
    values = iter(upper)
    for i in range(k):
        for j in range(i, k):
            out[i][j] = out[j][i] = next(values)
    return out


def _separated(beta: Sequence[int], names: Sequence[str], phenotype: str) -> DesignError:
    largest = max(range(1, len(beta)), key=lambda i: abs(beta[i]), default=0)
    which = f"covariate {names[largest]} (or a combination with it)" if len(beta) > 1 else "the intercept"
    return DesignError(
        f"the null model of {phenotype} does not converge in {STEPS} steps: {which} separates cases from controls, or "
        "nearly so; leave it out or merge categories"
    )
