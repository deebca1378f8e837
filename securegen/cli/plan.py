"""securegen plan"""

from __future__ import annotations

import math
import shlex

import click

from securegen.catalogue import record_of
from securegen.cli import options as opt
from securegen.cli.command import rehearses, stop_rehearsal
from securegen.cli.runlog import CommandLog
from securegen.io.output import write_json


def describe(plan, design, log) -> None:
    """Print a plan: ring, layout, precision, bytes, and seconds as this machine is expected to take."""
    from numba import get_num_threads

    from securegen.engines.ckks.speed import machine_factor

    p, w = plan.parameters, plan.workload
    modulus = math.log2(p.ring.modulus)
    log(f"ring n = {p.ring.n}, {len(p.ring.primes)} primes of 30 bits ({modulus:.0f} bits), 128-bit security")
    log(
        f"{p.pack} samples × {p.strand_variants} variants a ciphertext, {p.strands} of them a block, {plan.blocks} blocks, "
        f"{p.groups} groups of samples"
    )
    log(f"{w.columns} encrypted columns of {w.bits} bits, {design.sample_sets} sample set(s)")
    log(f"noise: 15 standard deviations stay {p.margin_bits:.1f} bits below 1/2; every sum is exact")
    for a in design.analyses:
        promise = record_of(a).promise
        if promise is not None:
            log(promise.planned(a.model))
    size, time = plan.bytes(), plan.seconds(get_num_threads(), machine=machine_factor())
    log("estimate: " + ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in size.items()))
    log("estimate: " + ", ".join(f"{k} {v:.1f} s" for k, v in time.items()))


@click.command()
@opt.genotype_options()
@opt.design_options()
@opt.qc_options
@click.option("--squares", is_flag=True, help="Plan a stream of squared dosages, for designs that come later.")
@opt.run_options
@rehearses
def command(out: str, threads: int | None, memory: int | None, quiet: bool, squares: bool, **options) -> None:
    """Choose parameters and print time, bytes and precision before anything is encrypted.

    Writes OUT.plan.json: counts, precision and parameters, which are public, and the names of phenotypes and covariates;
    no data.
    """
    from securegen.engines.ckks import steps

    opt.use_threads(threads)
    log = CommandLog(out, "plan", quiet=quiet)
    with log.stage("plan"):
        study = opt.open_study(opt.inputs_from(options), log)
        plan = steps.plan(study, squares=squares or None)
        describe(plan, study.design, log)
        stop_rehearsal([f"{out}.plan.json", *log.files], plan=plan.to_json())
        write_json(f"{out}.plan.json", plan.to_json())
    log(f"wrote {out}.plan.json; next: securegen keygen --plan {shlex.quote(out)}.plan.json --out key")
    log.write(parameters=plan.parameters.to_json(), planned_noise_margin_bits=plan.parameters.margin_bits)
