"""How finished tables are laid out: --digits, --format and what GWAS-SSF's metadata need."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from securegen.cli.options import _apply
from securegen.errors import UsageError
from securegen.io.gwas_ssf import About, write_gwas_ssf
from securegen.io.pgs_catalog import normalise_build
from securegen.io.regenie import write_regenie
from securegen.io.sumstats import FORMATS, FULL_DIGITS
from securegen.io.tables import read_table
from securegen.stats.tables import Summary
from securegen.study import Inputs
from securegen.vocabulary import TABLE_SUFFIX

PLINK2, REGENIE, GWAS_SSF = FORMATS
EXPRESSIBLE = ("linear", "logistic")  # tests whose tables the other formats have columns for


@dataclass(frozen=True)
class TableForm:
    """digits: significant; format: one of `FORMATS`; genome_build, frequency_floor: of GWAS-SSF."""

    digits: int = FULL_DIGITS
    format: str = PLINK2
    genome_build: str | None = None
    frequency_floor: float = 0.0

    def __post_init__(self) -> None:
        if self.format == GWAS_SSF and not self.genome_build:
            raise UsageError("--format gwas-ssf needs --genome-build (GRCh37, GRCh38): the standard demands it")
        if self.format != GWAS_SSF and (self.genome_build or self.frequency_floor):
            raise UsageError("--genome-build and --frequency-floor are for --format gwas-ssf")

    def check(self, model: str | None, *, projected: bool = False) -> None:
        """Raise UsageError for a test or a reveal whose tables the format has no columns for."""
        if self.format == PLINK2:
            return
        if model not in (None, *EXPRESSIBLE):
            raise UsageError(f"--format {self.format} has no columns for --model {model}: leave it in plink2's")
        if projected:
            raise UsageError(f"--format {self.format} has no columns for --reveal hits or uv: leave it in plink2's")


def table_options(command: Callable) -> Callable:
    """--digits and the format."""
    digits = click.IntRange(3, 17)
    return click.option("--digits", type=digits, default=17, show_default=True, help="Significant digits.")(
        format_options(command)
    )


def format_options(command: Callable) -> Callable:
    """--format, --genome-build, --frequency-floor."""
    return _apply(
        [
            click.option(
                "--format", "table_format", type=click.Choice(FORMATS), default=PLINK2, show_default=True,
                help="Columns of the tables; gwas-ssf also writes metadata.",
            ),
            click.option("--genome-build", metavar="BUILD", help="Genome build of the cohort (gwas-ssf): GRCh37, GRCh38."),
            click.option("--frequency-floor", type=click.FloatRange(0, 0.5), default=0.0, metavar="F",
                         help="Write rarer allele frequencies as F (gwas-ssf) [as they are]."),
        ]
    )(command)  # fmt: skip


def form_from(options: dict[str, Any], digits: int | None = None) -> TableForm:
    """Take the layout out of the options of a command. Raises UsageError for one without its partner."""
    number = options.pop("digits") if digits is None else digits
    build = normalise_build(options.pop("genome_build"))
    return TableForm(number, options.pop("table_format"), build, options.pop("frequency_floor"))


def convert(
    tables: Sequence[Summary], out: str, form: TableForm, log: Callable[[str], None], *, covariates: Sequence[str] = ()
) -> None:
    """Put finished tables into another format, in place of plink2's; their paths change. Of OUT and the phenotype's name.

    A table that the format has no columns for stays as it is, with a warning. covariates: where a model does not say.
    """
    for t in tables if form.format != PLINK2 else ():
        if t.analysis.test not in EXPRESSIBLE or not t.path.endswith(TABLE_SUFFIX[t.analysis.test]):
            log(f"WARNING: {t.path} stays in plink2's columns: {form.format} has none for it")
            continue
        source, name = t.path, t.analysis.phenotype
        mode = os.stat(source).st_mode & 0o777
        if form.format == REGENIE:
            t.path = f"{out}_{name}.regenie"
            write_regenie(t.path, source, digits=form.digits, mode=mode)
        else:
            t.path = f"{out}.{name}.gwas-ssf.tsv"
            known = tuple(t.analysis.model.covariates) if t.analysis.model is not None else tuple(covariates)
            about = About(name, form.genome_build or "", known, form.frequency_floor)
            for reason, count in write_gwas_ssf(t.path, source, about, mode=mode).left_out.items():
                log(f"{t.path}: {count} variants left out: {reason}")
        os.unlink(source)


def covariates_of(inputs: Inputs) -> tuple[str, ...]:
    """Names of the covariates that the options choose."""
    return tuple(read_table(Path(inputs.covar)).select(inputs.covar_name).columns) if inputs.covar else ()
