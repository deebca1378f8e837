"""Kinship, components and whole-genome models from Python: of one owner's genotypes, in the clear.

>>> import securegen as sg
>>> inputs = sg.Inputs(bfile="examples/cohort")
>>> sg.kinship(inputs, king_table_filter=0.2).columns.tolist()
['#FID1', 'IID1', 'FID2', 'IID2', 'NSNP', 'HETHET', 'IBS0', 'KINSHIP']
>>> components = sg.pca(inputs, pcs=2)
>>> components.columns.tolist(), len(components.attrs["eigenvalues"])
(['#FID', 'IID', 'PC1', 'PC2'], 2)
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING

from securegen.errors import UsageError
from securegen.results.read import read_people
from securegen.structure.kinship import SECOND_DEGREE
from securegen.structure.run import Made, write_components, write_kinship
from securegen.structure.step1 import write_step1
from securegen.structure.whole_genome import BLOCK
from securegen.study import checks
from securegen.study.inputs import Inputs, Log, silent

if TYPE_CHECKING:
    import pandas as pd


def kinship(inputs: Inputs, *, king_table_filter: float | None = None, log: Log = silent) -> pd.DataFrame:
    """Pairs of samples with at least that KING-robust kinship (None: all), as `securegen kinship` writes them.

    Raises DesignError for fractional dosages, and what reading the genotypes raises.
    """
    with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
        return read_people(
            write_kinship(_inputs(inputs), f"{folder}/k", log, king_table_filter=king_table_filter).paths[0]
        )


def pca(
    inputs: Inputs, *, pcs: int = 10, unrelated: bool = False, king_cutoff: float = SECOND_DEGREE, log: Log = silent
) -> pd.DataFrame:
    """Components of samples: #FID IID PC1 …; attrs["eigenvalues"] has their eigenvalues.

    unrelated: of samples of whom no two are closer than `king_cutoff`, the others projected. Raises DesignError for too
    few samples or variants.
    """
    checks.whole("pcs", pcs, 1, 100)
    checks.flag("unrelated", unrelated)
    with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
        made = write_components(
            _inputs(inputs), f"{folder}/p", log, pcs=pcs, unrelated=unrelated, king_cutoff=king_cutoff
        )
        frame = read_people(made.paths[0])
    frame.attrs["eigenvalues"] = made.facts["eigenvalues"]
    return frame


def step1(
    inputs: Inputs, out: str | os.PathLike[str], *, block: int = BLOCK, write_score: bool = False, log: Log = silent
) -> Made:
    """Write the predictions of the whole-genome model of every phenotype, OUT_pred.list, for `pred` of `sg.open_study`.

    inputs: with `pheno`; block: variants that are fitted together; write_score: also weights of a polygenic score, for other
    people. Raises UsageError and DesignError.
    """
    checks.whole("block", block, 2, None)
    checks.flag("write_score", write_score)
    return write_step1(_inputs(inputs), os.fspath(out), log, block=block, write_score=write_score)


def _inputs(inputs: Inputs) -> Inputs:
    if not isinstance(inputs, Inputs):
        raise UsageError(f"`inputs` is sg.Inputs(bfile=…, …), not {inputs!r}")
    return inputs
