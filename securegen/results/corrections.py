"""Score tests corrected by the saddlepoint or Firth: which rows, and their columns, where the genotypes are in the clear.

A row is corrected where the exact χ² of the sums exceeds the threshold, so every engine corrects the same rows. U and V stay
the score test's. A row that should be corrected and is not has ERRCODE UNCORRECTED.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from securegen import vocabulary as voc
from securegen.catalogue import CORRECTIONS, SPA
from securegen.design.columns import Analysis
from securegen.design.logistic import ScoreModel
from securegen.design.strata import Stratum
from securegen.model import GenotypeBlock, OpenedSums, Sums
from securegen.results.block_columns import score_part
from securegen.stats.corrected import FEW, Correction, CovariateParts, NullFit, fewest_carriers
from securegen.stats.pvalue import chisq_1_limit
from securegen.stats.score_test import NULL_MODEL, covariate_parts
from securegen.vocabulary import ADDITIVE

Table = dict[str, np.ndarray]


def most_copies(analysis: Analysis, stratum: Stratum) -> int:
    """The largest number that a person has of what an analysis counts."""
    return 1 if analysis.coding != ADDITIVE else stratum.copies


def few_below(method: str, analysis: Analysis, stratum: Stratum, mean: np.ndarray) -> np.ndarray:
    """(V,) int64: variants of fewer carriers need each person's probability apart. mean: (V,) copies, from sums: every engine
    finds the same."""
    model = analysis.model
    if method != SPA or not isinstance(model, ScoreModel):
        return np.full(len(mean), FEW)
    weight = model.weight_total * model.weight_units[0]
    return fewest_carriers(mean, most_copies(analysis, stratum), model.samples, weight)


def flagged(columns: Table, p_thresh: float) -> np.ndarray:
    """Rows that are to be corrected."""
    return np.flatnonzero(columns["CHISQ"] > chisq_1_limit(p_thresh))  # NaN is never above


@dataclass
class Corrections(ABC):
    """Corrects the columns of score tests, block by block.

    method: of `CORRECTIONS`; p_thresh: of the score test, below which a row is corrected; fast: as regenie approximates;
    corrected, left: how many rows of each phenotype were, and were to be and were not.
    """

    method: str
    p_thresh: float
    fast: bool
    corrected: dict[str, int] = field(default_factory=dict, init=False)
    left: dict[str, int] = field(default_factory=dict, init=False)

    def columns(self, stratum: Stratum, name: tuple[str, str], sums: Sums | OpenedSums, columns: Table) -> Table:
        """Columns of a block in a stratum of that name, of the analysis (test, phenotype)."""
        here = self.analysis(stratum, name)
        if here is None or here.null is None:
            return columns
        for counts in (self.corrected, self.left):
            counts.setdefault(here.phenotype, 0)
        rows = flagged(columns, self.p_thresh)
        if not len(rows):
            return columns
        found = self.found(stratum, here, sums, rows)
        done = np.array([f is not None for f in found])
        self.corrected[here.phenotype] += int(done.sum())
        self.left[here.phenotype] += int((~done).sum())
        return _replaced(columns, rows[done], [f for f in found if f is not None], rows[~done])

    def analysis(self, stratum: Stratum, name: tuple[str, str]) -> Analysis | None:
        """The analysis with its null model."""
        return stratum.analysis(*name)

    @abstractmethod
    def found(
        self, stratum: Stratum, analysis: Analysis, sums: Sums | OpenedSums, rows: np.ndarray
    ) -> Sequence[Correction | None]:
        """What rows of a block are corrected to, None of those that are not."""

    def record(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "correction": {
                "method": self.method, "p_thresh": self.p_thresh, "fast": self.fast, "corrected": dict(self.corrected),
                "uncorrected": dict(self.left),
            }
        }  # fmt: skip

    def line(self) -> str:
        """The same in words."""
        rows = ", ".join(f"{count} rows of {name}" for name, count in self.corrected.items())
        how = "carriers alone, as regenie approximates it" if self.fast else "everybody"
        left = sum(self.left.values())
        rest = f"; {left} more are not corrected ({voc.UNCORRECTED})" if left else ""
        return f"--correction {self.method} of {rows}: those with P below {self.p_thresh:g} by the score test; over {how}{rest}"


@dataclass
class Corrector(Corrections):
    """From genotypes in the clear. strata: whose analyses have `null`; read: (start, stop) -> genotypes of all stored samples;
    grid: steps of a dosage in a copy; few: rows of few carriers, and those at the largest value that
    U has, are corrected too."""

    strata: Sequence[Stratum]
    read: Callable[[int, int], GenotypeBlock]
    grid: int = 1
    few: bool = True
    _fit: tuple[object, NullFit] | None = None
    _block: GenotypeBlock | None = None

    def analysis(self, stratum: Stratum, name: tuple[str, str]) -> Analysis | None:
        known = next((s for s in self.strata if s.name == stratum.name), None)
        return None if known is None else known.analysis(*name)

    def found(
        self, stratum: Stratum, analysis: Analysis, sums: Sums | OpenedSums, rows: np.ndarray
    ) -> Sequence[Correction | None]:
        block, fit = self._genotypes(sums.start, len(sums)), self._of(analysis)
        grid = self.grid * stratum.unit
        part = score_part(analysis, sums, rows, grid=grid, copies=stratum.copies)
        of = covariate_parts(part, analysis.model, grid=grid)
        most, few = most_copies(analysis, stratum), few_below(self.method, analysis, stratum, of.mean).tolist()
        return [self._one(fit, block, int(row), j, of, grid, most, few[j]) for j, row in enumerate(rows)]

    def _one(
        self,
        fit: NullFit,
        block: GenotypeBlock,
        row: int,
        place: int,
        of: CovariateParts,
        grid: int,
        most: int,
        few: int,
    ) -> Correction | None:
        dosage = block.dosage[row, fit.people] / grid
        missing = None if block.missing is None else block.missing[row, fit.people]
        mean, coefficients = float(of.mean[place]), of.coefficients[place]
        variant = fit.variant(dosage, missing, most, mean, coefficients, fast=self.fast, fewest=few)
        if variant is None or (variant.few is not None and not self.few):
            return None
        return CORRECTIONS[self.method](fit, replace(variant, singly=self.few))

    def _of(self, analysis: Analysis) -> NullFit:
        if self._fit is None or self._fit[0] is not analysis.null:
            if analysis.null is None:
                raise ValueError("an analysis without its null model")
            self._fit = (analysis.null, NullFit(analysis.null))
        return self._fit[1]

    def _genotypes(self, start: int, count: int) -> GenotypeBlock:
        if self._block is None or (self._block.start, len(self._block)) != (start, count):
            self._block = self.read(start, start + count)
        return self._block


def _replaced(columns: Table, rows: np.ndarray, found: Sequence[Correction], left: np.ndarray) -> Table:
    """left: rows that are not corrected."""
    out = {name: values.copy() for name, values in columns.items()}
    chisq, log10p = np.array([c.chisq for c in found]), np.array([c.log10p for c in found])
    z = np.sign([c.beta for c in found]) * np.sqrt(chisq)
    out["BETA"][rows] = [c.beta for c in found]
    out["SE"][rows] = [c.se for c in found]
    out["CHISQ"][rows], out["Z_STAT"][rows] = chisq, z
    out["P"][rows], out["LOG10_P"][rows] = 10.0**-log10p, log10p
    out["WALD_LIKE_Z"][rows] = z / np.sqrt(1 + chisq / columns["OBS_CT"][rows])
    out["DCHISQ_BOUND"][rows] = NULL_MODEL * (1 + chisq)  # columns that were rounded are not in it
    code = out["ERRCODE"]
    code[rows] = np.where(code[rows] == voc.LOW_MAC, voc.OK, code[rows])
    code[left] = np.where(np.isin(code[left], (voc.OK, voc.LOW_MAC)), voc.UNCORRECTED, code[left])
    return out
