"""securegen qc"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import Function, rehearses
from securegen.cli.form_options import gzip_option
from securegen.cli.part_options import part_options, part_out, spread
from securegen.cli.runlog import CommandLog
from securegen.results.forms import TableForm


def quality_options(command: Function) -> Function:
    """Of commands for quality control alone."""
    options = [
        click.option("--pheno", metavar="FILE", help="Phenotypes, for --hwe-controls and --sex-name."),
        click.option(
            "--hwe-controls", is_flag=True, help="Test Hardy–Weinberg in controls only (first binary phenotype)."
        ),
        opt.sex_option,
    ]
    return opt.apply_options(options)(command)


@click.command()
@opt.genotype_options()
@quality_options
@gzip_option
@part_options
@opt.run_options
@rehearses
def command(
    gzip: bool, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Allele frequencies, missingness and Hardy–Weinberg tests of your own genotypes, in the clear.

    Writes OUT.afreq, OUT.vmiss, OUT.hardy and, for X, OUT.hardy.x in plink2's columns. Under encryption: encrypt --qc, then
    decrypt --qc-tables; or securegen run-local qc --engine ckks.
    """
    from securegen.cli.engine_run import run_engine
    from securegen.engines.plain.engine import Plain

    opt.use_threads(threads)
    log = CommandLog(part_out(out, options["blocks"]), "qc", quiet=quiet)
    if spread(options, log):
        return
    run_engine(Plain(), [opt.inputs_from(options, qc=True)], log.out, TableForm(gzip=gzip), log, qc_only=True)
