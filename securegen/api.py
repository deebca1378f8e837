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

from securegen.catalogue import record_of
from securegen.errors import UsageError
from securegen.model import Progress, Sums, counted
from securegen.results.write import Summary, qc_analysis, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.opening import Study

if TYPE_CHECKING:
    import pandas as pd


def plain_tables(
    study: Study, out: str, *, digits: int = 17, filters: Filters | None = None, progress: Progress | None = None
) -> list[Summary]:
    """The plain engine: the same tables from genotypes in the clear."""
    from securegen.engines.plain import sums

    variants, grid, design = study.reader.variants, study.reader.dosage_grid, study.design
    if study.inputs.missing == "complete" and any("complete" in record_of(a).missing for a in design.analyses):
        if filters and filters.active:
            raise UsageError(
                "the filters of quality control need --missing mean; filter the variants first (--extract)"
            )
        tests = [a for a in design.analyses if a.association]
        return [
            write_tables(out, variants, blocks, [alone], grid=grid, digits=digits)[0]
            for alone, blocks in (sums.complete_case_sums(study.reader, design.columns, a) for a in tests)
        ]
    blocks = counted(sums.sums(study.reader, design.columns), len(variants), progress)
    return write_tables(out, variants, blocks, design.analyses, grid=grid, digits=digits, filters=filters)


def plain_qc(study: Study, out: str) -> list[str]:
    """Quality control on genotypes in the clear: OUT.afreq, OUT.vmiss and OUT.hardy."""
    from securegen.engines.plain import sums

    analysis = qc_analysis(study.design.analyses)
    assert analysis is not None
    blocks = sums.sums(study.reader, study.design.columns)
    return write_qc(out, study.reader.variants, blocks, analysis, grid=study.reader.dosage_grid)


def run_plain(study: Study) -> pd.DataFrame:
    """Result table of the plain engine as a pandas frame."""
    from securegen.results.read import read_frames

    with tempfile.TemporaryDirectory() as folder:
        tables = plain_tables(study, f"{folder}/t")
        return read_frames({t.analysis.phenotype: t.path for t in tables})


def plain_sums(study: Study) -> Iterable[Sums]:
    """The exact integers of the plain engine, block by block."""
    from securegen.engines.plain import sums

    return sums.sums(study.reader, study.design.columns)
