"""The gate of a run: its policy, found beside what the run reads, and the people whose sums leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from securegen.catalogue import reads_of
from securegen.design.strata import Stratum
from securegen.errors import PolicyError
from securegen.governance import releases
from securegen.governance.door import QUALITY, SCORES, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.gate import Gate, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.noise_ledger import EXACT_RULE
from securegen.governance.noise_store import believed
from securegen.governance.pin import Pin
from securegen.governance.policy import FULL
from securegen.io.text import count
from securegen.model import AnnouncedCohort, GenotypeReader, Samples
from securegen.results import outputs
from securegen.scores.plan import AlleleCounts
from securegen.scores.study import ScoreInputs, asked_for
from securegen.study.held import Held
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.noise_place import place_of
from securegen.study.opening import Study, everybody_of

COUNTS = "allele counts"


def gate_of_inputs(
    engine: str, inputs: Inputs, log: Log = silent, *, more: Iterable[str | os.PathLike[str]] = (),
    pins: Iterable[tuple[str, Pin | None]] = (),
) -> Gate:  # fmt: skip
    """The gate of a run on these files. more: other files and folders beside which a policy may stand; pins: what remembers
    one. Raises as `governance.gate.gate_of`."""
    gate = gate_of(engine, inputs.asking, [*inputs.files().values(), *more], pins=pins, log=log)
    return gate if inputs.label_noise is None else replace(gate, draws=(*(gate.draws or ()), place_of(inputs)[0]))


def refuse_idle_purpose(inputs: Inputs) -> None:
    """Raise UsageError for a purpose that neither a register of consent nor a policy is held against. For whole runs: of
    parties, one holds the register, and another has the purpose alone."""
    if inputs.purpose is not None and not inputs.consent:
        gate_of("", inputs.asking, inputs.files().values(), consent=False)


def for_study(gate: Gate, study: Study) -> Gate:
    """The gate for the people and files of a study."""
    if gate.policy is None:
        return gate
    gate = replace(gate, allowed=study.held.tell)
    return gate.of(people_of(study.reader, study.strata), study.inputs.asked_for())


def gate_of_study(engine: str, study: Study, log: Log = silent, *, qc_only: bool = False) -> Gate:
    """The gate of a run with every role on this machine, for the people of a study. Raises as `gate_of_inputs`."""
    refuse_idle_purpose(study.inputs)
    gate = replace(gate_of_inputs(engine, study.inputs, log), allowed=study.held.tell)
    if gate.policy is None:
        return gate
    everybody = everybody_of(study) if gate.minor_alleles else None
    people = people_of(study.reader, study.strata, qc_only=qc_only, everybody=everybody)
    return gate.of(people, study.inputs.asked_for())


def people_of(
    reader: GenotypeReader | Samples, strata: Sequence[Stratum], *, qc_only: bool = False, pooled: bool = False,
    everybody: GenotypeReader | Samples | None = None,
) -> PeopleFacts:  # fmt: skip
    """Who is in the sums of strata, and in which columns. reader: of the genotypes, or only whose; qc_only: of the tables of
    quality control, else of the others; pooled: others' people are in the sums; everybody: as of `PeopleFacts`."""
    samples = reader if isinstance(reader, Samples) else reader.samples
    here = None if isinstance(reader, Samples | AnnouncedCohort) else Fingerprints(reader)
    sets: list[tuple[str, str, np.ndarray]] = []
    others: list[tuple[str, str, np.ndarray]] = []
    columns = []
    for s in strata:
        values = np.asarray(s.design.columns.values)
        for a in s.design.analyses:
            for j in sorted({a.columns[p] for p in reads_of(a).people}):
                found = (a.phenotype, s.place, values[:, j] != 0)
                (sets if a.association != qc_only else others).append(found)
        used = sorted({j for a in s.design.analyses if a.association != qc_only for j in a.columns})
        if used:
            columns.append(values[:, used])
    together = max((a.model.samples for s in strata for a in s.design.analyses), default=0) if pooled else 0
    return PeopleFacts(
        samples,
        tuple(sets),
        tuple(columns),
        pooled=together,
        genotypes=here,
        quality=tuple(others),
        everybody=everybody,
    )


def gate_of_scores(engine: str, genotypes: Inputs, inputs: ScoreInputs, log: Log) -> Gate:
    """The gate of a run of scores: a row per person. Raises as `gate_of_inputs`, and where the policy refuses any score."""
    refuse_idle_purpose(genotypes)
    gate = gate_of_inputs(engine, genotypes, log, more=inputs.score)
    if gate.policy is None:
        return gate
    gate = replace(gate, inputs=asked_for(genotypes, inputs))
    gate.check([OutputFacts(SCORES, "scores", 0, 0)], early=True)
    return gate


