"""What a policy decided of a run and why, from its record: the same words in a report and in an assessment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from securegen.errors import InputError
from securegen.governance.decision import DECISION_SCHEMA
from securegen.governance.label_noise import noise_line
from securegen.governance.people_noise import PeopleNoise
from securegen.io.schema import Refused, has, integer, list_of, number, optional, text
from securegen.report.html import NOTHING, Content, Markup, bullets, join, table

TITLE = "What was decided and why"
_WORD = optional(text(255))
_GOVERNED = has(
    who=_WORD, role=_WORD, purpose=_WORD, decisions=list_of(DECISION_SCHEMA, 0, 1 << 12),
    policy=has("name", "version", name=text(255), version=integer(0, 1 << 62)),
)  # fmt: skip
_NOISE = has("epsilon", epsilon=number(0, 1e3), delta=optional(number(0, 1)))


def governance_of(record: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What run.json says of its policy; empty where none governed. Raises InputError where it is damaged."""
    try:
        found: dict[str, Any] = _GOVERNED(record.get("governance") or {}, "governance")
    except Refused as problem:
        raise InputError(f"{where}.run.json is damaged: {problem}") from None
    return found


def noise_of(record: Mapping[str, Any], where: str) -> str | None:
    """What noise the phenotypes of a run have, or its summary of people, in words; None where they are exact. Raises InputError
    where it is damaged."""
    name = next((n for n in ("people_noise", "label_noise") if record.get(n)), None)
    if name is None:
        return None
    try:
        found = _NOISE(record[name], name)
    except Refused as problem:
        raise InputError(f"{where}.run.json is damaged: {problem}") from None
    epsilon, delta = float(found["epsilon"]), found["delta"]
    said = noise_line(epsilon, delta) if name == "label_noise" else PeopleNoise(epsilon, delta).line()
    return f"{said[:1].upper()}{said[1:]}."


def decision_table(governance: Mapping[str, Any]) -> Markup:
    """A row a rule that spoke, with its reason, once."""
    rules = dict.fromkeys(
        ("allowed" if r["allowed"] else "refused", r["rule"], r["text"])
        for decision in governance.get("decisions") or []
        for r in decision["reasons"]
    )
    return table(["decision", "rule", "why"], rows=rules, class_="words") if rules else NOTHING


def decision_section(record: Mapping[str, Any], where: str) -> Markup:
    """Under which policy a run was, who asked and for what, its noise, and each rule. Nothing where neither is recorded."""
    found, noise = governance_of(record, where), noise_of(record, where)
    lines: list[Content] = []
    if policy := found.get("policy"):
        who = found.get("who") or "somebody without an identity"
        lines.append(f"Governed by the policy {policy['name']}, version {policy['version']}.")
        lines.append(f"Asked by {who}, as {found.get('role') or 'nobody in particular'}.")
        lines.append(
            f"Purpose: {found['purpose']} (Data Use Ontology)." if found.get("purpose") else "No purpose was named."
        )
    lines += [noise] if noise else []
    return join([bullets(lines), decision_table(found)]) if lines else NOTHING
