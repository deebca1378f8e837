"""The multi-party engine as a choice: every party a process of its own here, over mutual TLS on the loopback interface."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from securegen.engines.governed import refuse_idle_purpose
from securegen.engines.mpc import steps
from securegen.engines.mpc.announced import refuse_sexless
from securegen.engines.mpc.deployment import AGGREGATES, HORIZONTAL, OUTSOURCED, REVEALS, ROLES, VERTICAL
from securegen.engines.mpc.gwas import ask_consent
from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.masks import refuse_masks
from securegen.engines.mpc.projected import CHI2, HITS
from securegen.engines.mpc.projected_groups import public_group
from securegen.engines.protocol import (
    KEEP_FILES,
    Engine,
    EngineRun,
    covariates_of,
    files_of,
    members_of,
    noise_facts,
    option,
    strata_facts,
)
from securegen.engines.score_protocol import Bars, no_bars
from securegen.errors import UsageError
from securegen.governance.openings import ALL, LEVELS, STRICT
from securegen.io.genotypes import FIELDS
from securegen.io.output import copy_file
from securegen.local.folders import PARTIES, working_folder
from securegen.local.launcher import Role, given, launch
from securegen.local.threads import run_in_threads
from securegen.model import Sums, coding_of
from securegen.record.receipt import Receipt
from securegen.record.run_log import RunLog
from securegen.results.forms import TableForm, convert
from securegen.results.summary import coding_facts, summary_of
from securegen.results.write import Summary
from securegen.stats.projection import project
from securegen.stats.qc import Filters
from securegen.study.consented import claim_release
from securegen.study.inputs import ASKING, NOISE, Inputs
from securegen.study.opening import Study

GENOTYPE_FILTERS = ("keep", "remove", "extract", "exclude", "chr", "from_bp", "to_bp", "split_par",
                    "dominant", "recessive", "hetonly", "purpose", "consent", "mondo",
                    "anno_file", "set_list", "mask_def", "aaf_file", "aaf_bins", "build_mask")  # fmt: skip
DESIGN = ("pheno", "pheno_name", "covar", "covar_name", "model", "missing", "bits", "covar_categorical", "force_01",
          "apply_rint", "no_input_missing_phenotype", "common_samples", "sex_name", "statistic", "xchr_model",
          "pred", "interaction", "generalise", *NOISE)  # fmt: skip
TOLD = ("samples", "covariates", "covariate_names", "phenotypes", "missing", "parameters", "reveal")


@dataclass(frozen=True)
class Mpc(Engine):
    """Secret sharing. split: genotypes and phenotypes at two owners (vertical), or shared out to two servers (outsourced);
    reveal: what a vertical split opens, None: hits, of p-values up to threshold (None: 5e-8); consent_aggregates: both
    owners agree to open all sums, whose openings are as in `Federated`."""

    name: ClassVar[str] = "mpc"
    elsewhere: ClassVar[Mapping[tuple[str, str], str]] = {("split", HORIZONTAL): "federated"}
    reveals: ClassVar[frozenset[str]] = frozenset(REVEALS)
    filters: ClassVar[bool] = False
    codings: ClassVar[bool] = True
    masks: ClassVar[bool] = True

    split: str | None = option(
        None, f"Who holds what; {HORIZONTAL} is --engine federated.", choices=(HORIZONTAL, VERTICAL, OUTSOURCED)
    )
    reveal: str | None = option(
        None, "What a vertical split opens [hits]; uv and chi2 also work in the clear.", choices=REVEALS
    )
    threshold: float | None = option(None, "Largest p-value of a hit (--reveal hits) [5e-8].", metavar="P")
    consent_aggregates: bool = option(False, "Both owners agree to open all sums.")
    openings: str | None = option(
        None, "What sums may show of few people: strict; consortium also opens variants that few tell apart; all has no such "
        "rule, for rehearsals on one owner's data [strict; all beside --compare-plain].", choices=LEVELS,
    )  # fmt: skip
    keep_files: bool = option(False, KEEP_FILES)
    threads: int | None = None

    @property
    def opened(self) -> str | None:
        return (self.reveal or HITS) if self.split == VERTICAL and self.reveal != AGGREGATES else None

    def check_study(self, study: Study) -> None:
        """Raise UsageError where X or Y need sexes that nobody has."""
        refuse_sexless(study.inputs, study.reader)

    def check(self, members: Sequence[Inputs], form: TableForm, filters: Filters | None = None) -> None:
        if self.split is None:
            raise UsageError(f"engine mpc needs a `split`: {VERTICAL} or {OUTSOURCED}, or engine federated")
        if self.split == HORIZONTAL:
            raise UsageError(f"`split` {HORIZONTAL} is engine federated")
        refuse_masks(members[0], opened=self.opened, openings=self.openings)
        super().check(members, form, filters)
        if self.split != VERTICAL and self.reveal not in (None, AGGREGATES):
            raise UsageError(f"`reveal` {self.reveal} is for `split` {VERTICAL}")
        if self.threshold is not None and self.opened != HITS:
            raise UsageError(f"`threshold` is for `split` {VERTICAL} and `reveal` {HITS}")
        if self.openings is not None and self.opened is not None:
            raise UsageError(
                f"`openings` are for parties who see sums of each other's people: engine federated, `split` {OUTSOURCED} or "
                f"`reveal` {AGGREGATES}, not `reveal` {self.opened}"
            )
        if self.split == VERTICAL and self.reveal == AGGREGATES:
            ask_consent(self.consent_aggregates)

    def rehearsing(self) -> Mpc:
        if self.opened in (HITS, CHI2):
            raise UsageError(f"whole tables of equal text are compared: `reveal` uv or {AGGREGATES}, not {self.opened}")
        if self.openings not in (None, ALL):
            raise UsageError(f"whole tables of one owner's data are compared: `openings` {ALL}, not {self.openings}")
        return self if self.opened else replace(self, openings=ALL)

    def sums(self, study: Study) -> Iterator[Sums]:
        """What the phenotype owner receives, every party a thread of this process. Raises UsageError where no sum is opened."""
        self.check(members_of(study), TableForm())
        if self.opened:
            raise UsageError(f"reveal {self.opened} opens no sum: reveal {AGGREGATES}, or split {OUTSOURCED}")
        files_of(study, self.name)
        refuse_idle_purpose(members_of(study)[0])
        roles, found = ROLES[str(self.split)], list[Sums]()
        with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
            work = Path(folder)
            parties = loopback_study(work, roles)
            limit = _columns(study)

            def part(name: str) -> Callable[[], object]:
                if roles[name] == "dealer":
                    return lambda: steps.run_dealer(parties, keys=work)
                fields = {"genotypes": (*FIELDS, *GENOTYPE_FILTERS, *ASKING), "phenotypes": (*DESIGN, *ASKING)}.get(
                    name, ()
                )
                own = Inputs(**{field: getattr(study.inputs, field) for field in fields})
                return lambda: steps.run_party(
                    parties, name, own, str(work / name), keys=work, reveal=self.reveal or HITS, column_limit=limit,
                    consent_aggregates=self.consent_aggregates, openings=self.openings or STRICT, seen=found.append,
                )  # fmt: skip

            run_in_threads({name: part(name) for name in roles})
        yield from found

    def run(
        self, study: Study, out: str, form: TableForm, log: RunLog, *, filters: Filters | None = None,
        qc_only: bool = False, bars: Bars = no_bars,
    ) -> EngineRun:  # fmt: skip
        """Make keys and parties.toml, start every party, gather tables and records. Raises as the parties do."""
        files_of(study, self.name)
        refuse_idle_purpose(members_of(study)[0])
        claim_release(members_of(study), study.reader.samples, study.strata, out)
        roles = ROLES[str(self.split)]
        limit = _columns(study)
        if self.opened:
            limit = max(sum(public_group(p, ()).columns for p in project(s.design)) for s in study.strata)
        with working_folder(out, PARTIES, keep=self.keep_files, log=log) as work:
            with log.stage("plan"):
                loopback_study(work, roles)
            with log.stage("gwas"):
                records = run_parties(work, self._options(study.inputs, work, limit, form.digits), roles)
            tables = _tables(work, records, out)
        convert(tables, out, form, log, covariates=covariates_of(study.inputs))
        first = records["phenotypes"]
        receipt = replace(Receipt.from_json(records["genotypes"]["receipt"]), released=tuple(t.path for t in tables))
        receipt = receipt.with_decisions(list(dict.fromkeys([*receipt.decisions, *first["receipt"]["decisions"]])))
        sizes = traffic(records, log)
        log.seconds["online"] = first["seconds"]["online"]
        facts = {name: first[name] for name in TOLD} | {n: first[n] for n in ("governance",) if n in first} | {
            "split": self.split, "inputs": study.inputs.told_digests(), "planned_noise_margin_bits": None,
            "samples_stored": sum(r["samples_stored"] for r in records.values() if "samples_stored" in r),
            "variants": max(r.get("variants", 0) for r in records.values()),
            "peak_rss_bytes": max(r["peak_rss_bytes"] for r in records.values()),
        } | coding_facts(coding_of(study.reader)) | strata_facts(study.strata)  # fmt: skip
        facts |= noise_facts(study.inputs, study.analyses)
        return EngineRun(self.name, tuple(tables), (), receipt, sizes, facts)

    def _options(self, inputs: Inputs, work: Path, limit: int, digits: int) -> dict[str, dict[str, Any]]:
        """What each owner is told beside where its files are."""
        agreed = {
            "reveal": self.reveal, "threshold": self.threshold, "consent_aggregates": self.consent_aggregates,
            "column_limit": limit, "digits": digits,
        }  # fmt: skip
        openings = self.openings if self.opened is None else None
        own = {
            "genotypes": inputs.genotypes.options(work)
            | given(inputs, *GENOTYPE_FILTERS, *ASKING)
            | {"openings": openings},
            "phenotypes": given(inputs, *DESIGN, *ASKING),
        }
        threads = max(1, (self.threads or os.cpu_count() or 1) // 2)
        return {
            name: {"threads": threads} | (agreed | own[name] if name in own else {}) for name in ROLES[str(self.split)]
        }


def _columns(study: Study) -> int:
    """The most columns that one variant is multiplied with."""
    return max(len(s.design.columns.names) for s in study.strata)


def run_parties(
    work: Path, options: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Every party's run.json, by name. options: of each party; roles: of each. Raises the error of the party that failed
    first of itself, with its exit code."""
    parties = []
    for name, role in roles.items():
        place: dict[str, Any] = {"parties": work / "parties.toml", "name": name, "out": work / name}
        if role != "dealer":
            place["role"] = role
        words = ("dealer" if role == "dealer" else "party",)
        parties.append(Role(name, words, place | dict(options[name]), work, config="--run-config"))
    return launch(parties)


def traffic(records: Mapping[str, Mapping[str, Any]], log: RunLog) -> dict[str, Any]:
    """Bytes and rounds of a run, for run.json; its log and seconds say them too."""
    sent = {name: record["bytes"]["sent"][name] for name, record in records.items()}
    dealt = sent.pop("dealer")
    rounds = max(record["bytes"]["rounds"] for record in records.values())
    log(
        f"sent {sum(sent.values()) / 1e6:.3f} MB between {len(sent)} parties, dealer {dealt / 1e6:.3f} MB, {rounds} rounds"
    )
    log.seconds["offline"] = records["dealer"]["seconds"]["offline"]
    return {"sent": sent, "dealer": dealt, "rounds": rounds}


def _tables(work: Path, records: Mapping[str, Mapping[str, Any]], out: str) -> list[Summary]:
    """Copy the tables here."""
    tables = []
    for s in records["phenotypes"]["summaries"]:
        path = out + s["path"].removeprefix(str(work.absolute() / "phenotypes"))
        copy_file(s["path"], path)
        tables.append(summary_of(s, path))
    return tables
