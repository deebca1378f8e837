"""Polygenic scores as integer sums: the plan that every engine follows.

A score is Σ_j f_j(h_ij), where h is the dosage of the effect allele and f_j is given by the weights of 0, 1 and 2
copies. With public scales 2^k those become integers, and every f_j, additive or not, swapped or not, is linear in
three streams of the cohort's own coding: the dosage g (on a grid D), the second copies t = max(g − D, 0), and the
missing indicator m:

    S_i = constant + Σ_j a_j g_ij + Σ_j b_j t_ij + Σ_j u_j m_ij

u_j puts the imputed value in place of the constant where a genotype is missing. The plan proves that no partial sum
leaves 63 bits, and bounds what rounding the weights can change in a released sum.

Who learns what: a plan holds weights and, for mean imputation, rounded cohort means; it holds no key and no genotype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import Final, Literal

import numpy as np

from securegen.errors import InputError, PlanError, UsageError
from securegen.model import IntArray, TextArray
from securegen.scores.integers import MAXIMUM_BITS, MINIMUM_BITS, exact, quantise
from securegen.scores.match import FLIPPED_SWAPPED, SWAPPED, Match

MAXIMUM_GRID: Final = 1 << 14  # 2D fits int16

Imputation = Literal["cohort", "file", "none"]
NONE_CALLED: Final = "no sample has a called genotype at any variant of the score"


@dataclass(frozen=True)
class AlleleCounts:
    """Sums over the called genotypes of V variants: dosage Σg, second Σt (grid units), called; (V,) int64 each.

    present: what `called` is where no call is missing, None: the samples.
    """

    variant: IntArray
    dosage: IntArray
    second: IntArray
    called: IntArray
    samples: int
    present: IntArray | None = None

    def who_differ(self, grid: int) -> np.ndarray:
        """(V,) float64: how many people differ from all the others at a variant, whichever genotype these have; of fractional
        dosages, and where some have one copy, at least so many. Σ min(g, 1), Σ min(2 − g, 1) and Σ |g − 1| are of those
        who are not 0, not 2 and not 1."""
        g, t, n = self.dosage / grid, self.second / grid, self.called
        found: np.ndarray = np.minimum(np.minimum(g - t, n - t), n - g + 2 * t)
        return found

    def without(self, rare: np.ndarray) -> AlleleCounts:
        """The counts as if nobody were called at the variants of (V,) bool."""
        dosage, second, called = (np.where(rare, 0, x) for x in (self.dosage, self.second, self.called))
        return replace(self, dosage=dosage, second=second, called=called)

    def possible(self, grid: int) -> bool:
        """Whether genotypes of dosages up to 2·grid can have these counts, which somebody else says."""
        # of a genotype g ≤ 2D the second copies are max(g − D, 0): half of g at most, and all of g beyond D
        bounds = (
            (self.called, self.samples), (self.dosage, 2 * grid * self.called), (self.second, self.dosage // 2),
            (self.dosage - self.second, grid * self.called),
        )  # fmt: skip
        return all(bool((0 <= part).all() and (part <= most).all()) for part, most in bounds)


@dataclass(frozen=True)
class ScorePlan:
    """S scores over V variants of a cohort, as integers. Nothing in it is secret from whoever knows the weights.

    names: S score names; variant: (V,) int64 ascending, the cohort's variants that are used; dosage_grid: D;
    exponent: k of each score's scale 2^k; dosage_weight, missing_weight: (V, C) int64; second_weight: (V, C) int64, or
    None when every weight is additive; constant: (C,) int64; bound: for each column, no partial sum of any possible
    cohort exceeds it; error: for each score, the most that a sum can differ from the one with unrounded weights.

    The C columns are the S scores, then NAMED (dosage of the named alleles, in grid units), MISSING (missing calls
    among the V variants) and MISSING of each file's variants. variants_of: variants scored from each file; file_of:
    the file of each score. left_out: variants of the match without any called genotype.

    copies: (V,) the most that a person has of each variant, 1 or 2, None where all have 2: MISSING counts copies then.
    absent: (C,) what is added for people without the variants on Y.
    """

    names: tuple[str, ...]
    variant: IntArray
    dosage_grid: int
    imputation: Imputation
    exponent: tuple[int, ...]
    dosage_weight: IntArray
    second_weight: IntArray | None
    missing_weight: IntArray
    constant: IntArray
    bound: tuple[int, ...]
    error: tuple[float, ...]
    file_of: tuple[int, ...]
    variants_of: tuple[int, ...]
    left_out: int = 0
    copies: IntArray | None = None
    absent: IntArray | None = None

    @property
    def named_column(self) -> int:
        return len(self.names)

    @property
    def missing_column(self) -> int:
        return len(self.names) + 1

    def score_variants(self, s: int) -> int:
        """Variants of score s with a weight other than zero."""
        parts = [w[:, s] != 0 for w in (self.dosage_weight, self.second_weight) if w is not None]
        return int(np.logical_or.reduce(parts).sum())

    def rows(self, start: int, stop: int) -> slice:
        """The plan's rows whose variants are start..stop-1 of the cohort."""
        first, last = np.searchsorted(self.variant, (start, stop))
        return slice(int(first), int(last))

    def describe(self) -> list[str]:
        """For the log, one line per score: scale, variants, bounds."""
        return [
            f"score {name}: {self.score_variants(s)} variants, scale 2^{self.exponent[s]}, sums within "
            f"{self.error[s]:.3g} of unrounded weights, integers below 2^{self.bound[s].bit_length()}"
            for s, name in enumerate(self.names)
        ]


