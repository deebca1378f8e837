"""run-local with --engine mpc: every party a process of its own, over mutual TLS on the loopback interface."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.catalogue import uses_missing
from securegen.cli import options as opt
from securegen.cli.summary import print_end, print_summaries, promises, summary_of
from securegen.cli.table_form import TableForm, convert, covariates_of
from securegen.engines.mpc.deployment import AGGREGATES, HORIZONTAL, OUTSOURCED, ROLES, VERTICAL
from securegen.engines.mpc.gwas import ask_consent
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.projected import HITS
from securegen.engines.mpc.projected_run import public_group
from securegen.errors import UsageError
from securegen.governance.openings import STRICT
from securegen.io.output import copy_file
from securegen.io.strict_json import read_json
from securegen.local.folders import PARTIES, working_folder
from securegen.local.processes import run_together
from securegen.record.run_log import RunLog
from securegen.results.write import Summary
from securegen.stats.projection import project
from securegen.stats.qc import Filters
from securegen.study.inputs import Inputs

TIMEOUT = 600.0  # the longest silence of a party, in seconds
GENOTYPE_FILTERS = ("keep", "remove", "extract", "exclude", "chr", "from_bp", "to_bp")
_DESIGN = ("pheno", "pheno_name", "covar", "covar_name", "model", "missing", "bits", "covar_categorical")
_FILES = ("keep", "remove", "extract", "exclude", "pheno", "covar")


@dataclass(frozen=True)
class Choices:
    """The options of `--engine mpc`."""

    split: str | None
    sites: int | None = None
    reveal: str | None = None
    threshold: float | None = None
    consent_aggregates: bool = False
    threads: int = 1
    openings: str = STRICT

    @property
    def opened(self) -> str | None:
        """What a vertical split opens instead of whole tables."""
        return (self.reveal or HITS) if self.split == VERTICAL and self.reveal != AGGREGATES else None


def run_mpc(
    members: Sequence[Inputs], choices: Choices, out: str, form: TableForm, log: RunLog, filters: Filters, *,
    keep_files: bool,
) -> list[Summary]:  # fmt: skip
    """Make keys and parties.toml for this run, start every party, gather tables and records."""
    inputs = members[0]
    split = check(members, choices, filters)
    with working_folder(out, PARTIES, keep=keep_files, log=log) as work:
        with log.stage("plan"):
            design = opt.open_study(inputs, log).design
            limit = len(design.columns.names)
            if choices.opened:
                limit = sum(public_group(p, ()).columns for p in project(design))
            calls = _owner_calls(inputs, choices, split, limit)
            loopback_study(work, ROLES[split], timeout=TIMEOUT)
        with log.stage("gwas"):
            records = run_parties(work, calls, form.digits)
        tables = _tables(work, records, out)
        convert(tables, out, form, log, covariates=covariates_of(inputs))
        _finish(inputs, split, tables, records, log)
        return tables


def check(members: Sequence[Inputs], choices: Choices, filters: Filters) -> str:
    """The split. Raises UsageError for options that do not go together, PolicyError without the owners' consent."""
    split, inputs = choices.split, members[0]
    if split is None:
        raise UsageError(f"--engine mpc needs --split {HORIZONTAL}, {VERTICAL} or {OUTSOURCED}")
    if filters.active:
        raise UsageError("the filters of quality control do not go with --engine mpc; filter variants by --extract")
    if inputs.missing != "mean" and uses_missing(inputs.model):
        raise UsageError("--missing complete needs genotypes in the clear: --engine plain")
    if len(members) > 1 or choices.sites:
        raise UsageError(f"several files of genotypes and --sites are for --split {HORIZONTAL}")
    if split != VERTICAL and choices.reveal not in (None, AGGREGATES):
        raise UsageError(f"--reveal {choices.reveal} is for --split {VERTICAL}")
    if choices.threshold is not None and (split != VERTICAL or choices.reveal not in (None, HITS)):
        raise UsageError(f"--threshold is for --split {VERTICAL} --reveal {HITS}")
    if split == VERTICAL and choices.reveal == AGGREGATES:
        ask_consent(choices.consent_aggregates)
    return split