def of_scored(gate: Gate, reader: GenotypeReader, imputation: str) -> Gate:
    """The gate of scores of these people. Where the cohort's mean stands for a missing call, a score of one tells of the others,
    so that their set is compared with those of other sums."""
    if gate.policy is None or imputation != "cohort":
        return gate
    everybody = np.ones(len(reader.samples), bool)
    return gate.of(PeopleFacts(reader.samples, ((SCORES, "", everybody),), genotypes=Fingerprints(reader)))


def door_of_scores(
    gate: Gate, waiting: Held, reader: GenotypeReader, imputation: str, names: Sequence[str] = ("scores",)
) -> Gate:
    """The gate of scores of these people, which says what waits once it allows them. Raises PolicyError where it would refuse
    them now; enters nothing."""
    gate = of_scored(replace(gate, allowed=waiting.tell), reader, imputation)
    gate.check([OutputFacts(SCORES, name, len(reader.samples), 0) for name in names], early=True)
    return gate


def pass_allele_counts(
    gate: Gate, reader: GenotypeReader, variants: int, minor: int | None, asked: Mapping[str, str], name: str, log: Log, *,
    check: bool = False,
) -> None:  # fmt: skip
    """Counts of so many variants in everybody pass the policy and the register of consent. minor: fewest who differ at one;
    asked: digests; check: ask alone, and enter nothing. Raises PolicyError."""
    everybody = np.ones(len(reader.samples), bool)
    if gate.policy is not None:
        gate = gate.of(_counted(reader), asked)
    told = [OutputFacts(QUALITY, COUNTS, len(reader.samples), variants, minor=minor)]
    if check:
        gate.check(told)
        return
    gate.release(told)
    gate.claim(reader.samples, [(releases.analysis_of(releases.ASSOCIATION, COUNTS), everybody)], name)
    for line in gate.lines():
        log(line)


def _counted(reader: GenotypeReader, others: GenotypeReader | None = None) -> PeopleFacts:
    """Of whom allele counts are. others: everybody who can be looked at, beside tables of other people."""
    everybody, columns = np.ones(len(reader.samples), bool), np.ones((len(reader.samples), 1), np.int64)
    sets = ((COUNTS, "", everybody),)
    return PeopleFacts(reader.samples, sets, (columns,), genotypes=Fingerprints(reader), everybody=others)


def counts_between(gate: Gate, reader: GenotypeReader, everybody: Callable[[], GenotypeReader]) -> np.ndarray:
    """(M,) bool: variants whose counts would be few people's, beside an earlier table of others. Enters nothing. everybody: makes
    a reader of all who can be looked at. Raises PolicyError."""
    if not gate.minor_alleles:
        return np.zeros(len(reader.variants), bool)
    gate = gate.of(_counted(reader, everybody()))
    gate.check([OutputFacts(QUALITY, COUNTS, len(reader.samples), 0)], early=True)
    return outputs.hidden_rows(gate, COUNTS, len(reader.variants))


def shown_counts(counts: AlleleCounts, grid: int, floor: int, between: np.ndarray, log: Log) -> AlleleCounts:
    """Counts without those of variants at which fewer people than a policy's floor differ, or `between`, (M,) bool: scores leave
    these out."""
    if not floor:
        return counts
    rare = between | (counts.who_differ(grid) < floor)
    if rare.any():
        log(f"{count(int(rare.sum()), 'variant')} that tell fewer than {floor} people apart (policy): without counts, scores "
            "leave them out")  # fmt: skip
    return counts.without(rare)


def check_tables(gate: Gate, study: Study, *, reveal: str = FULL, qc_only: bool = False) -> None:
    """Before the work: raise PolicyError where the policy would refuse the tables of a study now. Enters nothing."""
    if gate.policy is None:
        return
    outputs.refuse_masks(study.reader.variants, gate.minor_alleles)
    count, floor = len(study.reader.variants), gate.minor_alleles if reveal == FULL else None
    if qc_only:
        gate.check(outputs.quality(study.strata, count, floor))
    else:
        gate.check(outputs.associations(study.analyses, study.strata, count, reveal, floor))


def refuse_forged(study: Study) -> None:
    """Before a record keeps it: raise PolicyError where an analysis says that it has noise, and no stored draws know of it."""
    asked = [o for o in outputs.associations(study.analyses, study.strata, 0) if o.noise is not None]
    if any(o.noise is None for o in believed(asked, [place_of(study.inputs)[0]], silent)):
        raise PolicyError(
            f"{EXACT_RULE}: these columns were not built of stored draws, whatever their analyses say: open the study with "
            "`dp_epsilon`"
        )
