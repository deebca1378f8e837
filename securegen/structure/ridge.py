"""Stacked ridge regression on totals: the public algebra of a whole-genome model, as regenie's step 1 has it (Mbatchou et
al. 2021), by its leave-one-out branch.

Level 0: ridge regression of a phenotype on the variants of each block, for five heritabilities h with λ = M(1 − h)/h.
Level 1: ridge regression on these predictions together, R of them, with τ = R(1 − h)/h. Everybody is predicted by the others
alone, by h_i = x_i'(X'X + λ)⁻¹x_i. Nothing here has a row of a person: what people need of it is a rotation and an offset,
as integers, so that everybody's numbers are the same wherever they are computed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.errors import DesignError
from securegen.model import FloatArray, IntArray

HERITABILITY = np.array([0.01, 0.25, 0.5, 0.75, 0.99])
LOGISTIC = 3 / np.pi**2  # of a penalty on the scale of logits
EXACT_BITS = 52  # products and sums of rotations stay below it, so that float64 holds every integer
LEAST_VARIANCE = 1e-6  # of a variant outside the covariates, in squares of a copy


@dataclass(frozen=True)
class Rotation:
    """From a person's integers x and c to (x·turn − c·covariate − shift)/2^bits. turn: (B, D); covariate: (K, D); shift: (D,),
    int64."""

    turn: IntArray
    covariate: IntArray
    shift: IntArray
    bits: int


def rotation(turn: FloatArray, covariate: FloatArray, shift: FloatArray, largest: tuple[float, float]) -> Rotation:
    """Rounded to as many bits as keep every sum exact. largest: of a person's |x| and |c|."""
    size = np.abs(turn).sum(axis=0) * largest[0] + np.abs(covariate).sum(axis=0) * largest[1] + np.abs(shift)
    bits = EXACT_BITS - int(np.ceil(np.log2(size.max())))
    return Rotation(_nearest(turn, bits), _nearest(covariate, bits), _nearest(shift, bits), bits)


def _nearest(values: FloatArray, bits: int) -> IntArray:
    out: IntArray = np.floor(np.ldexp(values, bits) + 0.5).astype(np.int64)
    return out


@dataclass(frozen=True)
class Adjustment:
    """What covariates take away. gram: (K, K) float64 of their integers; people: N; cross: (K, P) with the phenotypes;
    squares: (P,) Σ y²."""

    gram: FloatArray
    people: int
    cross: FloatArray
    squares: FloatArray

    @property
    def freedom(self) -> int:
        return self.people - len(self.gram)

    def solve(self, b: FloatArray) -> FloatArray:
        """(C'C)⁻¹ b, with columns of C at one scale."""
        size = np.sqrt(np.diag(self.gram))
        out: FloatArray = np.linalg.solve(self.gram / np.outer(size, size), b / size[:, None]) / size[:, None]
        return out

    @property
    def coefficients(self) -> FloatArray:
        """(K, P) of the phenotypes on the covariates."""
        return self.solve(self.cross)

    @property
    def deviation(self) -> FloatArray:
        """(P,) residual standard deviation s of each phenotype, in its integers."""
        left = self.squares - (self.cross * self.coefficients).sum(axis=0)
        out: FloatArray = np.sqrt(left / self.freedom)
        return out


@dataclass(frozen=True)
class Fit:
    """Ridge regression in eigenvectors. rotation, turn: to them, as integers and as they are (B, B); values: (B,) eigenvalues;
    cross: (B, P) Σ z y."""

    rotation: Rotation
    turn: FloatArray
    values: FloatArray
    cross: FloatArray

    def effects(self, phenotype: int, weight: FloatArray) -> FloatArray:
        """(B, L) coefficients of a person's integers, for the L columns of `weights`."""
        out: FloatArray = self.turn @ (self.cross[:, phenotype, None] * weight)
        return out

    def weights(self, penalty: FloatArray) -> FloatArray:
        """(B, L) 1/(eigenvalue + penalty)."""
        out: FloatArray = 1 / (self.values[:, None] + penalty)
        return out

    def planned_scale(self, phenotype: int, penalty: FloatArray, people: int) -> FloatArray:
        """(L,) powers of two near the standard deviation of the predictions, which are rounded in units of it: that of the
        fit with everybody in, which is public."""
        part = self.cross[:, phenotype, None] * self.weights(penalty)
        fitted = (self.values[:, None] * part**2).sum(axis=0) / people
        out: FloatArray = 2.0 ** np.ceil(np.log2(np.sqrt(np.maximum(fitted, 1e-12))))
        return out


