"""Statistics from u and v, or from their ratio alone, with bounds of what rounding changed (stats.projection).

Every bound is of |Δχ²|, χ² = T² for linear regression. `certain` holds for all data: columns are wrong by ε = 2^-b an entry
(and 2^-46 in norm for float64), so for a variant of variation ‖G̃‖² <= min(N, v/0.002) in copies
    |Δu| <= ‖G̃‖ e + 2^-(F+1) √N,   |Δv| <= 2√k ‖G̃‖ |Δu| + k Δu²,   e = ε√N + 2^-46.
`expected` takes six standard deviations of independent rounding instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from securegen import vocabulary as voc
from securegen.stats.linear import CORRELATED
from securegen.stats.projection import Projection, Scales
from securegen.stats.pvalue import chisq_1, student_t

CHISQ_COLUMNS = (*voc.VARIANT_COLUMNS, "TEST", "OBS_CT", "CHISQ", "P", "LOG10_P", "ERRCODE")
TARGET = 1e-6  # of χ², relative to max(1, χ²)
RARE = 0.02  # variance of a dosage for which the error is planned: an allele frequency of 1 %
FLOAT = 2.0**-46
TALL = 2.0  # ‖G‖ over ‖G̃‖ of centred dosages (projection.centred), with room for a mean of the analysed that differs
SHARE_BITS = 50  # of u and √v, over the variant's variation, where they are normalised under MPC
RATIO_LIMIT = {"linear": CORRELATED, "logistic": 2.0**-11}  # of v over the variation: below it χ² is not opened
_Z = {"linear": "T_STAT", "logistic": "Z_STAT"}
SPARE_RATIO_BITS = 27  # of the opened ratio u²/v beyond log2 N


def uv_columns(test: str) -> tuple[str, ...]:
    """Columns of a table of u and v."""
    return (
        *voc.VARIANT_COLUMNS, "TEST", "OBS_CT", "U", "V", "BETA", "SE", "L95", "U95", _Z[test], "CHISQ", "P", "LOG10_P",
        "ERRCODE",
    )  # fmt: skip


@dataclass(frozen=True)
class Noise:
    """Errors of one run. column: of a column's entry; mean: of the mean, in copies; share: of a normalised sum."""

    column: float
    mean: float
    share: float = 0.0

    @staticmethod
    def of(scales: Scales, grid: int = 1, *, normalised: bool = False) -> Noise:
        """normalised: sums over the variation are rounded to SHARE_BITS, and their means are exact."""
        mean = 0.0 if normalised else 2.0 ** -(scales.mean_bits + 1) / grid
        return Noise(2.0**-scales.basis_bits, mean, 2.0 ** -(SHARE_BITS - 1) if normalised else 0.0)


