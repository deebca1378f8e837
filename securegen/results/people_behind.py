"""How many people are behind a row: those who differ from the others at its variant, from the sums that the row is made of.

A row in which one person differs is a sum of that person's values. An interaction has two such groups, the exposed and the
others: where one person of them differs, ADD and ADDxE together are that person's phenotype.

Of hard calls n people with Σg and Σg² are n₁ = 2Σg − Σg² of one copy and n₂ = (Σg² − Σg)/2 of two, and all but those of the
commonest genotype differ. Of dosages at least (Σg)²/Σg² people are above 0 (Cauchy and Schwarz).

An exposure of more than two values has no groups. With e between its least and its most, R what is left of Σ(g − ḡ)²e² after
projecting on g, e and the other covariates, and any genotype c and value ē, R ≤ Σ(g − c)²(e − ē)² ≤ 4(most − least)² × the
people who have neither c nor ē; so R/(4(most − least)²) are the fewest. One of two copies counts a quarter.
"""

from __future__ import annotations

import numpy as np

from securegen.design.interaction import InteractionModel
from securegen.model import ImputedSums, Sums
from securegen.stats.imputed import quadratic_sums
from securegen.stats.two_regressors import partial, system


def who_differ(called: np.ndarray, total: np.ndarray, square: np.ndarray, *, grid: int, copies: int = 2) -> np.ndarray:
    """(V,) float64: the fewest people of those called who can differ from all the others, whichever genotype these have.

    total, square: Σg and Σg² in steps of a dosage, of which `grid` are a copy; copies: the most that a person has. Exact for
    hard calls of two copies, else a lower bound.
    """
    n, s, q = (np.asarray(v, np.float64) for v in (called, total, square))
    s, q = s / grid, q / grid**2
    if grid == 1 and copies == 2:
        one, two = 2 * s - q, (q - s) / 2
        found: np.ndarray = n - np.max([n - one - two, one, two], axis=0)
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(q > 0, s * s / q, 0.0)
        rest, squares = copies * n - s, copies * copies * n - 2 * copies * s + q
        high = np.where(squares > 0, rest * rest / squares, 0.0)
    differ = [low, high, *(q - 2 * c * s + c * c * n for c in range(1, copies))]
    out: np.ndarray = np.min(differ, axis=0)
    return out


def who_differ_in_groups(
    model: InteractionModel, sums: Sums | ImputedSums, *, grid: int, copies: int = 2
) -> np.ndarray:
    """(V,) float64: of an interaction, the fewest people who differ among the exposed, or among the others; of an exposure of
    more than two values, or of calls that were filled in, a lower bound. 0 where the model does not know its exposure. sums: as
    `stats.interaction.interaction` reads them."""
    if not model.ends:
        return np.zeros(len(sums))
    if isinstance(sums, Sums) and model.two_values:
        return _of_two_groups(model, sums, grid, copies)
    if isinstance(sums, Sums):
        sums = quadratic_sums(sums, model.samples)
    with np.errstate(divide="ignore", invalid="ignore"):
        s = system(sums, model)
        by = partial((s.hh, s.gh, s.gg), (s.uh, s.ug), s.yy, (s.e_hh, s.e_gh, 0 * s.gg), (s.d_h, 0 * s.gg))
        left = by.w - by.w_error  # whatever the products' rounding did
    least, most = model.ends
    span = (most - least + 1) / (2.0**model.bits / 5)  # of e, in units of its scale
    found: np.ndarray = np.nan_to_num(left, nan=0.0, posinf=0.0, neginf=0.0) / (copies * grid * span) ** 2
    return found


def _of_two_groups(model: InteractionModel, sums: Sums, grid: int, copies: int) -> np.ndarray:
    whole = (
        (model.samples - sums.m[:, 0], sums.g[:, 0], sums.q[:, 0]),
        (model.gram[0][model.place] - sums.m[:, 1], sums.g[:, 1], sums.q[:, 1]),
    )
    least, most = model.ends
    exposed = [(with_e - least * plain) // (most - least) for plain, with_e in zip(*whole, strict=True)]
    others = [plain - part for plain, part in zip(whole[0], exposed, strict=True)]
    found: np.ndarray = np.minimum(*(who_differ(*group, grid=grid, copies=copies) for group in (exposed, others)))
    return found
