"""What a steward does with a policy: make it, sign it, check it, ask what it would decide. `sg.policy` from Python.

>>> import securegen as sg, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> made = sg.policy.init(f"{folder.name}/policy.toml", "Example", key=f"{folder.name}/steward.secret")
>>> sg.policy.sign(f"{folder.name}/policy.toml", f"{folder.name}/steward.secret").version
1
>>> print(sg.policy.explain(f"{folder.name}/policy.toml", purpose="HMB", samples=400, variants=5000).allowed)
True
>>> print(sg.policy.explain(f"{folder.name}/policy.toml", purpose="HMB", samples=9, variants=5000).refusals[0].rule)
policy.smallest_cohort
>>> folder.cleanup()
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from securegen.design.columns import AppliedNoise
from securegen.errors import ArtefactError, InputError, PolicyError, StorageError, UsageError
from securegen.governance import audit_beside, audit_release, jwk, ledger_place, policy_file, second_signature, signing
from securegen.governance.audit_verify import read_log
from securegen.governance.decision import Decision, Reason
from securegen.governance.door import ASSOCIATION, KINDS, History, OutputFacts, Request, release
from securegen.governance.duo import NotDuo, parse_purpose
from securegen.governance.gate import LEDGER, Asking, gate_of
from securegen.governance.ledger_file import open_ledger
from securegen.governance.policy import FULL, REVEALS, ROLES, Policy
from securegen.governance.policy_draft import draft
from securegen.governance.visa import read_visas
from securegen.governance.visa_roles import best_role, visa_lines

Name = str | os.PathLike[str]


def init(
    path: Name, name: str, *, key: Name, identities: Mapping[str, tuple[str, Name]] | None = None,
    passphrase: bytes | None = None, settings: Mapping[str, Any] | None = None,
    issuers: Mapping[str, tuple[str, Name]] | None = None,
) -> Policy:  # fmt: skip
    """Write a policy with every setting, which is not signed yet.

    key: the steward's signing key, made when absent; FILE.pub beside it too; passphrase: of that file; identities: name ->
    role and verify key file; settings: by dotted key, in place of the defaults; issuers: of visas, name -> `iss` and a file of
    its public keys (JWKS), which stand in the policy from then on. Raises StorageError where a policy is there,
    PolicyError naming what is wrong with a setting: nothing is then written.
    """
    path = Path(path)
    if os.path.lexists(path):
        raise StorageError(f"{path} exists and is not overwritten: choose another name or remove it")
    new = not os.path.lexists(key)
    steward = signing.generate() if new else signing.read_identity(os.fspath(key), passphrase=passphrase)
    people = [{"name": "steward", "key": steward.verify_key.hex(), "role": "owner"}] if not identities or all(
        signing.read_verify_key(os.fspath(public)) != steward.verify_key for _, public in identities.values()
    ) else []  # fmt: skip
    for who, (role, public) in (identities or {}).items():
        people.append({"name": who, "key": signing.read_verify_key(os.fspath(public)).hex(), "role": role})
    signers = []
    for who, (iss, file) in (issuers or {}).items():
        keys = jwk.keys_of_set(os.fspath(file))
        algorithms = sorted({jwk.issuer_key(key, "key").algorithm for key in keys})
        signers.append({"name": who, "iss": iss, "algorithms": algorithms, "keys": keys})
    text = draft(name, steward.verify_key.hex(), people, settings, issuers=signers)
    beside = f"{os.fspath(key).removesuffix('.secret')}.pub"
    if new:
        signing.write_identity(os.fspath(key), steward, passphrase=passphrase)
    if new or (not os.path.lexists(beside) and os.fspath(key).endswith(".secret")):  # or a run that made it was killed
        signing.write_verify_key(beside, steward)
    policy_file.write_draft(path, text)
    return policy_file.parse(text.encode(), str(path))


def sign(path: Name, key: Name, *, passphrase: bytes | None = None, ledger_here: bool = False) -> Policy:
    """Sign a policy with its steward's key, after an entry in its audit log; an empty ledger is made beside it where there is
    none, so that no data that are put before these begin another.

    ledger_here: the ledger beside it is the one to go on with, after a move to another machine or a backup that was brought
    back: say so only when no other copy is in use. Raises PolicyError as `policy_file.sign_policy`, KeyFileError for the
    key, StorageError and ArtefactError where the log takes no entry, or no ledger is there.
    """

    def told(policy: Policy) -> None:
        facts = {"action": "signed", "policy": policy.digest, "by": signing.fingerprint(steward.verify_key)}
        audit_beside.log_of(path).append("policy", facts)

    steward = signing.read_identity(os.fspath(key), passphrase=passphrase)
    made = policy_file.sign_policy(os.fspath(path), steward, first=told)
    ledger = Path(path).with_name(LEDGER)
    if not ledger_here and not any(os.path.lexists(f"{ledger}{end}") for end in ("", ".key", ".lock")):
        with open_ledger(ledger, audited=False):
            pass  # it is there now
    if ledger_here:
        ledger_place.sign_over(Path(path).with_name(LEDGER), made, steward)
    return made


def countersign(request: str, key: Name, out: Name, *, passphrase: bytes | None = None) -> None:
    """Write a second person's signature on the request of this digest, 64 hex digits as a refusal names it.

    Whoever signs has seen what is asked for, by `explain` or the refusal. Raises PolicyError, StorageError where OUT is there.
    """
    second_signature.countersign(
        os.fspath(out), request, signing.read_identity(os.fspath(key), passphrase=passphrase)
    )  # fmt: skip


def check(path: Name) -> Policy:
    """A signed policy as it is read before every run. Raises PolicyError for one that is absent, unsigned or altered."""
    return policy_file.read_policy(os.fspath(path))


def check_visas(policy: Policy, visa: Sequence[Name]) -> list[str]:
    """What a policy makes of files of visas, in lines: each with the digest of its subject, for `subjects` of an identity, and
    why it gives nothing. Raises as `visa.read_visas`."""
    return list(visa_lines(policy, read_visas(policy, visa), int(datetime.datetime.now(datetime.UTC).timestamp())))


def explain(
    path: Name, *, who: str | None = None, role: str | None = None, purpose: str | None = None, engine: str = "plain",
    kind: str = ASSOCIATION, reveal: str = FULL, samples: int, variants: int, cases: int | None = None, columns: int = 1,
    minor_alleles: int | None = None, phenotypes: Sequence[str] = ("phenotype",), spent: int = 0, releases: int = 0,
    epsilon: float | None = None, delta: float | None = None, today: datetime.date | None = None, visa: Sequence[Name] = (),
) -> Decision:  # fmt: skip
    """What would be decided for a request of these facts, rule by rule, before anything runs. Nothing is entered anywhere.

    Rules of alerts are asked where the audit log can be read; the ledger is not: `spent` and `releases` say what is in it.

    who: a name of the policy, None for nobody in particular; role: of `who`, or what the policy gives; kind: of `door.KINDS`;
    cases: of a binary phenotype, the others are controls; columns: of a model, intercept included; spent: columns that these
    people were summed with before; releases: other ones today; visa: files of `who`'s visas. Raises UsageError for words that
    there are not.
    """
    policy = check(path)
    for what, value, known in (("kind", kind, KINDS), ("reveal", reveal, REVEALS), ("role", role, (None, *ROLES))):
        if value not in known:
            raise UsageError(f"`{what}` is {value!r}: choose one of {', '.join(str(k) for k in known if k)}")
    found = None if who is None else policy.named(who)
    if who is not None and found is None:
        raise PolicyError(f"policy.identity: {who} is no identity of the policy")
    if visa and found is None:
        raise UsageError("`visa` is of somebody whom the policy names: give `who`")
    at = datetime.datetime.now(datetime.UTC)
    if today is not None:
        at = datetime.datetime.combine(today, at.timetz())
    shown = read_visas(policy, visa)
    given = policy["requests.unidentified"]
    if found is not None:
        given = best_role(policy, found, shown, int(at.timestamp()))
    noise = None if epsilon is None else AppliedNoise(epsilon, delta, "")
    outputs = tuple(
        OutputFacts(
            kind, name, samples, variants, columns=columns, cases=cases, reveal=reveal, noise=noise,
            controls=None if cases is None else samples - cases,
            minor=minor_alleles if minor_alleles is not None or reveal != FULL else int(policy["limits.minor_alleles"]),
        )
        for name in phenotypes
    )  # fmt: skip
    request = Request(
            policy,
            role or given,
            engine,
            outputs,
            at.date(),
            who,
            _canonical(purpose),
            history=History(columns=spent + columns, people=samples, day=releases, month=releases, ever=releases),
            explained=True, visas=shown, now=int(at.timestamp()),
    )  # fmt: skip
    return release(replace(request, reasons=_alerts(Path(path).parent, request)))


def _alerts(folder: Path, request: Request) -> tuple[Reason, ...]:
    """What the rules of alerts say beside the log so far, which is read alone; that they were not asked, where it cannot be."""
    if not os.path.lexists(folder / audit_beside.FOLDER):
        return ()
    try:
        entries = read_log(folder / audit_beside.FOLDER).entries
    except (StorageError, ArtefactError, InputError):
        return (Reason("audit.alerts", True, "the audit log cannot be read here: alerts are not asked"),)
    return audit_release.unusual_reasons(request, entries)


def _canonical(purpose: str | None) -> str | None:
    """A purpose as a run takes it, in the codes of DUO; other text as it is, which the door refuses."""
    try:
        return None if purpose is None else str(parse_purpose(purpose))
    except NotDuo:
        return purpose


__all__ = ["Asking", "check", "check_visas", "countersign", "explain", "gate_of", "init", "sign"]
