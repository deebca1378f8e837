"""What a steward does with a policy: make it, sign it, check it, ask what it would decide. `sg.policy` from Python.

>>> import securegen as sg, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> made = sg.policy.init(
...     f"{folder.name}/policy.toml", "Example", key=f"{folder.name}/steward.secret", settings={"limits.smallest_cohort": 50}
... )
>>> sg.policy.sign(f"{folder.name}/policy.toml", f"{folder.name}/steward.secret").version
1
>>> print(sg.policy.explain(f"{folder.name}/policy.toml", purpose="HMB", samples=400, variants=5000).allowed)
True
>>> print(sg.policy.explain(f"{folder.name}/policy.toml", purpose="HMB", samples=40, variants=5000).refusals[0].rule)
policy.smallest_cohort
>>> folder.cleanup()
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import StorageError
from securegen.governance import audit_beside, jwk, ledger_place, policy_file, second_signature, signing
from securegen.governance.explained import explain
from securegen.governance.gate import LEDGER, Asking, gate_of
from securegen.governance.ledger_file import begin_ledger
from securegen.governance.policy import Policy
from securegen.governance.policy_draft import draft
from securegen.governance.visa import read_visas
from securegen.governance.visa_roles import visa_lines

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
    if ledger_here:
        ledger_place.sign_over(ledger, made, steward)
    else:
        begin_ledger(ledger)
    return made


def countersign(request: str, key: Name, out: Name, *, passphrase: bytes | None = None) -> None:
    """Write a second person's signature on the request of this digest, 64 hex digits as a refusal names it.

    Whoever signs has seen what is asked for, by `explain` or the refusal. Raises PolicyError, StorageError where OUT is there.
    """
    second_signature.countersign(os.fspath(out), request, signing.read_identity(os.fspath(key), passphrase=passphrase))


def check(path: Name) -> Policy:
    """A signed policy as it is read before every run. Raises PolicyError for one that is absent, unsigned or altered."""
    return policy_file.read_policy(os.fspath(path))


def check_visas(policy: Policy, visa: Sequence[Name]) -> list[str]:
    """What a policy makes of files of visas, in lines: each with the digest of its subject, for `subjects` of an identity, and
    why it gives nothing. Raises as `visa.read_visas`."""
    return list(visa_lines(policy, read_visas(policy, visa), int(datetime.datetime.now(datetime.UTC).timestamp())))


__all__ = ["Asking", "check", "check_visas", "countersign", "explain", "gate_of", "init", "sign"]