def used_variants(matches: Sequence[Match], within: tuple[int, int] | None = None) -> IntArray:
    """Ascending cohort indices of the variants that any of the matches uses. within: of those from start to stop."""
    variant = np.unique(np.concatenate([m.variant for m in matches]))
    return variant if within is None else variant[slice(*np.searchsorted(variant, within))]


def _imputed(
    match: Match, rows: IntArray, q: IntArray, *, counts: AlleleCounts | None, frequencies: TextArray | None, grid: int,
    copies: IntArray,
) -> tuple[TextArray, int]:  # fmt: skip
    """D·2^k times the imputed value of each used row as Python integers, and how many of them were rounded.

    counts: impute with the cohort's; else frequencies: with the scoring file's; neither: impute zero.
    """
    wide = q.astype(object)
    q0, slope, bend = wide[:, 0], wide[:, 1] - wide[:, 0], wide[:, 2] - 2 * wide[:, 1] + wide[:, 0]
    if counts is not None:
        at = np.searchsorted(counts.variant, match.candidate[rows])
        n, g, t = (x[at].astype(object) for x in (counts.called, counts.dosage, counts.second))
        swapped = np.isin(match.word[rows], (SWAPPED, FLIPPED_SWAPPED))
        g, t = np.where(swapped, copies * grid * n - g, g), np.where(swapped, grid * n - g + t, t)
        present = counts.samples if counts.present is None else counts.present[at]
        total, rounded = n * grid * q0 + slope * g + bend * t, int((counts.called[at] < present).sum())
    elif frequencies is not None:
        p = np.empty(len(rows), dtype=object)
        p[:] = [exact(text) for text in frequencies[rows]]
        # Hardy–Weinberg; the allele frequency alone where additive
        mean = grid * (q0 + slope * copies * p + bend * p * p)
        total, n = np.empty(len(rows), dtype=object), np.empty(len(rows), dtype=object)
        total[:], n[:] = [Fraction(m).numerator for m in mean], [Fraction(m).denominator for m in mean]
        rounded = len(rows)
    else:
        return 0 * q0, 0
    return (2 * total + n) // (2 * n), rounded


def _frequencies(match: Match) -> TextArray | None:
    """The scoring file's allele frequencies, each used one checked. Raises InputError."""
    file = match.scoring
    for r in match.row:
        text = "" if file.frequency is None else file.frequency[r]
        try:
            good = 0 <= Decimal(text) <= 1
        except ArithmeticError:
            good = False
        if not good:
            raise InputError(
                f"{file.path}, line {file.line[r]}: {text!r} is not an allele frequency between 0 and 1; impute with "
                "the cohort's frequencies instead, or add allelefrequency_effect"
            )
    return file.frequency


