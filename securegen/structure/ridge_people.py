"""One party's people in a whole-genome model: their numbers as integers, and the exact products of these that are totalled.

Float64 holds every sum here (below 2^53), so that the order in which BLAS adds does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT
from securegen.design.covariates import scale_covariates
from securegen.design.exact import exact_gram
from securegen.errors import DesignError
from securegen.model import FloatArray, GenotypeReader, IntArray
from securegen.structure.ridge import Adjustment, Rotation

GRID = 1024  # of a dosage, also where it is a mean
COVARIATE_BITS, PHENOTYPE_BITS = 16, 20  # of a scale
WIDEST = 1 << 6  # scales: a number beyond it is refused
PEOPLE = 4096  # that are multiplied at once

TotalOfArrays = Callable[[IntArray], IntArray]


def alone(values: IntArray) -> IntArray:
    """The total of one owner."""
    return values


@dataclass(frozen=True)
class People:
    """Analysed people of one party. reader: genotypes of all its samples; analysed: (N,) bool; c: (n, K) int64 covariates, the
    intercept first; y: (n, P) phenotypes; phenotypes, covariate_names: what they are called; adjustment: of everybody; total:
    over the parties."""

    reader: GenotypeReader
    analysed: np.ndarray
    c: IntArray
    y: IntArray
    phenotypes: tuple[str, ...]
    covariate_names: tuple[str, ...]
    adjustment: Adjustment
    total: TotalOfArrays = alone

    def residuals(self) -> FloatArray:
        """(n, P) of the phenotypes outside the covariates, in standard deviations."""
        bits = 24
        integers = np.floor(np.ldexp(self.adjustment.coefficients, bits) + 0.5).astype(np.int64)
        left = (self.y << bits) - self.c @ integers
        out: FloatArray = left / (self.adjustment.deviation * 2.0**bits)
        return out

    def total_of_lists(self) -> fp.SumOverSites:
        """`total` of a few Python integers."""
        return lambda values: self.total(np.array(values, np.int64)).tolist()

    def covariates(self) -> FloatArray:
        """(n, K) in scales, the intercept first."""
        return self.c * 2.0**-COVARIATE_BITS


def people_of(
    reader: GenotypeReader, analysed: np.ndarray, covariates: FloatArray, names: tuple[str, ...], phenotypes: FloatArray,
    called: tuple[str, ...], total: fp.SumOverSites = fp.pooled, arrays: TotalOfArrays = alone,
) -> People:  # fmt: skip
    """Numbers as integers. covariates: (n, K−1) float64 of the analysed; phenotypes: (n, P), `called` so. Raises
    DesignError for what is constant, collinear or far from everybody else."""
    scaled = scale_covariates(covariates, names, total)
    fine = fp.PRECISE_BITS - COVARIATE_BITS
    c = (scaled.precise + (1 << (fine - 1))) >> fine
    columns = []
    for j, name in enumerate(called):
        scaling, decimals = fp.fit_scaling(phenotypes[:, j], f"phenotype {name}", total)
        columns.append(scaling.integers(decimals, 1 << PHENOTYPE_BITS))
    y = np.stack(columns, axis=1)
    for named, values, bits in ((names, c[:, 1:], COVARIATE_BITS), (called, y, PHENOTYPE_BITS)):
        far = (np.abs(values) > WIDEST << bits).any(axis=0)
        if far.any():
            raise DesignError(
                f"{named[int(far.argmax())]} has a value more than {WIDEST} standard deviations from the mean: check it"
            )
    k, both = c.shape[1], np.concatenate([c, y], axis=1)
    opened = np.array(fp.sum_matrix(exact_gram(both, both), total), float)
    adjustment = Adjustment(opened[:k, :k], scaled.samples, opened[:k, k:], opened[k:, k:].diagonal())
    if adjustment.freedom < 2:
        raise DesignError(f"{scaled.samples} people are too few for a model with {k - 1} covariates")
    return People(reader, analysed, c, y, called, (INTERCEPT, *names), adjustment, arrays)


def product(a: IntArray, b: IntArray) -> IntArray:
    """aᵀb of integers, exact. Raises DesignError where float64 could not hold every sum of products."""
    norms = [np.sqrt((values.astype(np.float64) ** 2).sum(axis=0)).max(initial=0.0) for values in (a, b)]
    if norms[0] * norms[1] >= 2.0**52:  # by Cauchy and Schwarz, no sum of some of the products is larger
        raise DesignError(f"products of {len(a)} people's numbers are too large to be summed exactly")
    out = np.zeros((a.shape[1], b.shape[1]))
    for start in range(0, len(a), PEOPLE):
        part = slice(start, start + PEOPLE)
        out += a[part].T.astype(np.float64) @ b[part].astype(np.float64)
    return out.astype(np.int64)


def rotated(x: IntArray, c: IntArray, rotation: Rotation) -> FloatArray:
    """(n, B) of people in eigenvectors: exact products of integers, scaled once. c: of the rotation's covariates."""
    out = np.empty((len(x), rotation.turn.shape[1]))
    turn, covariate = rotation.turn.astype(np.float64), rotation.covariate.astype(np.float64)
    for start in range(0, len(x), PEOPLE):
        part = slice(start, start + PEOPLE)
        z = x[part].astype(np.float64) @ turn - rotation.shift
        if len(covariate):
            z -= c[part].astype(np.float64) @ covariate
        out[part] = np.ldexp(z, -rotation.bits)
    return out


def imputed(people: People, rows: IntArray) -> IntArray:
    """(n, B) int64 dosages of these variants in steps of 1/GRID, missing calls at the mean of everybody analysed."""
    where, reader = np.flatnonzero(people.analysed), people.reader
    parts = [reader.read(a, b) for a, b in _runs_of(rows)]
    dosage = np.concatenate([part.dosage[:, where] for part in parts]).astype(np.int64)
    missing = np.concatenate(
        [np.zeros((len(p), len(where)), bool) if p.missing is None else p.missing[:, where] for p in parts]
    )
    called, summed = people.total(np.stack([(~missing).sum(axis=1), dosage.sum(axis=1)]))
    grid = reader.dosage_grid
    mean = (2 * GRID * summed + grid * called) // np.maximum(2 * grid * called, 1)
    x = (2 * GRID * dosage + grid) // (2 * grid)
    return np.ascontiguousarray(np.where(missing, mean[:, None], x).T)


def _runs_of(rows: IntArray) -> list[tuple[int, int]]:
    """(start, stop) of the runs of consecutive numbers."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, cuts)]
