"""The plain engine as a choice: association on genotypes in the clear, at one owner, who sees everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from securegen.catalogue import record_of
from securegen.engines.governed import check_tables, gate_of_study
from securegen.engines.plain import sums
from securegen.engines.protocol import Engine, EngineRun, option, study_facts
from securegen.engines.score_protocol import Bars, no_bars
from securegen.engines.sets import gate_of_sets, write_study_sets
from securegen.errors import UsageError
from securegen.governance.gate import Gate
from securegen.governance.policy import FULL
from securegen.model import Progress, Sums, coding_of, counted
from securegen.record.association_receipts import plain_receipt
from securegen.record.run_log import RunLog
from securegen.results.corrections import Corrector
from securegen.results.forms import TableForm, convert
from securegen.results.outputs import associations
from securegen.results.projected import PLAIN, plain_projected
from securegen.results.write import Summary, qc_analysis, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.consented import claim_release
from securegen.study.opening import Study
from securegen.study.strata import close_people


@dataclass(frozen=True)
class Plain(Engine):
    """Everything in the clear. reveal: of linear and logistic tests, two numbers per variant (uv) or χ² alone (chi2)."""

    name: ClassVar[str] = "plain"
    conditions: ClassVar[bool] = True
    codings: ClassVar[bool] = True
    corrections: ClassVar[bool] = True
    parts: ClassVar[bool] = True
    masks: ClassVar[bool] = True
    missing: ClassVar[frozenset[str]] = frozenset({"mean", "complete"})
    reveals: ClassVar[frozenset[str]] = frozenset(PLAIN)
    quality: ClassVar[bool] = True

    reveal: str | None = option(
        None, "What a vertical split opens [hits]; uv and chi2 also work in the clear.", choices=PLAIN
    )

    @property
    def opened(self) -> str | None:
        return self.reveal

    def rehearsing(self) -> Plain:
        if self.reveal:
            raise UsageError("the plain engine is compared with itself only as whole tables: leave `reveal` out")
        return self

    def sums(self, study: Study) -> Iterator[Sums]:
        """The exact integers, block by block. Raises PolicyError where the policy refuses, or hides rare rows."""
        gate = gate_of_study(self.name, study)
        gate.release(associations(study.analyses, study.strata, len(study.reader.variants), floor=0))
        return sums.strata_sums(study.reader, study.strata)

    def run(
        self, study: Study, out: str, form: TableForm, log: RunLog, *, filters: Filters | None = None,
        qc_only: bool = False, bars: Bars = no_bars,
    ) -> EngineRun:  # fmt: skip
        """Tables from the exact sums. Raises as `Engine.run`."""
        claim_release([study.inputs], study.reader.samples, study.strata, out)
        tables: list[Summary] = []
        correct = corrector_of(study, few=self.corrects_few)
        gate = gate_of_study(self.name, study, log, qc_only=qc_only)
        check_tables(gate, study, reveal=self.reveal or FULL, qc_only=qc_only)
        of_sets = gate_of_sets(gate, study)
        with log.stage("gwas"):
            if self.reveal:
                tables = plain_projected(
                    study.reader, study.strata, out, gate=gate, reveal=self.reveal, digits=form.digits
                )
            elif not qc_only:
                with bars("associating", unit="variants") as report:
                    tables = write_plain(
                        study, out, digits=form.digits, filters=filters, progress=report, gate=gate, correct=correct
                    )
            convert(tables, out, form, log)
            files = form.finish(write_plain_qc(study, out, gate=gate)) if qc_only else []
            if not qc_only:
                files += write_study_sets(study, out, form, of_sets)
        receipt = plain_receipt([*files, *(t.path for t in tables)], close_people(study.strata))
        receipt = receipt.of_model(coding_of(study.reader)).with_decisions(gate.lines())
        if correct is not None:
            log(correct.line())
            receipt = receipt.corrected(correct.line())
        facts = study_facts(study) | {
            "parameters": {"bits": max(a.model.bits for a in study.analyses)}, "planned_noise_margin_bits": None,
            **(correct.record() if correct is not None else {}),
        }  # fmt: skip
        return EngineRun(self.name, tuple(tables), tuple(files), receipt, {}, facts, governance=gate.record())


def corrector_of(study: Study, *, few: bool = True) -> Corrector | None:
    """What corrects the score tests of a study, from its own genotypes; None where nothing does. few: of few carriers too."""
    i = study.inputs
    if not i.corrects:
        return None
    return Corrector(i.correction, i.p_thresh, i.fast, study.strata, study.reader.read, study.reader.dosage_grid, few)


def write_plain(
    study: Study, out: str, *, digits: int = 17, filters: Filters | None = None, progress: Progress | None = None,
    gate: Gate | None = None, correct: Corrector | None = None,
) -> list[Summary]:  # fmt: skip
    """Write OUT.<PHENO>.<TEST> for every analysis of a study. gate: the door, by default that of the study; correct: by
    default as the study's inputs say.

    Raises UsageError for filters beside complete cases, PolicyError where a policy refuses.
    """
    gate = gate or gate_of_study("plain", study)
    check_tables(gate, study)
    correct = correct or corrector_of(study)
    variants, grid = study.reader.variants, study.reader.dosage_grid
    tests = [a for a in study.analyses if a.association]
    if study.inputs.missing == "complete" and any("complete" in record_of(a).missing for a in tests):
        if filters and filters.active:
            raise UsageError(
                "the filters of quality control need `missing` mean; filter the variants first (`extract`)"
            )
        tables = []
        for a in tests:
            own, blocks = sums.complete_case_strata(study.reader, study.strata, a.test, a.phenotype)
            tables += write_tables(out, variants, blocks, [a], gate=gate, strata=own, grid=grid, digits=digits)
        return tables
    blocks = counted(sums.strata_sums(study.reader, study.strata), len(variants), progress)
    return write_tables(
        out, variants, blocks, tests, gate=gate, strata=study.strata, grid=grid, digits=digits, filters=filters,
        correct=correct,
    )  # fmt: skip


def write_plain_qc(study: Study, out: str, *, gate: Gate | None = None) -> list[str]:
    """Write OUT.afreq, OUT.vmiss, for hard calls OUT.hardy, and of X OUT.hardy.x. gate: as of `write_plain`. Raises UsageError
    for a study without these sums, PolicyError where a policy refuses."""
    gate = gate or gate_of_study("plain", study, qc_only=True)
    if qc_analysis(study.analyses) is None:
        raise UsageError("this study has no sums for quality control: open it with qc=True")
    blocks = sums.strata_sums(study.reader, study.strata)
    return write_qc(out, study.reader.variants, blocks, gate=gate, strata=study.strata, grid=study.reader.dosage_grid)