def plan_scores(
    matches: Sequence[Match],
    *,
    dosage_grid: int = 1,
    imputation: Imputation = "cohort",
    counts: AlleleCounts | None = None,
    bits: int | None = None,
    digits: int = 6,
    copies: IntArray | None = None,
    on_y: np.ndarray | None = None,
    within: tuple[int, int] | None = None,
) -> ScorePlan:
    """Integer weights of every score of the matches. Their scales are those of all rows matched, whatever the genotypes.

    imputation of missing genotypes: 'cohort' by the mean over called genotypes (needs counts of `used_variants`),
    'file' by the scoring file's allele frequency, 'none' by nothing (plink2's no-mean-imputation). Variants that no
    sample is called at are left out when counts are given. bits: significant bits of a score's largest weight; None: as
    many as make `digits` released digits right (`bits_for`), for each score its own. copies, on_y: of `used_variants`, the
    most copies that a person has, and whether it is on Y, where some have none. within: the cohort's variants from start to
    stop alone, as a part of a run has them; counts, copies and on_y are of these.
    Raises InputError (all weights zero, no called variant, frequency missing), UsageError (counts missing, two scores
    of one name, bits outside 16..40, grid outside 1..2^14), PlanError (a sum could pass 63 bits).
    """
    if imputation not in ("cohort", "file", "none"):
        raise UsageError(f"imputation is {imputation!r}: one of cohort, file, none")
    if bits is not None and not MINIMUM_BITS <= bits <= MAXIMUM_BITS:
        raise UsageError(f"{bits} bits per weight: between {MINIMUM_BITS} and {MAXIMUM_BITS}")
    if not 1 <= dosage_grid <= MAXIMUM_GRID:
        raise UsageError(f"a dosage grid of {dosage_grid}: between 1 and {MAXIMUM_GRID}")
    names = tuple(name for m in matches for name in m.scoring.names)
    if len(set(names)) < len(names):
        raise UsageError(f"two scores have the same name: {', '.join(names)}")
    variant = used_variants(matches, within)
    left_out = 0
    most = np.full(len(variant), 2) if copies is None else copies
    if imputation == "cohort" and counts is None:
        raise UsageError("mean imputation with the cohort's frequencies needs the cohort's allele counts")
    if counts is not None:
        if not np.array_equal(counts.variant, variant):
            raise ValueError("allele counts of other variants than the scores use")
        most, on_y = most[counts.called > 0], None if on_y is None else on_y[counts.called > 0]
        variant = variant[counts.called > 0]
        left_out = len(counts.variant) - len(variant)
        if not len(variant) and within is None:
            raise InputError(NONE_CALLED)
    used = counts if imputation == "cohort" else None
    width, grid = len(names) + 2 + len(matches), dosage_grid
    a, b, u = (np.zeros((len(variant), width), np.int64) for _ in range(3))
    constant = [0] * width
    exponents: list[int] = []
    errors: list[float] = []
    named = len(names)
    each = np.ones(len(variant), np.int64) if copies is None else most  # what a missing call counts
    without = np.zeros((len(variant), width), np.int64)
    u[:, named + 1] = each
    seen = np.zeros(len(variant), bool)
    for f, match in enumerate(matches):
        frequencies = _frequencies(match) if imputation == "file" else None
        kept = np.isin(match.variant, variant)
        if not kept.any() and within is None:
            raise InputError(f"{match.scoring.path}: no sample has a called genotype at any of its variants")
        rows, swapped = match.row[kept], match.swapped[kept]
        at = np.searchsorted(variant, match.variant[kept])
        u[at, named + 2 + f] = each[at]
        whole = most[at]
        fresh = ~seen[at]  # a variant of two files is named once, by the first
        a[at[fresh], named] = np.where(swapped[fresh], -1, 1)
        u[at[fresh & swapped], named] = -grid * whole[fresh & swapped]
        without[at[fresh & swapped], named] = u[at[fresh & swapped], named]
        constant[named] += grid * int(whole[fresh & swapped].sum())
        seen[at] = True
        for column in range(len(match.scoring.names)):
            s = len(exponents)
            exponent, q, moved = quantise(match, match.row, column, bits, digits=digits, grid=grid)
            q, error = q[kept], math.fsum(moved[kept])
            top = np.where(whole == 1, q[:, 1], q[:, 2])
            q[:, 2] = np.where(whole == 1, 2 * q[:, 1] - q[:, 0], q[:, 2])  # of one copy it is a line
            slope, bend = q[:, 1] - q[:, 0], q[:, 2] - 2 * q[:, 1] + q[:, 0]
            a[at, s] = np.where(swapped, -slope - bend, slope)
            b[at, s] = bend
            base = grid * np.where(swapped, top, q[:, 0])
            imputed, rounded = _imputed(match, rows, q, counts=used, frequencies=frequencies, grid=grid, copies=whole)
            without[at, s] = -base
            u[at, s] = imputed.astype(np.int64) - base
            constant[s] = sum(int(v) for v in base)
            exponents.append(exponent)
            errors.append(math.ldexp(error + rounded / (2 * grid), -exponent) * (1 + 2.0**-50))
    absent = None
    if on_y is not None:
        without[:, named + 1 :] = u[:, named + 1 :]
        absent = without[on_y].sum(axis=0)
    bound = tuple(
        abs(constant[c]) + 2 * grid * _magnitude(a[:, c]) + grid * _magnitude(b[:, c]) + _magnitude(u[:, c])
        for c in range(width)
    )
    for c, limit in enumerate(bound):
        if limit >= 1 << 63:
            label = names[c] if c < len(names) else "the allele counts"
            raise PlanError(
                f"sums of {label} could reach 2^{limit.bit_length()}: use fewer bits per weight (`weight_bits`)"
            )
    return ScorePlan(
        names, variant, grid, imputation, tuple(exponents), a, b if b.any() else None, u,
        np.array(constant, np.int64), bound, tuple(errors),
        tuple(f for f, m in enumerate(matches) for _ in m.scoring.names),
        tuple(int(np.isin(m.variant, variant).sum()) for m in matches), left_out, copies if copies is None else most,
        absent,
    )  # fmt: skip


def _magnitude(weights: IntArray) -> int:
    return int(np.abs(weights).sum(dtype=object)) if len(weights) else 0
