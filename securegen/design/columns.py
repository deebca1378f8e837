"""The integer columns that engines sum over, and which analysis reads which of their sums."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from securegen.design.null_people import NullPeople
from securegen.model import Columns
from securegen.vocabulary import ADDITIVE

INTERCEPT = "INTERCEPT"
QUALITY = "qc"  # the analysis that is not an association


@dataclass(frozen=True)
class AppliedNoise:
    """Noise that a phenotype's values have: ε and δ (None: pure ε) of a person's value, and the mechanism.

    Made where values are drawn. A door believes it of columns that were built of stored draws (`Design.mark_of`), or where it is
    read back from a record that is authenticated: never because it is there.
    """

    epsilon: float
    delta: float | None
    mechanism: str


@dataclass(frozen=True)
class Analysis:
    """One test of one phenotype: which columns of the design it uses (`columns`, `squares` index `Sums.g` and
    `Sums.q`) and the model that reads them.

    single: (column, how many people) of the analysed who have one copy where others have two, and of the cases among them
    where the test counts their alleles. null: of each person, where a correction reads it; noise: of the phenotype's values,
    None where they are exact.
    """

    test: str
    phenotype: str
    columns: tuple[int, ...]
    squares: tuple[int, ...]
    model: Any
    single: tuple[tuple[int, int], ...] = ()
    null: NullPeople | None = field(default=None, compare=False, repr=False)
    noise: AppliedNoise | None = None

    @property
    def coding(self) -> str:
        """The genetic model of the dosages it reads."""
        coding: str = getattr(self.model, "coding", ADDITIVE)
        return coding

    @property
    def association(self) -> bool:
        """Whether it tests a phenotype; quality control does not."""
        return self.test != QUALITY


@dataclass(frozen=True)
class Design:
    """All columns of a run, and the analyses that share them."""

    columns: Columns
    analyses: tuple[Analysis, ...]

    def mark_of(self, analysis: Analysis) -> str:
        """Hex SHA-256 of the columns that an analysis reads: what was built of its phenotype."""
        mine = np.ascontiguousarray(self.columns.values[:, list(analysis.columns)], "<i8")
        return hashlib.sha256(f"{mine.shape} ".encode() + mine.tobytes()).hexdigest()

    @property
    def weights_squared(self) -> bool:
        """Whether Σ g² is needed with weights, not only over a set of samples."""
        return bool((self.columns.values[:, self.columns.squared_index] > 1).any())

    @property
    def sample_sets(self) -> int:
        """How many different sets of analysed samples there are."""
        first = {a.columns[0] for a in self.analyses}
        return len({self.columns.values[:, j].tobytes() for j in first})


def combine(designs: Sequence[Design], *, share: bool = False) -> Design:
    """One design for one pass over the cohort: the columns of all parts.

    share: equal columns are stored and summed once (the indicator of equal sample sets). Not for one site of several:
    columns that are equal there may differ elsewhere.
    """
    where: dict[bytes | tuple[int, int], int] = {}
    names: list[str] = []
    kept: list[np.ndarray] = []
    squared: list[bool] = []
    placed = []
    for number, part in enumerate(designs):
        c = part.columns
        keys = [c.values[:, j].tobytes() if share else (number, j) for j in range(len(c.names))]
        index = [where.setdefault(key, len(where)) for key in keys]
        for j, at in enumerate(index):
            if at == len(names):
                names.append(c.names[j])
                kept.append(c.values[:, j])
                squared.append(False)
            squared[at] |= c.squared[j]
        placed.append(index)
    order = {column: i for i, column in enumerate(j for j, flag in enumerate(squared) if flag)}
    analyses = []
    for part, index in zip(designs, placed, strict=True):
        squares = [order[index[j]] for j in part.columns.squared_index]
        for a in part.analyses:
            columns, own = tuple(index[j] for j in a.columns), tuple(squares[i] for i in a.squares)
            single = tuple((index[j], people) for j, people in a.single)
            analyses.append(replace(a, columns=columns, squares=own, single=single))
    return Design(Columns(tuple(names), np.stack(kept, axis=1), tuple(squared)), tuple(analyses))


def scatter(values: np.ndarray, analysed: np.ndarray) -> np.ndarray:
    """(n, J) rows of the analysed samples -> (N, J) with zeros elsewhere."""
    out = np.zeros((len(analysed), values.shape[1]), np.int64)
    out[analysed] = values
    return out
