"""The text of a new policy: every setting at its default, with what it does, ready to be edited and signed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from securegen.governance.audit_alerts import ALERTS, SETTINGS_OF_ALERTS
from securegen.governance.policy import SETTINGS, Policy
from securegen.governance.policy_file import parse


def toml_value(value: Any) -> str:
    """A value as a policy has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value!r}"


def draft(
    name: str, steward: str, people: Sequence[Mapping[str, Any]] = (), settings: Mapping[str, Any] | None = None, *,
    issuers: Sequence[Mapping[str, Any]] = (), visas: Sequence[Mapping[str, Any]] = (),
) -> str:  # fmt: skip
    """The text of a policy. steward: verify key in hex; people: name, key, role and, where wanted, the other keys of each
    identity; settings: by dotted key, in place of the defaults; issuers, visas: who signs visas, and those that count. Raises
    PolicyError naming line and key of what is wrong."""
    chosen = {"format": 1, "name": name, "version": 1, "steward": steward, **(settings or {})}
    lines = [
        "# A policy of securegen: docs/howto/governance.md has every key. A changed text needs a new version and signature."
    ]
    section = ""
    for key, setting in SETTINGS.items():
        table, _, short = key.rpartition(".")
        if table != section:
            section = table
            lines += ["", f"[{table}]"]
        value = chosen.pop(key, setting.default)
        if value is None or (isinstance(value, date) and value == date.max):
            continue
        lines += [f"# {setting.text}", f"{short} = {toml_value(value)}"]
    for key, value in sorted(chosen.items()):
        table, _, short = key.rpartition(".")
        if table != section and table.startswith(ALERTS):
            section = table
            lines += ["", f"[{table}]"]
        lines.append(
            f"{short if table == section else key} = {toml_value(value)}"
        )  # what there is not is refused below
    for table, rows in (("identity", people), ("issuer", issuers), ("visa", visas)):
        for row in rows:
            lines += ["", f"[[{table}]]", *(f"{key} = {toml_value(value)}" for key, value in row.items() if value)]
    text = "\n".join(lines) + "\n"
    parse(text.encode(), "the new policy")
    return text


def settings_of(policy: Policy) -> list[str]:
    """Every setting in a line: where it stands, or that its default holds."""
    out = []
    for key in SETTINGS:
        value = policy[key]
        if value == date.max:
            continue
        line = policy.line(key)
        out.append(f"{'default' if line is None else f'line {line}':>8}  {key} = {toml_value(value)}")
    for key in SETTINGS_OF_ALERTS:
        if key in policy.values:
            out.append(f"{f'line {policy.line(key)}':>8}  {key} = {toml_value(policy[key])}")
    for i in policy.identities:
        only = f", only {', '.join(i.purposes)}" if i.purposes else ""
        ends = "" if i.expires == date.max else f", until {i.expires}"
        out.append(f"{f'line {i.line}':>8}  {i.name}: {i.role}{only}{ends}")
    for issuer in policy.issuers:
        keys = ", ".join(f"{key.kid} ({key.algorithm})" for key in issuer.keys)
        links = f", links {', '.join(issuer.links)}" if issuer.links else ""
        out.append(f"{f'line {issuer.line}':>8}  {issuer.name}: visas of {issuer.iss}, keys {keys}{links}")
    for rule in policy.visas:
        needs = f", with {', '.join(rule.needs)}" if rule.needs else ""
        out.append(
            f"{f'line {rule.line}':>8}  {rule.name}: {rule.type} {rule.value} of {rule.issuer}{needs} gives {rule.role}"
        )
    return out