def statistics(
    u: np.ndarray, v: np.ndarray, p: Projection, number: int, noise: Noise, variation: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Columns of `uv_columns` for analysis `number` of p. u, v: (V,) float64, in copies; variation: ‖G̃‖² where known."""
    n, df, norm = p.samples, p.df, p.norms[number]
    code = np.full(len(v), voc.OK, object)
    du, dv = _certain(v, p, noise, variation)
    with np.errstate(divide="ignore", invalid="ignore"):
        code[v <= 4 * dv] = voc.CORR_TOO_HIGH
        code[v <= 0] = voc.CONST_OMITTED_ALLELE
        if p.student:
            left = v - u * u
            code[(code == voc.OK) & (left <= 2 * np.abs(u) * du + dv)] = voc.PERFECT_FIT
        ok = code == voc.OK
        chisq = chisq_of(u * u / v, p, number)
        bound = _bound(u, v, du, dv, p, number) - chisq
        few_u, few_v = _expected(v, p, noise)
        growth = 1 + chisq / df if p.student else 1.0
        expected = chisq * growth * (2 * few_u / np.abs(u) + few_v / v)  # to first order
        if p.test == "linear":
            score, information, beta = u * norm, v, u * norm / v
            se = np.sqrt(left / df) / v * norm if p.student else p.null[number] / np.sqrt(v)
        else:
            score, information = u * norm, v * p.largest_weight
            beta, se = score / information, 1 / np.sqrt(information)
        z = np.sign(u) * np.sqrt(chisq)
        pvalue, log10p = pvalues(np.where(ok, chisq, 0.0), p)

    def hide(x: np.ndarray) -> np.ndarray:
        return np.where(ok, x, np.nan)

    return {
        "TEST": np.full(len(v), voc.CODINGS[p.coding], object), "OBS_CT": np.full(len(v), n, np.int64),
        "U": hide(score), "V": hide(information), "BETA": hide(beta), "SE": hide(se), "L95": hide(beta - voc.Z95 * se),
        "U95": hide(beta + voc.Z95 * se), _Z[p.test]: hide(z), "CHISQ": hide(chisq), "P": hide(pvalue),
        "LOG10_P": hide(log10p), "ERRCODE": code, "DCHISQ_BOUND": hide(bound), "DCHISQ_EXPECTED": hide(expected),
    }  # fmt: skip


def from_ratio(
    ratio: np.ndarray, opened: np.ndarray, p: Projection, number: int, bound: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns of CHISQ_COLUMNS from u²/v alone. ratio: (V,) float64; opened: (V,) bool; bound: of its error."""
    code = np.where(opened, voc.OK, voc.CORR_TOO_HIGH).astype(object)
    if p.student:
        code[opened & (ratio + bound >= 1)] = voc.PERFECT_FIT
    ok = code == voc.OK
    with np.errstate(divide="ignore", invalid="ignore"):
        chisq = np.where(ok, chisq_of(np.maximum(ratio, 0.0), p, number), 0.0)
        error = chisq_of(np.where(ok, ratio + bound, 0.0), p, number) - chisq
        pvalue, log10p = pvalues(chisq, p)

    def hide(x: np.ndarray) -> np.ndarray:
        return np.where(ok, x, np.nan)

    return {
        "TEST": np.full(len(ratio), voc.CODINGS[p.coding], object), "OBS_CT": np.full(len(ratio), p.samples, np.int64),
        "CHISQ": hide(chisq), "P": hide(pvalue), "LOG10_P": hide(log10p), "ERRCODE": code,
        "DCHISQ_BOUND": hide(error), "DCHISQ_EXPECTED": hide(error),
    }  # fmt: skip


def ratio_error(ratio: np.ndarray, p: Projection, noise: Noise, limit: float) -> np.ndarray:
    """Certain bound of |Δ(u²/v)| for every variant whose v is at least `limit` of its variation. ratio: (V,) float64."""
    du = noise.column * math.sqrt(p.samples) + FLOAT + noise.share
    k = p.basis.shape[1]
    tall = 1.0 if p.test == "linear" else TALL
    dv = 2 * math.sqrt(k) * tall * du + k * du * du + (0 if p.weight is None else tall**2 * du)
    r = np.maximum(ratio, 0.0)
    own = 2 * np.sqrt(r / limit) * du + du * du / limit + r * dv / limit
    out: np.ndarray = own + r * 2.0**-23 + 2.0**-SHARE_BITS / limit  # of the reciprocal; of u² where it is cut
    return out


def chisq_of(ratio: np.ndarray, p: Projection, number: int) -> np.ndarray:
    """T² = df ρ/(1−ρ), or χ² under a null model, from ρ = u²/v."""
    if p.student:
        return np.where(ratio < 1, p.df * ratio / (1 - ratio), np.inf)
    return ratio * (p.norms[number] ** 2 / (p.null[number] ** 2 if p.null else p.largest_weight))


def pvalues(chisq: np.ndarray, p: Projection) -> tuple[np.ndarray, np.ndarray]:
    """(p, −log10 p) of the test of p."""
    if p.student:
        return student_t(np.sqrt(chisq), np.full(len(chisq), p.df))
    return chisq_1(chisq)


def planned_error(samples: int, scales: Scales, grid: int = 1) -> float:
    """The certain bound of Δχ² at χ² = 1, before any variant is seen: linear regression of a variant with variance RARE
    per sample, which covariates explain to at most 90 %.

    >>> from securegen.stats.projection import choose_scales
    >>> all(planned_error(n, choose_scales(n)) <= TARGET for n in (500, 10_000, 500_000))
    True
    """
    noise = Noise.of(scales, grid)
    v = RARE * samples
    du = math.sqrt(10 * v) * (noise.column * math.sqrt(samples) + FLOAT) + noise.mean * math.sqrt(samples)
    return 2 * du / math.sqrt(RARE)


def _tall(p: Projection, v: np.ndarray, variation: np.ndarray | None) -> np.ndarray:
    """Bound of the norm that a column's error meets: ‖G̃‖ where columns sum to 0, else ‖G‖."""
    if p.test != "linear":
        return np.full(len(v), 1.25 * math.sqrt(p.samples))
    known = np.maximum(v, 0) / CORRELATED if variation is None else variation
    out: np.ndarray = np.sqrt(np.minimum(known, p.samples))
    return out


def _lead(p: Projection) -> float:
    """How much more the rounding of a response weighs because it was scaled by lead/2^bits, in (1/2, 1]."""
    return 2.0 if p.leads else 1.0


def _certain(v: np.ndarray, p: Projection, noise: Noise, variation: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    n, k = p.samples, p.basis.shape[1]
    size = _tall(p, v, variation)
    own = noise.share * np.sqrt(n if variation is None else variation)
    dt = size * (noise.column * math.sqrt(n) + FLOAT) + noise.mean * math.sqrt(n) + own
    dv = 2 * math.sqrt(k) * size * dt + k * dt * dt
    if p.weight is not None:
        dv = dv + 2 * n * (noise.column + noise.share + noise.mean)
    return dt * _lead(p), dv


def _expected(v: np.ndarray, p: Projection, noise: Noise) -> tuple[np.ndarray, np.ndarray]:
    """Six standard deviations of Δu and Δv for independent rounding, where covariates explain at most 90 %."""
    n, six = p.samples, 6 / math.sqrt(12)
    size = np.minimum(10 * np.maximum(v, 0), n) if p.test == "linear" else np.full(len(v), 1.5 * n)
    few = six * (noise.column + noise.share / math.sqrt(n)) * np.sqrt(size)
    few_v = 2 * np.sqrt(size) * few
    return few * _lead(p) + noise.mean, few_v + 2 * noise.mean * np.sqrt(size)


def _bound(u: np.ndarray, v: np.ndarray, du: np.ndarray, dv: np.ndarray, p: Projection, number: int) -> np.ndarray:
    high = (np.abs(u) + du) ** 2 / np.where(v > dv, v - dv, np.nan)
    return np.where(np.isnan(high), np.inf, chisq_of(high, p, number))
