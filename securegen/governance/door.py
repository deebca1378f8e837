"""The one door: what may leave, decided from the request alone.

`release` is pure: equal requests have equal decisions. It reads no file and no clock; `gate` gathers the facts. The whole
decision is returned, with what each rule says and the line of policy.toml that says so. It binds those who do not hold the
data; for the holder it is a record and a brake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from securegen.design.columns import AppliedNoise
from securegen.governance.decision import Decision, Reason
from securegen.governance.noise_rules import exact_reasons, strength_reasons, whole_people_reasons
from securegen.governance.policy import (
    ASKED,
    COUNT,
    FULL,
    GRANULARITIES,
    RECORD,
    REFUSED,
    REVEALS,
    Policy,
    covers,
)
from securegen.governance.refusals import told
from securegen.governance.rows_between import Between
from securegen.governance.signing import canonical, sha256
from securegen.governance.visa import Visa
from securegen.governance.visa_roles import reasons as visa_reasons
from securegen.governance.visa_roles import roles_of

ASSOCIATION, QUALITY, SCORES, PEOPLE, LD, NOISY = KINDS = ("association", "quality", "scores", "people", "ld", "noisy")


@dataclass(frozen=True)
class OutputFacts:
    """One table that is to leave.

    kind: of KINDS, `people` has kinship, components or predictions, `ld` correlations of variants; name: phenotype or score;
    samples: people in it; cases, controls: None where it has none; columns: of its model, intercept included, or the variants
    that each is correlated with; of kind `noisy`, which has noise of whole people, no count is said; variants: rows or weights;
    minor: fewest minor alleles of a row with numbers, None where rows below the floor will be NA; reveal: of an association;
    noise: that the values of its phenotype have, as they were built, None where they are exact; made: `Design.mark_of` of its
    columns wherever it is analysed, by which stored draws know that.
    """

    kind: str
    name: str
    samples: int
    variants: int
    columns: int = 0
    cases: int | None = None
    controls: int | None = None
    minor: int | None = None
    reveal: str = FULL
    noise: AppliedNoise | None = None
    made: tuple[str, ...] = ()

    @property
    def granularity(self) -> str:
        """Of Beacon v2: `record` has a row per person, `count` sums of people."""
        return COUNT if self.kind in (ASSOCIATION, QUALITY, LD, NOISY) else RECORD

    def to_json(self) -> dict[str, Any]:
        told = {
            **vars(self),
            "granularity": self.granularity,
            "noise": None if self.noise is None else vars(self.noise),
        }
        left_out = ("made",) if self.noise is not None else ("made", "noise")
        return {k: v for k, v in told.items() if k not in left_out}


@dataclass(frozen=True)
class History:
    """What these people have been in before. fault: what the ledger says of the sets of samples and columns, None where
    nothing; columns: that the most-spent person would have been summed with; people: of whom `columns` is a share; day,
    month, ever: other releases; repeated: this very request was released before; known: False where the facts are not at
    hand, which is refused; between: people by whom sets of samples differ from those of earlier tables; seen: False where the
    genotypes of these are not here, and rare rows must be withheld."""

    columns: int = 0
    people: int = 0
    fault: str | None = None
    day: int = 0
    month: int = 0
    ever: int = 0
    repeated: bool = False
    known: bool = True
    between: tuple[Between, ...] = ()
    seen: bool = True


@dataclass(frozen=True)
class Request:
    """Who asks for what. who: a name of the policy whose key signed, None for nobody in particular; role: of `who`, or what
    the policy gives to nobody in particular; purpose: DUO code; inputs: digests of files, by name; second: names whose
    signature on this request holds; reasons: what other parts say, of consent and alerts;
    explained: of facts that somebody named, without files, so that nobody signs its digest; visas: that `who` shows, verified;
    now: by which they are valid, in seconds since 1970."""

    policy: Policy
    role: str
    engine: str
    outputs: tuple[OutputFacts, ...]
    today: date
    who: str | None = None
    purpose: str | None = None
    inputs: tuple[tuple[str, str], ...] = ()
    history: History = History()
    second: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    explained: bool = False
    visas: tuple[Visa, ...] = ()
    now: int = 0

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what is asked for: the same on another day, and beside another history."""
        told = {
            "policy": self.policy.digest, "who": self.who, "role": self.role, "purpose": self.purpose,
            "engine": self.engine, "outputs": [o.to_json() for o in self.outputs], "inputs": list(map(list, self.inputs)),
        }  # fmt: skip
        return sha256(b"securegen request", canonical(told))


