"""Linkage disequilibrium, clumps and credible sets from Python: of one owner's genotypes, in the clear.

>>> import securegen as sg
>>> r = sg.ld(sg.Inputs(bfile="examples/cohort", chr="1", to_bp=400_000))
>>> r.shape, bool((r.to_numpy().diagonal() == 1).all())
((73, 73), True)
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from securegen.errors import InputError, UsageError
from securegen.io.text import iterate_lines
from securegen.model import Progress, Variants, no_progress
from securegen.python.aligned import matched, read_effects, variants_of
from securegen.results.read import read_results
from securegen.results.rows import FULL_DIGITS
from securegen.stats.credible import trait_variance
from securegen.structure.clump import Rules
from securegen.structure.fine_mapping import COVERAGE, DIGITS, OnCohort, write_ld
from securegen.structure.run import Made
from securegen.study import checks
from securegen.study.inputs import Inputs, Log, silent

if TYPE_CHECKING:
    import pandas as pd

PathLike = str | os.PathLike[str]


def ld(inputs: Inputs, *, log: Log = silent) -> pd.DataFrame:
    """r of every two variants of chromosomes 1 to 22 that inputs name, over the people who have both calls: a square frame
    by id. 0 where one of the two is constant in these people.

    Raises UsageError where no variant varies or too many do, DesignError for dosages too fine for exact sums.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
        write(inputs, f"{folder}/r", log)
        with np.load(f"{folder}/r.npz", allow_pickle=False) as found:
            size = int(found["shape"][0])
            half = np.zeros((size, size))
            half[np.tril_indices(size)] = found["data"]
        ids = [line.split(" ")[0] for line in iterate_lines(f"{folder}/r.z")][1:]
    return pd.DataFrame(half + half.T, index=ids, columns=ids)


def clump(
    inputs: Inputs, table: PathLike, out: PathLike, *, p1: float = Rules.p1, p2: float = Rules.p2, r2: float = Rules.r2,
    kb: float = Rules.kb, window: float | None = None, coverage: float = COVERAGE, prior_variance: float | None = None,
    digits: int = DIGITS, squares: bool = False, log: Log = silent,
) -> Made:  # fmt: skip
    """Write OUT.clumps, the clumps of a table of results on the LD of a cohort; with a window of so many kb also the matrices
    and variants of the windows around index variants, and credible sets, OUT.credible.

    p1, p2, r2, kb: as plink's --clump-p1, --clump-p2, --clump-r2, --clump-kb; coverage: of credible sets; prior_variance: of an
    effect, in the table's units squared; None: 0.2² of log odds, 0.15² of a quantitative trait's variance; squares: also
    matrices of r². Raises UsageError,
    InputError naming the table, DesignError, PolicyError.
    """
    return write(
        inputs, os.fspath(out), log, table=os.fspath(table), p1=p1, p2=p2, r2=r2, kb=kb, window=window, coverage=coverage,
        prior_variance=prior_variance, digits=digits, squares=squares,
    )  # fmt: skip


def write(
    inputs: Inputs, out: str, log: Log = silent, *, table: str | None = None, p1: float = Rules.p1, p2: float = Rules.p2,
    r2: float = Rules.r2, kb: float = Rules.kb, window: float | None = None, coverage: float = COVERAGE,
    prior_variance: float | None = None, digits: int = DIGITS, squares: bool = False, progress: Progress = no_progress,
) -> Made:  # fmt: skip
    """As `ld` without a table, which writes all variants of inputs, and as `clump` with one."""
    if not isinstance(inputs, Inputs):
        raise UsageError(f"`inputs` is sg.Inputs(bfile=…, …), not {inputs!r}")
    rules = Rules(p1, p2, r2, kb)
    checks.whole("digits", digits, 3, FULL_DIGITS)
    checks.flag("squares", squares)
    for name, value, low, high in (
        ("window", window, 0, 1e6), ("coverage", coverage, 0, 1), ("prior_variance", prior_variance, 0, 1e12)
    ):  # fmt: skip
        if value is not None:
            checks.number(name, value, low, high)
    if table is None and (rules, window, coverage, prior_variance) != (Rules(), None, COVERAGE, None):
        raise UsageError(
            "rules of clumps, `window`, `coverage` and `prior_variance` are for a table of results (`clump`)"
        )
    if squares and table is not None and window is None:
        raise UsageError("`squares` belong to matrices, which a table has with a `window`")
    if window is None and (coverage, prior_variance) != (COVERAGE, None):
        raise UsageError("`coverage` and `prior_variance` belong to credible sets, which need a `window`")
    on = None if table is None else lambda variants: _on_cohort(table, variants, effects=window is not None)
    return write_ld(
        inputs, out, log, table=on, rules=rules, window=window, coverage=coverage, prior_variance=prior_variance, digits=digits,
        squares=squares, progress=progress,
    )  # fmt: skip


def _on_cohort(path: str, cohort: Variants, *, effects: bool) -> OnCohort:
    """A table's numbers on the variants of a cohort, of the allele that the cohort counts. effects: its P alone is not enough."""
    frame = read_effects(path, "credible sets are of") if effects else read_results(path)
    table = variants_of(frame, path)
    m = matched(path, table, cohort, "auto", keep_ambiguous=False)
    if not len(m):
        raise InputError(f"{path} has no variant in common with the cohort: are they of one genome build?")
    sign = np.where(m.swapped, -1.0, 1.0)
    columns = {name: np.full(len(cohort), np.nan) for name in ("log10p", "beta", "se")}
    for own, name, factor in (("log10p", "LOG10_P", 1.0), ("beta", "BETA", sign), ("se", "SE", 1.0)):
        if name in frame:
            columns[own][m.variant] = frame[name].to_numpy(float)[m.row] * factor
    left = ", ".join(f"{n} {word}" for word, n in Counter(map(str, m.word)).items())
    return OnCohort(
        **columns,
        trait_variance=_trait_variance(frame) if effects else None,
        lines=(f"{path}: {len(m)} of {len(frame)} rows used: {left}",),
    )


def _trait_variance(frame: pd.DataFrame) -> float | None:
    """None of a binary trait; NaN where the table does not say."""
    if {"CASE_CT", "OR", "Z_STAT"} & set(frame.columns):
        return None
    if not {"T_STAT", "A1_FREQ"} <= set(frame.columns):
        return float("nan")
    beta, se, share, people = (frame[n].to_numpy(float) for n in ("BETA", "SE", "A1_FREQ", "OBS_CT"))
    return trait_variance(beta, se, share, people)
