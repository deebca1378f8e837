"""Contingency tests of a binary phenotype: an indicator and a case column over everybody with the phenotype."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from securegen.design import fixedpoint as fp
from securegen.design.columns import INTERCEPT, Analysis, Design
from securegen.design.data import DesignData
from securegen.errors import DesignError
from securegen.model import Columns


@dataclass(frozen=True)
class CountModel:
    """Contingency tests. samples: people with the phenotype; cases: those who are cases."""

    phenotype: str
    samples: int
    cases: int
    covariates: tuple[str, ...] = ()
    bits: int = 1


def trend(group: DesignData, total: fp.SumOverSites) -> Design:
    """Columns and model of a group of one phenotype. Raises DesignError as `contingency_design`."""
    return _of_group(group, "trend", total)


def allelic(group: DesignData, total: fp.SumOverSites) -> Design:
    """As `trend`."""
    return _of_group(group, "allelic", total)


def _of_group(group: DesignData, test: str, total: fp.SumOverSites) -> Design:
    cases = np.zeros(len(group.analysed), bool)
    cases[group.analysed] = group.values[:, 0] == 1
    return contingency_design(group.analysed, cases, group.names[0], test, total=total)


def contingency_design(
    has: np.ndarray, cases: np.ndarray, phenotype: str, test: str, *, total: fp.SumOverSites = fp.pooled
) -> Design:
    """Design of `trend` or `allelic`. has: (N,) bool, the phenotype is known; cases: (N,) bool.

    Raises DesignError when there is no case or no control.
    """
    guard = fp.guard_of(total)
    guard.column(f"cases of {phenotype}", cases[has])
    guard.opened(f"{test} test of {phenotype}", cases[has][:, None].astype(np.int64), has)
    count, case_count = total([int(has.sum()), int((has & cases).sum())])
    if case_count in (0, count):
        raise DesignError(
            f"phenotype {phenotype} has no {'controls' if case_count else 'cases'} among the analysed samples"
        )
    columns = Columns(
        (INTERCEPT, f"{phenotype}:case"), np.stack([has, has & cases], 1).astype(np.int64), (test == "trend", False)
    )
    squares = (0,) if test == "trend" else ()
    return Design(columns, (Analysis(test, phenotype, (0, 1), squares, CountModel(phenotype, count, case_count)),))
