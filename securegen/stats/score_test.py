"""Rao's score test of a binary trait for each variant, from exact integer sums.

r = y − μ and w = μ(1−μ) under the null model; U = Σ g r − (Σ g w c)(CᵀWC)⁻¹Cᵀr, V = Σ w g² − (Σ g w c)(CᵀWC)⁻¹(Σ g w c)ᵀ;
χ² = U²/V with one degree of freedom; one-step β = U/V, SE = 1/√V (Sikorska et al. 2013). Finite under separation, where
Wald's test is not. LOW_MAC marks where the normal approximation is not to be trusted: corrections need more than sums
(`stats.saddlepoint`, `stats.firth`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen import vocabulary as voc
from securegen.design.logistic import ScoreModel
from securegen.model import ImputedSums, IntArray, Sums
from securegen.stats import algebra, rounding
from securegen.stats.corrected import CovariateParts
from securegen.stats.imputed import alleles, as_float, frequency, score_sums
from securegen.stats.linear import CORRELATED, HIGH_VIF
from securegen.stats.pvalue import chisq_1

FEWEST_CASE_ALLELES = 10
CONSTANT = 1e-10  # largest share of Σwg² that rounding leaves of no variance
PROMISED = 1e-3  # of χ², relative to max(1, χ²)
NULL_MODEL = 2.0**-20  # share of χ² left for the rounding of β to 2^-24 while Σ|c_k| stays below 16 scales


def score_test(
    sums: Sums | ImputedSums, model: ScoreModel, *, grid: int = 1, copies: int = 2, single: Sequence[IntArray] = ()
) -> dict[str, np.ndarray]:
    """Columns of the result table (vocabulary.SCORE_TEST_COLUMNS) for V variants.

    sums: over indicator, case, r, w and each w·c, with Σ w g². Missing genotypes take the mean over called samples. U, V,
    BETA and SE are per copy of A1. grid, copies: as of linear regression; single: called people with one copy less, and
    the cases among them. `DCHISQ_BOUND` is the certain error of CHISQ that quantisation allows
    (docs/explanation/score-test.md).
    """
    if isinstance(sums, Sums):
        sums = score_sums(sums, model.samples, model.cases, grid, copies, single, coded=model.coding != voc.ADDITIVE)
    k = len(model.weight_units)
    assert sums.cross.shape[1] == 1 + k and sums.minor_in_cases is not None
    n = sums.called
    called = np.maximum(n, 1)

    def imputed(j: int) -> np.ndarray:
        return as_float(sums.cross[:, j], called)

    square = as_float(sums.square, called * called) * (model.weight_units[0] / grid**2)
    lower, scale, regular = algebra.cholesky(model.weight_gram)
    z = algebra.forward(lower, scale, _weighted(sums, model, grid))
    zr = algebra.forward(lower, scale, list(model.residual_cross))
    u = imputed(0) * (model.residual_unit / grid) - algebra.dot(z, zr)
    weighted_variance = square - z[0] * z[0]
    v = square - algebra.dot(z, z)
    freq = frequency(sums.copies, n, grid, copies, single)
    each = alleles(called, copies, single) / called
    minor = sums.minor_in_cases if grid == 1 else sums.minor_in_cases / grid

    code = np.full(len(n), voc.OK, dtype=object)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, most = (freq, each) if sums.alleles is None else (sums.dosage / called, 1)
        rare = np.where(share > 1, share, np.minimum(share, 1 - share))  # sums of several variants exceed two alleles
        expected = most * rare * model.cases
        code[expected < FEWEST_CASE_ALLELES] = voc.LOW_MAC
        code[v < HIGH_VIF * weighted_variance] = voc.VIF_TOO_HIGH
        code[~(regular & (v > CORRELATED * weighted_variance))] = voc.CORR_TOO_HIGH
        if model.samples <= k:
            code[:] = voc.TOO_FEW_SAMPLES
        # every sample has the same dosage, to rounding
        code[weighted_variance <= CONSTANT * square] = voc.CONST_OMITTED_ALLELE
        code[n == 0] = voc.ALL_MISSING
        ok = (code == voc.OK) | (code == voc.LOW_MAC) | (code == voc.VIF_TOO_HIGH)
        root = np.sqrt(np.where(ok, v, 1.0))
        zstat = u / root
        chisq = zstat * zstat
        p, log10p = chisq_1(np.where(ok, chisq, 0.0))
        bound = chisq_error_bound(
            u, v, sums.dosage / called * model.samples / grid, algebra.backward(lower, scale, z), model
        )

    def hide(x: np.ndarray) -> np.ndarray:
        return np.where(ok, x, np.nan)

    return {
        "A1_FREQ": freq,
        "TEST": np.full(len(n), voc.CODINGS[model.coding], dtype=object),
        "OBS_CT": np.full(len(n), model.samples, np.int64),
        "CASE_CT": np.full(len(n), model.cases, np.int64),
        "MAC_CASE": minor,
        "U": hide(u),
        "V": hide(v),
        "BETA": hide(u / np.where(ok, v, 1.0)),
        "SE": hide(1 / root),
        "CHISQ": hide(chisq),
        "Z_STAT": hide(zstat),
        "P": hide(p),
        "LOG10_P": hide(log10p),
        "WALD_LIKE_Z": hide(zstat / np.sqrt(1 + chisq / model.samples)),
        "ERRCODE": code,
        "DCHISQ_BOUND": hide(bound),
    }


def _weighted(sums: ImputedSums, model: ScoreModel, grid: int) -> list[np.ndarray]:
    """Σ w c g of every covariate c, the intercept first, per copy: (V,) each."""
    called = np.maximum(sums.called, 1)
    return [as_float(sums.cross[:, 1 + i], called) * (u / grid) for i, u in enumerate(model.weight_units)]


def covariate_parts(sums: ImputedSums, model: ScoreModel, *, grid: int = 1) -> CovariateParts:
    """The mean of each variant and its coefficients on the covariates under W, from the sums that the test reads."""
    lower, scale, _ = algebra.cholesky(model.weight_gram)
    z = algebra.forward(lower, scale, _weighted(sums, model, grid))
    mean = sums.dosage / (float(grid) * np.maximum(sums.called, 1))
    return CovariateParts(mean, np.stack(algebra.backward(lower, scale, z), axis=1))


def chisq_error_bound(
    u: np.ndarray, v: np.ndarray, g_sum: np.ndarray, gamma: list[np.ndarray], model: ScoreModel
) -> np.ndarray:
    """Certain bound of |Δχ²| for every variant, from sums alone (docs/explanation/score-test.md has the proof).

    g_sum: Σ g in copies, imputed ones included; gamma: coefficients of g on the covariates under W. With e = g − γ₀,
    ‖e‖² ≤ E = (D − 2γ₀)Σg + Nγ₀² since g² ≤ D·g, D = 2 copies at most, or more of masks; δ are the columns' rounding errors,
    whose products are known:
    |ΔU| ≤ ‖δr‖ (√E + √(γᵀCᵀCγ)), |ΔV| ≤ ρ_w E + 2√E ‖Σγ_k δ(wc_k)‖ + remainder.
    """
    n, k = model.samples, len(gamma)
    own = [np.sqrt(n) * (1 + unit) * 2.0**-31 for unit in (model.residual_unit, *model.weight_units)]
    e2 = np.maximum((model.most - 2 * gamma[0]) * g_sum + n * gamma[0] ** 2, 0.0)
    inner = rounding.form(gamma[1:], model.covariate_gram)
    off = np.sqrt(np.maximum(rounding.form(gamma[1:], [row[1:] for row in model.weight_errors[1:]]), 0.0))
    spill = off + sum((np.abs(gamma[i]) * own[1 + i] for i in range(1, k)), 0.0)
    du = (model.residual_error + own[0]) * (np.sqrt(e2) + np.sqrt(np.maximum(inner, 0.0)))
    # γ itself moves: a quadratic form, bounded through the smallest eigenvalue of the scaled CᵀWC
    gram = np.array(model.weight_gram)
    diagonal = np.diag(gram)
    smallest = np.linalg.eigvalsh(gram / np.sqrt(np.outer(diagonal, diagonal)))[0]
    norms = [np.sqrt(model.weight_errors[i][i]) + own[1 + i] for i in range(k)]
    moved = [norms[0] * np.sqrt(e2) + np.sqrt(n) * spill] + [norm * np.sqrt(e2) for norm in norms[1:]]
    remainder = sum(m * m / d for m, d in zip(moved, diagonal, strict=True)) / max(smallest, 1e-12)
    dv = (0.5 * model.weight_units[0] + 2.0**-31) * e2 + 2 * np.sqrt(e2) * spill + remainder
    left = np.where(v > dv, v - dv, np.nan)
    bound = ((np.abs(u) + du) ** 2 / left - u * u / v) * rounding.WIDER + NULL_MODEL * (1 + u * u / v)
    return np.where(np.isnan(left), np.inf, bound)


def expected_chisq_error(model: ScoreModel) -> float:
    """Six standard deviations of Δχ² at χ² = 1 for uniform rounding of r: 12·unit·√(N/(12 Σw)) (an average)."""
    weight = model.weight_total * model.weight_units[0]
    return 12 * model.residual_unit * float(np.sqrt(model.samples / (12 * weight)))
