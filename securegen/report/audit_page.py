"""An audit log as one page for stewards and auditors: what was decided and why, by whom, and what is unusual.

The page loads nothing and runs nothing, as a report does. It says what the log says; that the log is whole was checked when
the page was written, and is checked again by whoever holds the log or a proof, not by the page.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from securegen.errors import StorageError
from securegen.governance.audit_alerts import OUT, RULES, Alert, AlertRule, asker
from securegen.governance.audit_entry import Entry
from securegen.governance.audit_verify import LogState
from securegen.io.output import write_text
from securegen.report.html import (
    NOTHING,
    Content,
    Markup,
    breakable,
    bullets,
    element,
    join,
    page,
    pairs,
    section,
    table,
)
from securegen.version import VERSION

MOST_ROWS = 1000  # of the table of all entries; older ones are in the log
_COUNTS = ("people", "samples", "cases", "variants", "rows", "columns", "withheld", "bytes", "files")
_PLAIN = {
    "run": "run", "release": "release", "refusal": "refusal", "key": "key use", "policy": "policy", "consent": "consent",
    "export": "export", "ledger": "ledger",
}  # fmt: skip


def audit_page(state: LogState, alerts: Sequence[Alert], rules: Sequence[AlertRule] = RULES) -> str:
    """The text of the HTML file. alerts, rules: as `governance.audit_alerts` found them, and by what."""
    entries = state.entries
    title = "Audit log"
    span = f"{_day(entries[0])} to {_day(entries[-1])}. " if entries else "No entry yet. "
    parts = [
        ("verified", "What was verified", _verified(state)), ("unusual", "What is unusual", _unusual(alerts)),
        ("decisions", "What was decided and why", _decisions(entries)), ("askers", "Who asked", _askers(entries)),
        *([("alerts", "All alerts", _all_alerts(alerts))] if alerts else []),
        ("entries", "All entries", _entries(entries)), ("rules", "Rules of alerts", _rules(rules)),
        ("limits", "What a log cannot say", _limits()),
    ]  # fmt: skip
    links = join(element("a", name, href=f"#{identity}") for identity, name, _ in parts)
    under = f"{span}{len(entries):,} entries. securegen {VERSION}."
    return page(
        title, f"{state.key.name} {state.checkpoint.root.hex()}",
        element("header", element("h1", title), element("p", under), element("nav", links)), _tiles(entries, alerts),
        *(section(identity, name, content) for identity, name, content in parts),
        element(
            "footer", f"Written by securegen {VERSION}. This page loads nothing from anywhere and can be kept or sent as it is."
        ),
    )  # fmt: skip


def write_audit_page(
    path: str | os.PathLike[str], state: LogState, alerts: Sequence[Alert], *, rules: Sequence[AlertRule] = RULES,
    overwrite: bool = False,
) -> None:  # fmt: skip
    """Write an audit log as one web page, whole or not at all; an earlier page of the same log is replaced.

    Raises StorageError where something else is there, unless `overwrite`.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            same = f'content="{state.key.name} '.encode() in stream.read(4096)
    except FileNotFoundError:
        same = True
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror or error}") from None
    if not same and not overwrite:
        raise StorageError(
            f"{path} exists and is not a page of this log: choose another name, or `overwrite` to replace it"
        )
    write_text(path, audit_page(state, alerts, rules))


def _day(entry: Entry) -> str:
    return entry.at[:10]


def _time(at: str) -> Markup:
    return element("span", f"{at[:10]} {at[11:19]}", class_="when")


def _tiles(entries: Sequence[Entry], alerts: Sequence[Alert]) -> Markup:
    kinds = Counter(e.kind for e in entries)
    runs = sum(e.kind == "run" and e.facts.get("phase") == "start" for e in entries)
    cells = [
        (kinds["release"] + kinds["export"], "releases"), (kinds["refusal"], "refusals"), (runs, "runs"),
        (kinds["key"], "key uses"), (len({asker(e) for e in entries} - {""}), "askers"), (len(alerts), "alerts"),
    ]  # fmt: skip
    return element(
        "div", *(element("div", element("b", f"{n:,}"), element("span", what), class_="tile") for n, what in cells),
        class_="tiles",
    )  # fmt: skip


def _verified(state: LogState) -> Markup:
    said = element(
        "p", state.verdict[:1].upper() + state.verdict[1:] + ".", class_="plain" if state.witnesses else "plain warn"
    )
    rows: list[tuple[Content, Content]] = [
        ("log", state.key.name), ("fingerprint of its key", element("code", state.key.fingerprint)),
        ("entries in the checkpoint", f"{state.checkpoint.size:,}"), ("root", element("code", state.checkpoint.root.hex())),
    ]  # fmt: skip
    if state.beyond:
        rows.append(("beyond the checkpoint", f"{state.beyond}, signed, left by a run that was killed"))
    more = NOTHING
    if not state.witnesses:
        more = element(
            "p", "A folder that was put back whole to an earlier day looks like this too. Compare it with what receipts say of "
            "the log: ", element("code", "securegen audit verify FOLDER --seen RECEIPT"), ".",
        )  # fmt: skip
    return said + pairs(rows) + more


