"""Who asks, by a signing key that the policy knows, and for what, in the codes of DUO."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from securegen.errors import PolicyError, UsageError
from securegen.governance import duo
from securegen.governance.audit_beside import log_of
from securegen.governance.policy import REFUSED, Policy
from securegen.governance.policy_file import POLICY
from securegen.governance.signing import fingerprint, read_identity
from securegen.governance.visa import Visa, read_visas
from securegen.governance.visa_roles import best_role


def canonical_purpose(purpose: str | None) -> str | None:
    """A purpose in the codes of DUO. Raises UsageError for other text."""
    try:
        return None if purpose is None else str(duo.parse_purpose(purpose))
    except duo.NotDuo as problem:
        raise UsageError(f"`purpose`: {problem}") from None


def known_key(policy: Policy, given: str | os.PathLike[str] | None) -> str | None:
    """The fingerprint of a signing key that the policy has; None for another, or where none is given. Raises KeyFileError."""
    key = None if given is None else read_identity(os.fspath(given)).verify_key
    return None if key is None or policy.identity(key.hex()) is None else fingerprint(key)


def who_asks(
    policy: Policy, given: str | os.PathLike[str] | None, visas: Sequence[str] = (), folder: Path | None = None
) -> tuple[str | None, str, tuple[Visa, ...]]:
    """Name and role of who asks, and the visas that they show, verified.

    visas: files; folder: of the policy, whose audit log has what is refused of them. Raises PolicyError for a key that the policy
    does not have, for visas without a key, and as `read_visas`.
    """
    if given is None:
        if visas:
            raise PolicyError(
                "policy.visa: a visa counts for the key that its subject has in the policy: give `identity`"
            )
        role = policy["requests.unidentified"]
        return None, role if role != REFUSED else "analyst", ()
    key = read_identity(os.fspath(given))
    found = policy.identity(key.verify_key.hex())
    if found is None:
        raise PolicyError(f"policy.identity: the policy has no identity with the key {fingerprint(key.verify_key)}")
    if not visas:
        return found.name, found.role, ()
    try:
        shown = read_visas(policy, visas)
        if not shown:
            raise PolicyError("policy.visa: no visa of an issuer whom the policy names is among those that are shown")
    except PolicyError:
        if folder is not None:
            facts = {"rules": ["policy.visa"], "policy": policy.digest, "who": fingerprint(key.verify_key)}
            log_of(folder / POLICY).append("refusal", facts)
        raise
    return found.name, best_role(policy, found, shown, int(time.time())), shown
