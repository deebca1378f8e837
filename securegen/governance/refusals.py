"""What refusals tell of people, and how many of them may: a bit each, of who is there, who has a value, who is a case.

Lists that differ by one person, and a rule that refuses one and not the other, are that person's value. So a refusal says nothing
of what the people asked for are (`LOOKING`) where who they are refuses it (`SETS`), nothing of both where anything else does;
and after as many in 30 days as the policy says everything is refused, before a list or a value is looked at: of one asker after
a share of these, so that nobody uses up what the others may. Askers are the identities of the policy, which only the steward
makes; whoever gives none is one asker with all others who do so, since an account on a machine proves nothing.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Final

from securegen.governance.audit_entry import Entry, moment
from securegen.governance.decision import Decision, Reason
from securegen.governance.policy import Policy

SETS: Final = frozenset({"policy.differing_people", "policy.rows_between", "consent.withdrawn", "budget.columns"})
LOOKING: Final = frozenset({
    "policy.smallest_cohort", "policy.smallest_cases", "policy.degrees_of_freedom", "policy.columns_per_person"
})  # fmt: skip
DESIGN: Final = "policy.design"  # a design that these people's values do not allow, found before the door
RULE, KEY, SHARE = "budget.refusals", "budgets.refusals_per_month", "budgets.refusals_per_asker"
_DAYS = 30


def told(decision: Decision) -> Decision:
    """What a decision that refuses says."""
    refusing = {r.rule for r in decision.refusals}
    unsaid = SETS | LOOKING if refusing - SETS - LOOKING else LOOKING if refusing & SETS else frozenset[str]()
    return Decision.of([r for r in decision.reasons if r.rule not in unsaid])


def refusal_reasons(policy: Policy, entries: Sequence[Entry], who: str | None) -> list[Reason]:
    """A refusal where a log has as many as may be that looked at people, of everybody or of who asks; else nothing. who: the
    fingerprint of the key of an identity, None for whoever gives none."""
    latest = max([datetime.datetime.now(datetime.UTC), *(moment(e.at) for e in entries[-1:])])  # never back
    found = [e for e in entries if e.kind == "refusal" and (latest - moment(e.at)).days < _DAYS]
    looked = [e for e in found if {DESIGN, *SETS, *LOOKING} & set(e.facts["rules"])]
    mine = [e for e in looked if e.facts.get("who") == who]
    for key, count, whose in (
        (KEY, len(looked), ""),
        (SHARE, len(mine), " of this asker" if who else " without an identity"),
    ):
        if count >= policy[key]:
            said = (
                f"{count} refusals{whose} in {_DAYS} days looked at who is in the data, or their values; at most {policy[key]} "
                "are allowed"
            )
            return [Reason(RULE, False, said, policy.line(key))]
    return []
