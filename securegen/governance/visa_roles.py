"""Which role visas give: pure rules on verified visas, a policy, who shows them, and the time.

A visa counts for the identity whose signing key signs the request and whom the policy gives the visa's subject, so that one
that was taken from somebody, or is shown again by another key, is nobody's. The time is that of the audit log where the clock
is behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from securegen.governance.decision import Reason
from securegen.governance.policy import LINKED, ROLES, Identity, Policy, VisaRule
from securegen.governance.visa import Clause, Visa

_DAY = 86400
_MAY_LINK = ("system", "so", "dac")  # nobody links themselves
RULE = "policy.visa"


def roles_of(policy: Policy, who: Identity, visas: Sequence[Visa], now: int) -> dict[str, tuple[VisaRule, Visa]]:
    """The rules of a policy that somebody's visas fulfil at a time, seconds since 1970, by name, each with its visa."""
    own = _own(policy, who, visas, now)
    held: dict[str, tuple[VisaRule, Visa]] = {}
    for rule in policy.visas:
        for visa in own:
            fits = _fits(rule, visa) and now - visa.asserted <= rule.most_days * _DAY
            if fits and conditions_hold(visa, own) and all(name in held for name in rule.needs):
                held.setdefault(rule.name, (rule, visa))
    return held


def best_role(policy: Policy, who: Identity, visas: Sequence[Visa], now: int) -> str:
    """The role that somebody asks as: the first of owner, analyst and auditor that they have, of their own or by visas."""
    given = {rule.role for rule, _ in roles_of(policy, who, visas, now).values()} | {who.role}
    return next((role for role in ROLES if role in given), who.role)


def used(held: Mapping[str, tuple[VisaRule, Visa]], role: str) -> list[tuple[VisaRule, Visa]]:
    """The rule that gives a role, after those that it needs; none where no visa gives it."""
    giving = next((rule for rule, _ in held.values() if rule.role == role), None)
    names: list[str] = [] if giving is None else [giving.name]
    for name in names:
        names += [n for n in held[name][0].needs if n not in names]
    return [pair for name, pair in held.items() if name in names]


def reasons(policy: Policy, who: Identity, role: str, visas: Sequence[Visa], now: int) -> Iterator[Reason]:
    """What a door says of who asks as a role with these visas: each that it rests on, or why none gives it."""
    held = roles_of(policy, who, visas, now)
    for rule, visa in used(held, role) if role != who.role else ():
        said = f"{rule.name} of {who.name}: {described(visa)}, until {day_of(visa.until)}"
        yield Reason(RULE, True, said, rule.line)
    if not held or (role != who.role and not used(held, role)):
        yield Reason(RULE, False, f"no visa that {who.name} shows gives a role; {len(visas)} of issuers of the policy")
        for why in why_not(policy, who, visas, now):
            yield Reason(RULE, False, why)


def why_not(policy: Policy, who: Identity, visas: Sequence[Visa], now: int) -> Iterator[str]:
    """Why each visa gives nothing, in words without a name of a person."""
    own = _own(policy, who, visas, now)
    for visa in visas:
        fault = _time_fault(visa, now)
        rules = [rule for rule in policy.visas if _fits(rule, visa)]
        if fault is None and visa not in own:
            fault = f"its subject is not one of {who.name}"
        elif fault is None and not rules:
            fault = "the policy names no such visa"
        elif fault is None and all(now - visa.asserted > rule.most_days * _DAY for rule in rules):
            fault = f"it was asserted more than {max(r.most_days for r in rules)} days ago"
        elif fault is None and not conditions_hold(visa, own):
            fault = "its conditions are not fulfilled by the visas that are shown"
        yield f"{described(visa)}: {fault or 'a visa that it needs is not shown'}"


