"""Linear regression: from quantitative phenotypes and covariates to integer columns, and what is needed to read the sums.

Like every design it takes "sum over the sites", so that pooled and federated runs get the same integers (see
`fixedpoint`). Residuals of a phenotype are taken against covariates at 2^-30 of their scale, so they are orthogonal to
the covariates as these are, and not as they are rounded: of C'y only what y's own rounding adds is left (`moved`), and
rounded covariates enter the variance of a genotype alone. They can be coarser than y for it (docs/explanation/precision.md).

With predictions of a whole-genome model, in units of the residual's standard deviation s = √(r'r/(N−K)), the column is
e = r − s·prediction, again less its part along the covariates, and the variance e'e/(N−K) of the null model, that part
included, stands for each variant's own (as regenie's step 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from securegen.design import column_bits
from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT, Analysis, Design, scatter
from securegen.design.covariates import ScaledCovariates, remembered_covariates
from securegen.design.data import DesignData
from securegen.design.exact import combination, exact_cross, exact_gram
from securegen.errors import DesignError
from securegen.model import Columns
from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class LinearModel:
    """What turns the sums of one quantitative phenotype into statistics.

    samples: N analysed; gram: K × K integers CᵀC, intercept first; cty: K integers; yty: integer; unit: phenotype
    units per integer of y; rounding: for each covariate the largest |error| of an entry, in units of that column;
    y_rounding: the same for y; bits: of y; covariate_bits: of the covariates; null_variance: of y under the null model, in
    squared integers of its column, None where each variant has its own residual variance; coding: the genetic model of the
    dosages. moved: K integers in units of 2^-30, intercept first, Σ ĉ_k δ of y's rounding errors δ; y_moved: ‖δ‖; error_gram:
    (K−1) × (K−1), the products Σ δ_k δ_l of the covariates' rounding errors; unread, y_unread: the largest error of an
    entry from reading decimals, in its column's units; loose: of y, what rounded coefficients leave along the covariates.
    """

    phenotype: str
    covariates: tuple[str, ...]
    samples: int
    gram: tuple[tuple[int, ...], ...]
    cty: tuple[int, ...]
    yty: int
    unit: float
    rounding: tuple[float, ...]
    y_rounding: float
    bits: int
    covariate_bits: int
    moved: tuple[int, ...]
    y_moved: float
    error_gram: tuple[tuple[float, ...], ...]
    unread: tuple[float, ...]
    y_unread: float
    loose: float
    null_variance: float | None = None
    coding: str = ADDITIVE


def linear(group: DesignData, total: fp.SumOverSites) -> Design:
    """Columns and models of a group's phenotypes. Raises DesignError as `linear_design`."""
    return linear_design(
        group.analysed, group.covariates, group.covariate_names, group.values, group.names, total=total, bits=group.bits,
        offsets=group.offsets, scaled=group.scaled, coding=group.coding, even=group.complete,
    )  # fmt: skip


def linear_design(
    analysed: np.ndarray,
    covariates: np.ndarray,
    covariate_names: Sequence[str],
    phenotypes: np.ndarray,
    phenotype_names: Sequence[str],
    *,
    total: fp.SumOverSites = fp.pooled,
    bits: int | None = None,
    offsets: np.ndarray | None = None,
    scaled: dict[bytes, ScaledCovariates] | None = None,
    coding: str = ADDITIVE,
    even: bool = False,
) -> Design:
    """Design of linear regression for phenotypes that share their analysed samples.

    analysed: (N,) bool over the stored samples; covariates: (n, K−1) and phenotypes: (n, P) float64 of the analysed
    ones, all finite. bits: of the columns; None lets the certain error bound choose. offsets: (n, P) float64,
    predictions in standard deviations of each residual, or zeros: the models have a null variance. scaled: as of the score
    test; coding: the genetic model of the dosages that will be summed; even: as of `design_of_scaled`.
    Raises DesignError: too few samples, constant or collinear columns, a phenotype the covariates determine.
    """
    assert covariates.shape == (int(analysed.sum()), len(covariate_names))
    assert phenotypes.shape == (len(covariates), len(phenotype_names))
    refuse_few(len(covariates), covariate_names, phenotype_names, total)
    c = remembered_covariates(analysed, covariates, covariate_names, total, scaled)
    return design_of_scaled(
        analysed, c, phenotypes, phenotype_names, total=total, bits=bits, offsets=offsets, coding=coding, even=even
    )


