"""Score tests corrected by the saddlepoint or Firth: which rows, and their columns, where the genotypes are in the clear.

A row is corrected where the exact χ² of the sums exceeds the threshold, so every engine corrects the same rows. U and V stay
the score test's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen import vocabulary as voc
from securegen.catalogue import CORRECTIONS
from securegen.design.columns import Analysis
from securegen.design.strata import Stratum
from securegen.model import GenotypeBlock
from securegen.stats.corrected import Correction, NullFit
from securegen.stats.pvalue import chisq_1_limit
from securegen.stats.score_test import NULL_MODEL
from securegen.vocabulary import ADDITIVE

Table = dict[str, np.ndarray]


@dataclass
class Corrector:
    """Corrects the columns of score tests, block by block.

    method: of `CORRECTIONS`; p_thresh: of the score test, below which a row is corrected; fast: as regenie approximates;
    strata: whose analyses have `null`; read: (start, stop) -> genotypes of all stored samples; grid: steps of a dosage in a
    copy; corrected: how many rows of each phenotype were.
    """

    method: str
    p_thresh: float
    fast: bool
    strata: Sequence[Stratum]
    read: Callable[[int, int], GenotypeBlock]
    grid: int = 1
    corrected: dict[str, int] = field(default_factory=dict)
    _fit: tuple[object, NullFit] | None = None
    _block: GenotypeBlock | None = None

    def columns(self, stratum: Stratum, name: tuple[str, str], start: int, columns: Table) -> Table:
        """Columns of the variants from `start` in a stratum of that name, of the analysis (test, phenotype)."""
        known = next((s for s in self.strata if s.name == stratum.name), None)
        here = None if known is None else known.analysis(*name)
        if known is None or here is None or here.null is None:
            return columns
        self.corrected.setdefault(here.phenotype, 0)
        rows = np.flatnonzero(columns["CHISQ"] > chisq_1_limit(self.p_thresh))  # NaN is never above
        if not len(rows):
            return columns
        block, fit = self._genotypes(start, len(columns["CHISQ"])), self._of(here)
        most = 1 if here.coding != ADDITIVE else known.copies
        found = [self._one(fit, block, int(j), self.grid * known.unit, most) for j in rows]
        self.corrected[here.phenotype] += len(rows)
        return _replaced(columns, rows, found)

    def _one(self, fit: NullFit, block: GenotypeBlock, row: int, grid: int, most: int) -> Correction:
        dosage = block.dosage[row, fit.people] / grid
        missing = None if block.missing is None else block.missing[row, fit.people]
        return CORRECTIONS[self.method](fit, fit.variant(dosage, missing, most, fast=self.fast))

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

    def record(self) -> dict[str, object]:
        """What run.json says of it."""
        return {
            "correction": {
                "method": self.method, "p_thresh": self.p_thresh, "fast": self.fast, "corrected": dict(self.corrected),
            }
        }  # fmt: skip

    def line(self) -> str:
        """The same in words."""
        rows = ", ".join(f"{count} rows of {name}" for name, count in self.corrected.items())
        how = "carriers alone, as regenie approximates it" if self.fast else "everybody"
        return (
            f"--correction {self.method} of {rows}: those with P below {self.p_thresh:g} by the score test; over {how}"
        )


def _replaced(columns: Table, rows: np.ndarray, found: Sequence[Correction]) -> Table:
    out = {name: values.copy() for name, values in columns.items()}
    chisq, log10p = np.array([c.chisq for c in found]), np.array([c.log10p for c in found])
    z = np.sign([c.beta for c in found]) * np.sqrt(chisq)
    out["BETA"][rows] = [c.beta for c in found]
    out["SE"][rows] = [c.se for c in found]
    out["CHISQ"][rows], out["Z_STAT"][rows] = chisq, z
    out["P"][rows], out["LOG10_P"][rows] = 10.0**-log10p, log10p
    out["WALD_LIKE_Z"][rows] = z / np.sqrt(1 + chisq / columns["OBS_CT"][rows])
    out["DCHISQ_BOUND"][rows] = NULL_MODEL * (1 + chisq)  # columns that were rounded are not in it
    code = out["ERRCODE"][rows]
    out["ERRCODE"][rows] = np.where(code == voc.LOW_MAC, voc.OK, code)
    return out
