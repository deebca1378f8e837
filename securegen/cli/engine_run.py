"""One run of an engine by a command: checked, opened, run, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from securegen.cli.command import dry_run, stop_rehearsal
from securegen.cli.part_options import JOIN
from securegen.cli.progress import progress
from securegen.engines.protocol import Engine, EngineRun, part_facts, study_facts
from securegen.record.run_log import RunLog, print_end
from securegen.results.forms import TableForm
from securegen.results.sets import sets_path
from securegen.results.summary import print_summaries
from securegen.results.write import qc_files
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs
from securegen.study.opening import Study


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
    _report(run, study, log, form, filters)
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


def _report(run: EngineRun, study: Study, log: RunLog, form: TableForm, filters: Filters | None) -> None:
    print_summaries(run.tables, log, filters)
    for line in run.remarks:
        log(line)
    log.note(run.receipt.lines())
    log.write(**run.record(), **part_facts(study, log.out, run.paths, form, filters))
    print_end(log, run.paths, None if study.part is None else JOIN)
