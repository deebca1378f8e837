"""One site's whole part in a federated study: run it again and again, it goes as far as the other sites allow.

The site sums its own people in the clear and sends the sums under masks that cancel only in the sum of all sites. It ends
with the result tables of the pooled cohort, the same at every site. What it learns: the opened sums (`SiteResult.opened`
lists the rounds). What it gives away: that it takes part, and its part of the opened sums.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from securegen.design.columns import Analysis
from securegen.design.strata import Stratum, analyses_of
from securegen.engines.federated.admission import LEDGER, admit, begin, charge, enter_rows, guard_of_study, sites_of
from securegen.engines.federated.association import federated_sums
from securegen.engines.federated.closed import closed_strata
from securegen.engines.federated.cohort import federated_strata, sample_sets
from securegen.engines.federated.continuing import end_continued
from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.corrections import OpenedCorrections
from securegen.engines.federated.hub import open_folder
from securegen.engines.federated.leaving import agrees
from securegen.engines.federated.message_folder import MessageFolder
from securegen.engines.federated.messages import ACCEPT, FINISHED, Transport
from securegen.engines.federated.own_components import component_people, with_components
from securegen.engines.federated.own_inputs import OwnInputs, open_inputs, salt_of, same_inputs
from securegen.engines.federated.own_masks import counted_people, rules_of_masks, told, with_masks
from securegen.engines.federated.own_policy import check_site, enter_products, gate_of_site, opened_first
from securegen.engines.federated.own_predictions import with_predictions
from securegen.engines.federated.own_purpose import for_what_was_asked, keep_asked
from securegen.engines.federated.pair_keys import agree_on_keys, forget_keys
from securegen.engines.federated.rounds import OUT_OF_BOUNDS, SecureSum, not_below_own
from securegen.engines.federated.set_totals import write_site_sets
from securegen.engines.federated.site_corrections import open_corrections
from securegen.engines.federated.state import SiteState, open_state
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.federated.terms import opened_by
from securegen.engines.federated.withheld import Withheld
from securegen.engines.governed import people_of
from securegen.errors import (
    PeerError,
    PolicyError,
    ProtocolError,
    SecuregenError,
)
from securegen.governance.gate import Gate
from securegen.governance.guard import guarded
from securegen.governance.openings import what_can_be_read
from securegen.governance.signing import SigningIdentity
from securegen.io.strict_json import read_regular
from securegen.model import GenotypeReader, OpenedSums, Variants, watched
from securegen.record.association_receipts import federated_receipt
from securegen.record.receipt import Receipt
from securegen.results.outputs import associations
from securegen.results.outputs import quality as quality_outputs
from securegen.results.write import Summary, write_qc, write_tables
from securegen.stats.qc import Filters
from securegen.study.held import waiting_for
from securegen.study.inputs import Inputs, Log, silent

READABLE = (
    "site {} agreed when it joined: where totals are opened with it and without it, the difference is its own sums"
)
Connect = Callable[[MessageFolder], AbstractContextManager[Transport]]


@dataclass(frozen=True)
class SiteResult:
    """tables, quality: of the pooled cohort; predictions, scores: files of a whole-genome model, of
    this site's people and of everybody, scores of set tests too;
    opened: every round and its numbers; strata: designs of this site's rows, of
    `people` people; bytes: posted by this site; governance: what its policy decided, as `Gate.record`; correction: as of
    `Corrections.record`, nothing without one."""

    study: StudyFile
    site: str
    strata: tuple[Stratum, ...]
    people: int
    tables: list[Summary]
    quality: list[str]
    predictions: list[str]
    scores: list[str]
    receipt: Receipt
    opened: dict[str, Any]
    bytes: int
    governance: Mapping[str, Any] = field(default_factory=dict)
    correction: Mapping[str, Any] = field(default_factory=dict)

    @property
    def analyses(self) -> tuple[Analysis, ...]:
        """One analysis a table, quality control last."""
        return analyses_of(self.strata)


def run_site(
    folder: Path,
    state: Path,
    identity: SigningIdentity,
    inputs: Inputs,
    out: str,
    *,
    study_file: Path | None = None,
    connect: Connect | None = None,
    wait: float = 0.0,
    digits: int = 17,
    filters: Filters | None = None,
    log: Log = silent,
    seen: Callable[[OpenedSums], None] | None = None,
) -> SiteResult:
    """Take part as the site that `identity` signs for; write OUT.<PHENO>.<TEST> when all is opened.

    seen: is shown every block of opened sums that tables are made of;
    connect: brings messages to the other sites in another way than through the folder, which then is this site's own copy.
    Of `inputs`, the files and the filters of samples count; phenotypes, covariates and the model are the study's.
    Raises PeerError when another site is not there yet (run again: nothing is lost) or has stopped, ProtocolError naming
    a site whose messages are not what the protocol allows, PolicyError, InputError and DesignError for this site's own.
    """
    study, variants = open_folder(folder, study_file)
    site = study.site_of(identity.verify_key).name
    study.refuse_expired()
    inputs = for_what_was_asked(state, study, inputs)
    gate = gate_of_site(study, site, identity, inputs, [state, folder], log)
    message_folder = MessageFolder(folder, study, site, wait, log)
    if message_folder.own(ACCEPT) is None:
        raise PolicyError(
            f"site {site} has not accepted the study: securegen study join --dir {folder} --state {state}"
        )
    keep_asked(state, study, inputs.asking)
    with open_state(state, study) as memory:
        message_folder.withdraw_stop()
        try:
            if connect is not None:  # a site that left answers on no link
                message_folder.refuse_left([s for s in study.sites if s.name != site])
            waiting = waiting_for(gate.policy, log)
            gate.allowed = waiting.tell
            own = open_inputs(folder, study, variants, site, memory, inputs, waiting)
            commitment = same_inputs(memory, inputs, own.reader.samples)
            check_site(gate, study, own.planned, own.reader.samples, own.aligned.variants, state)
            end_continued(study, state, gate.folders)  # files that cannot be read end nothing
            with (connect or _in_folder)(message_folder) as transport:
                return _take_part(
                    transport, message_folder, site, identity, memory, state, own, variants, commitment, gate, out, digits,
                    filters, log, seen,
                )  # fmt: skip
        except PeerError:
            raise
        except SecuregenError as error:
            message_folder.announce_stop(type(error).__name__, identity)
            raise


@contextlib.contextmanager
def _in_folder(message_folder: MessageFolder) -> Iterator[Transport]:
    yield message_folder


def _take_part(
    transport: Transport, message_folder: MessageFolder, site: str, identity: SigningIdentity, memory: SiteState, state: Path,
    own: OwnInputs, variants: Variants, commitment: str, gate: Gate, out: str, digits: int, filters: Filters | None, log: Log,
    seen: Callable[[OpenedSums], None] | None,
) -> SiteResult:  # fmt: skip
    study = message_folder.study
    agreed = _everybody_accepts(transport, message_folder)
    session = Conversation(transport, study, site, identity, memory)
    samples, guard = own.reader.samples, guard_of_study(study, log, session.end, gate.folders)
    sites = sites_of(study, site, agreed)
    related = component_people(study, own, memory, log)
    sets = [*sample_sets(study, own.planned, samples), *related]
    admit(study, sets, samples, state, guard, sites, own.reader)
    guard.between = _kept(memory, "between", guard.between, len(samples))
    secure = SecureSum(session, agree_on_keys(session, commitment))
    log("every two sites have a key")
    read_alone = begin(sites, state, guard)
    for line in read_alone:
        log(f"WARNING: {line}")
    enter_products(gate, study, own.planned, own.reader, own.aligned.variants, commitment, state)
    own = with_components(study, own, related, secure, guard, memory, message_folder.folder, state, log)
    own, predicted = with_predictions(study, own, variants, secure, guard, memory, state, log)
    genotypes = own.reader
    own, masks, classes = with_masks(study, own, secure, guard, message_folder.folder, log)
    if masks is not None:
        enter_rows(study, samples, counted_people(own), told(study, masks), state, guard)
    closed = closed_strata(
        study, site, own.planned, own.traits, samples, sets, partial(secure.total, check=not_below_own), state, log
    )
    if closed.sets:
        admit(study, [*sets, *closed.sets], samples, state, guard, sites)
        guard.between = _kept(memory, "between-closed", guard.between, len(samples))
    try:
        strata = federated_strata(
            study, own.planned, own.traits, own.places, samples, guarded(secure.total, guard), salt_of(memory), closed.reasons,
            log, top=None if masks is None else own.reader.dosage_max,
        )  # fmt: skip
    except (ArithmeticError, ValueError):  # a root or a quotient of totals that no people have
        secure.refuse(OUT_OF_BOUNDS)
    own.enter_made(strata)
    if gate.policy is not None:
        people = replace(people_of(genotypes, strata, pooled=True), beside=(state / LEDGER,))
        gate = gate.of(people, {"study": study.digest, "inputs": commitment})
        if study.qc:
            of_quality = gate.of(people_of(genotypes, strata, qc_only=True, pooled=True))
            of_quality.check(quality_outputs(strata, study.variants, gate.minor_alleles))
        gate.release(opened_first(study, own.planned, len(samples)))
        gate.release(associations(analyses_of(strata), strata, study.variants, floor=gate.minor_alleles))
    charge(study, strata, samples, state, guard)  # after the policy's ledger, which takes what this one had before
    withheld = Withheld()
    predictions = predicted.write(out, gate) if predicted else []
    scores = predicted.write_scores(out, gate) if predicted and study.write_score else []
    tables: list[Summary] = []
    quality: list[str] = []
    correct: OpenedCorrections | None = None
    if classes is not None and masks is not None and study.sets is not None and study.sets.tests:
        scores += write_site_sets(study, own, masks, classes, strata, secure, guard, gate, out, digits, state, log)
    else:
        rows: dict[str, Any] = {} if masks is None else rules_of_masks(masks, own, guard)
        sums = partial(
            federated_sums, secure, own.reader, strata, name="variants", level=study.openings, fewest=study.fewest_people,
            few_missing=study.few_missing, complete=study.missing == "complete", between=guard.between, **rows,
        )  # fmt: skip
        blocks = sums(withheld=withheld)
        correct = open_corrections(study, secure, own.reader, strata, blocks, guard, salt_of(memory), state, log)
        blocks = watched(sums(withheld=withheld if correct is None else None), seen)
        tables, quality = _tables(study, strata, own.reader, gate, out, digits, filters, blocks, sums, correct)
        if correct is not None:
            log(correct.line())
    for line in withheld.lines():
        log(line)
    forget_keys(memory)
    session.post(FINISHED, session.made(FINISHED, lambda: ({}, None)))
    transport.leave()
    opened = {
        "rounds": [{"name": n, "rows": rows, "numbers": rows * fields} for n, (rows, fields) in secure.opened.items()],
        "field_bytes": secure.field_bytes, "row_bytes": secure.row_bytes, "withheld": vars(withheld),
    }  # fmt: skip
    corrected = {} if correct is None else correct.record()
    receipt = federated_receipt(
        [s.name for s in study.sites], [*scores, *(t.path for t in tables)], opened=opened_by(study),
        read=[*what_can_be_read(study.openings, study.few_missing), *read_alone, *map(READABLE.format, agreed)],
    ).of_model(study.genetic_model).with_decisions(gate.lines())  # fmt: skip
    if correct is not None:
        receipt = receipt.corrected(correct.line())
    return SiteResult(
        study, site, strata, len(samples), tables, quality, predictions, scores, receipt, opened, session.sent_bytes,
        gate.record(), corrected,
    )  # fmt: skip


def _kept(memory: SiteState, name: str, sets: list[np.ndarray], size: int) -> list[np.ndarray]:
    """Sets of samples as they were when this site was here first: what others sum meanwhile looks at what this study does."""
    raw = memory.once(name, lambda: np.packbits(np.array(sets, bool).reshape(-1, size), axis=1).tobytes())
    return list(np.unpackbits(np.frombuffer(raw, np.uint8).reshape(-1, -(-size // 8)), axis=1, count=size).astype(bool))


def _everybody_accepts(transport: Transport, message_folder: MessageFolder) -> list[str]:
    """Names of the sites who agreed that their own sums may be read."""
    me = message_folder.me
    transport.post(ACCEPT, read_regular(message_folder.path(me, ACCEPT), "a message"))
    found = transport.collect(ACCEPT)
    for name, message in found.items():
        if message.value.get("accepts") != message_folder.study.digest:
            raise ProtocolError(f"site {name} has accepted another study")
    own = message_folder.own(ACCEPT)
    return [name for name, message in {**found, me: own}.items() if message is not None and agrees(message)]


def _tables(
    study: StudyFile, strata: tuple[Stratum, ...], reader: GenotypeReader, gate: Gate, out: str, digits: int,
    filters: Filters | None, blocks: Iterator[OpenedSums], again: Callable[[], Iterator[OpenedSums]],
    correct: OpenedCorrections | None,
) -> tuple[list[Summary], list[str]]:  # fmt: skip
    grid, variants, analyses = reader.dosage_grid, reader.variants, analyses_of(strata)
    tables = write_tables(
        out, variants, blocks, analyses, gate=gate, strata=strata, grid=grid, digits=digits, filters=filters,
        correct=correct,
    )  # fmt: skip
    quality: list[str] = []
    if study.qc:
        if gate.policy is not None:
            gate = gate.of(people_of(reader, strata, qc_only=True, pooled=True))
        quality = write_qc(out, variants, again(), gate=gate, strata=strata, grid=grid, digits=digits)
    return tables, quality
