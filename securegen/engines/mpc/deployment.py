"""What a party of a deployment does, from its role in parties.toml: one session, one split, its own files.

The roles of a study decide the split: genotypes + phenotypes + dealer (vertical), the same with two servers (outsourced),
genotypes + model + dealer (scores); sites only are a federated study over TLS (`site_links`). Who learns what is in the
receipt that every party writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from securegen.engines.mpc import aggregates, association, dealer, projected_run, score_run
from securegen.engines.mpc.gwas import ask_consent
from securegen.engines.mpc.masks import party_masks, refuse_masks
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import DEALER, Parties
from securegen.engines.mpc.net.session import Session, open_session
from securegen.engines.mpc.outcome import Outcome, TimedSession
from securegen.engines.mpc.outsourced import OutsourcedRoles
from securegen.engines.mpc.owner_gate import gate_of_party
from securegen.engines.mpc.projected import CHI2, HITS, UV
from securegen.engines.mpc.state_file import StateFile, check_cohort
from securegen.engines.mpc.vertical import Roles
from securegen.errors import ProtocolError, UsageError
from securegen.governance.gate import Gate
from securegen.governance.openings import STRICT
from securegen.io.genotypes import FORMATS
from securegen.model import GenotypeReader, SelectableReader, Sums
from securegen.results import outputs
from securegen.scores.release import DIGITS
from securegen.study.genotypes import everybody_beside, open_genotypes
from securegen.study.held import waiting_for
from securegen.study.inputs import REGENIE, Inputs, Log, silent
from securegen.vocabulary import ADDITIVE

HORIZONTAL, VERTICAL, OUTSOURCED, SCORES = "horizontal", "vertical", "outsourced", "scores"
ROLES = {
    VERTICAL: {"genotypes": "genotypes", "phenotypes": "phenotypes", "dealer": "dealer"},
    OUTSOURCED: {
        "genotypes": "genotypes", "phenotypes": "phenotypes", "server-one": "server", "server-two": "server",
        "dealer": "dealer",
    },
    SCORES: {"genotypes": "genotypes", "model": "model", "dealer": "dealer"},
}  # fmt: skip
AGGREGATES = "aggregates"
REVEALS = (HITS, CHI2, UV, AGGREGATES)  # the first is the default of a vertical split
GENOME_WIDE = 5e-8
PROTOCOL = "association/1"


@dataclass(frozen=True)
class ScoreTask:
    """What the parties of a score run bring. digits: significant digits released; of the model's owner, files and score_col_nums:
    as plink2 takes them; allow_small_model: scores whose weights may become known; reply_cap: replies in its life."""

    files: tuple[str, ...] = ()
    score_col_nums: tuple[int, ...] | None = None
    allow_small_model: tuple[str, ...] = ()
    digits: int = DIGITS
    reply_cap: int = 1000


@dataclass(frozen=True)
class Task:
    """What one party brings to a run and agrees to.

    inputs: its own files; out: prefix of what it writes; cohort and state: the name and file under which the owner's
    masks and limits are kept; reveal: what is opened of a vertical split (REVEALS); threshold: p-value of a hit;
    masked: where the phenotype owner of a vertical split keeps masked genotypes; score: for score runs; column_limit:
    lifetime number of phenotype columns that the genotype owner answers (`columns_answered`); openings: of
    the genotype owner, what sums that are opened whole may show of few people; seen: is shown every block of these; gate:
    this party's door, by default that of its inputs.
    """

    inputs: Inputs
    out: str
    state: StateFile
    cohort: str = "cohort"
    score: ScoreTask | None = None
    reveal: str = HITS
    threshold: float = GENOME_WIDE
    consent_aggregates: bool = False
    openings: str = STRICT
    column_limit: int | None = None
    masked: Path | None = None
    digits: int = 17
    threads: int = 1
    seen: Callable[[Sums], None] | None = None
    gate: Gate | None = None


def split_of(parties: Parties) -> str:
    """The split that the roles of a study describe. UsageError when they describe none."""
    roles = sorted(p.role for p in parties.party)
    if set(roles) == {"site"}:
        return HORIZONTAL
    for split, needed in ROLES.items():
        if roles == sorted(needed.values()):
            return split
    raise UsageError(
        f"the roles {', '.join(roles)} of study {parties.study!r} do not make a split: use sites only; genotypes, phenotypes "
        "and dealer; these with two servers; or genotypes, model and dealer"
    )


def vertical_roles(parties: Parties) -> Roles:
    """Names by role for a vertical split."""
    return Roles(parties.only("genotypes"), parties.only("phenotypes"), parties.only(DEALER))


def score_roles(parties: Parties) -> Roles:
    """Names by role for a score run."""
    return Roles(parties.only("genotypes"), parties.only("model"), parties.only(DEALER))


def outsourced_roles(parties: Parties) -> OutsourcedRoles:
    """Names by role for an outsourced run; the phenotype owner receives the sums."""
    one, two = parties.with_role("server")
    right = parties.only("phenotypes")
    return OutsourcedRoles(parties.only("genotypes"), right, (one, two), parties.only(DEALER), right)


def run_dealer(parties: Parties, identity: PartyIdentity, *, threads: int = 1) -> Outcome:
    """Deal for one session. Raises UsageError for a study without a dealer."""
    split = split_of(parties)
    if parties[identity.name].role != DEALER:
        raise UsageError(f"party {identity.name!r} is not the dealer of study {parties.study!r}")
    outcome = Outcome()
    with _session(parties, identity, outcome) as session:
        if split == VERTICAL:
            r = vertical_roles(parties)
            everything = session.receive_json(r.left, "dealer/reveal") == AGGREGATES
            offline = (aggregates if everything else projected_run).deal(session, r, threads=threads)
        elif split == SCORES:
            r = score_roles(parties)
            offline = dealer.score_dealer(session, left=r.left, right=r.right, threads=threads)
        else:
            o = outsourced_roles(parties)
            offline = dealer.server_dealer(session, left=o.left, right=o.right, servers=o.servers, threads=threads)
        outcome.seconds["offline"] = offline
    return outcome


def run_party(parties: Parties, identity: PartyIdentity, task: Task, log: Log = silent) -> Outcome:
    """One computing party of an association run.

    Raises UsageError for options that do not go with the split, PolicyError when an owner's rule refuses, PeerError
    and ProtocolError when another party fails.
    """
    split, role = check_task(parties, identity.name, task), parties[identity.name].role
    gate = task.gate or gate_of_party(parties, identity.name, task.inputs, scores=split == SCORES, log=log)
    task = replace(task, gate=gate, state=replace(task.state, study=parties.digest(), policies=gate.folders))
    outcome = Outcome(gate=gate)
    started = time.perf_counter()
    reader = None
    if role == "genotypes":
        waiting = waiting_for(gate.policy, log)
        gate.allowed = waiting.tell
        reader = genotypes_of(task, split, waiting)
    if reader is not None:
        outputs.refuse_masks(reader.variants, gate.minor_alleles)
    outcome.seconds["plan"] = time.perf_counter() - started
    with _session(parties, identity, outcome) as session:
        if reader is not None:
            outcome.samples_stored, outcome.variants_stored = len(reader.samples), len(reader.variants)
        if split == VERTICAL:
            _vertical(session, vertical_roles(parties), task, outcome, reader, log)
        elif split == SCORES:
            _scores(session, score_roles(parties), task, outcome, reader, log)
        else:
            _outsourced(session, outsourced_roles(parties), task, outcome, reader, log)
    return outcome


def genotypes_of(task: Task, split: str, log: Log = silent) -> SelectableReader:
    """The genotype party's cohort, with X, Y and MT but for scores. Raises as `open_genotypes`."""
    inputs = task.inputs
    if split != SCORES and inputs.coding != ADDITIVE:  # X too, which the phenotype owner takes or leaves
        inputs = replace(inputs, statistic=REGENIE)
    return party_masks(inputs, open_genotypes(inputs, log, haploid=split != SCORES), log)


