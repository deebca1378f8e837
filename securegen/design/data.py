"""What a design is built from: phenotypes that are analysed in the same people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design.covariates import ScaledCovariates
from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class DesignData:
    """Phenotypes that share their analysed people, who number n.

    names: P of them; values: (n, P) float64, 0 and 1 of a binary one; analysed: (N,) bool over the stored samples;
    covariates: (n, K−1) float64 and their names; bits: of a column, None for what the test plans; scaled: remembers the
    covariates of the same people for the next group, None for one site of several, whose sums the others would miss.
    offsets: (n, P) float64, what a whole-genome model predicts of each phenotype (io.loco), or zeros: a linear model then
    has the variance of its null model. None: neither. coding: the genetic model of the dosages that will be summed;
    interaction: the covariate whose product with the dosage is tested; corrected: its null model is kept of each person;
    penalised: and that under Firth's penalty; complete: a variant may be read over its called people alone; most: copies that a
    person may have, more than 2 where rows are sums of variants.
    """

    names: tuple[str, ...]
    values: np.ndarray
    analysed: np.ndarray
    covariates: np.ndarray
    covariate_names: tuple[str, ...]
    bits: int | None = None
    scaled: dict[bytes, ScaledCovariates] | None = None
    offsets: np.ndarray | None = None
    coding: str = ADDITIVE
    interaction: str | None = None
    corrected: bool = False
    penalised: bool = False
    complete: bool = False
    most: int = 2
