"""Who asks, by a signing key that the policy knows, and for what, in the codes of DUO."""

from __future__ import annotations

import os

from securegen.errors import PolicyError, UsageError
from securegen.governance import duo
from securegen.governance.policy import REFUSED, Policy
from securegen.governance.signing import fingerprint, read_identity


def canonical_purpose(purpose: str | None) -> str | None:
    """A purpose in the codes of DUO. Raises UsageError for other text."""
    try:
        return None if purpose is None else str(duo.parse_purpose(purpose))
    except duo.NotDuo as problem:
        raise UsageError(f"`purpose`: {problem}") from None


def who_asks(policy: Policy, given: str | os.PathLike[str] | None) -> tuple[str | None, str]:
    """Name and role of who asks. Raises PolicyError for a key that the policy does not have."""
    if given is None:
        role = policy["requests.unidentified"]
        return None, role if role != REFUSED else "analyst"
    key = read_identity(os.fspath(given))
    found = policy.identity(key.verify_key.hex())
    if found is None:
        raise PolicyError(f"policy.identity: the policy has no identity with the key {fingerprint(key.verify_key)}")
    return found.name, found.role
