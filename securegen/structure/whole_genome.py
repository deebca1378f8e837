"""The whole-genome model of a phenotype, and what it predicts of every person without each chromosome.

Offsets for `pred`: LOCO of chromosome c is the sum of the predictions of all other chromosomes, in units of the residual
standard deviation of a quantitative phenotype, on the logit scale of a binary one. Everybody is predicted by the others.

Who learns what: totals over people are public between the parties that make them (`ridge_totals`). Genotypes, predictors
and offsets stay where the people are. One owner has no others, and the total is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from securegen.design.null_model import fit_null_model, logistic
from securegen.errors import DesignError
from securegen.kernels.leave_one_out import fits, without_own
from securegen.model import FloatArray, IntArray, Progress, no_progress
from securegen.structure import ridge
from securegen.structure.ridge_people import (
    COVARIATE_BITS,
    GRID,
    WIDEST,
    People,
    rotated,
)
from securegen.structure.ridge_totals import LEFT_BITS, PEOPLE, ColumnProducts, Weighted

PREDICTOR_BITS, ERROR_BITS = 12, 30  # of a planned scale; of a squared error, or of a log likelihood
BLOCK = 1000  # variants
LARGEST_LEVERAGE = 1 - 1e-6
STEPS, SMALLEST_STEP = 50, 2.0**-20
CLIP = 1e-5  # of a probability in a likelihood
CHROMOSOMES = 22
_TOP = float(WIDEST << PREDICTOR_BITS)  # of a predictor


@dataclass(frozen=True)
class VariantBlock:
    """Variants of one chromosome that are fitted together. rows: (B,) of the reader."""

    chromosome: int
    rows: IntArray


@dataclass(frozen=True)
class Prediction:
    """chromosomes: (C,) that the model holds; values: (n, C) float64 that each of them predicts, everybody by the others;
    heritability: that was chosen; errors: (5,) of each heritability: mean squared error, or minus the mean log likelihood;
    coefficients: (R,) of the columns of level 0, everybody in."""

    chromosomes: IntArray
    values: FloatArray
    heritability: float
    errors: FloatArray
    coefficients: FloatArray

    def loco(self) -> FloatArray:
        """(23, n): row c − 1 has the sum without chromosome c, and of all where the model does not hold it."""
        everything = self.values.sum(axis=1)
        out = np.repeat(everything[None], CHROMOSOMES + 1, axis=0)
        out[self.chromosomes - 1] -= self.values.T
        return out


@dataclass(frozen=True)
class Level0:
    """w: (P, n, R) int32, rounded predictions of every block and penalty; chromosome: (R,) of each column; rows: (M,) of the
    reader, block after block, and block: (M,) its number; effects: (P, M, 5) float64, of a copy of each variant on the 5
    columns of its block."""

    w: IntArray
    chromosome: IntArray
    rows: IntArray
    block: IntArray
    effects: FloatArray


def blocks_of(chromosome: IntArray, size: int) -> list[VariantBlock]:
    """Blocks of at most `size` variants of a chromosome, in file order. chromosome: (M,), 1 to 22."""
    out = []
    for number in np.unique(chromosome).tolist():
        rows = np.flatnonzero(chromosome == number)
        out += [VariantBlock(number, rows[start : start + size]) for start in range(0, len(rows), size)]
    return out


class _Dosages:
    """Dosages of blocks, of which the last one read is not read again."""

    def __init__(self, people: People, blocks: list[VariantBlock]) -> None:
        self._people, self._blocks = people, blocks
        self._last: tuple[int, IntArray] | None = None

    def make(self, number: int) -> IntArray:
        self._last = number, self._people.dosages(self._blocks[number].rows)
        return self._last[1]

    def take(self, number: int) -> IntArray:
        last, self._last = self._last, None
        return last[1] if last is not None and last[0] == number else self._people.dosages(self._blocks[number].rows)


def level_0(people: People, blocks: list[VariantBlock], *, progress: Progress = no_progress) -> Level0:
    """Predictions of every phenotype by every block and penalty.

    Raises DesignError for a variant that covariates explain, and where a person is predicted by nobody else.
    """
    variants = sum(len(block.rows) for block in blocks)
    penalty = ridge.penalties(variants)
    y, levels, k = people.residuals(), len(penalty), people.c.shape[1]
    out = np.empty((people.y.shape[1], len(people.c), levels * len(blocks)), np.int32)
    effects = np.empty((len(out), variants, levels))
    scales = np.empty((len(out), out.shape[2]), np.int64)
    top = people.reader.dosage_max * GRID // people.reader.dosage_grid
    at, largest = 0, (float(top), float(WIDEST << COVARIATE_BITS))
    read = _Dosages(people, blocks)
    wanted = [ColumnProducts(f"block-{i:05d}", len(b.rows), top, partial(read.make, i)) for i, b in enumerate(blocks)]
    opened = people.totals.products(people.beside(), wanted)
    for number, (block, (gram, cross)) in enumerate(zip(blocks, opened, strict=True)):
        x, size = read.take(number), len(block.rows)
        names = people.reader.variants.id[block.rows].tolist()
        beside = cross.astype(np.float64)
        fit = ridge.level_0(
            gram.astype(np.float64), beside[:, :k].T, beside[:, k:], people.adjustment, 1 / GRID, largest, names
        )
        z, weight = rotated(x, people.c, fit.rotation), fit.weights(penalty)
        for p in range(len(out)):
            found = _by_the_others(
                people, *fits(z, _column(fit.cross, p), weight), y[:, p], f"variants {names[0]} to {names[-1]}"
            )
            scale = fit.planned_scale(p, penalty, people.adjustment.people)
            scales[p, levels * number : levels * (number + 1)] = np.log2(scale)
            unit = scale * 2.0**-PREDICTOR_BITS
            rounded = np.floor(found / unit + 0.5)
            if np.abs(rounded).max(initial=0.0) > _TOP:
                raise DesignError(f"variants {names[0]} to {names[-1]} predict a person far from everybody else")
            out[p, :, levels * number : levels * (number + 1)] = rounded
            effects[p, at : at + size] = fit.effects(p, weight) * (GRID / unit)
        at += size
        progress(number + 1, len(blocks))
    rows, sizes = np.concatenate([block.rows for block in blocks]), [len(block.rows) for block in blocks]
    place = np.repeat(np.arange(len(blocks)), sizes)
    people.totals.same("scales", scales)
    out = np.stack([people.totals.predictors(f"predictors-{p}", w) for p, w in enumerate(out)])
    return Level0(out, np.repeat([block.chromosome for block in blocks], levels), rows, place, effects)


def effects_of(level: Level0, fitted: Prediction, phenotype: int) -> FloatArray:
    """(M,) effect of a copy of each variant of `level.rows` in the model with everybody in: a polygenic score."""
    own = fitted.coefficients.reshape(-1, len(ridge.HERITABILITY))[level.block]
    out: FloatArray = (level.effects[phenotype] * own).sum(axis=1)
    return out


def _column(values: FloatArray, j: int) -> FloatArray:
    return np.ascontiguousarray(values[:, j])


def _by_the_others(people: People, fitted: FloatArray, leverage: FloatArray, y: FloatArray, what: str) -> FloatArray:
    """(n, L) predictions of everybody by the others: (fit − h y)/(1 − h). Raises DesignError where h is 1."""
    people.totals.leverage(what, leverage)
    if leverage.max(initial=0.0) > LARGEST_LEVERAGE:
        raise DesignError(f"{what}: somebody is predicted by nobody else: take fewer variants per block (`block`)")
    out: FloatArray = (fitted - leverage * y[:, None]) / (1.0 - leverage)
    return out


def quantitative(people: People, level: Level0, phenotype: int) -> Prediction:
    """Level 1 of a quantitative phenotype."""
    w = level.w[phenotype]
    y = _column(people.residuals(), phenotype)
    p, _ = _predictors(people, w, phenotype)
    penalty, fit = ridge.penalties(w.shape[1]), ridge.level_1(p)
    found = _by_the_others(
        people, *fits(rotated(w, people.c, fit.rotation), _column(fit.cross, 0), fit.weights(penalty)), y, "level 1"
    )
    errors = _mean_of(people, (found - y[:, None]) ** 2, phenotype)
    best = _best(people, errors, phenotype)
    inverse = (fit.turn / (fit.values + penalty[best])) @ fit.turn.T
    left = y - found[:, best]  # (y − w'b)/(1 − h)
    return _prediction(people, w, p, inverse, inverse @ p.cross, left, level.chromosome, best, errors)


def binary(people: People, level: Level0, cases: FloatArray, phenotype: int) -> Prediction:
    """Level 1 of a binary phenotype: logistic ridge regression beside the null model of the covariates.

    cases: (n,) of 0 and 1. Raises DesignError where Newton's method does not end.
    """
    w = level.w[phenotype]
    (p, gram), covariates = _predictors(people, w, phenotype), people.covariates()
    x = np.concatenate([w.astype(np.int64), np.ones((len(w), 1), np.int64)], axis=1)
    null = fit_null_model(cases, covariates, people.covariate_names, people.phenotypes[phenotype], people.totals.few)
    offset = sum((covariates[:, i] * b for i, b in enumerate(null.beta)), np.zeros(len(cases)))
    losses, states = [], []
    b = np.zeros(w.shape[1])
    for number, penalty in enumerate(ridge.penalties(w.shape[1], logistic=True).tolist()):
        name = f"newton-{phenotype}-{number}"
        b, hessian, mean = _newton(people, x, gram, p, cases, offset, penalty, b, name)
        values, vectors = np.linalg.eigh(hessian)
        _, h = fits(rotated(w, people.c, p.turned(vectors)), np.zeros(len(b)), 1 / values[:, None])
        weight = mean * (1 - mean)
        people.totals.leverage("level 1", (weight * h[:, 0])[:, None])
        left = (cases - mean) / (1 - weight * h[:, 0])
        eta = _linear(people, w, p, b, offset) - h[:, 0] * left
        q = np.clip(logistic(eta), CLIP, 1 - CLIP)
        losses.append(-np.where(cases == 1, np.log(q), np.log(1 - q)))
        states.append((b, (vectors / values) @ vectors.T, left))
    errors = _mean_of(people, np.stack(losses, axis=1), phenotype)
    best = _best(people, errors, phenotype)
    b, inverse, left = states[best]
    return _prediction(people, w, p, inverse, b, left, level.chromosome, best, errors)


def _linear(people: People, w: IntArray, p: ridge.Predictors, b: FloatArray, offset: FloatArray) -> FloatArray:
    out: FloatArray = rotated(w, people.c, p.turned(b[:, None]))[:, 0] + offset
    return out


def _newton(
    people: People, x: IntArray, total: IntArray, p: ridge.Predictors, cases: FloatArray, offset: FloatArray,
    penalty: float, b: FloatArray, name: str,
) -> tuple[FloatArray, FloatArray, FloatArray]:  # fmt: skip
    """Coefficients, Hessian with the penalty, and everybody's mean, from coefficients b on."""
    weight_bits = max(8, min(20, 29 - people.adjustment.people.bit_length()))
    w, r = x[:, :-1], len(b)
    for step_number in range(STEPS):
        eta = _linear(people, w, p, b, offset) if b.any() else offset
        people.totals.linear(name, eta)
        mean = logistic(eta)
        left = np.floor(np.ldexp(cases - mean, LEFT_BITS) + 0.5).astype(np.int64)
        weight = np.floor(np.ldexp(mean * (1 - mean), weight_bits) + 0.5).astype(np.int64)
        newton = Weighted(f"{name}-{step_number:02d}", x, total, weight, left, weight_bits)
        gram, moved = (values.astype(np.float64) for values in people.totals.newton(newton))
        hessian = ridge.weighted_gram(p, gram[:r, :r], gram[:, r]) * 2.0**-weight_bits + penalty * np.eye(r)
        score = p.scaled(moved) * 2.0**-LEFT_BITS - penalty * b
        step = np.linalg.solve(hessian, score)
        if np.abs(step).max() < SMALLEST_STEP:
            return b, hessian, mean
        b = b + step
    raise DesignError(
        f"the logistic model of all blocks does not converge in {STEPS} steps: take larger blocks (`block`)"
    )