def release(request: Request) -> Decision:
    """Whether what is asked for may leave, with every rule that spoke. A refusal says no count of people: who asks again with one
    more in a list would read from it who is there, who is a case, and whose value lacks. What it names: `refusals.told`."""
    decided = _decided(request, exact=True)
    return decided if decided.allowed else told(_decided(request, exact=False))


def _decided(request: Request, *, exact: bool) -> Decision:
    said = [*_who(request), *_tables(request, exact), *_budgets(request, exact), *_asked(request), *request.reasons]
    return Decision.of(said)


def _who(r: Request) -> Iterator[Reason]:
    p, line = r.policy, r.policy.line
    ends = p["expires"]
    if ends != date.max:
        yield Reason(
            "policy.expires", r.today <= ends, f"the policy ends on {ends}, today is {r.today}", line("expires")
        )
    who = None if r.who is None else p.named(r.who)
    if r.who is None:
        given = p["requests.unidentified"]
        allowed = given != REFUSED and r.role == given
        said = (
            "a request without an identity is refused"
            if given == REFUSED
            else f"without an identity the role is {given}"
        )
        yield Reason("policy.identity", allowed, said, line("requests.unidentified"))
    elif who is None:
        yield Reason("policy.identity", False, f"{r.who[:40]} is not an identity of the policy")
    else:
        given = {rule.role for rule, _ in roles_of(p, who, r.visas, r.now).values()} | {who.role}
        yield Reason("policy.identity", r.role in given, f"{who.name} is {who.role}, asks as {r.role}", who.line)
        if r.visas:
            yield from visa_reasons(p, who, r.role, r.visas, r.now)
        if who.expires != date.max:
            yield Reason(
                "policy.identity_expires", r.today <= who.expires, f"{who.name} ends on {who.expires}", who.line
            )
    if r.purpose is None:
        needed = bool(p["purposes.required"])
        yield Reason("policy.purpose", not needed, "no purpose is named (`purpose`)", line("purposes.required"))
        return
    if not ASKED.fullmatch(r.purpose):
        yield Reason("policy.purpose", False, f"{r.purpose[:40]!r} is not a DUO code in capitals")
        return
    purpose = r.purpose.partition(",")[0]
    ways: list[tuple[list[str], int | None]] = [(p["purposes.allowed"], line("purposes.allowed"))]
    if who is not None and who.purposes:
        ways.append((list(who.purposes), who.line))
    for given, at in ways:
        by = next((a for a in given if covers(a, purpose)), None)
        said = f"{purpose} is covered by {by}" if by else f"{purpose} is not covered by {', '.join(given) or 'any'}"
        yield Reason("policy.purpose", by is not None, said, at)


def _tables(r: Request, exact: bool) -> Iterator[Reason]:
    p = r.policy
    tier, most = f"tiers.{r.role}.granularity", f"tiers.{r.role}.reveal"
    if tier not in p.values:
        yield Reason("policy.role", False, f"{r.role[:40]!r} is not a role")
        return
    if not r.outputs:
        yield Reason("policy.request", False, "the request names no table")
    for o in r.outputs:
        if o.kind not in KINDS or o.reveal not in REVEALS:
            yield Reason("policy.request", False, f"{o.name}: no table of a known kind")
            continue
        if o.kind == NOISY and o.noise is None:
            yield Reason("policy.request", False, f"{o.name}: a noisy summary says its ε")
        allowed = GRANULARITIES.index(o.granularity) <= GRANULARITIES.index(p[tier])
        said = f"{o.name}: {o.kind}, granularity {o.granularity}; {r.role} has {p[tier]}"
        yield Reason("policy.granularity", allowed, said, p.line(tier))
        if o.kind == ASSOCIATION:
            allowed = REVEALS.index(o.reveal) <= REVEALS.index(p[most])
            yield Reason("policy.reveal", allowed, f"{o.name}: {o.reveal}; {r.role} has {p[most]}", p.line(most))
        yield from _limits(p, o, exact)


