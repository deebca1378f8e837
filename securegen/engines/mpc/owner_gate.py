"""A party's own door: its policy, before a genotype is sent or a score is asked for.

Who learns what: nobody; a refusal ends the session, and only this party's own log names the rule.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from securegen.engines.governed import gate_of_inputs
from securegen.engines.mpc.net.parties import Parties
from securegen.engines.mpc.net.session import Session
from securegen.engines.mpc.people import ledger_of
from securegen.engines.mpc.state_file import StateFile
from securegen.governance import releases
from securegen.governance.door import ASSOCIATION, SCORES, OutputFacts
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.gate import Gate
from securegen.governance.history import PeopleFacts
from securegen.governance.pin import Pin
from securegen.governance.policy import FULL
from securegen.model import GenotypeBlock, GenotypeReader
from securegen.study.inputs import Inputs, Log, silent


def gate_of_party(
    parties: Parties, name: str, inputs: Inputs, *, scores: bool, more: Iterable[str | os.PathLike[str]] = (),
    log: Log = silent,
) -> Gate:  # fmt: skip
    """A party's own door: its policy stands beside its files or in `more`, and parties.toml may name it. scores: in a run of
    scores. Raises PolicyError where it is not there or another one, or refuses scores."""
    text = parties[name].policy
    pin = None if text is None else Pin.from_text(text)
    gate = gate_of_inputs("mpc", inputs, log, more=more, pins=[(f"party {name} of parties.toml", pin)])
    if parties[name].role == "genotypes" and gate.policy is not None:
        gate = replace(gate, inputs=inputs.asked_for())
        if scores:
            gate.check([OutputFacts(SCORES, "scores", 0, 0)])
    return gate


def pass_owner(
    gate: Gate | None, reader: GenotypeReader, strata: Sequence[tuple[Collection[str], np.ndarray]], columns: int, reveal: str,
    *, state: StateFile, session: Session,
) -> None:  # fmt: skip
    """The genotype owner's door, before a genotype is sent. strata: as of `admitted`; columns: of one variant's answer, which
    are counted for everybody in each session, beside what the ledger of `state` has.

    Raises PolicyError where its policy or its register of consent refuses.
    """
    if gate is None:
        return
    gate.claim(
        reader.samples,
        [
            (releases.analysis_of(releases.PARTY, f"of {int(chosen[:, j].sum())} people", place or ""), chosen[:, j] != 0)
            for places, chosen in strata for place in sorted(places) for j in range(chosen.shape[1])
        ],
        "a session of parties",
    )  # fmt: skip
    if gate.policy is None:
        return
    sets = [
        (f"set {j + 1}", place or "", chosen[:, j])
        for places, chosen in strata for place in sorted(places) for j in range(chosen.shape[1])
    ]  # fmt: skip
    floor = gate.minor_alleles if reveal == FULL else None
    outputs = [
        OutputFacts(ASSOCIATION, f"{what}{place and ' on '}{place}", int(chosen.sum()), len(reader.variants), columns=columns,
               minor=floor, reveal=reveal)
        for what, place, chosen in sets
    ]  # fmt: skip
    gate.of(
        PeopleFacts(
            reader.samples,
            tuple(sets),
            products=((_name(session), columns),),
            genotypes=Fingerprints(reader),
            beside=(ledger_of(state),),
        )
    ).release(outputs)


def of_session(gate: Gate, session: Session, columns: int) -> Gate:
    """The phenotype owner's door for what a session opens, as `pass_owner` counted it: where both have one ledger, as in a
    rehearsal on one machine, columns count once. columns: of one variant's answer."""
    if gate.people is None:
        return gate
    return replace(gate, people=replace(gate.people, counted=((_name(session), columns),)))


def _name(session: Session) -> str:
    return f"session {session.id.hex()}"


def rare_rows(
    block: GenotypeBlock, sets: np.ndarray, grid: int, gate: Gate | None, *, single: bool = False
) -> np.ndarray:
    """(V,) bool: variants with fewer minor alleles than the owner's policy shows, in some set, (N, S) bool, of people; of a
    genetic model also those whose 1, or whose 0, fewer have. single: on Y and MT, where one copy is stored as two."""
    out = np.zeros(len(block), bool)
    if gate is None or not gate.minor_alleles:
        return out
    copies = block.dosage if block.alleles is None else block.alleles
    for people in sets.T:
        called = int(people.sum()) - (0 if block.missing is None else block.missing[:, people].sum(axis=1))
        count = copies[:, people].sum(axis=1, dtype=np.int64) / (grid * (1 + single))
        out |= np.minimum(count, (2 - single) * called - count) < gate.minor_alleles
        if block.alleles is not None:
            ones = block.dosage[:, people].sum(axis=1, dtype=np.int64) / grid
            out |= np.minimum(ones, called - ones) < gate.minor_alleles
    return out