def _unusual(alerts: Sequence[Alert]) -> Markup:
    """A row a rule that spoke: how often, and what it said last."""
    if not alerts:
        return element("p", "No rule spoke.")
    counts, last = Counter(a.rule for a in alerts), {a.rule: a for a in alerts}
    rows = [
        (f"audit.{rule}", f"{count:,}", _time(last[rule].at), breakable(f"entry {last[rule].number}: {last[rule].why}", 40),
         "needed" if last[rule].second else "")
        for rule, count in counts.most_common()
    ]  # fmt: skip
    return element("p", "An alert accuses nobody; it is a reason to ask.") + table(
        ["rule", "times", "last (UTC)", "what it said last", "second signature"], rows, class_="words"
    )


def _all_alerts(alerts: Sequence[Alert]) -> Markup:
    shown = alerts[-MOST_ROWS:]
    rows = [(str(a.number), _time(a.at), f"audit.{a.rule}", breakable(a.why, 40)) for a in reversed(shown)]
    return table(["entry", "when (UTC)", "rule", "why"], rows, class_="words") + _more(
        len(alerts), len(shown), "alerts"
    )


def _decisions(entries: Sequence[Entry]) -> Markup:
    found = [e for e in entries if e.kind in (*OUT, "refusal")]
    if not found:
        return element("p", "Nothing was asked for yet.")
    shown = found[-MOST_ROWS:]
    rows = [
        (
            str(e.number), _time(e.at), "refused" if e.kind == "refusal" else _PLAIN[e.kind], str(e.facts.get("what", "")),
            _why(e), str(e.facts.get("purpose", "")),
            _counted(e), breakable(_whose(e)),
        )
        for e in reversed(shown)
    ]  # fmt: skip
    head = ["entry", "when (UTC)", "decision", "what", "rules", "purpose", "how much", "who"]
    refused = Counter(r for e in found if e.kind == "refusal" for r in e.facts["rules"])
    why = (
        element("p", "Rules that refused: " + ", ".join(f"{rule} {n}" for rule, n in refused.most_common()) + ".")
        if refused
        else NOTHING
    )
    return why + table(head, rows) + _more(len(found), len(shown), "decisions")


def _why(entry: Entry) -> Content:
    """The rules that refused; of what was allowed how many spoke, which are named with all its facts below."""
    rules = entry.facts.get("rules", [])
    if entry.kind == "refusal" or len(rules) < 4:
        return breakable(", ".join(rules) or "no rule named", 40)
    return f"allowed by {len(rules)} rules"


def _askers(entries: Sequence[Entry]) -> Markup:
    names = dict.fromkeys(asker(e) for e in entries if asker(e) or e.kind in (*OUT, "refusal"))
    if not names:
        return element("p", "No entry names who asked.")
    rows = []
    for name in names:
        own = [e for e in entries if asker(e) == name]
        kinds = Counter(e.kind for e in own)
        who = breakable(name) if name else "without an identity"
        roles = ", ".join(dict.fromkeys(str(e.facts["role"]) for e in own if "role" in e.facts))
        left = f"{kinds['release'] + kinds['export']:,}", f"{kinds['refusal']:,}"
        asked = f"{sum(e.facts.get('rows', 0) for e in own if e.kind in OUT):,}"
        rows.append((who, roles, _day(own[0]), _day(own[-1]), *left, asked))
    return table(["who", "role", "first", "last", "releases", "refusals", "rows"], rows, numbers=(4, 5, 6))


def _entries(entries: Sequence[Entry]) -> Markup:
    shown = entries[-MOST_ROWS:]
    rows = [(str(e.number), _time(e.at), _PLAIN[e.kind], _facts(e)) for e in reversed(shown)]
    return table(["entry", "when (UTC)", "kind", "facts"], rows, class_="words") + _more(
        len(entries), len(shown), "entries"
    )


def _facts(entry: Entry) -> Markup:
    """Every fact, digests whole: they are what links an entry to a receipt."""
    said = dict(entry.facts) | ({"clock": entry.clock} if entry.clock else {})
    lines: list[Content] = []
    for name, value in sorted(said.items()):
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines += [" · " if lines else "", f"{name} ", element("code", text)]
    return element("span", *lines, class_="long")


def _counted(entry: Entry) -> str:
    return ", ".join(f"{entry.facts[name]:,} {name}" for name in _COUNTS if entry.facts.get(name))


def _whose(entry: Entry) -> str:
    name = asker(entry)
    return " ".join(filter(None, [str(entry.facts.get("role", "")), name[:9] + "…" * (len(name) > 9)]))


def _more(count: int, shown: int, what: str) -> Markup:
    if count == shown:
        return NOTHING
    return element("p", f"The last {shown:,} of {count:,} {what}; the others are in the log.", class_="soft")


def _rules(rules: Iterable[AlertRule]) -> Markup:
    rows = [
        (f"audit.{r.name}", r.says, f"{r.limit:,}" if r.limit else "", f"{r.hours:g}" if r.hours else "",
         "yes" if r.second else "", "" if r.on else "off")
        for r in rules
    ]  # fmt: skip
    return table(["rule", "what it looks for", "limit", "hours", "second signature", "state"], rows, class_="words")


def _limits() -> Markup:
    return bullets(
        [
            "It says what was done through securegen under this policy. Whoever holds the data can read them otherwise.",
            "Its holder has its key and can write another log: a witness outside, such as a receipt, finds that.",
            "Facts are digests and counts. Which file a digest is of, its owner shows.",
            "Times are those of the machine that wrote the log; an entry is never earlier than the one before it.",
        ]
    )
