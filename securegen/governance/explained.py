"""What a policy would decide of a request, before anything runs: from facts that somebody names, beside its log and ledger.

The ledger is read alone. Nothing is said of who is in it beyond what a refusal of the run would say, and such a refusal counts as
one of a run.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from securegen.design.columns import AppliedNoise
from securegen.errors import ArtefactError, InputError, PolicyError, StorageError, UsageError
from securegen.governance import audit_beside, audit_release, ledger_place
from securegen.governance.audit_entry import Entry, moment
from securegen.governance.audit_verify import read_log
from securegen.governance.decision import Decision, Reason
from securegen.governance.door import ASSOCIATION, KINDS, History, OutputFacts, Request, release
from securegen.governance.duo import NotDuo, parse_purpose
from securegen.governance.gate import LEDGER
from securegen.governance.history import PeopleFacts, history_of
from securegen.governance.ledger_file import open_ledger
from securegen.governance.pin import Pin
from securegen.governance.policy import FULL, REVEALS, ROLES
from securegen.governance.policy_file import read_policy
from securegen.governance.refusals import LOOKING, SETS
from securegen.governance.visa import read_visas
from securegen.governance.visa_roles import best_role
from securegen.io.tables import read_ids
from securegen.model import Samples

Name = str | os.PathLike[str]


def explain(
    path: Name, *, who: str | None = None, role: str | None = None, purpose: str | None = None, engine: str = "plain",
    kind: str = ASSOCIATION, reveal: str = FULL, samples: int | None = None, variants: int, cases: int | None = None,
    columns: int = 1, minor_alleles: int | None = None, phenotypes: Sequence[str] = ("phenotype",), spent: int | None = None,
    releases: int | None = None, epsilon: float | None = None, delta: float | None = None, today: datetime.date | None = None,
    visa: Sequence[Name] = (), people: Name | None = None,
) -> Decision:  # fmt: skip
    """What would be decided for a request of these facts, rule by rule, before anything runs. Nothing is entered in the ledger; a
    refusal of named people, which tells as much as that of a run, is in the log and counts.

    Rules of alerts, releases, columns and sets of samples are asked beside the policy's log and ledger, where these can be read.

    who: a name of the policy, None for nobody in particular; role: of `who`, or what the policy gives; kind: of `door.KINDS`;
    samples: how many, None for those of `people`; cases: of a binary phenotype, the others are controls; columns: of a model,
    intercept included; people: a list, FID IID per line, whose sums are asked for: their set is compared with earlier ones;
    spent: columns that they were summed with before, None for what the ledger has of the most-spent of them, or of all where
    nobody is named; releases: other ones today, None for the ledger's; visa: files of `who`'s visas. Raises UsageError for
    unknown words, InputError for the list.
    """
    policy = read_policy(os.fspath(path))
    for what, value, known in (("kind", kind, KINDS), ("reveal", reveal, REVEALS), ("role", role, (None, *ROLES))):
        if value not in known:
            raise UsageError(f"`{what}` is {value!r}: choose one of {', '.join(str(k) for k in known if k)}")
    found = None if who is None else policy.named(who)
    if who is not None and found is None:
        raise PolicyError(f"policy.identity: {who} is not an identity of the policy")
    if visa and found is None:
        raise UsageError("`visa` says who somebody is whom the policy names: give `who`")
    named = None if people is None else _listed(people)
    if named is None and samples is None:
        raise UsageError("say how many people by `samples`, or who by `people`")
    number = samples if samples is not None else len(named or ())
    if named is not None and number != len(named):
        raise UsageError(f"`samples` is {number}, and `people` names {len(named)}")
    folder = Path(path).parent
    entries, unread = _entries(folder)
    at = datetime.datetime.now(datetime.UTC)
    if today is not None:
        at = datetime.datetime.combine(today, at.timetz())
    else:
        at = max([at, *(moment(e.at) for e in entries[-1:])])
    shown = read_visas(policy, visa)
    given = policy["requests.unidentified"]
    if found is not None:
        given = best_role(policy, found, shown, int(at.timestamp()))
    noise = None if epsilon is None else AppliedNoise(epsilon, delta, "")
    outputs = tuple(
        OutputFacts(
            kind, name, number, variants, columns=columns, cases=cases, reveal=reveal, noise=noise,
            controls=None if cases is None else number - cases,
            minor=minor_alleles if minor_alleles is not None or reveal != FULL else int(policy["limits.minor_alleles"]),
        )
        for name in phenotypes
    )  # fmt: skip
    request = Request(
        policy, role or given, engine, outputs, at.date(), who, _canonical(purpose), explained=True, visas=shown,
        now=int(at.timestamp()),
    )  # fmt: skip
    history, said = _history(folder, request, named, entries, columns, spent)
    if releases is not None:
        history = replace(history, day=releases, month=releases, ever=releases)
    request = replace(request, history=history)
    alerts = unread or audit_release.unusual_reasons(request, entries)
    decision = release(replace(request, reasons=(*said, *alerts)))
    looked = [r.rule for r in decision.refusals if r.rule in SETS | LOOKING]
    if named is not None and looked and os.path.lexists(folder / LEDGER):
        audit_beside.log_of(Path(path)).append("refusal", {"rules": looked, "policy": policy.digest})
    return decision


def _entries(folder: Path) -> tuple[list[Entry], tuple[Reason, ...]]:
    """The audit log, and that alerts are not asked where it cannot be read."""
    if not os.path.lexists(folder / audit_beside.FOLDER):
        return [], ()
    try:
        return list(read_log(folder / audit_beside.FOLDER).entries), ()
    except (StorageError, ArtefactError, InputError):
        return [], (Reason("audit.alerts", True, "the audit log cannot be read here: alerts are not asked"),)


def _history(
    folder: Path, request: Request, named: Samples | None, entries: Sequence[Entry], columns: int, spent: int | None
) -> tuple[History, tuple[Reason, ...]]:
    """What these people were in before, and what could not be asked. Raises PolicyError and StorageError as a run does."""
    number = request.outputs[0].samples if request.outputs else 0
    plain = History(columns=(spent or 0) + columns, people=number)
    if not os.path.lexists(folder / LEDGER):
        return plain, ()
    if not os.access(folder / LEDGER, os.R_OK):
        return plain, (
            Reason("ledger.samples", True, "the ledger cannot be read here: budgets and sets of samples are not asked"),
        )
    with open_ledger(folder / LEDGER, audited=False, kept=False) as ledger:
        if ledger.policy is not None:
            Pin.from_json(ledger.policy).refuse_other(request.policy, "the ledger of these people")
        audit_release.refuse_older(ledger, entries)
        ledger_place.settle(ledger, folder / LEDGER, request.policy)
        before, known = ledger.spent, len(ledger.sets)
        facts = None
        if named is not None:
            rows = ledger.rows(named)  # strangers have spent nothing
            before = ledger.spent[rows]
            facts = PeopleFacts(named, (("what is asked for", "", np.ones(len(named), bool)),))
        history = history_of(ledger, request, facts)
    spent = int(before.max(initial=0)) if spent is None else spent
    history = replace(history, columns=spent + columns, people=number, known=True)
    if named is None and known:
        said = f"{known} sets of samples were summed before: who is asked for is not named (`people`), so they are not compared"
        return history, (Reason("ledger.samples", True, said),)
    return history, ()


def _listed(path: Name) -> Samples:
    """The people of a list. Raises InputError for a line without both ids, or with somebody twice."""
    ids = read_ids(os.fspath(path))
    if wrong := next((n for n, words in enumerate(ids, 1) if len(words) != 2), None):
        raise InputError(f"{os.fspath(path)}, entry {wrong}: FID and IID of one person are expected")
    if len(set(ids)) != len(ids):
        raise InputError(f"{os.fspath(path)} names somebody twice")
    fid, iid = (np.array([words[k] for words in ids], object) for k in (0, 1))
    return Samples(fid, iid, np.ones(len(ids), bool), np.zeros(len(ids), np.int8))


def _canonical(purpose: str | None) -> str | None:
    """A purpose as a run takes it, in the codes of DUO; other text as it is, which the door refuses."""
    try:
        return None if purpose is None else str(parse_purpose(purpose))
    except NotDuo:
        return purpose
