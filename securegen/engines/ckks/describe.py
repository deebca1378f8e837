"""A plan in words: ring, layout, precision, bytes and seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numba import get_num_threads

from securegen.catalogue import record_of
from securegen.design.strata import Stratum, analyses_of
from securegen.engines.ckks.planner import Plan
from securegen.engines.ckks.speed import machine_factor
from securegen.study.inputs import Log


def describe(plan: Plan, strata: Sequence[Stratum], log: Log, *, machine: float | None = None) -> None:
    """Print a plan: ring, layout, precision, bytes, and seconds as this machine is expected to take. machine: as of
    `Plan.seconds`, None: it is measured."""
    p, w = plan.parameters, plan.workload
    modulus = math.log2(p.ring.modulus)
    log(f"ring n = {p.ring.n}, {len(p.ring.primes)} primes of 30 bits ({modulus:.0f} bits), 128-bit security")
    log(
        f"{p.pack} samples × {p.strand_variants} variants per ciphertext, {p.strands} of them per block, {plan.blocks} blocks, "
        f"{p.groups} groups of samples"
        + (f"; {p.digits} variants per coefficient, {p.digit_bits} bits apart" if p.digits > 1 else "")
        + (f"; columns in up to {p.column_digits} digits of {p.column_bits} bits" if p.column_digits > 1 else "")
    )
    if w.sets:
        log(
            f"{len(w.sets)} designs, by chromosome, of up to {w.columns} encrypted columns {w.precision}, {w.stored} in all"
        )
    else:
        log(f"{w.columns} encrypted columns {w.precision}, {strata[0].design.sample_sets} sample set(s)")
    log(f"noise: 15 standard deviations stay {p.margin_bits:.1f} bits below 1/2; every sum is exact")
    for a in analyses_of(strata):
        promise = record_of(a).promise
        if promise is not None:
            log(promise.planned(a.model))
    size, time = plan.bytes(), plan.seconds(get_num_threads(), machine=machine or machine_factor())
    log("estimate: " + ", ".join(f"{k} {v / 1e6:.1f} MB" for k, v in size.items()))
    log("estimate: " + ", ".join(f"{k} {v:.1f} s" for k, v in time.items()))
