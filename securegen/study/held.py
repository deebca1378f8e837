"""What a log would say of people before the door decided: held back where a policy governs.

How many of a list are in the file, how many of them have a value, which values few people have: who asks with one person more
reads it of that person. So what opening a study says waits for the first decision that allows something, and is dropped where
none does; and fewer people than the policy's smallest cohort are refused in one way, whatever their values are.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from securegen.errors import DesignError, InputError, PolicyError
from securegen.governance import audit_beside, policy_file
from securegen.governance.asker import known_key
from securegen.governance.audit_release import entries_beside
from securegen.governance.decision import RULE, Decision
from securegen.governance.policy import Policy
from securegen.governance.refusals import DESIGN, refusal_reasons
from securegen.study.inputs import Inputs, Log, silent

_MATCHING = "securegen.study.people"  # which imports this module


@dataclass
class Held:
    """A log whose lines wait. log: where they go; lines: that wait, None where nothing governs and none does."""

    log: Log = silent
    lines: list[str] | None = field(default_factory=list)

    def __call__(self, line: str) -> None:
        if self.lines is None:
            self.log(line)
        else:
            self.lines.append(line)

    def tell(self) -> None:
        """The door allowed something: say what waits."""
        waiting, self.lines = self.lines, None
        for line in waiting or ():
            self.log(line)


def waiting_for(policy: Policy | None, log: Log) -> Held:
    """A log whose lines wait for the door of a policy; one that says them where there is none."""
    return Held(log, None if policy is None else [])


@contextlib.contextmanager
def held(inputs: Inputs, log: Log) -> Iterator[Held]:
    """A log for opening what inputs name. What is refused meanwhile is in the audit log, as what the door refuses; so is a design
    that is not possible, and rows that cannot be matched with people: these tell who is there, and their values. Raises
    PolicyError where too many did, and as
    `policy_file.governing`, `known_key` and `AuditLog.append`."""
    policy, folder = _governing(inputs)
    if policy is None:
        yield Held(log, None)
        return
    who = known_key(policy, inputs.identity)
    try:
        Decision.of(refusal_reasons(policy, entries_beside(folder), who)).require()
        yield Held(log)
    except (PolicyError, DesignError, InputError) as error:
        if isinstance(error, InputError) and not _of_people(error) or vars(error).get("told"):
            raise
        vars(error)["told"] = True  # once, however many wait for it
        rule = RULE.match(str(error)) if isinstance(error, PolicyError) else None
        named = (rule[0] if rule else "policy.request") if isinstance(error, PolicyError) else DESIGN
        facts = {"rules": [named], "policy": policy.digest} | ({} if who is None else {"who": who})
        audit_beside.log_of(folder / policy_file.POLICY).append("refusal", facts)
        raise


def _of_people(error: InputError) -> bool:
    """Whether it was raised while rows of a table were matched with the people of the genotype file."""
    return any(frame.f_globals.get("__name__") == _MATCHING for frame, _ in traceback.walk_tb(error.__traceback__))


def governing(inputs: Inputs) -> Policy | None:
    """The policy that governs what inputs name, None without one. Raises as `policy_file.governing`."""
    return _governing(inputs)[0]


def _governing(inputs: Inputs) -> tuple[Policy | None, Path]:
    return policy_file.governing(inputs.policy, policy_file.beside(inputs.files().values()))


def refuse_few(fewest: int, found: int, what: str) -> None:
    """Raise PolicyError for fewer people than a policy's smallest cohort, 0 without one, before anything of them is said."""
    if found < fewest:
        raise PolicyError(
            f"policy.smallest_cohort: {what}: fewer than {fewest} people of the genotype file have it; at least "
            f"{fewest} are needed"
        )
