"""Linear regression with the product of the dosage and one covariate: products of that covariate e with every column.

Beside the columns of linear regression, e·c for each covariate and e·y for each phenotype, so that the sums of g·e with
them are sums of g, and Σ g² with e and with e·e. e is taken as it was read, in units of its scale and from its centre, not
rounded to the bits of a column: a product is rounded once. It is divided by 2^shift where its mean square would be more
than a column's scale, which engines are planned for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import Analysis, Design, scatter
from securegen.design.covariates import remembered_covariates
from securegen.design.data import DesignData
from securegen.design.linear import LinearModel, design_of_scaled, refuse_few
from securegen.design.side_by_side import side_by_side
from securegen.errors import DesignError
from securegen.model import Columns

FINER = 4  # times the degrees of freedom for which bits are planned: one bit more than in linear regression


@dataclass(frozen=True)
class InteractionModel(LinearModel):
    """As `LinearModel`, of a phenotype with the products of covariate e.

    covariate: its name; place: of its column; scale, centre: e is centre + scale times what is multiplied; reading: largest
    |error| of that; shifts, totals: of the products with each covariate, then with y: exponent of what they are divided by,
    and Σ over the people analysed. ends: the least and the most of e's column, () where nobody has all the people; two_values:
    whether it has no others.
    """

    covariate: str = ""
    place: int = 0
    scale: float = 1.0
    centre: float = 0.0
    reading: float = 0.0
    shifts: tuple[int, ...] = ()
    totals: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    two_values: bool = False


def interaction(group: DesignData, total: fp.SumOverSites) -> Design:
    """Columns and models of a group's phenotypes. Raises DesignError as `linear_design`, and without the covariate."""
    names, e = group.covariate_names, group.interaction
    if e is None or e not in names:
        found = f"they are {', '.join(names)}" if names else "there are none"
        raise DesignError(f"`interaction` {e}: it is not among the covariates, {found}")
    refuse_few(len(group.values), names, group.names, total, regressors=2)
    c = remembered_covariates(group.analysed, group.covariates, names, total, group.scaled)
    base = design_of_scaled(
        group.analysed, c, group.values, group.names, total=total, bits=group.bits, finer=FINER, even=True
    )
    values, of_linear = base.columns.values[group.analysed], base.columns.names
    place, bits, k = names.index(e) + 1, base.analyses[0].model.bits, len(c.gram)
    scaling, decimals = c.scalings[place - 1], c.decimals[place - 1]
    titles = [f"{e}:{name}" for name in of_linear[1:]]
    jobs = [partial(_product, scaling, decimals, values[:, j], bits, titles[j - 1]) for j in range(1, len(of_linear))]
    made = side_by_side(total, jobs)
    products, shifts = np.stack([column for column, _ in made], 1), [shift for _, shift in made]
    fp.guard_of(total).opened(f"products with {e}", products, group.analysed)
    totals = total([int(v) for v in products.sum(axis=0)])
    found = np.unique(values[:, place]).tolist() if total is fp.pooled else []
    analyses = []
    for p, a in enumerate(base.analyses):
        own = [*range(k - 1), k - 1 + p]  # among the products: with covariates, with y
        old = {f.name: getattr(a.model, f.name) for f in fields(LinearModel)}
        model = InteractionModel(
            **old, covariate=e, place=place, scale=scaling.scale, centre=scaling.centre,
            reading=0.5 / (scaling.grid * scaling.scale), shifts=tuple(shifts[j] for j in own),
            totals=tuple(totals[j] for j in own), ends=(found[0], found[-1]) if found else (), two_values=len(found) == 2,
        )  # fmt: skip
        columns = arranged([*a.columns, *(len(of_linear) + j for j in own)], place)
        analyses.append(Analysis("interaction", a.phenotype, columns, (0, 1, 2), model))
    squared = [False] * (len(of_linear) + len(titles))
    for j in (0, place, len(of_linear) + place - 1):
        squared[j] = True
    whole = Columns(
        (*of_linear, *titles), np.concatenate([base.columns.values, scatter(products, group.analysed)], 1), tuple(squared)
    )  # fmt: skip
    return Design(whole, tuple(analyses))


def arranged(columns: Sequence[int], place: int) -> tuple[int, ...]:
    """The columns of an analysis: intercept, e and e·e, whose Σg²x are read, then the other covariates, y, the products with
    these, and with y. columns: intercept, covariates, y, products with covariates and with y, with e at `place`.

    >>> arranged([0, 1, 2, 3, 4, 5, 6], 2)
    (0, 2, 5, 1, 3, 4, 6)
    """
    ahead = [0, place, len(columns) // 2 + place]
    return tuple(columns[j] for j in [*ahead, *(j for j in range(len(columns)) if j not in ahead)])


def _product(
    scaling: fp.Scaling, decimals: np.ndarray, column: np.ndarray, bits: int, name: str, total: fp.SumOverSites
) -> tuple[np.ndarray, int]:
    """Products of e and a column as integers, and the exponent of what they are divided by."""
    wide = column.astype(object)
    count, _, squares = fp.moments(scaling.integers(decimals, wide), total, name)
    shift = 0
    while 25 * squares > (
        count << (2 * (bits + shift))
    ):  # their mean square is more than that of a column, (2^bits/5)²
        shift += 1
    return scaling.integers(decimals, wide, 1 << shift), shift
