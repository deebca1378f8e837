"""Alerts: rules that are data, read from a log, each of which says why it spoke.

A rule looks at one entry and at those before it of the same asker, within a window of hours. It names a limit that a
steward can change, and may demand a second signature before the next such thing is done (`audit.second_signature`). An
alert accuses nobody: it is a reason to ask.
"""

from __future__ import annotations

import datetime
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from securegen.errors import InputError
from securegen.governance.audit_entry import Entry, moment, time_text
from securegen.governance.decision import Reason
from securegen.governance.policy import Policy, Setting
from securegen.io.schema import Check, Refused, boolean, integer, map_of, number, one_of, record
from securegen.io.strict_json import read_regular

SECOND = "audit.second_signature"
OUT = ("release", "export")  # kinds of entries in which something leaves


@dataclass(frozen=True)
class AlertRule:
    """A rule as data. measure: what is measured, one of `MEASURES`; kinds: of entries that are looked at; limit: what is too
    much, in the measure's unit; hours: how far it looks back; field: the fact that is added up or compared; second: whether
    the next such thing needs a second signature; says: the rule for people."""

    name: str
    measure: str
    kinds: tuple[str, ...]
    limit: int
    hours: float
    field: str = ""
    second: bool = False
    says: str = ""
    from_hour: int = 0
    to_hour: int = 24
    weekend: bool = True
    utc_offset: float = 0.0
    on: bool = True


RULES = (
    AlertRule("bulk_rows", "sum", OUT, 100_000_000, 24, "rows", says="more rows left than a study needs in a day"),
    AlertRule("bulk_bytes", "sum", OUT, 1 << 34, 24, "bytes", says="more bytes left than a study needs in a day"),
    AlertRule("bulk_people", "sum", ("export",), 1000, 24 * 7, "people", says="records of many people left in a week"),
    AlertRule("burst", "count", ("run", "release", "refusal"), 60, 1, says="many requests in an hour"),
    AlertRule("refusals", "count", ("refusal",), 5, 24, says="many refusals in a day: somebody looks for what is allowed"),
    AlertRule("repeats", "same", OUT, 10, 24 * 30, "question", says="one question was answered many times"),
    AlertRule("near", "near", OUT, 10, 24 * 365, "samples", says="two answers to one question, of almost the same people: "
              "their difference is those people"),
    AlertRule("budget", "budget", ("run", *OUT), 80, 0, says="a budget runs out"),
    AlertRule("new_asker", "new", ("run", *OUT), 1, 0, says="somebody asks who never did before"),
    AlertRule("odd_hours", "hours", OUT, 0, 0, says="something left at night or at a weekend", from_hour=6, to_hour=21,
              weekend=False),
    AlertRule("keys", "count", ("key",), 30, 1, says="keys were opened many times in an hour"),
    AlertRule("clock", "clock", (), 0, 0, says="the clock was set back"),
    AlertRule("clock_ahead", "ahead", (), 14, 0, says="many days without an entry: was the clock set forward? Budgets of 30 days "
              "renew by it"),
)  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """What a rule says of an entry. number, at: the entry's; why: with the numbers that made it speak."""

    rule: str
    number: int
    at: str
    why: str
    second: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "rule": f"audit.{self.rule}",
            "entry": self.number,
            "at": self.at,
            "why": self.why,
            "second": self.second,
        }


def asker(entry: Entry) -> str:
    """Who asked, as far as an entry says: the fingerprint of a key, else the account."""
    return str(entry.facts.get("who") or entry.facts.get("account") or "")


class _Memory:
    """What one rule remembers: entries within its hours, by asker or by question."""

    def __init__(self) -> None:
        self.seen: dict[str, deque[tuple[datetime.datetime, Entry]]] = {}
        self.last: Entry | None = None
        self.gap = ""  # before entries since, until something leaves or the steward signs

    def before(self, group: str, now: datetime.datetime, hours: float) -> list[Entry]:
        """Entries of a group in the hours before now."""
        held = self.seen.get(group, deque())
        first = now - datetime.timedelta(hours=hours)
        while held and held[0][0] < first:
            held.popleft()
        return [entry for _, entry in held]

    def add(self, group: str, now: datetime.datetime, entry: Entry) -> None:
        self.seen.setdefault(group, deque()).append((now, entry))


