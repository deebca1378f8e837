"""A score plan on an encrypted store: which rows are stored, which integer each row is multiplied with.

The store holds the plan's variants as rows of dosages. For weights that are not additive further rows follow: the
second copies max(g − D, 0) of the variants that need them. So every score is additive in stored rows, plus a term for
missing calls: S = constant + Σ_j g_j x_j + Σ_j m_j [x_j missing].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from securegen.engines.ckks.parameters import Parameters
from securegen.errors import PlanError, UsageError
from securegen.kernels.message_tiles import message_tiles
from securegen.model import GenotypeBlock, IntArray, Samples, SelectableReader, Variants
from securegen.rlwe.residues import ring_tables, scaled_residues
from securegen.scores.plan import ScorePlan
from securegen.scores.sums import second_copies


@dataclass(frozen=True)
class StoredWeights:
    """R stored rows × C columns. dosage, missing: (R, C) int64; constant: (C,) int64; bound: as in `ScorePlan`."""

    dosage: IntArray
    missing: IntArray
    constant: IntArray
    bound: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dosage.shape != self.missing.shape or self.constant.shape != self.dosage.shape[1:]:
            raise ValueError(f"weights of shape {self.dosage.shape} and {self.missing.shape} for {self.constant.shape}")
        if len(self.bound) != len(self.constant):
            raise ValueError(f"{len(self.bound)} bounds for {len(self.constant)} scores")

    @property
    def columns(self) -> int:
        found: int = self.dosage.shape[1]
        return found

    @property
    def norm(self) -> float:
        """Largest 2-norm of a column over both streams, as a float64 that is not too small."""
        squares = sum((w.astype(np.float64) ** 2).sum(axis=0) for w in (self.dosage, self.missing))
        return math.sqrt(float(np.max(squares))) * (1 + 2.0**-20)

    @property
    def sum_bound(self) -> int:
        """Largest |Σ| of a column, the constant included."""
        return max(self.bound)

    def stream(self, name: str) -> IntArray:
        return {"g": self.dosage, "m": self.missing}[name]


def second_rows(plan: ScorePlan) -> IntArray:
    """(T,) int64: rows of the plan whose second copies are stored too."""
    if plan.second_weight is None:
        return np.empty(0, np.int64)
    return np.flatnonzero((plan.second_weight != 0).any(axis=1))


def stored_weights(plan: ScorePlan, columns: slice = slice(None)) -> StoredWeights:
    """The weights of every stored row for all columns of the plan, or some of them."""
    rows = second_rows(plan)
    second = np.zeros((0, len(plan.constant)), np.int64) if plan.second_weight is None else plan.second_weight[rows]
    dosage = np.concatenate([plan.dosage_weight, second])[:, columns]
    missing = np.concatenate([plan.missing_weight, np.zeros_like(second)])[:, columns]
    if len(dosage) != len(plan.variant) + len(rows):
        raise ValueError(
            f"{len(dosage)} rows of weights for {len(plan.variant)} variants and {len(rows)} second copies"
        )
    return StoredWeights(
        np.ascontiguousarray(dosage), np.ascontiguousarray(missing), plan.constant[columns], plan.bound[columns]
    )


def cohort_weights(plan: ScorePlan, variants: int) -> StoredWeights:
    """The weights for a store of the whole cohort, as association tests use it: (variants, C), mostly zeros.

    Raises PlanError when a weight is not additive: such a store has no second copies.
    """
    if len(second_rows(plan)):
        raise PlanError(
            f"{len(second_rows(plan))} dominant, recessive or dosage-specific weights need second copies, which this store "
            "lacks: encrypt the cohort for these scores (securegen prs-step encrypt)"
        )
    dosage, missing = (np.zeros((variants, len(plan.constant)), np.int64) for _ in range(2))
    dosage[plan.variant], missing[plan.variant] = plan.dosage_weight, plan.missing_weight
    return StoredWeights(dosage, missing, plan.constant, plan.bound)


@dataclass(frozen=True)
class ScoreReader:
    """The rows that are stored for scores, as a genotype reader: `used` holds the plan's variants, `second` (T,) int64
    are those whose second copies follow."""

    used: SelectableReader
    second: IntArray

    @property
    def samples(self) -> Samples:
        return self.used.samples

    @property
    def dosage_grid(self) -> int:
        return self.used.dosage_grid

    @property
    def dosage_max(self) -> int:
        return self.used.dosage_max

    @property
    def variants(self) -> Variants:
        return self.used.variants.take(np.concatenate([np.arange(len(self.used.variants)), self.second]))

    @property
    def runs(self) -> tuple[int, ...]:
        """All rows: a score reads every chromosome alike, and blocks need not stop at its end."""
        return (len(self.used.variants) + len(self.second),)

    def read(self, start: int, stop: int) -> GenotypeBlock:
        """Rows start..stop-1."""
        whole = len(self.used.variants)
        if stop <= whole:
            return self.used.read(start, stop)
        rows = self.second[max(start - whole, 0) : stop - whole]
        below = self.used.select(variants=rows)
        extra = second_copies(below.read(0, len(rows)).dosage, self.dosage_grid)
        if start >= whole:
            return GenotypeBlock(start, extra, None)
        first = self.used.read(start, whole)
        missing = first.missing
        if missing is not None:
            missing = np.concatenate([missing, np.zeros(extra.shape, bool)])
        return replace(first, dosage=np.concatenate([first.dosage, extra]), missing=missing)


def score_reader(reader: SelectableReader, plan: ScorePlan) -> ScoreReader:
    """What is stored of a cohort for a plan. Raises UsageError when the cohort has another dosage grid."""
    if reader.dosage_grid != plan.dosage_grid:
        raise UsageError(f"the plan is for a dosage grid of {plan.dosage_grid}, the cohort has {reader.dosage_grid}")
    return ScoreReader(reader.select(variants=plan.variant), second_rows(plan))


def weight_messages(weights: IntArray, parameters: Parameters) -> IntArray:
    """(V, C) int64 of one strand -> (C, n) int64: coefficients of Σ_j w_j X^(b(n/b−1−j)).

    Times a block g(X) = Σ x_ij X^(i+bj), coefficient n − b + i is Σ_j w_j x_ij: a term of rows j' ≠ j lies at
    n − b + i + b(j' − j), below n − b, or at n and above, which wraps to below n − b.
    """
    b, width = parameters.pack, parameters.strand_variants
    variants, columns = weights.shape
    if variants > width:
        raise ValueError(f"weights of {variants} variants, a strand has {width}")
    messages = np.zeros((columns, parameters.ring.n), np.int64)
    messages[:, b * (width - 1 - np.arange(variants))] = weights.T
    return messages


def weight_polynomials(weights: IntArray, parameters: Parameters, factor: int = 1) -> np.ndarray:
    """(V, C) int64 of one block -> (C, k, n) uint64: residues of factor times `weight_messages`, NTT form."""
    ring = parameters.ring
    out = scaled_residues(weight_messages(weights, parameters), 0, ring)
    if factor != 1:
        q = np.array(ring.primes, np.uint64)[:, None]
        out = out * np.array([factor % p for p in ring.primes], np.uint64)[:, None] % q
    return out


def weight_tiles(blocks: Sequence[IntArray], parameters: Parameters) -> np.ndarray:
    """R arrays (V, C) int64 -> (k, T, R, C, L) uint32: `weight_messages` of R blocks, NTT form."""
    ring = parameters.ring
    messages = np.concatenate([weight_messages(w, parameters) for w in blocks])
    tiles = message_tiles(messages, ring_tables(ring), ring.lanes)
    return tiles.reshape(*tiles.shape[:2], len(blocks), -1, ring.lanes)


def read_scores(coefficients: np.ndarray, parameters: Parameters) -> np.ndarray:
    """(…, n) -> (…, b): the coefficients that hold the scores of a group's b samples."""
    return coefficients[..., parameters.ring.n - parameters.pack :]
