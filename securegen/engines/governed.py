"""The gate of a run: its policy, found beside what the run reads, and the people whose sums leave."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from securegen.catalogue import reads_of
from securegen.design.strata import Stratum
from securegen.errors import PolicyError
from securegen.governance.door import SCORES, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.gate import Gate, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.noise_ledger import EXACT_RULE
from securegen.governance.noise_store import believed
from securegen.governance.pin import Pin
from securegen.governance.policy import FULL
from securegen.model import AnnouncedCohort, GenotypeReader, Samples
from securegen.results import outputs
from securegen.scores.study import ScoreInputs, asked_for
from securegen.study.inputs import Inputs, Log, silent
from securegen.study.noised import place_of
from securegen.study.opening import Study


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
    return gate.of(people_of(study.reader, study.strata, qc_only=qc_only), study.inputs.asked_for())


def people_of(
    reader: GenotypeReader | Samples, strata: Sequence[Stratum], *, qc_only: bool = False, pooled: bool = False
) -> PeopleFacts:
    """Who is in the sums of strata, and in which columns. reader: of the genotypes, or only whose; qc_only: of the tables of
    quality control, else of the others; pooled: others' people are in the sums."""
    samples = reader if isinstance(reader, Samples) else reader.samples
    here = None if isinstance(reader, Samples | AnnouncedCohort) else Fingerprints(reader)
    sets, columns = [], []
    for s in strata:
        values = np.asarray(s.design.columns.values)
        wanted = [a for a in s.design.analyses if a.association != qc_only]
        for a in wanted:
            for j in sorted({a.columns[p] for p in reads_of(a).people}):
                sets.append((a.phenotype, s.name if s.name in ("X", "Y", "MT") else "", values[:, j] != 0))
        used = sorted({j for a in wanted for j in a.columns})
        if used:
            columns.append(values[:, used])
    together = max((a.model.samples for s in strata for a in s.design.analyses), default=0) if pooled else 0
    return PeopleFacts(samples, tuple(sets), tuple(columns), pooled=together, genotypes=here)


def gate_of_scores(engine: str, genotypes: Inputs, inputs: ScoreInputs, log: Log = silent) -> Gate:
    """The gate of a run of scores: a row a person. Raises as `gate_of_inputs`, and where the policy refuses any score."""
    refuse_idle_purpose(genotypes)
    gate = gate_of_inputs(engine, genotypes, log, more=inputs.score)
    if gate.policy is None:
        return gate
    gate = replace(gate, inputs=asked_for(genotypes, inputs))
    gate.check([OutputFacts(SCORES, "scores", 0, 0)])
    return gate


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
