"""run-local prs with --engine mpc: people, the model's owner and a dealer, each a process of its own."""

from __future__ import annotations

import os
from dataclasses import fields

from securegen.cli.run_mpc import TIMEOUT, genotype_flags, run_parties
from securegen.engines.mpc.deployment import ROLES, SCORES
from securegen.engines.mpc.loopback import loopback_study
from securegen.errors import UsageError
from securegen.io.output import PRIVATE, copy_file
from securegen.io.table_files import pack
from securegen.local.folders import PARTIES, working_folder
from securegen.record.run_log import RunLog, print_end
from securegen.scores.study import ScoreInputs
from securegen.study.build import Inputs

TAKEN = ("score", "columns", "allow", "digits", "gzip")
FLAGS = {"bits": "weight-bits", "minimum": "min-variants", "intercept": "risk-intercept", "slope": "risk-slope"}


def run_mpc_scores(genotypes: Inputs, inputs: ScoreInputs, out: str, log: RunLog, *, keep_files: bool) -> None:
    """Make keys and parties.toml for this run, start every party, gather scores and records."""
    defaults = ScoreInputs(inputs.score)
    odd = [
        f.name for f in fields(inputs) if f.name not in TAKEN and getattr(inputs, f.name) != getattr(defaults, f.name)
    ]
    if odd:
        flag = FLAGS.get(odd[0], odd[0].replace("_", "-"))
        raise UsageError(f"--{flag} cannot be chosen with --engine mpc: the model's owner does not see genotypes")
    model = ["party", "--role", "model", "--reply-limit", str(1 << 40)]
    for path in inputs.score:
        model += ["--score", os.path.abspath(path)]
    if inputs.columns:
        model += ["--score-col-nums", ",".join(map(str, inputs.columns))]
    for name in inputs.allow:
        model += ["--allow-small-score", name]
    calls = {"genotypes": ["party", "--role", "genotypes", *genotype_flags(genotypes)], "model": model}
    calls["dealer"] = ["dealer"]
    with working_folder(out, PARTIES, keep=keep_files, log=log) as work:
        loopback_study(work, ROLES[SCORES], timeout=TIMEOUT)
        records = run_parties(work, calls, inputs.digits)
        (made,) = records["genotypes"]["files"]
        copy_file(made, f"{out}.sscore", mode=PRIVATE)
        if inputs.gzip:
            pack(f"{out}.sscore")
    sent = {name: record["bytes"]["sent"][name] for name, record in records.items()}
    dealt = sent.pop("dealer")
    log.seconds["offline"] = records["dealer"]["seconds"]["offline"]
    log.seconds["online"] = log.seconds["score"] = records["genotypes"]["seconds"]["online"]
    receipt = records["genotypes"]["receipt"] | {"released": [inputs.table(out)]}
    receipt["warnings"] = [
        *receipt["warnings"],
        "the limit of replies is lifted for this run alone, whose model lives as long",
    ]
    log.note([f"who learned what ({receipt['scenario']}):"])
    log.note(f"  {p['name']}: holds {p['holds']}; learns {p['learns']}" for p in receipt["parties"])
    log.note(f"  WARNING: {w}" for w in receipt["warnings"])
    log.write(
        engine="mpc", split=SCORES, inputs=genotypes.digests() | inputs.digests(), receipt=receipt,
        samples=records["genotypes"]["samples_stored"], samples_stored=records["genotypes"]["samples_stored"],
        bytes={"sent": sent, "dealer": dealt, "rounds": max(r["bytes"]["rounds"] for r in records.values())},
        parameters={"bits": inputs.bits, "digits": inputs.digits}, planned_noise_margin_bits=None,
        peak_rss_bytes=max(r["peak_rss_bytes"] for r in records.values()),
    )  # fmt: skip
    print_end(log, [inputs.table(out)])
