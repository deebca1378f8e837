"""What the door says of one request: allowed or refused, and every rule that spoke.

It is data. A command prints it, a receipt and the log carry it, `policy explain` shows it before anything runs. It holds
rules, counts and names of settings, never ids of people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from securegen.errors import PolicyError
from securegen.io.schema import boolean, integer, list_of, one_line, optional, record, text

RULE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
MOST_REASONS = 4096

REASON_SCHEMA = record(rule=text(80, least=3), allowed=boolean, text=text(1000), line=optional(integer(1, 1 << 20)))
DECISION_SCHEMA = record(allowed=boolean, reasons=list_of(REASON_SCHEMA, 0, MOST_REASONS))


@dataclass(frozen=True)
class Reason:
    """What one rule says of a request.

    rule: a dotted word that stays, `policy.purpose`; text: one line, for people; line: of policy.toml, where the rule is
    from it. Raises ValueError for a rule that is not a dotted word.
    """

    rule: str
    allowed: bool
    text: str
    line: int | None = None

    def __post_init__(self) -> None:
        if not RULE.fullmatch(self.rule):
            raise ValueError(f"{self.rule!r} is not a dotted word such as policy.purpose")
        object.__setattr__(self, "text", one_line(self.text))

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as receipts and the log carry them."""
        return {"rule": self.rule, "allowed": self.allowed, "text": self.text, "line": self.line}

    @classmethod
    def from_json(cls, value: object) -> Reason:
        """A reason that was read. Raises `schema.Refused`, a ValueError, for anything else."""
        return cls(**REASON_SCHEMA(value, "reason"))

    def __str__(self) -> str:
        where = "" if self.line is None else f" (policy.toml, line {self.line})"
        return f"{self.rule}: {self.text}{where}"


@dataclass(frozen=True)
class Decision:
    """Whether something may leave, and the reasons in the order of the rules."""

    allowed: bool
    reasons: tuple[Reason, ...]

    @classmethod
    def of(cls, reasons: Iterable[Reason]) -> Decision:
        """Allowed when every reason allows.

        >>> Decision.of([Reason("policy.purpose", True, "HMB is among the purposes", 4)]).allowed
        True
        """
        kept = tuple(reasons)
        return cls(all(r.allowed for r in kept), kept)

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that refuse."""
        return tuple(r for r in self.reasons if not r.allowed)

    def to_json(self) -> dict[str, Any]:
        """`allowed` and the list of `reasons`."""
        return {"allowed": self.allowed, "reasons": [r.to_json() for r in self.reasons]}

    @classmethod
    def from_json(cls, value: object) -> Decision:
        """A decision that was read. Raises `schema.Refused`, a ValueError: not one, or it allows what a reason refuses."""
        fields = DECISION_SCHEMA(value, "decision")
        decision = cls.of(Reason.from_json(r) for r in fields["reasons"])
        if decision.allowed != fields["allowed"]:
            raise ValueError("a decision that is not what its reasons say")
        return decision

    def require(self) -> None:
        """Raises PolicyError naming each rule that refuses, where one does."""
        if not self.allowed:
            rules = "; ".join(str(r) for r in self.refusals) or "refused without a reason"
            raise PolicyError(f"refused by policy: {rules}")
