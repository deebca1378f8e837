"""How many bits the columns of a design have, so that rounding keeps the promise about T (docs/explanation/precision.md)."""

from __future__ import annotations

import math

DEFAULT_BITS = 16
COVARIATE_BITS = 16  # where they do not enter the product with y
MINIMUM_BITS = 14
MAXIMUM_BITS = 24
TARGET_ERROR = 1e-3  # of T, at T = 0


def phenotype_bits(df: int, residual_share: float) -> int:
    """Bits of a phenotype (or residual) whose rounding turns T by at most half of 1e-3, at T = 0: √(df/12) integers over
    its norm of √df·share·2^bits/5. residual_share: as of `bits_for`.

    >>> [phenotype_bits(df, 0.75) for df in (490, 2_000, 10_000, 100_000, 500_000)]
    [17, 18, 19, 21, 22]
    """
    need = math.sqrt(max(df, 1) / 12) * 5 / residual_share / (TARGET_ERROR / 2)
    return min(max(MINIMUM_BITS, math.ceil(math.log2(need))), MAXIMUM_BITS)


def bits_for(df: int, residual_share: float, covariates: int) -> int:
    """Bits that every column needs, so that the certain bound of T at T = 0 stays at or below 1e-3 although rounded covariates
    enter the product with y: of interactions and complete cases.

    residual_share: residual standard deviation over its scale, in (1/2, 1]; covariates: without intercept. The share
    of the covariates in the bound is planned as √covariates; the bound printed after the run uses the variant's own.
    """
    need = planned_error(df, residual_share, covariates, 0) / TARGET_ERROR
    return min(max(DEFAULT_BITS, math.ceil(math.log2(need))), MAXIMUM_BITS)


def planned_error(df: int, residual_share: float, covariates: int, bits: int) -> float:
    """The certain bound of T at T = 0 as `bits_for` plans it."""
    return math.sqrt(max(df, 1)) * 2.5 * (1 / residual_share + math.sqrt(covariates)) * 2.0**-bits
