"""Linear regression of one phenotype on each variant, from exact integer sums (Frisch, Waugh and Lovell).

With g the dosage, C the covariates and y the phenotype, and everything centred: v = g̃ᵀg̃, u = g̃ᵀỹ after projecting on C;
β = u/v, σ² = (ỹᵀỹ − u²/v)/df, SE = √(σ²/v), t = β/SE with df = N − K − 1.

With a null variance σ₀² in the model, as regenie has it: χ² = u²/(v σ₀²) with one degree of freedom, β = u/v, SE = σ₀/√v, and
t is the root of χ² with the sign of β.

y was regressed on the covariates as they are, C an engine sums is rounded: of Cᵀy what the rounding of y adds is left, which
is known (`LinearModel.moved`). u takes only that from Σgy; Σgc, rounded, enters v (docs/explanation/precision.md).

Missing genotypes. `mean`: ḡ = Σg/n_called in their place (as regenie): every centred product is (I − S Σx)/n with n called,
S = Σg and the integer I = n Σgx + S Σmx, so nothing is rounded. `complete` (as plink): each variant over its called
samples, df = n_called − K − 1; the centred products are the same, and Σ m x x is needed beside them.

Means are subtracted in integers, the Gram matrix is scaled by its diagonal and factored (never inverted).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from securegen import vocabulary as voc
from securegen.design.fixedpoint import PRECISE_BITS
from securegen.design.linear import LinearModel
from securegen.model import ImputedSums, IntArray, Sums
from securegen.stats import algebra, rounding
from securegen.stats.algebra import Entry
from securegen.stats.imputed import frequency, linear_sums, spread
from securegen.stats.pvalue import chisq_1, student_t

CORRELATED = 0.002  # smallest share of a variant's variance that may be left after projecting on the covariates
HIGH_VIF = 1 / 50


def centred_cross(cross: IntArray, dosage: IntArray, x_total: int, n: np.ndarray) -> np.ndarray:
    """Σ (g − ḡ)(x − x̄) over samples, missing g at its mean: (I − S Σx)/n, exact until the division."""
    s = dosage.astype(cross.dtype)  # where I is wider than 64 bits, S Σx is too
    out: np.ndarray = (cross - s * x_total).astype(np.float64) / np.maximum(n, 1)
    return out


def centre_exactly(total: int, a: int, b: int, n: int) -> float:
    """Σ(x − x̄)(y − ȳ) from Σxy, Σx, Σy and n: exact integers, one division."""
    return (n * total - a * b) / n


def linear(
    sums: Sums | ImputedSums, model: LinearModel, *, grid: int = 1, copies: int = 2, single: Sequence[IntArray] = ()
) -> dict[str, np.ndarray]:
    """Columns of the result table for the V variants of `sums` (named as in vocabulary.LINEAR_COLUMNS).

    sums: over intercept, covariates and phenotype, with Σg². With pairs given, complete cases; else, and where the pairs
    of a variant with missing calls are zero, mean imputation. grid: dosage units a copy; copies: the most that a person
    has; single: (V,) called people who have one less, if any. BETA and SE are per copy of A1, or of what a genetic model
    counts, in phenotype units.
    `DT_BOUND` is the certain error of T_STAT that quantisation allows (docs/explanation/precision.md).
    """
    if isinstance(sums, Sums):
        sums = linear_sums(sums, model.samples, coded=model.coding != voc.ADDITIVE)
    if sums.pairs is not None:
        imputed = (sums.called < model.samples) & ~sums.pairs.any(axis=1)
        if imputed.any():
            parts = [_linear(s, model, grid, copies, single) for s in (replace(sums, pairs=None), sums)]
            return {name: np.where(imputed, parts[0][name], column) for name, column in parts[1].items()}
    return _linear(sums, model, grid, copies, single)


def _linear(
    sums: ImputedSums, model: LinearModel, grid: int, copies: int, single: Sequence[IntArray]
) -> dict[str, np.ndarray]:
    k = len(model.gram)
    assert sums.cross.shape[1] == k
    n, g_sum = sums.called, sums.dosage
    variance = spread(n, sums.square, g_sum).astype(np.float64) / np.maximum(n, 1)
    s = [centred_cross(sums.cross[:, j - 1], g_sum, model.gram[0][j], n) for j in range(1, k)]
    gy = centred_cross(sums.cross[:, k - 1], g_sum, model.cty[0], n)
    a, cy, yy, used = _centred_design(sums, model, n)
    lower, scale, regular = algebra.cholesky(a)
    z = algebra.forward(lower, scale, s)
    zy = algebra.forward(lower, scale, cy)
    v = variance - algebra.dot(z, z)
    u = gy - algebra.dot(z, zy)
    y_left = yy - algebra.dot(zy, zy)
    df = used - k - 1

    code = np.full(len(n), voc.OK, dtype=object)
    code[v < HIGH_VIF * variance] = voc.VIF_TOO_HIGH
    with np.errstate(divide="ignore", invalid="ignore"):
        rss = np.maximum(y_left - u * u / v, 0.0)
        beta_raw = u / v
        off = rounding.moved(model, (lower, scale), (z, zy), v, variance, y_left, used, _absent(sums, model, n))
        if model.null_variance is None:
            # of an exact fit, the rounding of its columns is all that is left
            code[np.sqrt(rss) <= rounding.left_of_exact_fit(off, np.abs(u) / np.sqrt(v), np.sqrt(y_left))] = (
                voc.PERFECT_FIT
            )
        code[~(regular & (v > CORRELATED * variance))] = voc.CORR_TOO_HIGH
        code[df <= 0] = voc.TOO_FEW_SAMPLES
        code[variance <= 0] = voc.CONST_OMITTED_ALLELE
        code[n == 0] = voc.ALL_MISSING
        ok = (code == voc.OK) | (code == voc.VIF_TOO_HIGH)
        se_raw = np.sqrt((rss / df if model.null_variance is None else model.null_variance) / v)
        t = beta_raw / se_raw
        if model.null_variance is None:
            p, log10p = student_t(np.where(ok, t, 0.0), np.maximum(df, 1))
        else:
            p, log10p = chisq_1(np.where(ok, t * t, 0.0))
        beta, se = beta_raw * (model.unit * grid), se_raw * (model.unit * grid)
        freq = frequency(sums.copies, n, grid, copies, single)
        if model.null_variance is None:
            bound = rounding.t_bound(t, df, off)
        else:
            bound = rounding.root_bound(t, np.sqrt(y_left / model.null_variance), off)

    def hide(x: np.ndarray) -> np.ndarray:
        return np.where(ok, x, np.nan)

    return {
        "A1_FREQ": freq,
        "TEST": np.full(len(n), voc.CODINGS[model.coding], dtype=object),
        "OBS_CT": np.broadcast_to(used, n.shape).astype(np.int64),
        "BETA": hide(beta),
        "SE": hide(se),
        "L95": hide(beta - voc.Z95 * se),
        "U95": hide(beta + voc.Z95 * se),
        "T_STAT": hide(t),
        "P": hide(p),
        "LOG10_P": hide(log10p),
        "ERRCODE": code,
        "DT_BOUND": hide(bound),
    }


def _centred_design(
    sums: ImputedSums, model: LinearModel, n: np.ndarray
) -> tuple[list[list[Entry]], list[Entry], Entry, np.ndarray | np.int64]:
    """Centred Gram matrix of the covariates, what their products with y were moved by, yᵀy, and the samples used: numbers for
    mean imputation, (V,) arrays for complete cases. Of these, what the people without a call had in the products is taken off."""
    k, one = len(model.gram), 1 << PRECISE_BITS
    if sums.pairs is None:
        count, c0 = model.samples, model.gram[0]
        a: list[list[Entry]] = [
            [centre_exactly(model.gram[i][j], c0[i], c0[j], count) for j in range(1, k)] for i in range(1, k)
        ]
        cy = [centre_exactly(model.moved[i], c0[i], model.moved[0], count) / one for i in range(1, k)]
        return a, cy, centre_exactly(model.yty, model.cty[0], model.cty[0], count), np.int64(count)
    full = [[*model.gram[i], model.cty[i]] for i in range(k)] + [[*model.cty, model.yty]]
    pair = {}
    column = 0
    for i in range(k + 1):
        for j in range(i, k + 1):
            pair[i, j] = pair[j, i] = full[i][j] - sums.pairs[:, column]
            column += 1
    assert column == sums.pairs.shape[1]
    count = np.maximum(n, 1)

    def centred(i: int, j: int) -> np.ndarray:
        out: np.ndarray = pair[i, j] - pair[0, i] * (pair[0, j] / count)
        return out

    a = [[centred(i, j) for j in range(1, k)] for i in range(1, k)]
    along = [model.moved[i] / one - (model.cty[i] - pair[i, k]) for i in range(k)]
    cy = [along[i] - pair[0, i] * (along[0] / count) for i in range(1, k)]
    return a, cy, centred(k, k), n


def _absent(sums: ImputedSums, model: LinearModel, n: np.ndarray) -> np.ndarray | None:
    """(V,) the norm of y over people who are not used though the covariates were projected over them, None where all are."""
    if sums.pairs is None:
        return None
    out: np.ndarray = np.where(n < model.samples, np.sqrt(sums.pairs[:, -1].astype(np.float64)), np.nan)
    return out


def _residual_norm_squared(model: LinearModel) -> float:
    return centre_exactly(model.yty, model.cty[0], model.cty[0], model.samples)


def expected_t_error(model: LinearModel) -> float:
    """Six standard deviations of ΔT at T = 0 for uniform rounding of y: 6·√(df/12)/‖ỹ‖ (an average, not a bound)."""
    df = max(model.samples - len(model.gram) - 1, 1)
    return 6 * float(np.sqrt(df / 12 / _residual_norm_squared(model)))


def planned_t_error(model: LinearModel) -> float:
    """The certain bound of T at T = 0, before any variant is seen."""
    df = max(model.samples - len(model.gram) - 1, 1)
    off = model.y_moved + model.y_unread * float(np.sqrt(model.samples))
    return off * float(np.sqrt(df / _residual_norm_squared(model)))