def _mean_of(people: People, losses: FloatArray, phenotype: int) -> FloatArray:
    """(5,) mean over everybody of (n, 5) losses."""
    rounded = np.floor(np.ldexp(losses, ERROR_BITS) + 0.5).astype(np.int64)
    summed = people.totals.losses(f"losses-{phenotype}", rounded)
    out: FloatArray = summed / (people.adjustment.people * 2.0**ERROR_BITS)
    return out


def _best(people: People, errors: FloatArray, phenotype: int) -> int:
    best = int(np.argmin(errors))
    people.totals.same(f"heritability-{phenotype}", np.array([best]))
    return best


def _predictors(people: People, w: IntArray, phenotype: int) -> tuple[ridge.Predictors, IntArray]:
    """Predictors, and the total of the products of their integers and 1, (R + 1, R + 1)."""
    k, name = people.c.shape[1], f"predictors-{phenotype}"
    wanted = ColumnProducts(name, w.shape[1], int(_TOP), lambda: w.astype(np.int64))
    ((gram, cross),) = people.totals.products(people.beside(), [wanted])
    beside, total = cross.astype(np.float64), cross[:, 0] >> COVARIATE_BITS  # the intercept is one of the covariates
    found = ridge.predictors(
        total.astype(np.float64), gram.astype(np.float64), beside[:, :k].T, beside[:, k + phenotype], people.adjustment,
        phenotype, _TOP,
    )  # fmt: skip
    return found, np.block([[gram, total[:, None]], [total[None], np.array([[people.adjustment.people]])]])


def _prediction(
    people: People, w: IntArray, p: ridge.Predictors, inverse: FloatArray, b: FloatArray, left: FloatArray,
    chromosome: IntArray, best: int, errors: FloatArray,
) -> Prediction:  # fmt: skip
    """What each chromosome predicts with everybody's own coefficients b − H w left. inverse: (R, R), H."""
    rows = p.turned(inverse)
    numbers, group = np.unique(chromosome, return_inverse=True)
    out = np.empty((len(w), len(numbers)))
    for start in range(0, len(w), PEOPLE):
        part = slice(start, start + PEOPLE)
        own = (w[part] - p.mean) * p.scale
        out[part] = without_own(own, rotated(w[part], people.c[part], rows), b, left[part], group, len(numbers))
    return Prediction(numbers, out, float(ridge.HERITABILITY[best]), errors, b * p.scale)
