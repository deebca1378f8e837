"""Linear regression: from quantitative phenotypes and covariates to integer columns, and what is needed to read the sums.

Like every design it takes "sum over the sites", so that pooled and federated runs get the same integers (see
`fixedpoint`). Residuals of a phenotype are taken against covariates at 2^-30 of their scale, so quantising the
covariates afterwards costs the phenotype nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT, Analysis, Design, scatter
from securegen.design.covariates import ScaledCovariates, scale_covariates
from securegen.design.data import DesignData
from securegen.design.exact import combination, exact_gram
from securegen.errors import DesignError
from securegen.model import Columns


@dataclass(frozen=True)
class LinearModel:
    """What turns the sums of one quantitative phenotype into statistics.

    samples: N analysed; gram: K × K integers CᵀC, intercept first; cty: K integers; yty: integer; unit: phenotype
    units per integer of y; rounding: for each covariate the largest |error| of an entry, in units of that column;
    y_rounding: the same for y; bits: of the columns.
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


def linear(group: DesignData, total: fp.SumOverSites) -> Design:
    """Columns and models of a group's phenotypes. Raises DesignError as `linear_design`."""
    return linear_design(
        group.analysed, group.covariates, group.covariate_names, group.values, group.names, total=total, bits=group.bits
    )


def linear_design(
    analysed: np.ndarray,
    covariates: np.ndarray,
    covariate_names: Sequence[str],
    phenotypes: np.ndarray,
    phenotype_names: Sequence[str],
    *,
    total: fp.SumOverSites = fp.pooled,
    bits: int | None = None,
) -> Design:
    """Design of linear regression for phenotypes that share their analysed samples.

    analysed: (N,) bool over the stored samples; covariates: (n, K−1) and phenotypes: (n, P) float64 of the analysed
    ones, all finite. bits: of the columns; None lets the certain error bound choose (16 or more).
    Raises DesignError: too few samples, constant or collinear columns, a phenotype the covariates determine.
    """
    assert covariates.shape == (int(analysed.sum()), len(covariate_names))
    assert phenotypes.shape == (len(covariates), len(phenotype_names))
    (count,) = total([len(covariates)])
    if count < len(covariate_names) + 3:
        raise DesignError(
            f"{count} samples have {', '.join(phenotype_names)} and every covariate: "
            f"at least {len(covariate_names) + 3} are needed for {len(covariate_names)} covariates"
        )
    c = scale_covariates(covariates, covariate_names, total)
    df = c.samples - len(c.gram) - 1
    residuals = [_residual(phenotypes[:, p], name, c, total) for p, name in enumerate(phenotype_names)]
    if bits is None:
        bits = max(fp.bits_for(df, share, len(c.names)) for _, _, _, share in residuals)
    columns = [np.ones(len(covariates), np.int64)]
    columns += [fp.column_integers(s, d, bits) for s, d in zip(c.scalings, c.decimals, strict=True)]
    columns += [scaling.integers(y, 1 << bits, 5) for y, scaling, _, _ in residuals]
    values = np.stack(columns, 1)
    guard = fp.guard_of(total)
    guard.opened(f"linear regression of {', '.join(phenotype_names)}", values, analysed)
    gram = fp.sum_gram(values, total, guard.gram)
    k = len(c.gram)
    rounding = tuple(0.5 + 0.5 / s.grid * 2.0**bits / (5 * s.scale) for s in c.scalings)
    models = []
    for p, (name, (_, scaling, y_scale, _)) in enumerate(zip(phenotype_names, residuals, strict=True)):
        unit = y_scale.scale * scaling.scale * 5 / 2.0**bits
        read = (0.5 / y_scale.grid + y_scale.scale * 2.0**-fp.PRECISE_BITS) / unit
        models.append(
            LinearModel(
                name, c.names, c.samples, tuple(tuple(row[:k]) for row in gram[:k]),
                tuple(row[k + p] for row in gram[:k]), gram[k + p][k + p], unit, rounding, 0.5 + read, bits,
            )
        )  # fmt: skip
    names = (INTERCEPT, *c.names, *phenotype_names)
    shared = Columns(names, scatter(values, analysed), (True,) + (False,) * (len(names) - 1))
    analyses = [
        Analysis("linear", m.phenotype, (*range(k), k + p), (0,), m) for p, m in enumerate(models)
    ]  # fmt: skip
    for m in models:
        largest = max(m.yty, *(m.gram[i][i] for i in range(k)))
        fp.check_sum_bound(2 * m.samples * int((m.samples * largest) ** 0.5 + 1), f"the sums of {m.phenotype}")
    return Design(shared, tuple(analyses))


def _residual(
    y: np.ndarray, name: str, c: ScaledCovariates, total: fp.SumOverSites
) -> tuple[np.ndarray, fp.Scaling, fp.Scaling, float]:
    """Residual of one phenotype on the covariates as integers at 2^-54 of its scale, their scaling, the phenotype's
    own scaling, and residual standard deviation over its scale."""
    y_scale, decimals = fp.fit_scaling(y, f"phenotype {name}", total)
    precise = y_scale.integers(decimals, 1 << fp.PRECISE_BITS)
    cty = fp.sum_matrix(exact_gram(c.precise, precise[:, None]), total)
    rounded = c.solver.rounded([row[0] for row in cty], fp.COEFFICIENT_BITS)
    residual = precise.astype(object) * (1 << fp.COEFFICIENT_BITS) - combination(c.precise, rounded)
    n, s1, s2 = fp.moments(residual, total, f"residual of {name}")
    scaling = fp.scale_of(n, s1, s2, 1 << (fp.PRECISE_BITS + fp.COEFFICIENT_BITS))
    # 2^-20 of the phenotype's own scale is where rounding of the input would be the result
    if scaling is None or scaling.exponent < -20:
        raise DesignError(f"phenotype {name} is determined by the covariates: nothing is left to explain")
    variance = Fraction(n * s2 - s1 * s1, (n * scaling.grid) ** 2)
    return residual, scaling, y_scale, float(variance) ** 0.5 / scaling.scale
