"""The score test of a binary phenotype under logistic regression.

Columns: case, r = y − μ, w = μ(1−μ) and w·c for every covariate, c centred by its w-weighted mean; the weight column also
sums g². Where dosages are a genetic model's 0 and 1, whose squares they are, people and cases also sum the alleles.
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
from securegen.design.exact import exact_gram, round_half_up
from securegen.design.null_model import UNIT, fit_null_model
from securegen.design.null_people import NullPeople
from securegen.design.penalised_null import fit_penalised_null
from securegen.errors import DesignError
from securegen.kernels.rounded_products import rounded_products
from securegen.model import Columns
from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class ScoreModel:
    """What turns sums into the Rao score test of one binary phenotype.

    samples, cases: people analysed; weight_gram: K × K float64, CᵀWC with the intercept's row from the quantised columns;
    residual_cross: K float64, Cᵀr of the quantised r; residual_unit, weight_units: value of one integer of r, and of w
    and each w·c; weight_total: Σ of the integer w; covariate_gram: (K−1) × (K−1), CᵀC; residual_error: norm of r's rounding
    errors, weight_errors: K × K products of those of w and each w·c, of values and not of integers; bits: of r, weight_bits:
    of the others; coding: the genetic model of the dosages; most: copies that a person may
    have.
    """

    phenotype: str
    covariates: tuple[str, ...]
    samples: int
    cases: int
    weight_gram: tuple[tuple[float, ...], ...]
    residual_cross: tuple[float, ...]
    residual_unit: float
    weight_units: tuple[float, ...]
    weight_total: int
    covariate_gram: tuple[tuple[float, ...], ...]
    residual_error: float
    weight_errors: tuple[tuple[float, ...], ...]
    bits: int
    weight_bits: int
    coding: str = ADDITIVE
    most: int = 2


@dataclass(frozen=True)
class _Fine:
    """A column (n,) at 2^-30 and its scale: a power of two from its root mean square, without a centre; share: of the scale
    that the root mean square is."""

    values: np.ndarray
    scaling: fp.Scaling
    share: float

    @staticmethod
    def of(values: np.ndarray, total: fp.SumOverSites, what: str) -> _Fine:
        fine = np.rint(values * UNIT).astype(np.int64)
        n, _, s2 = fp.moments(fine, total, what)
        scaling = fp.scale_of(n, 0, s2, 1 << fp.PRECISE_BITS)
        if scaling is None:
            raise DesignError(f"{what} is zero for every analysed sample")
        return _Fine(fine, scaling, float(Fraction(s2, n) ** 0.5) / UNIT / scaling.scale)

    def quantised(self, bits: int) -> tuple[np.ndarray, np.ndarray, float]:
        """Integers, 2^bits/5 per scale, their rounding errors in units of 2^-30 of one, and the value of one."""
        integers = self.scaling.integers(self.values, 1 << bits, 5)
        return (integers, self.scaling.errors(self.values, integers, 1 << bits, 5), self.scaling.scale * 5 / 2.0**bits)


def logistic(group: DesignData, total: fp.SumOverSites) -> Design:
    """Columns and model of a group of one phenotype. Raises DesignError as `logistic_design`."""
    return logistic_design(
        group.analysed, group.covariates, group.covariate_names, group.values[:, 0], group.names[0], total=total,
        bits=group.bits, scaled=group.scaled, offset=None if group.offsets is None else group.offsets[:, 0],
        coding=group.coding, corrected=group.corrected, penalised=group.penalised, most=group.most,
    )  # fmt: skip


def logistic_design(
    analysed: np.ndarray,
    covariates: np.ndarray,
    covariate_names: Sequence[str],
    cases: np.ndarray,
    phenotype: str,
    *,
    total: fp.SumOverSites = fp.pooled,
    bits: int | None = None,
    scaled: dict[bytes, ScaledCovariates] | None = None,
    offset: np.ndarray | None = None,
    coding: str = ADDITIVE,
    corrected: bool = False,
    penalised: bool = False,
    most: int = 2,
) -> Design:
    """Design of the score test. analysed: (N,) bool; covariates: (n, K−1) and cases: (n,) of 0 and 1, analysed only.

    scaled: remembers the covariates of the same people for the next phenotype; not for one site of several, whose sums
    the others would miss. offset: (n,) float64 logits that the null model adds to its own, None for none; coding: the
    genetic model of the dosages that will be summed; corrected: the analysis keeps the null model of each person;
    penalised: and that under Firth's penalty; most: as of the model.
    Raises DesignError: too few samples, constant or collinear covariates, a null model that does not converge.
    """
    guard = fp.guard_of(total)
    guard.column(f"cases of {phenotype}", cases)
    count, case_count = total([len(cases), int(cases.sum())])
    k = len(covariate_names) + 1
    if min(case_count, count - case_count) < 1 or count <= k + 1:
        raise DesignError(
            f"phenotype {phenotype}: too few cases or controls have every covariate; both are needed, and more than {k + 1} "
            f"samples for {k - 1} covariates"
        )
    c = remembered_covariates(analysed, covariates, covariate_names, total, scaled)
    x = c.precise / UNIT
    null = fit_null_model(cases, x, (INTERCEPT, *c.names), phenotype, total, offset)
    residual, weight = cases - null.mean, null.mean * (1.0 - null.mean)
    sums = total([int(np.rint(weight * x[:, i] * UNIT).sum()) for i in range(k)])
    shift = [0]
    for i in range(1, k):
        mean = Fraction(sums[i], sums[0]) * (1 << fp.COEFFICIENT_BITS)
        shift.append(round_half_up(mean.numerator, mean.denominator) << (fp.PRECISE_BITS - fp.COEFFICIENT_BITS))
    exact = c.precise - np.array(shift, np.int64)
    centred = exact / UNIT
    what = (f"the residual of {phenotype}", *(f"the weighted covariate {name}" for name in (INTERCEPT, *c.names)))
    fine = [_Fine.of(residual, total, what[0])]
    fine += [_Fine.of(weight * centred[:, i], total, what[i + 1]) for i in range(k)]
    weight_bits = bits
    if bits is None or weight_bits is None:
        # as for T, and √32 more: χ² doubles the error of z, its bound does not know Σg², and covariates explain variants
        bits, weight_bits = column_bits.phenotype_bits(32 * (count - k), fine[0].share), column_bits.COVARIATE_BITS
    r, r_error, r_unit = fine[0].quantised(bits)
    columns, column_errors, units = zip(*(f.quantised(weight_bits) for f in fine[1:]), strict=True)
    errors = np.stack([r_error, *column_errors], axis=1)
    for j, name in enumerate(what):
        if errors[:, j].any():
            guard.column(f"what rounding took from {name}", errors[:, j])
    inner = rounded_products(weight, centred[:, 1:], UNIT)
    cross = [row[0] for row in exact_gram(exact, r[:, None])]
    values = np.stack([np.ones(len(cases), np.int64), cases.astype(np.int64), r, *columns], axis=1)
    guard.opened(f"score test of {phenotype}", values, analysed)
    error_gram = fp.sum_gram(errors, total, guard.gram)
    summed = total([*(int(v.sum()) for v in columns), *cross, *inner])
    column_sums, cross, rest = summed[:k], summed[k : 2 * k], iter(summed[2 * k :])
    gram = [[0.0] * k for _ in range(k)]
    for i in range(k):
        gram[0][i] = gram[i][0] = column_sums[i] * units[i]
    for i in range(1, k):
        for j in range(i, k):
            gram[i][j] = gram[j][i] = next(rest) / UNIT
    model = ScoreModel(
        phenotype, c.names, count, case_count, tuple(map(tuple, gram)), tuple(v / UNIT * r_unit for v in cross), r_unit,
        tuple(units), column_sums[0], _centred_gram(c.gram, shift), *_of_values(error_gram, (r_unit, *units)),
        bits, weight_bits, coding, most,
    )  # fmt: skip
    names: tuple[str, ...] = (INTERCEPT, f"{phenotype}:case", f"{phenotype}:residual", f"{phenotype}:weight")
    names += tuple(f"{phenotype}:weight×{n}" for n in c.names)
    coded = coding != ADDITIVE
    squared = tuple(j < 2 if coded else n == f"{phenotype}:weight" for j, n in enumerate(names))
    fp.check_sum_bound(8 * count << max(bits, weight_bits), f"the sums of {phenotype}")
    analysis = Analysis("logistic", phenotype, tuple(range(len(names))), (0, 1) if coded else (0,), model)
    if corrected:
        firth = fit_penalised_null(cases, x, null.beta, phenotype, total, count, offset) if penalised else None
        kept = NullPeople(np.flatnonzero(analysed), cases == 1, exact, null.mean, firth)
        analysis = replace(analysis, null=kept)
    return Design(Columns(names, scatter(values, analysed), squared), (analysis,))


def _of_values(gram: list[list[int]], units: Sequence[float]) -> tuple[float, tuple[tuple[float, ...], ...]]:
    """The norm of r's errors and the products of the others', of values: from their products in units of 2^-30."""
    one, size = 2.0**fp.PRECISE_BITS, range(1, len(units))
    products = tuple(tuple(gram[i][j] * (units[i] * units[j] / one**2) for j in size) for i in size)
    return math.sqrt(gram[0][0]) * units[0] / one, products


def _centred_gram(gram: list[list[int]], shift: list[int]) -> tuple[tuple[float, ...], ...]:
    """Σ (c_k − s_k)(c_l − s_l) of the covariates in scales, from exact sums at 2^-30 (the first column is the intercept)."""
    n = gram[0][0] >> (2 * fp.PRECISE_BITS)
    first = [v >> fp.PRECISE_BITS for v in gram[0]]
    size = range(1, len(gram))
    return tuple(
        tuple(
            (gram[i][j] - shift[j] * first[i] - shift[i] * first[j] + n * shift[i] * shift[j]) / UNIT**2 for j in size
        )
        for i in size
    )