def refuse_few(
    people: int, covariates: Sequence[str], phenotypes: Sequence[str], total: fp.SumOverSites, *, regressors: int = 1
) -> None:
    """Raise DesignError where the people of all sites are too few. regressors: of a variant."""
    (count,) = total([people])
    least = len(covariates) + regressors + 2
    if count < least:
        raise DesignError(
            f"too few samples have {', '.join(phenotypes)} and every covariate: "
            f"at least {least} are needed for {len(covariates)} covariates"
        )


def design_of_scaled(
    analysed: np.ndarray,
    c: ScaledCovariates,
    phenotypes: np.ndarray,
    phenotype_names: Sequence[str],
    *,
    total: fp.SumOverSites = fp.pooled,
    bits: int | None = None,
    offsets: np.ndarray | None = None,
    finer: int = 1,
    coding: str = ADDITIVE,
    even: bool = False,
) -> Design:
    """As `linear_design`, of covariates that are scaled. finer: bits are planned for so many times the degrees of freedom,
    where more is rounded than in linear regression; even: covariates have the bits of y, and all as many as it takes where y
    is not orthogonal to the covariates over all people whose sums are read (interactions, complete cases)."""
    df = finer * (c.samples - len(c.gram) - 1)
    residuals = []
    for p, name in enumerate(phenotype_names):
        found = _residual(phenotypes[:, p], name, c, total)
        residuals.append(found if offsets is None else _without(found, offsets[:, p], name, c, total))
    coarse = bits
    if bits is None or coarse is None:
        # the rounding of y also moves the length of its column, which a null variance does not follow
        planned = df if offsets is None else 2 * df
        if even:
            bits = coarse = max(column_bits.bits_for(planned, r.share, len(c.names)) for r in residuals)
        else:
            bits, coarse = (
                max(column_bits.phenotype_bits(planned, r.share) for r in residuals),
                column_bits.COVARIATE_BITS,
            )
    columns = [np.ones(len(phenotypes), np.int64)]
    columns += [fp.column_integers(s, d, coarse) for s, d in zip(c.scalings, c.decimals, strict=True)]
    columns += [r.scaling.integers(r.values, 1 << bits, 5) for r in residuals]
    values = np.stack(columns, 1)
    guard = fp.guard_of(total)
    guard.opened(f"linear regression of {', '.join(phenotype_names)}", values, analysed)
    gram = fp.sum_gram(values, total, guard.gram)
    k = len(c.gram)
    errors = [fp.errors_of(values[:, j], c.precise[:, j], coarse) for j in range(1, k)]
    errors += [r.scaling.errors(r.values, values[:, k + p], 1 << bits, 5) for p, r in enumerate(residuals)]
    off = _sum_errors(values[:, :k], np.stack(errors, 1), (*c.names, *phenotype_names), total)
    units = [s.scale * 5 / 2.0**coarse for s in c.scalings]
    read_of = tuple(0.5 / s.grid + s.scale * 2.0 ** -(fp.PRECISE_BITS + 1) for s in c.scalings)
    unread = tuple(v / unit + ERROR_UNIT for v, unit in zip(read_of, units, strict=True))
    rounding = tuple(0.5 + 0.5 / (s.grid * unit) for s, unit in zip(c.scalings, units, strict=True))
    models = []
    for p, (name, r) in enumerate(zip(phenotype_names, residuals, strict=True)):
        unit = r.y_scale.scale * r.scaling.scale * 5 / 2.0**bits
        own = 0.5 / r.y_scale.grid + r.y_scale.scale * 2.0**-fp.PRECISE_BITS
        # what covariates were read wrongly by is subtracted with y's coefficients
        along = sum(abs(b) * v / s.scale for b, v, s in zip(r.along, read_of, c.scalings, strict=True))
        read = r.reading * own / unit
        null = None if r.variance is None else float(r.variance * Fraction(2**bits, 5) ** 2)
        models.append(
            LinearModel(
                name, c.names, c.samples, tuple(tuple(row[:k]) for row in gram[:k]),
                tuple(row[k + p] for row in gram[:k]), gram[k + p][k + p], unit, rounding, 0.5 + read, bits, coarse,
                off.moved[p], off.norms[p], off.gram, unread, read + along * r.y_scale.scale / unit + ERROR_UNIT,
                r.loose * r.y_scale.scale / unit, null, coding,
            )
        )  # fmt: skip
    names = (INTERCEPT, *c.names, *phenotype_names)
    shared = Columns(names, scatter(values, analysed), (True,) + (False,) * (len(names) - 1))
    analyses = [Analysis("linear", m.phenotype, (*range(k), k + p), (0,), m) for p, m in enumerate(models)]
    for m in models:
        largest = max(m.yty, *(m.gram[i][i] for i in range(k)))
        fp.check_sum_bound(2 * m.samples * int((m.samples * largest) ** 0.5 + 1), f"the sums of {m.phenotype}")
    return Design(shared, tuple(analyses))