_Measure = Callable[[AlertRule, _Memory, Entry, datetime.datetime], str | None]


def _sum(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    if rule.field not in entry.facts:
        return None
    earlier = memory.before(asker(entry), now, rule.hours)
    memory.add(asker(entry), now, entry)
    total = sum(e.facts[rule.field] for e in [*earlier, entry])
    if total <= rule.limit:
        return None
    return f"{total} {rule.field} in {rule.hours:g} hours, in {_listed([*earlier, entry])}; the limit is {rule.limit}"


def _count(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    if entry.facts.get("phase", "start") != "start":
        return None  # the end of a run is not a second request
    earlier = memory.before(asker(entry), now, rule.hours)
    memory.add(asker(entry), now, entry)
    if len(earlier) < rule.limit:
        return None
    return f"{len(earlier) + 1} within {rule.hours:g} hours, since entry {earlier[0].number}; the limit is {rule.limit}"


def _same(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    group = str(entry.facts.get(rule.field, ""))
    if not group:
        return None
    earlier = memory.before(group, now, rule.hours)
    memory.add(group, now, entry)
    if len(earlier) < rule.limit:
        return None
    return (
        f"the question of {_listed(earlier)} was answered again; the limit is {rule.limit} in {rule.hours / 24:g} days"
    )


def _near(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    facts = entry.facts
    if not {"question", "cohort", rule.field} <= facts.keys():
        return None
    group = facts["question"] + facts["cohort"]
    earlier = memory.before(group, now, rule.hours)
    memory.add(group, now, entry)
    for e in reversed(earlier):
        apart = abs(e.facts[rule.field] - facts[rule.field])
        other = e.facts.get("design") != facts.get("design")
        if (apart or other) and apart < rule.limit:
            return (
                f"entry {e.number} answered this question for {e.facts[rule.field]} people, this one for "
                f"{facts[rule.field]}: {apart} apart, the limit is {rule.limit}"
            )
    return None


def _budget(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    spent, budget = entry.facts.get("spent"), entry.facts.get("budget")
    if spent is None or budget is None or 100 * spent < rule.limit * budget:
        return None
    return f"{spent} of {budget} is spent; told from {rule.limit} % on"


def _new(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    name = asker(entry)
    if not name or name in memory.seen:
        return None
    others = len(memory.seen)
    memory.add(name, now, entry)
    return f"{name} asks for the first time, after {others} others" if others >= rule.limit else None


def _hours(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    local = now + datetime.timedelta(hours=rule.utc_offset)
    if not rule.weekend and local.weekday() >= 5:
        return f"on a {local:%A} at {local:%H:%M} (UTC{rule.utc_offset:+g})"
    if not rule.from_hour <= local.hour < rule.to_hour:
        return f"at {local:%H:%M} (UTC{rule.utc_offset:+g}); hours are {rule.from_hour} to {rule.to_hour}"
    return None


def _clock(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    return f"the clock said {entry.clock}, after an entry of {entry.at}" if entry.clock else None


def _ahead(rule: AlertRule, memory: _Memory, entry: Entry, now: datetime.datetime) -> str | None:
    """Of the first entry after a gap, and of the first that leaves: a run is in the log before what it releases."""
    before, memory.last, first = memory.last, entry, False
    if before is not None and (days := (now - moment(before.at)).days) >= rule.limit:
        memory.gap, first = f"{days} days after entry {before.number}, of {before.at}; the limit is {rule.limit}", True
    if entry.kind == "policy" and entry.facts["action"] == "signed":
        memory.gap = ""
    why = memory.gap if first or entry.kind in OUT else ""
    memory.gap = "" if entry.kind in OUT else memory.gap
    return why or None


MEASURES: dict[str, _Measure] = {
    "sum": _sum, "count": _count, "same": _same, "near": _near, "budget": _budget, "new": _new, "hours": _hours,
    "clock": _clock, "ahead": _ahead,
}  # fmt: skip


def _listed(entries: Sequence[Entry]) -> str:
    numbers = ", ".join(str(e.number) for e in entries[-8:])
    return f"entr{'y' if len(entries) == 1 else 'ies'} {'… ' if len(entries) > 8 else ''}{numbers}"


def unusual(entries: Iterable[Entry], rules: Sequence[AlertRule] = RULES) -> list[Alert]:
    """What the rules say of every entry, in the order of the log."""
    memories = {rule.name: _Memory() for rule in rules}
    found = []
    for entry in entries:
        now = moment(entry.at)
        for rule in rules:
            if rule.on and (not rule.kinds or entry.kind in rule.kinds):
                why = MEASURES[rule.measure](rule, memories[rule.name], entry, now)
                if why is not None:
                    found.append(Alert(rule.name, entry.number, entry.at, f"{rule.says}: {why}", rule.second))
    return found


def reasons(
    entries: Sequence[Entry], kind: str, facts: Mapping[str, Any], *, at: int, rules: Sequence[AlertRule] = RULES
) -> tuple[Reason, ...]:
    """What the rules would say of an entry that is not written yet, for the door: one reason for each that demands a second
    signature. at: now, in milliseconds since 1970. A `second` fingerprint in the facts that is not the asker's satisfies it;
    whether it signed is the door's to check."""
    last = entries[-1].at if entries else ""
    coming = Entry(len(entries), max(time_text(at), last), kind, dict(facts))
    second = facts.get("second")
    signed = second is not None and second != asker(coming)
    return tuple(
        Reason(SECOND, signed, f"audit.{a.rule}: {a.why}")
        for a in unusual([*entries, coming], rules)
        if a.number == coming.number and a.second
    )


CHANGES: dict[str, Check] = {
    "limit": integer(0, 10**15), "hours": number(0, 24 * 3660), "second_signature": boolean, "on": boolean,
    "from_hour": integer(0, 24), "to_hour": integer(0, 24), "weekend": boolean, "utc_offset": number(-14, 14),
}  # fmt: skip


ALERTS = "alerts."
SETTINGS_OF_ALERTS = {
    f"{ALERTS}{rule.name}.{key}": Setting(check, None, rule.says) for rule in RULES for key, check in CHANGES.items()
}


def rules_from(value: object, where: str) -> tuple[AlertRule, ...]:
    """The rules with a steward's changes: {name: {limit, hours, second_signature, on, …}}. Raises InputError."""
    try:
        changes = map_of(record(may_have=CHANGES), 64, name=one_of(*(r.name for r in RULES)))(value, "alerts")
    except Refused as problem:
        raise InputError(f"{where}: {problem}") from None
    changed = []
    for rule in RULES:
        mine = dict(changes.get(rule.name, {}))
        if "second_signature" in mine:
            mine["second"] = mine.pop("second_signature")
        changed.append(replace(rule, **mine))
    return tuple(changed)


def rules_of(policy: Policy) -> tuple[AlertRule, ...]:
    """The rules under a policy, with the changes of its tables [alerts.NAME], which are signed."""
    changes: dict[str, dict[str, Any]] = {}
    for key, value in policy.values.items():
        if key.startswith(ALERTS):
            _, name, what = key.split(".")
            changes.setdefault(name, {})[what] = value
    return rules_from(changes, "the policy")


def read_rules(path: str | Path) -> tuple[AlertRule, ...]:
    """The rules with the changes in the table [alerts] of a TOML file, a policy.toml too. Raises InputError. Those of a policy
    that governs are `rules_of`."""
    try:
        value = tomllib.loads(read_regular(path, "rules of alerts", most=1 << 20, error=InputError).decode())
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except (ValueError, RecursionError) as problem:
        raise InputError(f"{path} is not TOML: {problem}") from None
    return rules_from(value.get("alerts", {}), f"{path}")
