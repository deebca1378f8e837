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
from securegen.results.people_behind import who_differ
from securegen.study.inputs import Inputs, Log


def gate_of_party(
    parties: Parties, name: str, inputs: Inputs, *, scores: bool, log: Log,
    more: Iterable[str | os.PathLike[str]] = (),
) -> Gate:  # fmt: skip
    """A party's own door: its policy stands beside its files or in `more`, and parties.toml may name it. scores: in a run of
    scores. Raises PolicyError where it is not there or another one, or refuses scores."""
    text = parties[name].policy
    pin = None if text is None else Pin.from_text(text)
    gate = gate_of_inputs("mpc", inputs, log, more=more, pins=[(f"party {name} of parties.toml", pin)])
    if parties[name].role == "genotypes" and gate.policy is not None:
        gate = replace(gate, inputs=inputs.asked_for())
        if scores:
            gate.check([OutputFacts(SCORES, "scores", 0, 0)], early=True)
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


def rare_rows(block: GenotypeBlock, sets: np.ndarray, grid: int, gate: Gate | None) -> np.ndarray:
    """(V,) bool: variants at which fewer people differ from the others than the owner's policy shows, in some set, (N, S)
    bool, of people; of a genetic model also those whose 1, or whose 0, fewer have. People are counted, of X, Y and MT too."""
    out = np.zeros(len(block), bool)
    if gate is None or not gate.minor_alleles:
        return out
    for people in sets.T:
        missing = None if block.missing is None else block.missing[:, people]
        for values in [block.dosage] if block.alleles is None else [block.dosage, block.alleles]:
            g = values[:, people].astype(np.int64)
            g = g if missing is None else np.where(missing, 0, g)
            lacking = np.zeros(len(g), np.int64) if missing is None else missing.sum(axis=1)
            out |= (
                who_differ(people.sum() - lacking, g.sum(axis=1), (g * g).sum(axis=1), grid=grid) < gate.minor_alleles
            )
    return out
