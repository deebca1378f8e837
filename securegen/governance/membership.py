"""Power of likelihood-ratio tests of membership: is a person, whose genotypes somebody has, among those of a release?

A release of a column x is Σ_i g_ij x_i of M variants. With genotypes and columns of unit variance, a member with leverage
h in the released columns, and L independent variants, the log likelihood ratio is normal with the same variance for
members and others, and their means are d = √(L·h) standard deviations apart. At false-positive rate α it finds Φ(d − z_α)
of the members.

- Frequencies: h = 1/N (Homer et al. 2008, doi:10.1371/journal.pgen.1000167; Sankararaman et al. 2009, doi:10.1038/ng.436).
- Effects of a trait of unit variance: h = y²/N (Im et al. 2012, doi:10.1016/j.ajhg.2012.02.008).
- Both: (1 + y²)/N; of r orthogonal columns the mean over members is r/N.

Whoever tests knows the frequencies of the population exactly. docs/howto/risk.md derives all this.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
from scipy import special, stats

from securegen.errors import UsageError
from securegen.model import FloatArray, IntArray

EXACT_COPIES = 50  # up to here a variant's information is summed over all counts; beyond it differs from 1/N by 1/300


def power(distance: float, fpr: float) -> float:
    """Share of members that a test finds whose two normal distributions are `distance` standard deviations apart.

    >>> round(power(0.0, 0.05), 3), round(power(3.0, 0.05), 3)
    (0.05, 0.912)
    """
    return float(stats.norm.cdf(distance - stats.norm.isf(fpr)))


def distance_at(share: float, fpr: float) -> float:
    """The distance at which that share of members is found, 0 where chance finds as many. Raises UsageError."""
    if not 0 < share < 1 or not 0 < fpr < 1:
        raise UsageError(f"a power of {share} at a false-positive rate of {fpr}: both lie between 0 and 1")
    return max(float(stats.norm.isf(fpr) + stats.norm.ppf(share)), 0.0)


def trait_power(distance: float, fpr: float, *, known: bool) -> float:
    """Mean power over members whose normal trait decides: y·distance is the shift of the effects' statistic.

    known: whoever tests knows the person's trait, and looks on its side; else on both.
    """
    narrow = math.hypot(1, distance)
    if known:  # the mean of Φ(|y|·d − z) over a standard normal y, by Owen's T
        k = -stats.norm.isf(fpr) / narrow
        return float(stats.norm.cdf(k) + 2 * special.owens_t(k, distance))
    return float(2 * stats.norm.sf(stats.norm.isf(fpr / 2) / narrow))


def group_power(distance: float, fpr: float, cases: float, *, known: bool) -> float:
    """As `trait_power`, of a trait with two values: a share `cases` of the people are cases."""
    out = 0.0
    for share in (cases, 1 - cases):
        shift = math.sqrt((1 - share) / share) * distance  # the size of the standardised trait in this group
        found = power(shift, fpr) if known else power(shift, fpr / 2) + power(-shift, fpr / 2)
        out += share * found
    return out


def information(minor: IntArray, people: IntArray) -> FloatArray:
    """(M,) how much one variant's frequency adds to the square of the distance: about 1/people.

    minor: (M,) copies of the rarer allele; people: (M,) called. Twice the divergence of the count with and without a member,
    summed over all counts where there are few copies; 0 where nobody has a copy.
    """
    minor, people = np.broadcast_arrays(np.asarray(minor, np.int64), np.asarray(people, np.int64))
    out = np.zeros(minor.shape)
    many = minor > EXACT_COPIES
    out[many] = 1 / people[many]
    few = np.flatnonzero((minor > 0) & ~many)
    if len(few):
        pairs, place = np.unique(np.stack([minor[few], people[few]]), axis=1, return_inverse=True)
        each = np.array([_divergence(int(n), int(k)) for k, n in pairs.T])
        out[few] = 2 * each[place.reshape(-1)]
    return out


def log_ratio(genotype: IntArray, copies: IntArray, people: int, frequency: FloatArray | float) -> FloatArray:
    """log of P(copies | a member has the genotype) / P(copies): the exact test's terms, −inf where no member can.

    genotype: 0, 1 or 2; copies: of all members together, the person's own included; frequency: in the population.
    """
    g, k = np.broadcast_arrays(np.asarray(genotype, np.int64), np.asarray(copies, np.int64))
    n = 2 * people
    ways = np.where(g == 2, k * (k - 1), np.where(g == 1, k * (n - k), (n - k) * (n - k - 1)))
    with np.errstate(divide="ignore"):
        fit = np.log(np.maximum(ways, 0) / (n * (n - 1)))
    out: FloatArray = fit - g * np.log(frequency) - (2 - g) * np.log1p(-np.asarray(frequency))
    return out


@functools.lru_cache(1 << 16)
def _divergence(people: int, minor: int) -> float:
    """Mean log ratio of a member, over genotypes and counts in Hardy–Weinberg proportion; minor: copies among the people."""
    rest, frequency = 2 * people - 2, minor / (2 * people)
    most = min(rest, int(rest * frequency + 14 * math.sqrt(rest * frequency) + 20))
    others = np.arange(most + 1)
    ways = special.gammaln(rest + 1) - special.gammaln(others + 1) - special.gammaln(rest - others + 1)
    weight = np.exp(ways + others * math.log(frequency) + (rest - others) * math.log1p(-frequency))
    total = 0.0
    for g in (0, 1, 2):
        terms = log_ratio(np.full(len(others), g), others + g, people, frequency)
        seen = weight > 0
        chance = (1 + (g == 1)) * frequency**g * (1 - frequency) ** (2 - g)
        total += chance * float(weight[seen] @ terms[seen])
    return max(total, 0.0)


def choose(
    order: IntArray, information: FloatArray, most: float, linked: Callable[[int], IntArray] | None = None
) -> IntArray:
    """Variants to release, greedily in an order of preference, while the square of the distance stays at `most`.

    order: (M,) the most wanted first; linked: variants that a chosen one stands for, which are passed over. Returns places,
    ascending. As GenDPR and SecureGenome choose: significant variants first, linked ones left out, up to the test's limit.
    """
    chosen: list[int] = []
    spent, passed = 0.0, np.zeros(len(information), bool)
    for j in order.tolist():
        if passed[j] or spent + information[j] > most * (1 + 1e-12):
            continue
        chosen.append(j)
        spent += float(information[j])
        if linked is not None:
            passed[linked(j)] = True
    return np.array(sorted(chosen), np.int64)
