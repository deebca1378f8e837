"""Studies opened, and the plain engine, as Python functions: tables, a frame, and the exact sums.

>>> import securegen as sg
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name=("QT",),
...                       chr=("1",), to_bp=400_000)
>>> len(sg.run_plain(study)) == len(study.reader.variants)
True
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from typing import TYPE_CHECKING

from securegen.model import Progress, Sums
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study.opening import Study

if TYPE_CHECKING:
    import pandas as pd


def plain_tables(
    study: Study, out: str, *, digits: int = 17, filters: Filters | None = None, progress: Progress | None = None
) -> list[Summary]:
    """The plain engine: the same tables from genotypes in the clear."""
    from securegen.engines.plain.engine import write_plain

    return write_plain(study, out, digits=digits, filters=filters, progress=progress)


def plain_qc(study: Study, out: str) -> list[str]:
    """Quality control on genotypes in the clear: OUT.afreq, OUT.vmiss and OUT.hardy."""
    from securegen.engines.plain.engine import write_plain_qc

    return write_plain_qc(study, out)


def run_plain(study: Study) -> pd.DataFrame:
    """Result table of the plain engine as a pandas frame."""
    from securegen.results.read import read_frames

    with tempfile.TemporaryDirectory() as folder:
        tables = plain_tables(study, f"{folder}/t")
        return read_frames({t.analysis.phenotype: t.path for t in tables})


def plain_sums(study: Study) -> Iterable[Sums]:
    """The exact integers of the plain engine, block by block."""
    from securegen.engines.plain import sums

    return sums.strata_sums(study.reader, study.strata)
