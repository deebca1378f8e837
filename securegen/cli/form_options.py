"""How finished tables are laid out, as options: --digits, --format, --gzip and what GWAS-SSF's metadata need."""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import Function
from securegen.cli.options import apply_options
from securegen.results.forms import FORMATS, PLINK2, TableForm, options_of_formats


def table_options(command: Function) -> Function:
    """--digits, the format and --gzip."""
    digits = click.IntRange(3, 17)
    return click.option("--digits", type=digits, default=17, show_default=True, help="Significant digits.")(
        format_options(command)
    )


gzip_option = click.option("--gzip", is_flag=True, help="Write tables as .gz, which every command reads.")


def format_options(command: Function) -> Function:
    """--format, --genome-build, --frequency-floor, --gzip."""

    def users(name: str) -> str:
        return ", ".join(options_of_formats()[name])

    return apply_options(
        [
            click.option(
                "--format", type=click.Choice(list(FORMATS)), default=PLINK2, show_default=True,
                help="Columns of the tables; gwas-ssf also writes metadata.",
            ),
            click.option("--genome-build", metavar="BUILD",
                         help=f"Genome build of the cohort ({users('genome_build')}): GRCh37, GRCh38."),
            click.option("--frequency-floor", type=click.FloatRange(0, 0.5), default=0.0, metavar="F",
                         help=f"Write rarer allele frequencies as F ({users('frequency_floor')}) [as they are]."),
            click.option("--cols", metavar="A,B", help="Columns as plink2 names their sets: chrom,pos,p, or +a1freq,-ci [all]."),
            gzip_option,
        ]
    )(command)  # fmt: skip


def form_from(options: dict[str, Any], digits: int | None = None) -> TableForm:
    """Take the layout out of the options of a command. Raises UsageError for one without its partner."""
    number = options.pop("digits") if digits is None else digits
    build, floor = options.pop("genome_build"), options.pop("frequency_floor")
    return TableForm(number, options.pop("format"), build, floor, options.pop("gzip"), options.pop("cols"))