def check_task(parties: Parties, name: str, task: Task) -> str:
    """The split, after what needs no other party. Raises UsageError and PolicyError as `run_party` does."""
    split = split_of(parties)
    if parties[name].role == DEALER:
        raise UsageError(f"party {name!r} is the dealer: start it with `securegen dealer`")
    _refuse(task, split, parties[name].role)
    if split == VERTICAL and task.reveal == AGGREGATES:
        ask_consent(task.consent_aggregates)
    return split


def _vertical(
    session: Session, roles: Roles, task: Task, outcome: Outcome, reader: GenotypeReader | None, log: Log
) -> None:
    _agree(session, roles.left if reader is None else roles.right, task)
    if reader is not None:
        session.send_json(roles.dealer, "dealer/reveal", task.reveal)
    run: Any = projected_run
    terms: dict[str, Any] = {"reveal": task.reveal, "threshold": task.threshold if task.reveal == HITS else None}
    if task.reveal == AGGREGATES:
        run, terms = aggregates, {"consent_aggregates": task.consent_aggregates}
    if reader is not None:
        if task.reveal == AGGREGATES:
            terms |= {"level": task.openings, "log": log}
        outcome.several = run.genotype_run(
            session, roles, reader, cohort=task.cohort, state=task.state, column_limit=task.column_limit,
            threads=task.threads, gate=task.gate, **terms,
        )  # fmt: skip
        return
    terms["opened"] = outcome.open
    if task.reveal == AGGREGATES:
        terms["seen"] = task.seen
    outcome.tables = run.phenotype_run(
        session, roles, task.inputs, task.out, state=task.state, masked=task.masked, log=log, digits=task.digits,
        threads=task.threads, gate=task.gate, **terms,
    )  # fmt: skip


