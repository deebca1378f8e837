"""Studies opened, and the plain engine, as Python functions: tables, a frame, and the exact sums.

>>> import securegen as sg
>>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name=("QT",), to_bp=400_000)
>>> len(sg.run_plain(study)) == len(study.reader.variants)
True
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from securegen.errors import UsageError
from securegen.model import GenotypeReader, Progress, SelectableReader, Sums, counted
from securegen.results.write import Summary, qc_analysis, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.build import Inputs, Log, build_design, build_qc, open_genotypes, read_traits, silent
from securegen.study.opening import Study

if TYPE_CHECKING:
    import pandas as pd

Genotypes = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | SelectableReader


def open_study(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes and build the design. bfile: prefix of a PLINK1 fileset (@: one of each chromosome), a list of them, or
    a reader (`from_arrays`, `read_vcf`, …);
    options: the fields of `study.Inputs` (pheno, pheno_name, covar, …; pfile, vcf or bgen in place of bfile).

    Raises InputError, DesignError or UsageError, each saying which file, line or column and what to do.
    """
    inputs, reader = _opened(bfile, log, options)
    return Study(inputs, reader, build_design(inputs, reader, log))


def _opened(genotypes: Genotypes, log: Log, options: dict) -> tuple[Inputs, GenotypeReader]:
    if isinstance(genotypes, str | os.PathLike | list | tuple):
        inputs = Inputs(genotypes, **options)  # type: ignore[arg-type]  # paths become text there
        return inputs, open_genotypes(inputs, log)
    if not hasattr(genotypes, "select"):
        raise UsageError(f"genotypes are a prefix of files or a reader, not {genotypes!r}")
    inputs = Inputs("", **options)
    return inputs, open_genotypes(inputs, log, genotypes)  # type: ignore[arg-type]


def open_qc(bfile: Genotypes = "", *, log: Log = silent, **options) -> Study:
    """Open genotypes for quality control alone; options as `open_study`, phenotypes only for hwe_controls."""
    inputs, reader = _opened(bfile, log, options)
    if reader.dosage_grid > 1:
        log("WARNING: fractional dosages have no genotype counts: no Hardy–Weinberg test, no .hardy file")
    phenotypes = read_traits(inputs, reader).phenotypes if inputs.pheno else ()
    return Study(inputs, reader, build_qc(inputs, reader, phenotypes=phenotypes))


def plain_tables(
    study: Study, out: str, *, digits: int = 17, filters: Filters | None = None, progress: Progress | None = None
) -> list[Summary]:
    """The plain engine: the same tables from genotypes in the clear."""
    from securegen.engines.plain import sums

    variants, grid, design = study.reader.variants, study.reader.dosage_grid, study.design
    if study.inputs.missing == "complete" and any(a.test == "linear" for a in design.analyses):
        if filters and filters.active:
            raise UsageError(
                "the filters of quality control need --missing mean; filter the variants first (--extract)"
            )
        tests = [a for a in design.analyses if a.test != "qc"]
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
