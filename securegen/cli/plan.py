"""securegen plan"""

from __future__ import annotations

import shlex
from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses, stop_rehearsal
from securegen.cli.filter_options import qc_options
from securegen.cli.mask_options import mask_options
from securegen.cli.runlog import CommandLog
from securegen.io.output import write_json


@click.command()
@opt.genotype_options()
@opt.design_options()
@mask_options
@qc_options
@click.option("--squares", is_flag=True, help="Also plan squared dosages, which designs that come later need.")
@click.option(
    "--scores", is_flag=True, help="One variant per coefficient: more bytes, but the cohort can also be scored."
)
@opt.run_options
@rehearses
def command(
    out: str, threads: int | None, memory: int | None, quiet: bool, squares: bool, scores: bool, **options: Any,
) -> None:  # fmt: skip
    """Choose parameters and print time, bytes and precision before anything is encrypted.

    Writes OUT.plan.json: counts, precision and parameters, which are public, and the names of phenotypes and covariates;
    no data. OUT.run.json, which --json prints, has memory, time, disk and the number of parts of every step for a scheduler.
    """
    from numba import get_num_threads

    from securegen.engines.ckks import steps
    from securegen.engines.ckks.describe import describe
    from securegen.engines.ckks.speed import machine_factor
    from securegen.engines.costs import describe_costs, shape_of, step_costs
    from securegen.engines.governed import check_tables, gate_of_study

    opt.use_threads(threads)
    log = CommandLog(out, "plan", quiet=quiet)
    with log.stage("plan"):
        study = opt.open_study(opt.inputs_from(options), log)
        check_tables(gate_of_study("ckks", study, log), study)
        plan = steps.plan(study, squares=squares or None, scores=scores)
        machine = machine_factor()
        describe(plan, study.strata, log, machine=machine)
        shape = shape_of(study.reader, study.strata)
        costs = step_costs(plan, shape, cores=threads or get_num_threads(), machine=machine)
        describe_costs(costs, log)
        stop_rehearsal([f"{out}.plan.json", *log.files], plan=plan.to_json())
        write_json(f"{out}.plan.json", plan.to_json())
    log(f"wrote {out}.plan.json; next: securegen keygen --plan {shlex.quote(out)}.plan.json --out key")
    log.write(
        parameters=plan.parameters.to_json(), planned_noise_margin_bits=plan.parameters.margin_bits,
        steps={name: cost.to_json() for name, cost in costs.items()},
    )  # fmt: skip
