"""The engine of sites as a choice: every site a process of its own here, through the shared folder of a deployment.

The caller holds everybody's data, so nothing is hidden from it: this shows and tests a study.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from securegen.engines.federated import rehearsal
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.federated.tilts import ROWS, most_columns
from securegen.engines.federated.variants import common_variants
from securegen.engines.federated.withheld import Withheld
from securegen.engines.governed import refuse_idle_purpose
from securegen.engines.protocol import (
    KEEP_FILES,
    Engine,
    EngineRun,
    covariates_of,
    digests_of,
    files_of,
    members_of,
    option,
)
from securegen.engines.score_protocol import Bars, no_bars
from securegen.errors import PolicyError, SecuregenError, UsageError
from securegen.governance.openings import ALL, FEW_MISSING, LEVELS, STRICT, WITHHOLD
from securegen.io.output import copy_file
from securegen.local import folders
from securegen.local.cohorts import open_sites
from securegen.model import OpenedSums
from securegen.record.receipt import Receipt
from securegen.record.run_log import RunLog
from securegen.results.forms import TableForm, convert
from securegen.results.sets import SUFFIX
from securegen.results.summary import summary_of
from securegen.stats.qc import Filters
from securegen.study import people
from securegen.study.consented import claim_release
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study, study_of

SITES = 3
TOLD = ("parameters", "samples", "variants", "covariates", "covariate_names", "phenotypes", "missing",
        "planned_noise_margin_bits", "genetic_model", "strata", "governance",
        "correction")  # fmt: skip


@dataclass(frozen=True)
class Federated(Engine):
    """Sites that share no data. sites: that one cohort is dealt to, None: 3, or one per cohort; openings: what sums may show
    of few people, None: strict; few_missing: what becomes of variants whose call few people lack, None: withhold."""

    name: ClassVar[str] = "federated"
    aliases: ClassVar[tuple[str, ...]] = ("threshold",)
    missing: ClassVar[frozenset[str]] = frozenset({"mean", "complete"})
    several: ClassVar[bool] = True
    codings: ClassVar[bool] = True
    masks: ClassVar[bool] = True
    corrections: ClassVar[bool] = True
    corrects_few: ClassVar[bool] = False

    sites: int | None = option(None, "Number of sites that the samples are divided among [3].", metavar="S", least=2)
    openings: str | None = option(
        None, "What sums may show of few people: strict; consortium also opens variants that few tell apart; all has no such "
        "rule, for rehearsals on one owner's data [strict; all beside --compare-plain].", choices=LEVELS,
    )  # fmt: skip
    few_missing: str | None = option(
        None, "Variants whose call few people of a site lack: NA, or rounded, which moves T by about 1e-5 [withhold].",
        choices=FEW_MISSING,
    )  # fmt: skip
    consent_openings: bool = option(
        False,
        "Accept more columns and leverage per person than the rules allow; every site's own sums may then be read.",
    )
    pcs: int | None = option(None, "Components that the sites compute together, as covariates.", metavar="K", least=1)
    step1: bool = option(False, "Fit a whole-genome model over all sites, whose predictions correct each chromosome.")
    block: int | None = option(None, "Variants per block of that model [√(5M)].", metavar="B", least=1)
    write_score: bool = option(False, "Also write that model as a polygenic score, OUT.<PHENO>.score.txt.")
    two_sites_learn_each_other: bool = option(False, "Allow only two sites, which can hide nothing from each other.")
    keep_files: bool = option(False, KEEP_FILES)

    def check(self, members: Sequence[Inputs], form: TableForm, filters: Filters | None = None) -> None:
        super().check(members, form, filters)
        if len(members) > 1 and self.sites not in (None, len(members)):
            raise UsageError(f"`sites` {self.sites} with {len(members)} cohorts: one cohort is one site")
        rehearsal.refuse(members[0])

    def open(self, members: Sequence[Inputs], log: Log, *, qc_only: bool = False) -> Study:
        common = members[0].common_samples
        common = (self.openings != ALL or self.step1) if common is None else common
        told = [replace(m, common_samples=common) for m in members]
        if len(told) == 1:
            return study_of(told[0], log)
        study = open_sites(told, log)
        common_variants([open_genotypes(m, silent, haploid=True).variants for m in told])
        return study

    def describe(self, study: Study, log: Log) -> None:
        method = study.inputs.correction
        if study.inputs.corrects:
            corrected = {a.phenotype for a in study.analyses if a.null is not None}
            log(
                f"--correction {method}: at most {ROWS[method].rounds} rounds of all sites, which count as "
                f"{most_columns(method)} columns per phenotype in the budgets ({', '.join(sorted(corrected))})"
            )

    def rehearsing(self) -> Federated:
        if self.pcs:
            raise UsageError("the plain engine has no components of sites to compare with: leave `pcs` out")
        if self.step1:
            raise UsageError("the plain engine has no model of sites to compare with: leave `step1` out")
        if self.openings not in (None, ALL):
            raise UsageError(
                f"whole tables of one owner's data are compared: `openings` {ALL}, which is the default then, not "
                f"{self.openings}"
            )
        return replace(self, openings=ALL)

    def sums(self, study: Study) -> Iterator[OpenedSums]:
        """What the sites open, each in turn in this process. Raises UsageError unless the openings are all: rules withhold
        variants."""
        if self.openings != ALL:
            raise UsageError(f"every sum is seen with openings {ALL} alone, for rehearsals on one owner's data")
        files_of(study, self.name)
        refuse_idle_purpose(members_of(study)[0])
        found: list[OpenedSums] = []
        with tempfile.TemporaryDirectory(prefix="securegen.") as folder:
            local, _ = self._set_up(study, Path(folder))
            rehearsal.run_here(Path(folder), members_of(study)[0], local, found.append)
        yield from found

    def _set_up(self, study: Study, work: Path) -> tuple[list[rehearsal.LocalSite], StudyFile]:
        """Sites that have accepted the study in `work`."""
        members = members_of(study)
        if len(members) > 1:
            local = [rehearsal.LocalSite(f"site{i + 1}", m.genotypes, None) for i, m in enumerate(members)]
        else:
            local = rehearsal.deal(study.reader, members[0].genotypes, self.sites or SITES)
        return local, rehearsal.set_up(
            work, members[0], local, silent, two_sites_learn_each_other=self.two_sites_learn_each_other,
            openings=self.openings or STRICT, few_missing=self.few_missing or WITHHOLD,
            consent_openings=self.consent_openings, pcs=self.pcs or 0,
            step1=self.step1, block=self.block, write_score=self.write_score,
        )  # fmt: skip

    def run(
        self, study: Study, out: str, form: TableForm, log: RunLog, *, filters: Filters | None = None,
        qc_only: bool = False, bars: Bars = no_bars,
    ) -> EngineRun:  # fmt: skip
        """Deal one cohort to sites, or take a cohort per site, and let them run. Raises PolicyError where a rule refuses."""
        files_of(study, self.name)
        refuse_idle_purpose(members_of(study)[0])
        members = members_of(study)
        claim_release(members, study.reader.samples, study.strata, out)
        inputs = members[0]
        with folders.working_folder(out, folders.SITES, keep=self.keep_files, log=log) as work:
            with log.stage("plan"):
                local, made = self._set_up(study, work)
                left_out = 0 if inputs.masks else len(study.reader.variants) - made.variants
                if left_out:
                    log(f"{left_out} variants of the first site are not in every file, or with other alleles: left out")
                log(f"{len(local)} sites, {made.variants} variants, every two sites with a key of their own")
            with log.stage("gwas"):
                try:
                    roles = [
                        rehearsal.site_role(work, inputs, m, filters or Filters(), digits=form.digits) for m in local
                    ]
                    rehearsal.run_sites(roles)
                except SecuregenError as error:
                    if error.exit_code == PolicyError.exit_code:
                        for line in rehearsal.refusals(work, local):
                            log(line)
                        log("larger sites or fewer columns pass; openings all is for rehearsals on one owner's data")
                    raise
            records = rehearsal.results(work, local)
            stored = sum(r["samples_stored"] for r in records)
            study.held.tell()  # every site's own door allowed it
            log(people.covariate_line(records[0]["covariate_names"]))
            log(f"{records[0]['samples']} of {stored} people are analysed")
            first = str(work.absolute() / local[0].name / "result")
            here = {path: out + path.removeprefix(first) for path in rehearsal.written(records[0])}
            for source, path in here.items():
                copy_file(source, path)
            tables = [summary_of(s, here[s["path"]]) for s in records[0]["summaries"]]
            others = [here[path] for path in records[0]["files"]]
            scores = tuple(form.finish([path])[0] if path.endswith(f".{SUFFIX}") else path for path in others)
        convert(tables, out, form, log, covariates=covariates_of(inputs))
        receipt = released(records[0], [*scores, *(t.path for t in tables)])
        facts = {name: records[0][name] for name in TOLD if name in records[0]} | {
            "inputs": digests_of(members), "samples_stored": stored, "opened": records[0]["opened"], "sites": len(local),
            "peak_rss_bytes": max(r["peak_rss_bytes"] for r in records),
        }  # fmt: skip
        sent = {"sent": {m.name: r["bytes"]["sent"][m.name] for m, r in zip(local, records, strict=True)}}
        remarks = tuple(Withheld(**records[0]["opened"]["withheld"]).lines())
        return EngineRun(self.name, tuple(tables), scores, receipt, sent, facts, remarks)


def released(record: Mapping[str, Any], paths: Sequence[str]) -> Receipt:
    """The receipt of a site, with the tables where they are now."""
    said, there = Receipt.from_json(record["receipt"]), rehearsal.written(record)
    return replace(said, released=(*(r for r in said.released if r not in there), *paths))
