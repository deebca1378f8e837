"""How finished tables are laid out: --digits, --format, --gzip and what GWAS-SSF's metadata need."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from securegen.catalogue import TESTS
from securegen.errors import UsageError
from securegen.io.table_files import GZ, pack
from securegen.results.gwas_ssf import About, write_gwas_ssf
from securegen.results.regenie import write_regenie
from securegen.results.rows import FORMATS, FULL_DIGITS
from securegen.results.write import Summary

PLINK2, REGENIE, GWAS_SSF = FORMATS


@dataclass(frozen=True)
class TableForm:
    """digits: significant; format: one of `FORMATS`; genome_build, frequency_floor: of GWAS-SSF; gzip: as .gz."""

    digits: int = FULL_DIGITS
    format: str = PLINK2
    genome_build: str | None = None
    frequency_floor: float = 0.0
    gzip: bool = False

    def __post_init__(self) -> None:
        if self.format == GWAS_SSF and not self.genome_build:
            raise UsageError("`format` gwas-ssf needs `genome_build` (GRCh37, GRCh38): the standard demands it")
        if self.format != GWAS_SSF and (self.genome_build or self.frequency_floor):
            raise UsageError("`genome_build` and `frequency_floor` are for `format` gwas-ssf")

    def check(self, model: str | None, *, projected: bool = False) -> None:
        """Raise UsageError for a test or a reveal whose tables the format has no columns for."""
        if self.format == PLINK2:
            return
        if model is not None and not TESTS[model].effects:
            raise UsageError(f"`format` {self.format} has no columns for `model` {model}: leave it in plink2's")
        if projected:
            raise UsageError(f"`format` {self.format} has no columns for `reveal` hits or uv: leave it in plink2's")

    def path(self, out: str, test: str, phenotype: str) -> str:
        """The file that a table of `test` (a name of the catalogue, or what is revealed) becomes."""
        own = f"{out}.{phenotype}.{TESTS[test].suffix if test in TESTS else test}"
        if test in TESTS and TESTS[test].effects:
            own = {REGENIE: f"{out}_{phenotype}.regenie", GWAS_SSF: f"{out}.{phenotype}.gwas-ssf.tsv"}.get(
                self.format, own
            )
        return self.packed(own)

    def packed(self, path: str) -> str:
        """The name of a finished table that is written as `path`."""
        return path + GZ if self.gzip else path

    def finish(self, paths: Sequence[str]) -> list[str]:
        """Pack files that have one form only; returns their names. Raises StorageError."""
        return [pack(path) if self.gzip else path for path in paths]


def convert(
    tables: Sequence[Summary], out: str, form: TableForm, log: Callable[[str], None], *, covariates: Sequence[str] = ()
) -> None:
    """Put finished tables into their form, in place of plink2's text; their paths change. Of OUT and the phenotype's name.

    A table that the format has no columns for keeps plink2's, with a warning. covariates: where a model does not say.
    """
    for t in tables:
        record = TESTS[t.analysis.test]
        expressible = record.effects and t.path.endswith(record.suffix)
        if form.format == PLINK2 or not expressible:
            if form.format != PLINK2:
                log(f"WARNING: {t.path} stays in plink2's columns: {form.format} has none for it")
            (t.path,) = form.finish([t.path])
            continue
        source, name = t.path, t.analysis.phenotype
        mode = os.stat(source).st_mode & 0o777
        t.path = form.path(out, t.analysis.test, name)
        if form.format == REGENIE:
            if getattr(t.analysis.model, "null_variance", 0.0) is None:
                log(f"WARNING: {t.path}: CHISQ is the square of Student's t, not regenie's χ² with the variance of the null "
                    "model, which `statistic` regenie gives")  # fmt: skip
            write_regenie(t.path, source, digits=form.digits, mode=mode)
        else:
            known = tuple(t.analysis.model.covariates) if t.analysis.model is not None else tuple(covariates)
            about = About(name, form.genome_build or "", known, form.frequency_floor)
            for reason, count in write_gwas_ssf(t.path, source, about, mode=mode).left_out.items():
                log(f"{t.path}: {count} variants left out: {reason}")
        os.unlink(source)
