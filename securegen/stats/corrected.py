"""The score test of one variant person by person: what its corrections begin with.

x = g − C(CᵀWC)⁻¹CᵀWg, whose coefficients come from the sums of the score test, so that every engine has the same ones;
S = Σ x(y − μ) and its cumulants are sums over people of terms rounded one by one (`kernels.rounded_terms`): the same integers
at one owner and over sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.null_people import NullPeople
from securegen.kernels.rounded_terms import UNIT, centred_genotypes, score_terms, takes

FEW = 20  # carriers: of fewer all outcomes are summed
STEPPED, SMOOTH = 40, 0.25  # the same of fewer than so many where all others' sum deviates by less than so many copies
HOLDS = 0.1  # of a copy: what a carrier has of a dosage
SPARSE = 0.5  # share of dosages that are 0, from which on regenie sums over carriers alone


@dataclass(frozen=True)
class Correction:
    """Corrected statistics of one variant, an effect per copy. log10p: −log10 P."""

    beta: float
    se: float
    chisq: float
    log10p: float


@dataclass(frozen=True)
class Start:
    """Of the sum S of a variant: its value u, variance v, third cumulant, the largest value and the smallest one's negative."""

    u: float
    v: float
    third: float
    most: float
    least: float

    @staticmethod
    def of(terms: Sequence[int]) -> Start:
        """From integers of `score_terms`, summed over the sites."""
        return Start(*(t / UNIT for t in terms))


@dataclass(frozen=True, eq=False, repr=False)
class Variant:
    """One variant of the analysed people, counted by A1. x: (n,) without what covariates say of it; start: of its sum; carriers:
    (n,) bool, where regenie's approximation sums over them alone, else None; few: (n,) bool, the called people with more
    than `HOLDS` of a minor copy, where every outcome of these can be summed, else None; minor: minor alleles; singly: what needs
    each person's probability apart is done too, and as many points are taken as are needed: not over sites."""

    x: np.ndarray
    start: Start
    carriers: np.ndarray | None
    minor: float
    few: np.ndarray | None = None
    singly: bool = True


@dataclass(frozen=True, eq=False, repr=False)
class CovariateParts:
    """Of V variants. mean: (V,) copies of the called people; coefficients: (V, K) of the copies on covariates under W, the
    intercept's first."""

    mean: np.ndarray
    coefficients: np.ndarray

    def take(self, rows: np.ndarray) -> CovariateParts:
        return CovariateParts(self.mean[rows], self.coefficients[rows])


def fewest_carriers(mean: np.ndarray, most: float, samples: int, weight: float) -> np.ndarray:
    """(V,) int64: the number of carriers below which every outcome is summed.

    Where few other people vary, S moves by steps of a copy, which a saddlepoint approximation does not follow: P was 0.4 to
    40 times the exact one.

    mean: (V,) copies; most: the largest that a person has of both alleles; weight: Σ μ(1 − μ) of all samples."""
    rarer = np.minimum(mean, most - mean)
    stepped = (rarer * samples < STEPPED) & (rarer * np.sqrt(weight) < SMOOTH)
    return np.where(stepped, STEPPED, FEW)


def copies_of(dosage: np.ndarray, missing: np.ndarray | None, mean: float) -> np.ndarray:
    """(n,) float64, missing calls at the mean."""
    return dosage.astype(np.float64) if missing is None else np.where(missing, mean, dosage)


def minor_copies(copies: np.ndarray, mean: float, most: float) -> np.ndarray:
    """(n,) of the rarer allele. most: the largest that a person has of both."""
    return most - copies if mean > most / 2 else copies


class NullFit:
    """A null model, prepared for many variants."""

    def __init__(self, null: NullPeople) -> None:
        self.people, self.cases, self.mean = null.people, null.cases, null.mean
        self.weight = null.mean * (1 - null.mean)
        self.residual = null.cases - null.mean
        self.side = np.where(null.cases, 1.0, -1.0)
        self._covariates = np.ascontiguousarray(null.covariates[:, 1:].T)
        self._null = null

    def x(self, copies: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """(n,) copies without what covariates say of them."""
        return centred_genotypes(copies, coefficients, self._covariates)

    def variant(
        self, dosage: np.ndarray, missing: np.ndarray | None, most: float, mean: float, coefficients: np.ndarray, *,
        fast: bool, fewest: int = FEW,
    ) -> Variant | None:  # fmt: skip
        """dosage: (n,) copies, of which `missing` take the mean; most: the largest that a person has; mean, coefficients: of
        `CovariateParts`; fast: carriers alone, as regenie does by default where at least half of the dosages are 0; fewest: of
        `fewest_carriers`. None where covariates make numbers of it that no sum takes."""
        copies = copies_of(dosage, missing, mean)
        minor = minor_copies(copies, mean, most)
        x = self.x(copies, coefficients)
        if not takes(x):
            return None
        called = np.ones(len(x), bool) if missing is None else ~missing
        holders = called & (minor > HOLDS)
        few = holders if not fast and int(holders.sum()) < fewest else None
        carriers = minor != 0 if fast and int((minor == 0).sum()) >= SPARSE * len(x) else None
        rarer = most - mean if mean > most / 2 else mean
        start = Start.of(score_terms(x, self.mean, self.residual))
        return Variant(x, start, carriers, rarer * int(called.sum()), few)

    @property
    def firth_logits(self) -> np.ndarray:
        """(n,) linear predictor of the null model under Firth's penalty, whose coefficients are kept for every variant."""
        return self._null.penalised