def _outsourced(
    session: Session, roles: OutsourcedRoles, task: Task, outcome: Outcome, reader: GenotypeReader | None, log: Log
) -> None:
    if session.me in roles.servers:
        association.outsourced_server_run(session, roles, threads=task.threads)
    elif reader is not None:
        outcome.several = association.outsourced_genotype_run(
            session, roles, reader, cohort=task.cohort, state=task.state, column_limit=task.column_limit,
            level=task.openings, log=log, gate=task.gate,
        )  # fmt: skip
    else:
        outcome.tables = association.outsourced_phenotype_run(
            session, roles, task.inputs, task.out, state=task.state, log=log, digits=task.digits,
            seen=task.seen, opened=outcome.open, gate=task.gate,
        )  # fmt: skip


def _scores(
    session: Session, roles: Roles, task: Task, outcome: Outcome, reader: GenotypeReader | None, log: Log
) -> None:
    own = task.score or ScoreTask()
    if reader is not None:
        made = score_run.people_run(
            session, roles, reader, task.out, gate=outcome.gate, digits=own.digits, threads=task.threads, log=log,
            everybody=partial(everybody_beside, task.inputs, reader),
        )  # fmt: skip
        outcome.files = [made]
    else:
        score_run.model_run(
            session, roles, own.files, model=task.cohort, state=task.state, reply_cap=own.reply_cap,
            score_col_nums=own.score_col_nums, allow_small_model=own.allow_small_model, digits=own.digits, threads=task.threads,
        )  # fmt: skip


def _agree(session: Session, other: str, task: Task) -> None:
    """Both owners name what is opened; the first difference ends the session."""
    mine = f"hits below {task.threshold!r}" if task.reveal == HITS else task.reveal
    session.send_json(other, "reveal", mine)
    theirs = session.receive_json(other, "reveal")
    if theirs != mine:
        raise ProtocolError(
            f"party {other!r} wants to reveal {theirs!r}, party {session.me!r} {mine!r}: both owners name the same "
            "`reveal` and `threshold`"
        )


def _refuse(task: Task, split: str, role: str) -> None:
    check_cohort(task.cohort)
    for what, needed, given in (
        (f"genotypes: --{', --'.join(FORMATS)}", role == "genotypes", task.inputs.genotypes.given),
        ("--pheno", role == "phenotypes", task.inputs.pheno),
        ("--score", role == "model", task.score and task.score.files),
    ):
        if needed and not given:
            raise UsageError(f"the party with the role {role} needs {what}")
    if task.inputs.masks is not None and (role != "genotypes" or split == SCORES):
        raise UsageError("masks are made by the party with the genotypes, for association")
    opened = task.reveal if split == VERTICAL and task.reveal != AGGREGATES else None
    refuse_masks(task.inputs, opened=opened, openings=task.openings)
    if split == SCORES and task.inputs.coding != ADDITIVE:
        raise UsageError(f"`{task.inputs.coding}` is for association: scores count copies")
    if split == HORIZONTAL:
        raise UsageError(
            "sites that hold different people are a federated study: securegen party --role site --dir FOLDER"
        )
    if not 0 < task.threshold < 0.5:
        raise UsageError(
            f"`threshold` {task.threshold:g} cannot be the p-value of a hit: choose one below 0.5, such as 5e-8"
        )


def _session(parties: Parties, identity: PartyIdentity, outcome: Outcome) -> TimedSession:
    return TimedSession(open_session(parties, identity, protocol=PROTOCOL, dimensions={}), outcome)