def penalties(size: int, *, logistic: bool = False) -> FloatArray:
    """(5,) λ or τ of `size` predictors."""
    out: FloatArray = size * (1 - HERITABILITY) / HERITABILITY * (LOGISTIC if logistic else 1.0)
    return out


def level_0(
    gram: FloatArray, with_covariates: FloatArray, with_phenotypes: FloatArray, adjustment: Adjustment, unit: float,
    largest: tuple[float, float], names: list[str],
) -> Fit:  # fmt: skip
    """The regression of each phenotype's residual, in its deviations, on a block.

    gram: (B, B) X'X; with_covariates: (K, B) C'X; with_phenotypes: (B, P) X'y, of integers; unit: of x in a copy; largest: of
    |x| and of |c|; names: of the variants. Raises DesignError for a variant that covariates explain.
    """
    gamma = adjustment.solve(with_covariates)
    inside = gram - with_covariates.T @ gamma
    variance = np.diag(inside) / adjustment.freedom
    flat = variance * unit**2 < LEAST_VARIANCE
    if flat.any():
        raise DesignError(
            f"variant {names[int(flat.argmax())]} does not vary beside the covariates: leave it out of the model (`exclude`)"
        )
    scale = 1 / np.sqrt(variance)
    values, vectors = np.linalg.eigh(inside * np.outer(scale, scale))
    turn = scale[:, None] * vectors
    left = with_phenotypes - with_covariates.T @ adjustment.coefficients
    turned = rotation(turn, gamma @ turn, np.zeros(len(turn)), largest)
    return Fit(turned, turn, np.maximum(values, 0.0), turn.T @ left / adjustment.deviation)


@dataclass(frozen=True)
class Predictors:
    """Level 0's predictions as level 1 takes them, centred and scaled to the variance 1.

    mean: (R,) and scale: (R,) 1/deviation, of their integers; cross: (R,) Σ of the scaled predictor and the phenotype's
    residual in deviations; gram: (R, R) of the scaled predictors; largest: of their integers.
    """

    mean: FloatArray
    scale: FloatArray
    cross: FloatArray
    gram: FloatArray
    largest: float

    def turned(self, matrix: FloatArray) -> Rotation:
        """How people find their scaled predictors times a matrix (R, D)."""
        turn = self.scale[:, None] * matrix
        return rotation(turn, np.zeros((0, matrix.shape[1])), self.mean @ turn, (self.largest, 0.0))

    def scaled(self, total: FloatArray) -> FloatArray:
        """(R,) Σ of scaled predictors and a number of each person. total: Σ of their integers and it, and Σ of it, (R + 1,)."""
        out: FloatArray = self.scale * (total[:-1] - self.mean * total[-1])
        return out


def predictors(
    total: FloatArray, gram: FloatArray, with_covariates: FloatArray, with_phenotype: FloatArray, adjustment: Adjustment,
    phenotype: int, largest: float,
) -> Predictors:  # fmt: skip
    """total: (R,) Σ w; gram: (R, R) W'W; with_covariates: (K, R) C'W; with_phenotype: (R,) W'y, of integers up to largest."""
    n = adjustment.people
    mean = total / n
    inside = gram - n * np.outer(mean, mean)
    variance = np.diag(inside) / (n - 1)
    if not (variance > 0).all():
        raise DesignError("a block of variants predicts the same for everybody: take larger blocks (`block`)")
    scale = 1 / np.sqrt(variance)
    left = with_phenotype - with_covariates.T @ adjustment.coefficients[:, phenotype]
    cross = scale * left / adjustment.deviation[phenotype]
    return Predictors(mean, scale, cross, inside * np.outer(scale, scale), largest)


def level_1(p: Predictors) -> Fit:
    """The regression on all scaled predictors."""
    values, vectors = np.linalg.eigh(p.gram)
    return Fit(p.turned(vectors), vectors, np.maximum(values, 0.0), (vectors.T @ p.cross)[:, None])


def weighted_gram(p: Predictors, gram: FloatArray, total: FloatArray) -> FloatArray:
    """(R, R) Σ w x x' of the scaled predictors. gram: Σ w of their integers' products; total: Σ w x and Σ w, (R + 1,)."""
    cross = np.outer(p.mean, total[:-1])
    inside = gram - cross - cross.T + total[-1] * np.outer(p.mean, p.mean)
    out: FloatArray = inside * np.outer(p.scale, p.scale)
    return out
