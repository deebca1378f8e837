"""securegen run-local: every role of a study on this machine, through the files of a deployment."""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import Group, rehearses
from securegen.cli.engine_options import engine_from, engine_options, given_engine
from securegen.cli.engine_run import run_engine
from securegen.cli.filter_options import filter_options, filters_from
from securegen.cli.form_options import form_from, gzip_option, table_options
from securegen.cli.mask_options import mask_options
from securegen.cli.part_options import part_options, part_out, spread
from securegen.cli.qc import quality_options
from securegen.cli.run_local_prs import prs
from securegen.cli.runlog import CommandLog
from securegen.results.forms import TableForm


@click.group(cls=Group)
def command() -> None:
    """Run every role of a study on this machine, each as its own process."""


command.add_command(prs)


@command.command()
@engine_options()
@opt.genotype_options(several=True)
@opt.design_options()
@mask_options
@filter_options
@click.option("--hwe-controls", is_flag=True, help="Test --hwe in controls only.")
@table_options
@click.option(
    "--compare-plain", is_flag=True, help="Also run the plain engine, and say whether the tables are identical."
)
@part_options
@opt.run_options
@rehearses
def gwas(compare_plain: bool, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any) -> None:
    """Association with every role as its own process, through the files of a deployment.

    It never prompts: its key is its own, under a random passphrase, and deleted at the end.
    """
    opt.use_threads(threads)
    name, engine = given_engine(options), engine_from(options, threads=threads, memory=memory)
    engine = engine.rehearsing() if compare_plain else engine
    filters, form = filters_from(options), form_from(options)
    cohorts = opt.cohorts_from(options)
    members = [opt.inputs_from(options | c, qc=filters.active) for c in cohorts]
    log = CommandLog(part_out(out, options["blocks"]), f"run-local gwas --engine {name}", quiet=quiet)
    if spread(options, log):
        return
    run_engine(engine, members, log.out, form, log, filters, compare=compare_plain)


@command.command()
@engine_options(quality=True)
@opt.genotype_options()
@quality_options
@gzip_option
@part_options
@opt.run_options
@rehearses
def qc(gzip: bool, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any) -> None:
    """Allele frequencies, missingness and Hardy–Weinberg tests, in the clear or encrypted."""
    opt.use_threads(threads)
    name, engine = given_engine(options), engine_from(options, threads=threads, memory=memory)
    inputs = opt.inputs_from(options, qc=True)
    log = CommandLog(part_out(out, options["blocks"]), f"run-local qc --engine {name}", quiet=quiet)
    if spread(options, log):
        return
    run_engine(engine, [inputs], log.out, TableForm(gzip=gzip), log, qc_only=True)
