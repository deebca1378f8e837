"""Parameters of encrypted scores with a public model: the smallest ring in which every score is an exact integer.

A score is Σ_j w_j (Δ x_j + e_j) with independent errors e_j of variance 10.5 (bounded, so subgaussian): its noise is
below 15σ‖w‖₂ but for a chance of 2^-128 a run, whatever the genotypes. Needed: 15σ‖w‖₂/Δ ≤ 1/2, 2Δ(|S| + 1) < q, and
|S| < 2^60, half the modulus of the check of results.
The key's `Parameters` also describe the store for association; no design column is planned, so its norm is 1.

A person's n rows in a ciphertext (pack b = 1) and b samples × n/b rows are one layout; the planner picks b.
"""

from __future__ import annotations

import math

from securegen.engines.ckks.parameters import SIGMAS, Parameters
from securegen.engines.ckks.planner import DECRYPT_SECONDS, ENCRYPT_SECONDS, MULTIPLY_SECONDS, PACKS
from securegen.errors import PlanError
from securegen.rlwe.ring import ERROR_SD, Ring

SUM_LIMIT = 1 << 60  # results are verified modulo 2^61 − 1: beyond half of it S and S + p pass alike
RINGS = ((4096, 3), (8192, 4), (8192, 5), (8192, 6))


def noise_bound(parameters: Parameters, norm: float) -> float:
    """15 standard deviations of the noise of one decrypted score, in units of the score."""
    return SIGMAS * ERROR_SD * norm / 2.0**parameters.genotype_scale


def margin_bits(parameters: Parameters, norm: float) -> float:
    """log2 of ½ over the noise bound."""
    return math.log2(0.5 / noise_bound(parameters, norm))


def check_provable(sum_bound: int) -> None:
    """Raise PlanError unless the check of results proves integers of this bound."""
    if sum_bound >= SUM_LIMIT:
        raise PlanError(
            f"scores could reach 2^{math.log2(sum_bound):.1f}; the check of results proves integers below 2^60 only: use "
            "fewer bits per weight (`weight_bits`)"
        )


def check_exact(parameters: Parameters, *, norm: float, sum_bound: int) -> None:
    """Raise PlanError unless scores with weights of this 2-norm and bound decrypt to exact integers."""
    check_provable(sum_bound)
    if parameters.digits > 1:
        raise PlanError(
            "the cohort was encrypted with several variants in a coefficient, which association tests read and scores cannot: "
            "plan it with `scores` (--scores), or encrypt the cohort for these scores"
        )
    if noise_bound(parameters, norm) > 0.5:
        raise PlanError(
            f"noise of 15 standard deviations reaches {noise_bound(parameters, norm):.2f} units of a score, it must stay "
            "below 0.5: use fewer bits per weight (`weight_bits`), or encrypt the cohort for these scores"
        )
    need = 1 + math.log2(sum_bound + 1) + parameters.genotype_scale
    if need >= math.log2(parameters.ring.modulus):
        raise PlanError(
            f"scores need {need:.1f} bits, the modulus has {math.log2(parameters.ring.modulus):.1f}: use fewer bits per "
            "weight (`weight_bits`), or encrypt the cohort for these scores"
        )


def store_parameters(ring: Ring, pack: int, scale: int, *, dosage_max: int, samples: int) -> Parameters:
    """`Parameters` of a store with this scale."""
    groups = -(-samples // pack)
    design = math.ceil(math.log2(4 * SIGMAS * ERROR_SD * dosage_max * math.sqrt(ring.n * groups)))
    return Parameters(ring, pack, scale, design, dosage_max, 1.0, samples)


def estimate_seconds(parameters: Parameters, *, rows: int, columns: int) -> float:
    """One core's work on encryption, products and decryption, for the choice of a pack."""
    ring, groups = parameters.ring, parameters.groups
    k, blocks = len(ring.primes), -(-rows // parameters.block_variants)
    polynomial = ENCRYPT_SECONDS["own"] * ring.n / 4096
    return (
        blocks * groups * k * polynomial
        + blocks * groups * columns * k * ring.n * MULTIPLY_SECONDS
        + blocks * columns * k * polynomial
        + groups * columns * DECRYPT_SECONDS
    )


def choose(*, samples: int, rows: int, columns: int, norm: float, sum_bound: int, dosage_max: int) -> Parameters:
    """The cheapest parameters. Only counts and bounds enter. Raises PlanError when no ring holds the scores.

    >>> p = choose(samples=1, rows=110258, columns=1, norm=2.0**20 * 332, sum_bound=2 * 110258 << 20, dosage_max=2)
    >>> p.ring.n, len(p.ring.primes), p.pack
    (4096, 3, 1)
    """
    check_provable(sum_bound)
    for n, count in RINGS:
        ring = Ring.standard(n, count)
        scale = math.ceil(math.log2(2 * SIGMAS * ERROR_SD * norm))
        slack = math.floor(math.log2(ring.modulus) - 1 - math.log2(sum_bound + 1) - scale - 1e-6)
        fitting: list[Parameters] = []
        for pack in PACKS:
            if slack < 0 or pack > max(1, 2 * samples - 1):
                continue
            for spare in (slack // 2, 0):
                try:
                    p = store_parameters(ring, pack, scale + spare, dosage_max=dosage_max, samples=samples)
                    check_exact(p, norm=norm, sum_bound=sum_bound)
                except PlanError:
                    continue
                fitting.append(p)
                break
        if fitting:
            return min(fitting, key=lambda p: estimate_seconds(p, rows=rows, columns=columns))
    raise PlanError(
        f"no parameters hold scores below 2^{sum_bound.bit_length()} exactly: use fewer bits per weight (`weight_bits`)"
    )