ERROR_UNIT = 2.0 ** -(fp.PRECISE_BITS + 1)  # rounding errors are themselves known to so much of an integer


@dataclass(frozen=True)
class _Errors:
    """Sums of rounding errors over the sites: gram: of the covariates', rounded up; moved: (P, K) with the integer columns,
    in units of 2^-30; norms: (P,) of y's."""

    gram: tuple[tuple[float, ...], ...]
    moved: tuple[tuple[int, ...], ...]
    norms: tuple[float, ...]


def _sum_errors(columns: np.ndarray, errors: np.ndarray, names: Sequence[str], total: fp.SumOverSites) -> _Errors:
    """columns: (n, K) integer columns, intercept first; errors: (n, K−1+P), of covariates and phenotypes."""
    k, guard = columns.shape[1], fp.guard_of(total)
    for error, name in zip(errors.T, names, strict=True):
        if error.any():
            guard.column(f"what rounding took from {name}", error)
    gram = fp.sum_gram(errors, total, guard.gram)
    moved = fp.sum_matrix(exact_gram(columns, errors[:, k - 1 :]), total)
    one = 1 << (2 * fp.PRECISE_BITS)
    covariates = tuple(tuple(v / one for v in row[: k - 1]) for row in gram[: k - 1])
    norms = tuple(math.sqrt(gram[j][j] / one) * (1 + 2.0**-40) for j in range(k - 1, len(gram)))
    return _Errors(covariates, tuple(zip(*moved, strict=True)), norms)


@dataclass(frozen=True)
class _Residual:
    """What is left of one phenotype: values: (n,) Python integers in 1/scaling.grid of the phenotype's scale; scaling: of
    the column they become; y_scale: of the phenotype; square: Σ of their squares; share: their standard deviation over the
    column's scale; along: coefficients on the covariates that were subtracted, in scales; loose: bound of what is left along
    the covariates, a person's share of its norm, in y_scale; reading: how many times the phenotype's own rounding they may
    be off; variance: of the null model, in squared scales of the column."""

    values: np.ndarray
    scaling: fp.Scaling
    y_scale: fp.Scaling
    square: int
    share: float
    along: tuple[float, ...]
    loose: float
    reading: float = 1.0
    variance: Fraction | None = None


