"""One party's people in a whole-genome model: their numbers as integers.

Float64 holds every sum here (below 2^53), so that the order in which BLAS adds does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT
from securegen.design.covariates import scale_covariates
from securegen.errors import DesignError
from securegen.model import FloatArray, GenotypeReader, IntArray
from securegen.structure.ridge import Adjustment, Rotation
from securegen.structure.ridge_totals import PEOPLE, Alone, ModelTotals
from securegen.structure.totals import Counts

GRID = 1024  # of a dosage, also where it is a mean
COVARIATE_BITS, PHENOTYPE_BITS = 16, 20  # of a scale
WIDEST = 1 << 6  # scales: a number beyond it is refused


@dataclass(frozen=True)
class People:
    """Analysed people of one party. reader: genotypes of all its samples; counts: of each variant, of everybody; analysed:
    (N,) bool; c: (n, K) int64 covariates, the intercept first; y: (n, P) phenotypes; phenotypes, covariate_names: what they
    are called; adjustment: of everybody; totals: over the parties."""

    reader: GenotypeReader
    counts: Counts
    analysed: np.ndarray
    c: IntArray
    y: IntArray
    phenotypes: tuple[str, ...]
    covariate_names: tuple[str, ...]
    adjustment: Adjustment
    totals: ModelTotals

    def residuals(self) -> FloatArray:
        """(n, P) of the phenotypes outside the covariates, in standard deviations."""
        bits = 24
        integers = np.floor(np.ldexp(self.adjustment.coefficients, bits) + 0.5).astype(np.int64)
        left = (self.y << bits) - self.c @ integers
        out: FloatArray = left / (self.adjustment.deviation * 2.0**bits)
        return out

    def dosages(self, rows: IntArray) -> IntArray:
        """(n, B) int64 of these variants, in steps of 1/GRID."""
        return imputed(self.reader, self.counts, self.analysed, rows)

    def beside(self) -> IntArray:
        """(n, K + P) covariates and phenotypes."""
        return np.concatenate([self.c, self.y], axis=1)

    def covariates(self) -> FloatArray:
        """(n, K) in scales, the intercept first."""
        return self.c * 2.0**-COVARIATE_BITS


def people_of(
    reader: GenotypeReader, counts: Counts, analysed: np.ndarray, covariates: FloatArray, names: tuple[str, ...],
    phenotypes: FloatArray, called: tuple[str, ...], totals: ModelTotals | None = None,
) -> People:  # fmt: skip
    """Numbers as integers. counts: of the reader's variants, of everybody; covariates: (n, K−1) float64 of the analysed;
    phenotypes: (n, P), `called` so; totals: over the parties, None for one owner. Raises DesignError for what is constant,
    collinear or far from everybody else."""
    totals = totals or Alone()
    few = totals.few
    scaled = scale_covariates(covariates, names, few)
    fine = fp.PRECISE_BITS - COVARIATE_BITS
    c = (scaled.precise + (1 << (fine - 1))) >> fine
    columns = []
    for j, name in enumerate(called):
        scaling, decimals = fp.fit_scaling(phenotypes[:, j], f"phenotype {name}", few)
        columns.append(scaling.integers(decimals, 1 << PHENOTYPE_BITS))
    y = np.stack(columns, axis=1)
    for named, values, bits in ((names, c[:, 1:], COVARIATE_BITS), (called, y, PHENOTYPE_BITS)):
        far = (np.abs(values) > WIDEST << bits).any(axis=0)
        if far.any():
            raise DesignError(
                f"{named[int(far.argmax())]} has a value more than {WIDEST} standard deviations from the mean: check it"
            )
    k, both = c.shape[1], np.concatenate([c, y], axis=1)
    totals.columns(both, analysed)
    opened = np.array(fp.sum_gram(both, few, partial(totals.gram, covariates=k)), float)
    adjustment = Adjustment(opened[:k, :k], scaled.samples, opened[:k, k:], opened[k:, k:].diagonal())
    if adjustment.freedom < 2:
        raise DesignError(f"{scaled.samples} people are too few for a model with {k - 1} covariates")
    return People(reader, counts, analysed, c, y, called, (INTERCEPT, *names), adjustment, totals)


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


def imputed(reader: GenotypeReader, counts: Counts, analysed: np.ndarray, rows: IntArray) -> IntArray:
    """(n, B) int64 dosages of these variants in steps of 1/GRID, missing calls at the mean. counts: of everybody;
    analysed: (N,) bool."""
    where = np.flatnonzero(analysed)
    parts = [reader.read(a, b) for a, b in _runs_of(rows)]
    dosage = np.concatenate([part.dosage[:, where] for part in parts]).astype(np.int64)
    grid = reader.dosage_grid
    x = (2 * GRID * dosage + grid) // (2 * grid)
    if any(part.missing is not None for part in parts):
        missing = np.concatenate(
            [np.zeros((len(p), len(where)), bool) if p.missing is None else p.missing[:, where] for p in parts]
        )
        called, summed = counts.called[rows], counts.dosage[rows]
        mean = (2 * GRID * summed + grid * called) // np.maximum(2 * grid * called, 1)
        x = np.where(missing, mean[:, None], x)
    return np.ascontiguousarray(x.T)


def _runs_of(rows: IntArray) -> list[tuple[int, int]]:
    """(start, stop) of the runs of consecutive numbers."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, cuts)]
