"""What an engine of association is: its options, what it computes and reveals, and one run with all its roles here.

An engine is a frozen record of its options. `option` declares each of them once: the command line, its checks and Python
follow from it. Who learns what is in the receipt of a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

from securegen.catalogue import INTERACTION, models, uses_missing
from securegen.design.columns import Analysis
from securegen.design.strata import AUTOSOMES, Stratum
from securegen.engines.score_protocol import Bars, no_bars
from securegen.errors import UsageError
from securegen.governance.signing import digest_of
from securegen.io.tables import read_header
from securegen.model import OpenedSums, Sums, coding_of
from securegen.record.parts import part_record
from securegen.record.receipt import Receipt
from securegen.record.run_log import RunLog
from securegen.results.forms import TableForm
from securegen.results.summary import coding_facts, covariate_facts, promises
from securegen.results.write import Summary
from securegen.stats.qc import Filters
from securegen.study import checks
from securegen.study.consented import whole_run
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.opening import Study, qc_of, study_of
from securegen.study.parts import PartReader
from securegen.study.traits import used_columns
from securegen.vocabulary import ADDITIVE


def option(
    default: Any, text: str, *, choices: Sequence[str] = (), metavar: str | None = None, least: int | None = None
) -> Any:
    """A field of an engine that its users choose. text: of --help; least: of a whole number."""
    return field(
        default=default, metadata={"help": text, "choices": tuple(choices), "metavar": metavar, "least": least}
    )


KEEP_FILES = "Keep the files of every role (keys are deleted all the same)."


@dataclass(frozen=True)
class EngineRun:
    """What a run leaves. tables: of association; files: other tables; bytes: by what was written or sent; facts: what
    run.json says beside; governance: what the door decided, as `Gate.record`."""

    engine: str
    tables: tuple[Summary, ...]
    files: tuple[str, ...]
    receipt: Receipt
    bytes: Mapping[str, Any]
    facts: Mapping[str, Any]
    remarks: tuple[str, ...] = ()
    governance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"EngineRun({self.engine}, {len(self.tables)} tables, {self.receipt.scenario})"

    @property
    def paths(self) -> list[str]:
        """Every table that was written."""
        return [*self.files, *(t.path for t in self.tables)]

    def record(self) -> dict[str, Any]:
        """What run.json says of it."""
        return {
            "engine": self.engine, "receipt": self.receipt.to_json(), "bytes": dict(self.bytes),
            "promise": promises(self.tables), **self.facts, **self.governance,
        }  # fmt: skip


class Engine(ABC):
    """One way to compute the sums. tests, missing, reveals: what it can be asked for; several: it takes a cohort per site;
    filters: it can leave variants out by quality; quality: it computes tables of quality control alone; conditions:
    dosages of named variants may become covariates; codings: genetic models may recode genotypes; corrections: rows of small
    P may be corrected; corrects_few: those of few carriers too; masks: sets of variants may be tested in their place; parts: a
    run may be of some variants, with the designs of all."""

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    elsewhere: ClassVar[Mapping[tuple[str, str], str]] = {}  # an option's value that names another engine
    tests: ClassVar[Set[str]] = frozenset(models())
    missing: ClassVar[frozenset[str]] = frozenset({"mean"})
    reveals: ClassVar[frozenset[str]] = frozenset()
    several: ClassVar[bool] = False
    filters: ClassVar[bool] = True
    quality: ClassVar[bool] = False
    conditions: ClassVar[bool] = False
    codings: ClassVar[bool] = False
    corrections: ClassVar[bool] = False
    corrects_few: ClassVar[bool] = True
    masks: ClassVar[bool] = False
    parts: ClassVar[bool] = False
    steps_of_parts: ClassVar[str] = ""  # what takes `blocks` instead

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            value, told = getattr(self, f.name), f.metadata
            if told.get("choices"):
                checks.choice(f.name, value, (*told["choices"], *([None] if f.default is None else [])))
            elif isinstance(f.default, bool):
                checks.flag(f.name, value)
            elif told.get("least") is not None:
                checks.whole(f.name, value, told["least"], None)

    @property
    def opened(self) -> str | None:
        """What is opened instead of whole tables; None for these."""
        return None

    def check(self, members: Sequence[Inputs], form: TableForm, filters: Filters | None = None) -> None:
        """Raise UsageError or PolicyError for what can be refused before anything is read. members: one per site."""
        first = members[0]
        if len(members) > 1 and not self.several:
            raise UsageError(f"several cohorts are for sites that share no data: engine federated, not {self.name}")
        if first.model is not None and first.model not in self.tests:
            raise UsageError(f"`model` {first.model} is not for engine {self.name}: {', '.join(sorted(self.tests))}")
        if first.blocks is not None and not self.parts:
            raise UsageError(f"`blocks` {first.blocks} is for engine plain, not for {self.name}{self.steps_of_parts}")
        if first.blocks is not None and form.kind.sorts:
            raise UsageError(
                f"`format` {form.format} sorts its rows, which parts of a table cannot: leave `blocks` out"
            )
        if first.missing not in self.missing and uses_missing(first.model):
            raise UsageError(f"`missing` {first.missing} needs genotypes in the clear: engine plain, not {self.name}")
        if (first.condition or first.condition_list) and not self.conditions:
            raise UsageError(
                f"`condition` needs the genotypes beside the phenotypes: engine plain or ckks, not {self.name}"
            )
        if first.coding != ADDITIVE and not self.codings:
            raise UsageError(f"`{first.coding}` is not for engine {self.name}: use engine plain")
        if first.corrects and not self.corrections:
            raise UsageError(
                f"`correction` {first.correction} needs genotypes, phenotypes and covariates of a person in one place: "
                f"engine plain, ckks or federated, not {self.name}"
            )
        if first.corrects and self.opened is not None:
            raise UsageError(f"`correction` {first.correction} needs whole tables: leave `reveal` {self.opened} out")
        if first.masks is not None and not self.masks:
            raise UsageError(f"masks of sets of variants are not for engine {self.name}: use engine plain")
        if first.masks is not None and not form.kind.codings:
            raise UsageError(f"`format` {form.format} takes variants, not masks")
        if first.vc_tests and self.opened is not None:
            raise UsageError(f"`vc_tests` need whole tables: leave `reveal` {self.opened} out")
        if filters and filters.active and not self.filters:
            raise UsageError(
                f"the filters of quality control do not go with engine {self.name}; choose variants by `extract`"
            )
        if first.interaction and self.opened is not None:
            raise UsageError(
                f"`interaction` {first.interaction} needs whole sums: engine {self.name} without `reveal` {self.opened}"
            )
        test = INTERACTION.name if first.interaction else first.model
        form.check(test, projected=self.opened is not None, coding=first.coding)

    def open(self, members: Sequence[Inputs], log: Log, *, qc_only: bool = False) -> Study:
        """The study that is analysed. Raises as `study.open_study`."""
        return (qc_of if qc_only else study_of)(members[0], log)

    def check_study(self, study: Study) -> None:  # noqa: B027 (most take any)
        """Raise UsageError for a study that this engine cannot run, now that its files are open."""

    def describe(self, study: Study, log: Log) -> None:  # noqa: B027 (most have nothing to say)
        """Say what the run will take."""

    def rehearsing(self) -> Self:
        """The same engine, opening whole tables, as a comparison with the plain engine needs. Raises UsageError."""
        return self

    def sums(self, study: Study) -> Iterator[Sums | OpenedSums]:
        """The exact integers that tables are made of, in file order, where whoever runs this engine may see them.

        All roles are in this process. Raises UsageError for an engine, or options of it, that show them to nobody.
        """
        raise UsageError(f"engine {self.name} shows its sums to nobody")

    @abstractmethod
    def run(
        self, study: Study, out: str, form: TableForm, log: RunLog, *, filters: Filters | None = None,
        qc_only: bool = False, bars: Bars = no_bars,
    ) -> EngineRun:  # fmt: skip
        """All roles on this machine: tables OUT.*, in their form. qc_only: the tables of quality control alone."""


def members_of(study: Study) -> tuple[Inputs, ...]:
    """The inputs of every site, of one where there is one cohort."""
    return getattr(study, "members", (study.inputs,))


def files_of(study: Study, engine: str) -> None:
    """Raise UsageError for genotypes in memory: roles are processes, which read files."""
    if not all(member.genotypes.given for member in members_of(study)):
        raise UsageError(f"the roles of engine {engine} read files: open the study from files, not from a reader")


def noise_facts(inputs: Inputs, analyses: Iterable[Analysis]) -> dict[str, Any]:
    """`label_noise` of run.json, where phenotypes were built with noise."""
    asked = inputs.label_noise
    return {"label_noise": asked.to_json()} if asked and any(a.noise for a in analyses) else {}


def study_facts(study: Study) -> dict[str, Any]:
    """The keys of run.json that describe a study, whatever the engine."""
    tests = [a for a in study.analyses if a.association] or list(study.analyses)
    return (
        {
            "inputs": digests_of(members_of(study)),
            "samples": max(a.model.samples for a in tests),
            "samples_stored": len(study.reader.samples),
            "variants": len(study.reader.variants),
            **covariate_facts(a.model for a in tests),
            "phenotypes": [a.phenotype for a in tests if a.association],
            "missing": study.inputs.missing,
            **({"interaction": study.inputs.interaction} if study.inputs.interaction else {}),
            **noise_facts(study.inputs, study.analyses),
            **({"masks": masks.to_json()} if (masks := study.inputs.masks) else {}),
        }
        | coding_facts(coding_of(study.reader))
        | strata_facts(study.strata)
    )


def part_facts(
    study: Study, out: str, tables: Sequence[str], form: TableForm, filters: Filters | None
) -> dict[str, Any]:
    """The key of run.json that says which part of the variants a run had; nothing where it had all. form, filters: of tables."""
    if study.part is None or not isinstance(study.reader, PartReader):
        return {}
    first, count = study.reader.start, len(study.reader.variants)
    tables_as: dict[str, Any] = {"form": vars(form), "filters": filters and vars(filters)}
    asked = digest_of(whole_run(study.inputs) | tables_as)
    return part_record(study.part.number, study.part.of, first, count, out, tables, asked)


def strata_facts(strata: Sequence[Stratum]) -> dict[str, Any]:
    """The key of run.json that says the designs of a study with several: people and covariates of each."""
    if len(strata) == 1 and strata[0].name == AUTOSOMES:
        return {}
    return {
        "strata": [
            {
                "name": s.name, "variants": s.variants,
                "analyses": {
                    a.phenotype: {"samples": a.model.samples, "covariate_names": list(a.model.covariates)}
                    for a in s.design.analyses if a.association
                },
                "refused": {r.phenotype: r.reason for r in s.refused},
            }
            for s in strata
        ]
    }  # fmt: skip


def digests_of(members: Sequence[Inputs]) -> dict[str, str]:
    """SHA-256 of every input file; with a cohort per site, under the site's name."""
    if len(members) == 1:
        return members[0].told_digests()
    out: dict[str, str] = {}
    for i, own in enumerate(members):
        mine = own.genotypes.files()
        out |= {f"site{i + 1}.{name}" if name in mine else name: digest for name, digest in own.told_digests().items()}
    return out


def covariates_of(inputs: Inputs) -> tuple[str, ...]:
    """Names of the covariates that the options choose."""
    if not inputs.covar:
        return ()
    names = read_header(inputs.covar)
    named = (inputs.covar_name, inputs.sex_name, silent, "covariate", inputs.covar_categorical)
    return tuple(used_columns(names, inputs.covar, *named))