def _residual(y: np.ndarray, name: str, c: ScaledCovariates, total: fp.SumOverSites) -> _Residual:
    """Residual of one phenotype on the covariates, at 2^-74 of the phenotype's scale."""
    y_scale, decimals = fp.fit_scaling(y, f"phenotype {name}", total)
    precise = y_scale.integers(decimals, 1 << fp.PRECISE_BITS)
    residual, along, loose = _projected(precise.astype(object), 0, c, total)
    n, s1, s2 = fp.moments(residual, total, f"residual of {name}")
    scaling = fp.scale_of(n, s1, s2, 1 << (fp.PRECISE_BITS + fp.RESIDUAL_BITS))
    # 2^-20 of the phenotype's own scale is where rounding of the input would be the result
    if scaling is None or scaling.exponent < -20:
        raise DesignError(f"phenotype {name} is determined by the covariates: nothing is left to explain")
    return _Residual(residual, scaling, y_scale, s2, _share(n, s1, s2, scaling), along, loose)


def _projected(
    values: np.ndarray, finer: int, c: ScaledCovariates, total: fp.SumOverSites
) -> tuple[np.ndarray, tuple[float, ...], float]:
    """Values (n,), Python integers at 2^-(30 + finer) of a scale, less their part along the covariates, at 2^-(74 + finer);
    its coefficients on the covariates without the intercept; and, in that scale, what may be left, a person's share."""
    crossed = total(exact_cross(c.precise, values))
    bits = fp.RESIDUAL_BITS + finer
    rounded = c.solver.rounded(crossed, fp.RESIDUAL_BITS)  # at 2^-(44 + finer): values are 2^finer times as large
    left = values * (1 << fp.RESIDUAL_BITS) - combination(c.precise, rounded)
    # every coefficient is off by half a unit, a covariate's root mean square is its scale at most, and its centre
    loose = 1.01 * len(rounded) * 2.0 ** -(bits + 1)
    return left, tuple(float(v) * 2.0**-bits for v in rounded[1:]), loose


def _share(n: int, s1: int, s2: int, scaling: fp.Scaling) -> float:
    share: float = float(Fraction(n * s2 - s1 * s1, (n * scaling.grid) ** 2)) ** 0.5 / scaling.scale
    return share


def _without(r: _Residual, prediction: np.ndarray, name: str, c: ScaledCovariates, total: fp.SumOverSites) -> _Residual:
    """The residual without (n,) float64 predictions in its own standard deviations, in the same scale, and its variance.

    The variance is of all that is left, the column of what covariates do not explain of it: they need not be orthogonal.
    """
    left = c.samples - len(c.gram)
    deviation = math.isqrt(r.square // left)  # of about 74 bits
    fine = np.rint(prediction * (1 << fp.PRECISE_BITS)).astype(np.int64).astype(object)
    whole = r.values * (1 << fp.PRECISE_BITS) - deviation * fine
    n, s1, s2 = fp.moments(whole, total, f"residual of {name} without its predictions")
    share = _share(n, s1, s2, replace(r.scaling, grid=r.scaling.grid << fp.PRECISE_BITS))
    if share < 2.0**-10:
        raise DesignError(f"phenotype {name} is determined by its predictions: nothing is left to explain")
    values, along, loose = _projected(whole, fp.RESIDUAL_BITS + fp.PRECISE_BITS, c, total)
    scaling = replace(r.scaling, grid=r.scaling.grid << (fp.RESIDUAL_BITS + fp.PRECISE_BITS))
    # s has the error of the residual, and the prediction is at most (1 + σ₀/s)·s; its own rounding at 2^-30 is the third
    reading = 3 + math.sqrt(s2 / (r.square << (2 * fp.PRECISE_BITS)))
    variance = Fraction(s2, left * r.scaling.grid**2 << (2 * fp.PRECISE_BITS)) / Fraction(2) ** (2 * r.scaling.exponent)
    together = tuple(reading * abs(a) + abs(b) for a, b in zip(r.along, along, strict=True))
    return _Residual(values, scaling, r.y_scale, s2, share, together, loose, reading, variance)
