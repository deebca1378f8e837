"""From normalised sums on shares to hits, or to the ratio ρ = u²/v alone, without opening u, v or anything between.

All numbers are at most about 1 because the genotype party divided by its own ‖g̃‖: shares of t in units of 2^-50, sums of
squares in units of 2^-100, v = (variation or weighted squares) − Σ t_k² <= 1.

- `hits`: f = (lead u)² − v, its top word alone (so f is wrong by less than 2^-38), and where f >= 0: u, v and ‖g̃‖².
- `chi2`: with h = 1 − v, 1/v = Π (1 + h^(2^i)), an identity but for h^(2^n), which is below 1.2e-7 where v >= limit: n squarings.
  ρ = u²·(1/v) is cut to 27 bits beyond log2 N and opened where v >= limit; of other variants only that they are not. A
  cut share is off by one unit at most. (The last opened bit depends on how shares
  were cut; else ρ is a function of χ².)

Rounds: 9 for hits, 11 + n for chi2, whatever the number of variants.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from securegen.engines.mpc.shares import multiword
from securegen.engines.mpc.shares.program import Program
from securegen.stats.projected_statistics import RATIO_LIMIT, SHARE_BITS, SPARE_RATIO_BITS
from securegen.stats.projection import VariantCounts

if TYPE_CHECKING:
    from securegen.engines.mpc.projected import PhenotypeGroup

SQUARE_BITS = 2 * SHARE_BITS
POWER_BITS = 57  # of h and its powers: of a square, and of a product with 1/v, 64 bits are then left of a share
STEPS = {"linear": 13, "logistic": 15}
_NEVER = np.uint64(1 << 62)


def ratio_bits(samples: int) -> int:
    """Bits of ρ that are opened: cutting there, times N, is below 2^-26. At least 38, for 64 bits to be left of a share."""
    return max(38, SPARE_RATIO_BITS + math.ceil(math.log2(max(samples, 2))))


def variation_bits(samples: int, grid: int) -> int:
    """Bits after the point of ‖g̃‖² in dosage units, as it is opened of hits."""
    return 61 - math.ceil(math.log2(4 * grid * grid * samples))


def open_statistics(
    program: Program, reveal: str, group: PhenotypeGroup, shares: np.ndarray, diagonal: np.ndarray | None,
    counts: VariantCounts | None, grid: int,
) -> dict[str, np.ndarray] | None:  # fmt: skip
    """shares: (V, k + P) uint64, of t in units of 2^-50; diagonal: (V, 2) of Σ w G² for weighted regression.

    Returns at the right party `opened` (V, P) bool and, of these, for hits u (V, P), v and variation (V,) int64 in units of
    2^-50, 2^-50 and 2^-variation_bits, 0 where none of a variant's phenotypes is a hit; for chi2 `ratio` (V, P) int64 in
    units of 2^-ratio_bits.
    """
    k, phenotypes = group.basis, len(group.phenotypes)
    squares = program.square(shares[..., None])
    whole = program.constant(1 << SQUARE_BITS, 2) if diagonal is None else diagonal
    v = multiword.subtract(whole, multiword.total(squares[:, :k]))
    constant = counts.constant() if counts is not None else np.zeros(len(v), bool)
    if reveal == "chi2":
        return _ratios(program, group, v, squares[:, k:], constant)
    tops = []
    for j in range(phenotypes):
        f = multiword.subtract(multiword.shift_left(squares[:, k + j], 2 * group.lead_bits[j]), v)
        tops.append(multiword.shift_left(f, 126 - SQUARE_BITS - 22)[:, 1] - np.where(constant, _NEVER, np.uint64(0)))
    own = np.zeros(len(v), np.uint64)
    if counts is not None:
        own = counts.variation(variation_bits(group.samples, grid)).astype(np.uint64)
    common = np.stack([multiword.word_at(v, SQUARE_BITS - SHARE_BITS), own], axis=1)
    found = program.hits(np.stack(tops, axis=1), shares[:, k:, None], common)
    if found is None:
        return None
    opened, u, both = found
    v, variation = both.view(np.int64).T
    return {"opened": opened, "u": u[:, :, 0].view(np.int64), "v": v, "variation": variation}


def _ratios(
    program: Program, group: PhenotypeGroup, v: np.ndarray, squares: np.ndarray, constant: np.ndarray
) -> dict[str, np.ndarray] | None:
    wider, bits = multiword.subtract(program.constant(1 << SQUARE_BITS, 2), v), SQUARE_BITS
    inverse = np.broadcast_to(program.constant(1 << SHARE_BITS, 1)[0], len(v))
    for _ in range(STEPS[group.test]):
        power = multiword.word_at(wider, bits - POWER_BITS)
        made = program.products(np.stack([power, inverse], axis=1)[..., None], [(0, 0), (0, 1)])
        wider, bits = made[:, 0], 2 * POWER_BITS
        inverse = inverse + multiword.word_at(made[:, 1], POWER_BITS)
    squared = multiword.word_at(squares, SQUARE_BITS - SHARE_BITS)
    factors = np.concatenate([inverse[:, None], squared], axis=1)[..., None]
    made = program.products(factors, [(0, 1 + j) for j in range(squared.shape[1])])
    found = multiword.word_at(made, SQUARE_BITS - ratio_bits(group.samples))
    limit = round(RATIO_LIMIT[group.test] * (1 << SQUARE_BITS))
    f = multiword.shift_left(multiword.subtract(v, program.constant(limit, 2)), 126 - SQUARE_BITS - 2)[:, 1]
    top = f - np.where(constant, _NEVER, np.uint64(0))
    opened = program.hits(top[:, None], found[:, None], np.zeros((len(v), 0), np.uint64))
    if opened is None:
        return None
    which, ratios = opened[0], opened[1][:, 0]
    return {"opened": np.repeat(which, ratios.shape[1], axis=1), "ratio": ratios.view(np.int64)}