def _limits(p: Policy, o: OutputFacts, exact: bool) -> Iterator[Reason]:
    def least(key: str, rule: str, found: int, what: str) -> Reason:
        enough = found >= p[key]
        told = f"{found}" if exact else f"{p[key]} or more" if enough else f"fewer than {p[key]}"
        return Reason(rule, enough, f"{o.name}: {told} {what}; at least {p[key]} are needed", p.line(key))

    if o.granularity == COUNT and o.kind != NOISY:  # a floor would tell how many there are
        yield least("limits.smallest_cohort", "policy.smallest_cohort", o.samples, "people")
        for count, what in ((o.cases, "cases"), (o.controls, "controls")):
            if count is not None:
                yield least("limits.smallest_cases", "policy.smallest_cases", count, what)
    if o.kind in (ASSOCIATION, LD):
        yield least(
            "limits.degrees_of_freedom", "policy.degrees_of_freedom", o.samples - o.columns, "degrees of freedom"
        )
        share = p["limits.columns_per_person"]
        yield Reason(
            "policy.columns_per_person", o.columns <= share * o.samples,
            f"{o.name}: {o.columns} columns" + (f" for {o.samples} people" if exact else "")
            + f"; at most {share:g} per person are allowed",
            p.line("limits.columns_per_person"),
        )  # fmt: skip
    if o.minor is not None:
        yield least("limits.minor_alleles", "policy.minor_alleles", o.minor, "carriers in the rarest row")
    elif o.kind == ASSOCIATION and o.reveal != FULL and p["limits.minor_alleles"]:
        said = f"{o.name}: {o.reveal} does not open carriers, so rare rows cannot be found; 0 allows that"
        yield Reason("policy.minor_alleles", False, said, p.line("limits.minor_alleles"))
    top = p["limits.most_variants"]
    yield Reason(
        "policy.most_variants", o.variants <= top, f"{o.name}: {o.variants} variants; at most {top} are allowed",
        p.line("limits.most_variants"),
    )  # fmt: skip


def _budgets(r: Request, exact: bool) -> Iterator[Reason]:
    p, h = r.policy, r.history
    line = p.line("limits.differing_people")
    if not h.known:
        yield Reason("policy.differing_people", False, "who was analysed before is not at hand", line)
        return
    fault = h.fault or f"sets of samples are equal, or differ by at least {p['limits.differing_people']} people"
    yield Reason("policy.differing_people", h.fault is None, fault, line)
    if not h.seen:
        said = "earlier tables are of other people: rows that few of these tell apart are withheld, by the genotypes (`bfile`)"
        yield Reason("policy.rows_between", False, said, p.line("limits.minor_alleles"))
    share = p["budgets.columns_share"]
    yield Reason(
        "budget.columns", h.columns <= share * h.people,
        (f"{h.columns} columns so far for these {h.people} people" if exact else "columns so far for these people")
        + f"; at most {share:g} per person are allowed",
        p.line("budgets.columns_share"),
    )  # fmt: skip
    for key, found, when in (
        ("releases_per_day", h.day, "today"), ("releases_per_month", h.month, "in 30 days"), ("releases", h.ever, "ever")
    ):  # fmt: skip
        most = p[f"budgets.{key}"]
        said = f"{found} other releases {when}; at most {most} are allowed" + (
            ", and this one is a repetition" if h.repeated else ""
        )
        yield Reason(f"budget.{key}", h.repeated or found < most, said, p.line(f"budgets.{key}"))


def second_signers(r: Request) -> list[str]:
    """Who signed a request as its second person: of a role that may, not expired, and not who asks. Who asks without an
    identity may be any one of those who signed, so that one alone is nobody."""
    able = {i.name for i in r.policy.identities if i.role in r.policy["second_signature.by"] and r.today <= i.expires}
    signed = sorted((able - {r.who}) & set(r.second))
    return signed if r.who is not None or len(signed) > 1 else []


def _asked(r: Request) -> Iterator[Reason]:
    """Second signatures and noise."""
    p = r.policy
    wanted = [
        what for what in p["second_signature.for"]
        if any(o.kind == what or (what == FULL and o.kind == ASSOCIATION and o.reveal == FULL) for o in r.outputs)
    ]  # fmt: skip
    if wanted:
        given = second_signers(r)
        said = f"by {', '.join(given)}" if given else "none" if r.explained else f"none on request {r.digest}"
        yield Reason(
            "policy.second_signature", bool(given), f"{', '.join(wanted)} needs a second signature: {said}",
            p.line("second_signature.for"),
        )  # fmt: skip
    yield from exact_reasons(p, [o.name for o in r.outputs if o.kind == ASSOCIATION and o.noise is None])
    yield from whole_people_reasons(p, [o.name for o in r.outputs if o.kind != NOISY])
    yield from strength_reasons(p, [o.noise for o in r.outputs])
