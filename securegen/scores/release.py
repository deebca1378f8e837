"""From a score's integers to the numbers that leave: rounding, small models, reference distribution, risk.

One function for every engine, so that their tables are equal text. A released sum has six significant digits by
default, and the average is taken from the released sum, so that it says nothing more. Exact scores of few variants
give the genotypes away (Nikitin and Gürsoy): a model is refused when its genotypes have fewer combinations than
its released numbers can tell apart, unless it is allowed by name. That is a floor, not a proof: significant digits
resolve a score near zero more finely, and who knows allele frequencies, or receives several scores on the same
variants, learns more. `min_variants` raises it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from securegen.errors import InputError, PolicyError, UsageError
from securegen.model import FloatArray, IntArray
from securegen.scores.plan import ScorePlan
from securegen.scores.sums import ExactScores, ScoreSums

DIGITS: Final = 6
FULL_DIGITS: Final = 17


def round_digits(values: FloatArray, digits: int) -> FloatArray:
    """Each number as `%.{digits}g` prints it, read back. Same shape, float64; NaN stays NaN.

    >>> round_digits(np.array([1.23456789, -0.000123456789]), 6).tolist()
    [1.23457, -0.000123457]
    """
    if not 1 <= digits <= FULL_DIGITS:
        raise UsageError(f"{digits} significant digits: between 1 and {FULL_DIGITS}")
    flat = [float(f"{v:.{digits}g}") for v in values.ravel()]
    return np.array(flat, np.float64).reshape(values.shape)


@dataclass(frozen=True)
class ScoreTable:
    """Released numbers of N samples and S scores.

    allele_count, named_dosage: (N,) int64 and float64, or None from an engine that leaves them out; total, average:
    (N, S) float64 with `digits` significant digits, average NaN where no allele was called.
    """

    names: tuple[str, ...]
    allele_count: IntArray | None
    named_dosage: FloatArray | None
    average: FloatArray
    total: FloatArray
    digits: int

    def column(self, name: str) -> FloatArray:
        """(N,) float64 sums of one score. Raises UsageError for an unknown name."""
        if name not in self.names:
            raise UsageError(f"there is no score {name}; there are {', '.join(self.names)}")
        return self.total[:, self.names.index(name)]


def release(sums: ScoreSums, *, digits: int = DIGITS) -> ScoreTable:
    """Integers to released numbers: the sum in weight units, and its share of the alleles averaged over.

    Raises UsageError for digits outside 1..17.
    """
    return release_exact(sums.exact, digits=digits)


def release_exact(exact: ExactScores, *, digits: int = DIGITS) -> ScoreTable:
    """As `release`, of sums without their plan."""
    n, count = exact.score.shape
    total, average = np.empty((n, count)), np.empty((n, count))
    for s in range(count):
        in_units = np.ldexp(exact.score[:, s].astype(np.float64), -exact.exponent[s]) / exact.dosage_grid
        total[:, s] = round_digits(in_units, digits)
        alleles = exact.alleles[:, s].astype(np.float64)
        share = np.divide(total[:, s], alleles, out=np.full(n, np.nan), where=alleles > 0)
        average[:, s] = round_digits(share, digits)
    named = None if exact.named_dosage is None else exact.named_dosage / exact.dosage_grid
    return ScoreTable(exact.names, exact.allele_count, named, average, total, digits)


def minimum_variants(scores: int = 1, digits: int = DIGITS) -> int:
    """Fewest variants whose 3^V genotypes outnumber the 10^(digits + 1) values of each of the released scores.

    The digit more is for scores ten times smaller than the largest.

    >>> minimum_variants(), minimum_variants(digits=17)
    (15, 38)
    """
    return math.ceil(scores * (digits + 1) * math.log(10) / math.log(3))


def refuse_small_models(
    plan: ScorePlan, *, digits: int = DIGITS, min_variants: int | None = None, allow_small_score: Collection[str] = ()
) -> None:
    """Raise PolicyError naming each score with too few variants that `allow_small_score` does not name.

    min_variants: default `minimum_variants` for one score of that many digits.
    """
    counts = {name: plan.score_variants(s) for s, name in enumerate(plan.names)}
    refuse_few_variants(counts, digits=digits, min_variants=min_variants, allow_small_score=allow_small_score)


def refuse_few_variants(
    counts: Mapping[str, int],
    *,
    digits: int = DIGITS,
    min_variants: int | None = None,
    allow_small_score: Collection[str] = (),
) -> None:
    """As `refuse_small_models`, of scores with so many variants each."""
    floor = minimum_variants(1, digits) if min_variants is None else min_variants
    small = [f"{name} ({count})" for name, count in counts.items() if name not in allow_small_score and count < floor]
    if small:
        raise PolicyError(
            f"fewer than {floor} variants matched in {', '.join(small)}: scores with {digits} digits would reveal "
            "genotypes. Release fewer digits (`digits`), or allow the score by name (`allow_small_score` NAME)"
        )


@dataclass(frozen=True)
class ReferenceDistribution:
    """Scores of a reference panel, ascending, with their mean and standard deviation (n − 1)."""

    scores: FloatArray
    mean: float
    sd: float


def reference_distribution(scores: FloatArray) -> ReferenceDistribution:
    """Raises InputError for fewer than two scores, a score that is not finite, or no variation."""
    values = np.sort(np.asarray(scores, np.float64))
    if len(values) < 2 or not np.isfinite(values).all() or values[0] == values[-1]:
        raise InputError(f"a reference needs two or more finite scores that differ; {len(values)} scores were given")
    return ReferenceDistribution(values, float(values.mean()), float(values.std(ddof=1)))


def against_reference(scores: FloatArray, reference: ReferenceDistribution) -> tuple[FloatArray, FloatArray]:
    """(N,) percentiles in 0..100 (a tie counts half) and (N,) z-scores of released sums; NaN stays NaN."""
    below = np.searchsorted(reference.scores, scores, side="left")
    up_to = np.searchsorted(reference.scores, scores, side="right")
    percentile = np.where(np.isnan(scores), np.nan, 50.0 * (below + up_to) / len(reference.scores))
    return percentile, (scores - reference.mean) / reference.sd


def logistic_risk(scores: FloatArray, *, intercept: float, slope: float = 1.0) -> FloatArray:
    """(N,) 1 / (1 + exp(−(intercept + slope·score))). The intercept is the log odds at score 0, and must be stated.

    >>> logistic_risk(np.array([0.0]), intercept=0.0).tolist()
    [0.5]
    """
    if not (math.isfinite(intercept) and math.isfinite(slope)):
        raise UsageError(f"intercept {intercept} and slope {slope} must be finite")
    return np.exp(-np.logaddexp(0.0, -(intercept + slope * scores)))