def visa_lines(policy: Policy, visas: Sequence[Visa], now: int) -> Iterator[str]:
    """What a policy makes of visas, a line each: whose they are, and what they give or why nothing."""
    for visa in visas:
        who = next((i for i in policy.identities if visa.subject in _mine(policy, i, _valid(visas, now))), None)
        given = [r.name for r, v in (roles_of(policy, who, visas, now) if who else {}).values() if v == visa]
        said = f"gives {', '.join(given)} to {who.name}" if who and given else ""
        if not said and who is not None:
            said = next(w for v, w in zip(visas, why_not(policy, who, visas, now), strict=True) if v == visa)
            said = said.partition(": ")[2]
        yield f"{described(visa)}: subject {visa.subject}: {said or 'of no identity of the policy'}"


def described(visa: Visa) -> str:
    """A visa for people: type, issuer and digest."""
    return f"{visa.type} of {visa.issuer}, {visa.digest[:16]}"


def day_of(seconds: int) -> str:
    """A time as a day, in UTC."""
    return datetime.fromtimestamp(min(seconds, 253402300799), UTC).date().isoformat()


def conditions_hold(visa: Visa, own: Sequence[Visa]) -> bool:
    """Whether one of a visa's lists of clauses is fulfilled by other visas of the same person, which have no conditions
    themselves; true of none. A clause of an unknown form is fulfilled by nothing."""
    if not visa.conditions:
        return True
    others = [v for v in own if v.digest != visa.digest and not v.conditions]
    return any(all(any(_clause(c, v) for v in others) for c in clauses) for clauses in visa.conditions)


def _time_fault(visa: Visa, now: int) -> str | None:
    if now >= visa.until:
        return f"it ended on {day_of(visa.until)}"
    if now < visa.since:
        return f"it begins on {day_of(visa.since)}"
    return "it was asserted in the future" if visa.asserted > now else None


def _valid(visas: Sequence[Visa], now: int) -> list[Visa]:
    return [v for v in visas if _time_fault(v, now) is None]


def _mine(policy: Policy, who: Identity, valid: Sequence[Visa]) -> set[str]:
    """Subjects of somebody: those of the policy, and those linked to one by an issuer who may link the other's. One step; whose
    subject the policy gives to another identity stays that one's."""
    mine = set(who.subjects)
    others = {subject for i in policy.identities if i.name != who.name for subject in i.subjects}
    may_link = {issuer.name: issuer.links for issuer in policy.issuers}
    for visa in valid:
        if visa.type == LINKED and visa.by in _MAY_LINK and visa.subject in who.subjects and not visa.conditions:
            mine |= {subject for issuer, subject in visa.links if issuer in may_link.get(visa.issuer, ())} - others
    return mine


def _own(policy: Policy, who: Identity, visas: Sequence[Visa], now: int) -> list[Visa]:
    """The visas of somebody that are valid at a time."""
    valid = _valid(visas, now)
    mine = _mine(policy, who, valid)
    return [v for v in valid if v.subject in mine]


def _fits(rule: VisaRule, visa: Visa) -> bool:
    return (
        (visa.issuer, visa.type, visa.value) == (rule.issuer, rule.type, rule.value)
        and rule.source in ("", visa.source)
        and visa.by in rule.by
    )


def _clause(clause: Clause, visa: Visa) -> bool:
    for name, wanted in clause:
        found = getattr(visa, name)
        kind, colon, what = wanted.partition(":")
        if name == "type":
            good = found == wanted
        elif kind == "const" and colon:
            good = found == what
        elif name == "by":
            good = False
        elif kind == "pattern":
            good = matches(what, found)
        else:
            good = kind == "split_pattern" and any(matches(what, part) for part in found.split(";"))
        if not good:
            return False
    return True


def matches(pattern: str, text: str) -> bool:
    """Whether ? (one character) and * (any number) of a pattern match the whole of a text, in time of their product.

    >>> matches("https://a/*", "https://a/b"), matches("a?c", "ac")
    (True, False)
    """
    at = [True] + [False] * len(text)  # which beginnings of the text are matched so far
    for letter in pattern:
        if letter == "*":
            first = next((i for i, good in enumerate(at) if good), len(at))
            at = [i >= first for i in range(len(at))]
        else:
            at = [False] + [good and letter in ("?", text[i]) for i, good in enumerate(at[:-1])]
    return at[-1]
