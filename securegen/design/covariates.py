"""Covariates as integers: scaled, refused where constant or collinear, with the solver of their exact Gram matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT
from securegen.design.solving import Solver


@dataclass(frozen=True)
class ScaledCovariates:
    """Covariates of the analysed samples at 2^-30 of their scale (intercept first), and their exact Gram matrix,
    with a solver for it."""

    names: tuple[str, ...]
    scalings: tuple[fp.Scaling, ...]
    decimals: tuple[np.ndarray, ...]
    precise: np.ndarray
    gram: list[list[int]]
    samples: int
    solver: Solver


def remembered_covariates(
    analysed: np.ndarray,
    covariates: np.ndarray,
    names: Sequence[str],
    total: fp.SumOverSites,
    scaled: dict[bytes, ScaledCovariates] | None,
) -> ScaledCovariates:
    """As `scale_covariates`, remembered in `scaled` for the next design of the same people and covariates.

    None for one site of several: the others would miss its sums.
    """
    if scaled is None:
        return scale_covariates(covariates, names, total)
    key = repr(tuple(names)).encode() + analysed.tobytes()
    if key not in scaled:
        scaled[key] = scale_covariates(covariates, names, total)
    return scaled[key]


def scale_covariates(covariates: np.ndarray, names: Sequence[str], total: fp.SumOverSites) -> ScaledCovariates:
    """Scale (n, K−1) float64 covariates. Raises DesignError for constant or collinear ones, by name."""
    scalings, decimals = [], []
    for k, name in enumerate(names):
        scaling, column = fp.fit_scaling(covariates[:, k], f"covariate {name}", total)
        scalings.append(scaling)
        decimals.append(column)
    one = np.full(len(covariates), 1 << fp.PRECISE_BITS, np.int64)
    precise = np.stack(
        [one, *(s.integers(d, 1 << fp.PRECISE_BITS) for s, d in zip(scalings, decimals, strict=True))], 1
    )
    gram = fp.sum_gram(precise, total, fp.guard_of(total).covariates)
    samples = gram[0][0] >> (2 * fp.PRECISE_BITS)
    fp.refuse_collinear(gram, (INTERCEPT, *names))
    return ScaledCovariates(tuple(names), tuple(scalings), tuple(decimals), precise, gram, samples, Solver(gram))
