"""securegen run-local: every role of a study on this machine, through the files of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import Group, dry_run, rehearses, stop_rehearsal
from securegen.cli.engine_options import engine_from, engine_options, given_engine
from securegen.cli.form_options import form_from, gzip_option, table_options
from securegen.cli.mask_options import mask_options
from securegen.cli.part_options import JOIN, part_options, part_out, spread
from securegen.cli.progress import progress
from securegen.cli.qc import quality_options
from securegen.cli.run_local_prs import prs
from securegen.cli.runlog import CommandLog
from securegen.engines.protocol import Engine, EngineRun, part_facts, study_facts
from securegen.record.run_log import RunLog, print_end
from securegen.results.forms import TableForm
from securegen.results.sets import sets_path
from securegen.results.summary import print_summaries
from securegen.results.write import qc_files
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs
from securegen.study.opening import Study


@click.group(cls=Group)
def command() -> None:
    """Run every role of a study on this machine, each as a process of its own."""


command.add_command(prs)


@command.command()
@engine_options()
@opt.genotype_options(several=True)
@opt.design_options()
@mask_options
@opt.filter_options
@click.option("--hwe-controls", is_flag=True, help="--hwe over controls only.")
@table_options
@click.option("--compare-plain", is_flag=True, help="Also run the plain engine; say whether the tables are identical.")
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
    filters, form = opt.filters_from(options), form_from(options)
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


def run_engine(
    engine: Engine, members: Sequence[Inputs], out: str, form: TableForm, log: RunLog, filters: Filters | None = None, *,
    qc_only: bool = False, compare: bool = False,
) -> None:  # fmt: skip
    """Check, open, run, and say what was done. compare: with the plain engine, table by table."""
    from securegen.engines.comparison import check_comparison, compare_with_plain
    from securegen.engines.governed import check_tables, gate_of_study
    from securegen.governance.policy import FULL

    if compare:
        check_comparison(engine, members)
    engine.check(members, form, filters)
    with log.stage("plan"):
        study = engine.open(members, log, qc_only=qc_only)
    engine.check_study(study)
    if dry_run():
        gate = gate_of_study(engine.name, study, log, qc_only=qc_only)
        check_tables(gate, study, reveal=getattr(engine, "reveal", None) or FULL, qc_only=qc_only)
        engine.describe(study, log)
        _end_rehearsal(engine, study, out, form, log, qc_only=qc_only)
    run = engine.run(study, out, form, log, filters=filters, qc_only=qc_only, bars=partial(progress, quiet=log.quiet))
    _report(run, study, log, filters)
    if compare:
        compare_with_plain(engine, run, study, form, log, filters)


def _end_rehearsal(engine: Engine, study: Study, out: str, form: TableForm, log: RunLog, *, qc_only: bool) -> None:
    """End a dry run here, with the names of the tables."""
    tests = [a for a in study.analyses if a.association]
    tables = [form.path(out, engine.opened or a.test, a.phenotype) for a in tests]
    if study.sets is not None:
        tables += [form.packed(sets_path(out, a.phenotype)) for a in study.sets.analyses if a.association]
    if qc_only:
        tables = [form.packed(f"{out}.{name}") for name in qc_files(study.strata, study.reader.dosage_grid)]
    stop_rehearsal([*tables, *log.files], **study_facts(study))


def _report(run: EngineRun, study: Study, log: RunLog, filters: Filters | None) -> None:
    print_summaries(run.tables, log, filters)
    for line in run.remarks:
        log(line)
    log.note(run.receipt.lines())
    log.write(**run.record(), **part_facts(study, log.out, run.paths))
    print_end(log, run.paths, None if study.part is None else JOIN)
