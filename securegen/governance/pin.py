"""What remembers a policy: a key, a cohort, a study, a party, a ledger. Leaving the policy away is then refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from securegen.errors import PolicyError
from securegen.governance.policy import PIN, Policy
from securegen.governance.signing import fingerprint


@dataclass(frozen=True)
class Pin:
    """What a key, a cohort, a study or a ledger remembers of its policy. A later version of the same steward is taken."""

    digest: str
    steward: str
    version: int

    def to_json(self) -> dict[str, Any]:
        return {"digest": self.digest, "steward": self.steward, "version": self.version}

    @classmethod
    def from_json(cls, value: object) -> Pin:
        """Raises `schema.Refused`, a ValueError, for what is not a pin."""
        return cls(**PIN(value, "policy"))

    @classmethod
    def from_text(cls, text: str) -> Pin:
        """A pin as study files and parties.toml have it: version, digest, steward. Raises ValueError."""
        version, digest, steward = text.split(" ")
        return cls.from_json({"version": int(version), "digest": digest, "steward": steward})

    def to_text(self) -> str:
        """The same in one line."""
        return f"{self.version} {self.digest} {self.steward}"

    @classmethod
    def of(cls, policy: Policy) -> Pin:
        """What remembers this policy."""
        return cls(policy.digest, policy.steward, policy.version)

    def refuse_other(self, policy: Policy, who: str) -> None:
        """Raise PolicyError for a policy that is not this one, or a later version of its steward. who: what remembers."""
        mark = fingerprint(bytes.fromhex(self.steward))
        if policy.steward != self.steward:
            other = fingerprint(bytes.fromhex(policy.steward))
            raise PolicyError(f"policy.steward: {who} has a policy of steward {mark}; this one is of {other}")
        if policy.version < self.version:
            raise PolicyError(
                f"policy.version: {who} has version {self.version} of its policy; version {policy.version} is an earlier one"
            )
        if policy.version == self.version and policy.digest != self.digest:
            raise PolicyError(
                f"policy.version: {who} has another policy of version {self.version}: a changed policy has a new version"
            )


def pinned(value: Mapping[str, Any] | None) -> Pin | None:
    """The pin of a header that was checked, None where it has none."""
    return None if value is None else Pin.from_json(value)


@dataclass(frozen=True)
class LedgerPlace:
    """Where a ledger is kept: file number of its lock, the machine, "" for none, after how many changes it came here, and the
    steward's signature, in hex, "" where it began here."""

    file: int
    machine: str
    changes: int
    signature: str = ""
