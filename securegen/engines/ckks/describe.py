"""A plan in words: ring, layout, precision, bytes and seconds."""

from __future__ import annotations

import math

from numba import get_num_threads

from securegen.design.columns import Design
from securegen.design.linear import LinearModel
from securegen.design.logistic import ScoreModel
from securegen.engines.ckks.planner import Plan
from securegen.engines.ckks.speed import machine_factor
from securegen.stats.linear import expected_t_error, planned_t_error
from securegen.stats.score_test import expected_chisq_error
from securegen.study.inputs import Log


def describe(plan: Plan, design: Design, log: Log) -> None:
    """Print a plan: ring, layout, precision, bytes, and seconds as this machine is expected to take."""
    p, w = plan.parameters, plan.workload
    modulus = math.log2(p.ring.modulus)
    log(f"ring n = {p.ring.n}, {len(p.ring.primes)} primes of 30 bits ({modulus:.0f} bits), 128-bit security")
    log(
        f"{p.pack} samples × {p.strand_variants} variants a ciphertext, {p.strands} of them a block, {plan.blocks} blocks, "
        f"{p.groups} groups of samples"
    )
    log(f"{w.columns} encrypted columns of {w.bits} bits, {design.sample_sets} sample set(s)")
    log(f"noise: 15 standard deviations stay {p.margin_bits:.1f} bits below 1/2; every sum is exact")
    for model in (a.model for a in design.analyses):
        if isinstance(model, LinearModel):
            log(
                f"precision of T for {model.phenotype}: certain {planned_t_error(model):.1e}·(1 + T²/df) as planned, "
                f"expected within {expected_t_error(model):.1e}"
            )
        elif isinstance(model, ScoreModel):
            log(f"precision of χ² for {model.phenotype}: expected within {expected_chisq_error(model):.1e}·max(1, χ²)")
    size, time = plan.bytes(), plan.seconds(get_num_threads(), machine=machine_factor())
    log("estimate: " + ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in size.items()))
    log("estimate: " + ", ".join(f"{k} {v:.1f} s" for k, v in time.items()))