def flags_of(inputs: Inputs, names: Sequence[str]) -> list[str]:
    """The options of `securegen party` that give it these fields of `inputs`."""
    out = []
    for name in names:
        value = getattr(inputs, name)
        if value is None:
            continue
        if name in _FILES:
            value = os.path.abspath(value)
        out += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    if "pheno" in names:
        out += ["--1"] * inputs.force_01 + ["--apply-rint"] * inputs.apply_rint
        out += ["--no-input-missing-phenotype"] * inputs.no_input_missing_phenotype
    return out


def genotype_flags(inputs: Inputs) -> list[str]:
    """The options of `securegen party` that give it the genotypes of `inputs`."""
    return [*inputs.genotypes.words(), *flags_of(inputs, GENOTYPE_FILTERS)]


def _owner_calls(inputs: Inputs, choices: Choices, split: str, limit: int) -> dict[str, list[str]]:
    agreed = ["--consent-aggregates"] * choices.consent_aggregates
    agreed += ["--reveal", choices.reveal] if choices.reveal else []
    agreed += ["--threshold", repr(choices.threshold)] if choices.threshold is not None else []
    share = str(max(1, choices.threads // 2))
    calls = {
        "genotypes": ["party", "--role", "genotypes", "--column-limit", str(limit), *genotype_flags(inputs)],
        "phenotypes": ["party", "--role", "phenotypes", "--column-limit", str(limit), *flags_of(inputs, _DESIGN)],
    }
    for call in calls.values():
        call += agreed
    if choices.opened is None:
        calls["genotypes"] += ["--openings", choices.openings]
    for name, role in ROLES[split].items():
        if role == "server":
            calls[name] = ["party", "--role", "server"]
    calls["dealer"] = ["dealer"]
    return {name: [*call, "--threads", share] for name, call in calls.items()}


def run_parties(work: Path, calls: dict[str, list[str]], digits: int) -> dict[str, dict[str, Any]]:
    """Every party's run.json. Raises the error of the party that failed first of itself, with its exit code."""
    commands = {}
    for name, call in calls.items():
        more = ["--digits", str(digits)] if call[0] == "party" else []
        place = ["--config", str(work / "parties.toml"), "--name", name, "--out", str(work / name)]
        commands[name] = [sys.executable, "-m", "securegen", *call, *more, *place, "--quiet"]
    run_together(commands)
    return {name: read_json(work / f"{name}.run.json", "the record of a run") for name in calls}


def _tables(work: Path, records: dict[str, dict[str, Any]], out: str) -> list[Summary]:
    """Copy the tables here."""
    tables = []
    for s in records["phenotypes"]["summaries"]:
        path = out + s["path"].removeprefix(str(work / "phenotypes"))
        copy_file(s["path"], path)
        tables.append(summary_of(s, path))
    return tables


def _finish(
    inputs: Inputs, split: str, tables: Sequence[Summary], records: dict[str, dict[str, Any]], log: RunLog
) -> None:
    print_summaries(tables, log)
    first = records["phenotypes"]
    receipt = records["genotypes"]["receipt"] | {"released": [t.path for t in tables]}
    sent = {name: record["bytes"]["sent"][name] for name, record in records.items()}
    dealt = sent.pop("dealer")
    rounds = max(record["bytes"]["rounds"] for record in records.values())
    log(
        f"sent {sum(sent.values()) / 1e6:.3f} MB between {len(sent)} parties, dealer {dealt / 1e6:.3f} MB, {rounds} rounds"
    )
    log.seconds["offline"] = records["dealer"]["seconds"]["offline"]
    log.seconds["online"] = first["seconds"]["online"]
    log.note([f"who learned what ({receipt['scenario']}):"])
    log.note(f"  {p['name']}: holds {p['holds']}; learns {p['learns']}" for p in receipt["parties"])
    log.note(f"  assumed: {a}" for a in receipt["assumptions"])
    log.note(f"  WARNING: {w}" for w in receipt["warnings"])
    stored = [r["samples_stored"] for r in records.values() if "samples_stored" in r]
    own = ("samples", "covariates", "covariate_names", "phenotypes", "missing", "parameters", "reveal")
    log.write(
        engine="mpc", split=split, inputs=inputs.digests(), samples_stored=sum(stored),
        variants=max(r.get("variants", 0) for r in records.values()),
        planned_noise_margin_bits=None,
        bytes={"sent": sent, "dealer": dealt, "rounds": rounds}, promise=promises(tables), receipt=receipt,
        peak_rss_bytes=max(r["peak_rss_bytes"] for r in records.values()), **{name: first[name] for name in own},
    )  # fmt: skip
    print_end(log, [t.path for t in tables])
