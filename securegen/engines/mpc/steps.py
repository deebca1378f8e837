"""A multi-party run from Python and from the command line: what one party does, on its own machine and with its own files.

Certificates come from `net.certs`, parties.toml by `read_parties`. Who learns what is in the receipt of each party.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from securegen.engines.federated.site import Connect
from securegen.engines.mpc import deployment
from securegen.engines.mpc.deployment import GENOME_WIDE, ScoreTask, Task
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import DEALER, Parties, read_parties
from securegen.engines.mpc.outcome import Outcome
from securegen.engines.mpc.owner_gate import gate_of_party
from securegen.engines.mpc.projected import HITS
from securegen.engines.mpc.site_links import linked
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import UsageError
from securegen.governance.openings import STRICT
from securegen.model import Sums
from securegen.study.inputs import Inputs, Log, silent

Name = str | Path
__all__ = [
    "Name",
    "Outcome",
    "Parties",
    "ScoreTask",
    "party_of",
    "read_parties",
    "run_dealer",
    "run_party",
    "site_links",
]


def party_of(parties: Parties, role: str, name: str | None = None) -> str:
    """The party of a role, by name where several have it. Raises UsageError."""
    if name is None:
        return parties.only(role)
    if parties[name].role != role:
        raise UsageError(f"party {name!r} has the role {parties[name].role!r}, not {role!r}")
    return name


def run_party(
    parties: Parties,
    name: str,
    inputs: Inputs,
    out: str,
    *,
    keys: Name,
    passphrase: bytes | None = None,
    state: Name | None = None,
    cohort: str = "cohort",
    masked: Name | None = None,
    reveal: str = HITS,
    threshold: float = GENOME_WIDE,
    consent_aggregates: bool = False,
    openings: str = STRICT,
    column_limit: int | None = None,
    score: ScoreTask | None = None,
    digits: int = 17,
    threads: int | None = None,
    check_only: bool = False,
    log: Log = silent,
    seen: Callable[[Sums], None] | None = None,
) -> Outcome:
    """Be the party `name` of a run with others over mutual TLS; all start within the timeout of parties.toml.

    inputs: of this party, only the files of its role; keys: folder of NAME.pem, NAME.key (passphrase: of it) and ca.pem;
    state: memory of masks and limits, KEYS/NAME.state.json unless given; the others: as in `Task`. check_only: refuse
    whatever can be refused before the others are met, and return.

    Raises UsageError, PolicyError where a rule refuses, PeerError and ProtocolError where another party fails.
    """
    memory = StateFile(Path(state) if state is not None else Path(keys) / f"{name}.state.json")
    task = Task(
        inputs, out, memory, cohort=cohort, score=score, reveal=reveal, threshold=threshold,
        consent_aggregates=consent_aggregates, openings=openings, column_limit=column_limit,
        masked=None if masked is None else Path(masked), digits=digits, threads=threads or os.cpu_count() or 1,
        seen=seen,
    )  # fmt: skip
    identity = _own(parties, name, keys, passphrase)
    split = deployment.check_task(parties, name, task)
    task = replace(
        task,
        gate=gate_of_party(parties, name, inputs, scores=split == deployment.SCORES, more=[keys, memory.path], log=log),
    )
    if not check_only:
        return deployment.run_party(parties, identity, task, log)
    if parties[name].role == "genotypes":
        deployment.genotypes_of(task, split, log)
    return Outcome()


def run_dealer(
    parties: Parties,
    *,
    keys: Name,
    name: str | None = None,
    passphrase: bytes | None = None,
    threads: int | None = None,
    check_only: bool = False,
) -> Outcome:
    """Deal for one session: keys and sizes, never data. Raises UsageError for a study without a dealer.

    A dealer colludes with nobody. Arguments: as of `run_party`.
    """
    identity = _own(parties, party_of(parties, DEALER, name), keys, passphrase)
    if check_only:
        return Outcome()
    return deployment.run_dealer(parties, identity, threads=threads or os.cpu_count() or 1)


def site_links(parties: Parties, name: str, *, keys: Name, passphrase: bytes | None = None) -> Connect:
    """How site `name` of a federated study meets the others over mutual TLS: `connect` of `federated.steps.run_site`."""
    return linked(parties, _own(parties, name, keys, passphrase))


def _own(parties: Parties, name: str, keys: Name, passphrase: bytes | None) -> PartyIdentity:
    """A party's own files, once they are what the others expect: a mistake is named before anybody is met."""
    identity = PartyIdentity.in_directory(Path(keys), name, passphrase)
    identity.check(pin=parties[name].pin, rank=parties.rank(name))
    return identity
