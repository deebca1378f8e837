"""Linear regression of a phenotype on a variant g and its product with a covariate e, from exact integer sums.

With h = (g − ḡ)·e (what is left out, ḡ·e, is a multiple of a covariate), C the covariates and everything centred: V the 2 × 2
products of g and h after projecting on C, u theirs with y. The coefficients are V⁻¹u, their covariance is σ²V⁻¹ with σ² =
(ỹᵀỹ − uᵀV⁻¹u)/df, df = N − K − 2. The effect of g is that at e = 0. Together they are tested by F = (uᵀV⁻¹u/2)/σ².

Missing genotypes are at the mean ḡ of the called ones, so they add nothing to a sum of g − ḡ: all are (integer)/n or
(integer)/n² with n called, and nothing is rounded before that division. e is counted from its centre: what is nearly
collinear does not depend on where e has its zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen import vocabulary as voc
from securegen.design.column_bits import planned_error
from securegen.design.interaction import FINER, InteractionModel
from securegen.model import ImputedSums, IntArray, Sums
from securegen.stats import linear, rounding
from securegen.stats.imputed import frequency, quadratic_sums
from securegen.stats.pvalue import f_of_two, student_t
from securegen.stats.two_regressors import Partial, System, off, partial, system, tangent, turns

JOINT = "USER_2DF"  # as plink2 names a joint test that its user chose


def tests_of(model: InteractionModel) -> tuple[str, ...]:
    """What the rows of a variant are called, in order."""
    return "ADD", f"ADDx{model.covariate}", JOINT


def interaction(
    sums: Sums | ImputedSums, model: InteractionModel, *, grid: int = 1, copies: int = 2, single: Sequence[IntArray] = ()
) -> dict[str, np.ndarray]:  # fmt: skip
    """Columns of catalogue.INTERACTION: three rows per variant, (3V,), in the order of `tests_of`.

    sums: over intercept, covariates, y, products with the covariates and with y; Σg², Σg²e, Σg²e². grid, copies, single: as
    `stats.linear.linear`. `DT_SCALED` is the certain error of T, of √(2F) in the joint row, over 1 + T²/df (1 + 2F/df).
    """
    if isinstance(sums, Sums):
        sums = quadratic_sums(sums, model.samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = system(sums, model)
        return _columns(sums, model, s, grid, copies, single)


def _columns(
    sums: ImputedSums, model: InteractionModel, s: System, grid: int, copies: int, single: Sequence[IntArray]
) -> dict[str, np.ndarray]:
    n, count, zero = sums.called, model.samples, np.zeros(len(sums.called))
    df = count - len(model.gram) - 2
    free = max(df, 1)
    shift = model.centre / model.scale  # e = 0 lies so far below the centre
    # the other regressor of g counts e from 0
    hh0, gh0, uh0 = s.hh + 2 * shift * s.gh + shift * shift * s.gg, s.gh + shift * s.gg, s.uh + shift * s.ug
    mixed = s.e_hh + 2 * abs(shift) * s.e_gh
    add = partial((s.gg, gh0, hh0), (s.ug, uh0), s.yy, (zero, s.e_gh, mixed), (zero, s.d_h))
    by = partial((s.hh, s.gh, s.gg), (s.uh, s.ug), s.yy, (s.e_hh, s.e_gh, zero), (s.d_h, zero))
    first = s.ug * s.ug / s.gg
    explained = first + by.o * by.o / by.w
    rss = np.maximum(s.yy - explained, 0.0)
    b_h = by.o / by.w
    b_g = (s.hh * s.ug - s.gh * s.uh) / (by.w * s.gg) - shift * b_h
    sigma, none = np.sqrt(rss / free), np.full(len(n), np.nan)
    betas, errors = [b_g, b_h, none], [np.sqrt(hh0 / (by.w * s.gg)) * sigma, sigma / np.sqrt(by.w), none]
    code, ok = _codes(sums, model, s, by, rss, df)

    stats = [b_g / errors[0], b_h / errors[1], explained / 2 / (rss / free)]
    ps = [student_t(np.where(ok, t, 0.0), np.full(len(n), free)) for t in stats[:2]]
    ps.append(f_of_two(np.where(ok, stats[2], 0.0), free))
    joint = np.sqrt(explained / rss)
    reach = [
        first + np.maximum(np.abs(by.o) + i * by.o_error, 0) ** 2 / np.maximum(by.w - i * by.w_error, 0)
        for i in (-1, 1)
    ]
    spread = np.max([np.abs(tangent(np.sqrt(r), s.yy) - joint) for r in reach], axis=0)
    scaled = []
    for (x, moved), (turn, tau_squared) in zip(
        ((add.x, add.x_error), (by.x, by.x_error), (joint, spread)), turns(model, s, add, by, shift, hh0), strict=True
    ):
        certain = rounding.t_error_bound(np.sqrt(free) * (np.abs(x) + moved), free, turn, tau_squared)
        scaled.append((certain + np.sqrt(free) * moved) / (1 + x * x))
    unit = model.unit * grid
    units = (unit, unit / model.scale, np.nan)

    def rows(parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.where(np.repeat(ok, 3), np.stack(parts, axis=1).reshape(-1), np.nan)

    beta, se = (rows([x * size for x, size in zip(xs, units, strict=True)]) for xs in (betas, errors))
    return {
        "A1_FREQ": np.repeat(frequency(sums.dosage, n, grid, copies, single), 3),
        "TEST": np.tile(np.array(tests_of(model), dtype=object), len(n)),
        "OBS_CT": np.full(3 * len(n), count, np.int64),
        "BETA": beta,
        "SE": se,
        "L95": beta - voc.Z95 * se,
        "U95": beta + voc.Z95 * se,
        "T_OR_F_STAT": rows(stats),
        "P": rows([p for p, _ in ps]),
        "LOG10_P": rows([log10p for _, log10p in ps]),
        "ERRCODE": np.repeat(code, 3),
        "DT_SCALED": rows(scaled),
    }


def _codes(
    sums: ImputedSums, model: InteractionModel, s: System, by: Partial, rss: np.ndarray, df: int
) -> tuple[np.ndarray, np.ndarray]:
    """(V,) codes of the variants, and where statistics are written."""
    left = np.minimum((s.gg - s.gh * s.gh / s.hh) / s.variance, by.w / s.own)
    code = np.full(len(left), voc.OK, dtype=object)
    code[left < linear.HIGH_VIF] = voc.VIF_TOO_HIGH
    b_h = np.abs(by.o / by.w)
    read = model.reading * np.sqrt(s.variance)
    rounding = (
        off(s.y, model) + model.y_rounding * np.sqrt(model.samples) + 1e-7 * np.sqrt(s.yy)
        + np.abs(by.other - by.slope * b_h) * off(s.g, model) + b_h * (off(s.h, model) + read + s.loose)
    )  # fmt: skip
    # of an exact fit, the rounding of its columns is all that is left
    code[rss <= rounding**2 + 2 * b_h * by.o_error + b_h**2 * by.w_error] = voc.PERFECT_FIT
    code[~(s.regular & (s.gg > linear.CORRELATED * s.variance) & (left > linear.CORRELATED))] = voc.CORR_TOO_HIGH
    if df <= 0:
        code[:] = voc.TOO_FEW_SAMPLES
    code[s.variance <= 0] = voc.CONST_OMITTED_ALLELE
    code[sums.called == 0] = voc.ALL_MISSING
    return code, (code == voc.OK) | (code == voc.VIF_TOO_HIGH)


def _residual_norm_squared(model: InteractionModel) -> float:
    return linear.centre_exactly(model.yty, model.cty[0], model.cty[0], model.samples)


def expected_error(model: InteractionModel) -> float:
    """Six standard deviations of ΔT at T = 0 for uniform rounding of y and of its products (an average, not a bound)."""
    df = max(model.samples - len(model.gram) - 2, 1)
    return 6 * (1 + 2.0 ** model.shifts[-1]) * float(np.sqrt(df / 12 / _residual_norm_squared(model)))


def planned_error_of(model: InteractionModel) -> float:
    """The certain bound of T at T = 0 before any variant is seen, for a variant that is explained as planned."""
    share = float(np.sqrt(_residual_norm_squared(model) / model.samples)) * 5 / 2.0**model.bits
    df = model.samples - len(model.gram) - 2
    return planned_error(FINER * df, share, len(model.covariates), model.bits)
