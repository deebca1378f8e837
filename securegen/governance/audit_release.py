"""The door's decisions in the audit log: a release or a refusal, with its rules, before anything is shown.

What enters is the asker's fingerprint, counts, digests and names of rules. Names of phenotypes enter only in a digest, the
texts of reasons not at all.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from securegen.errors import PolicyError, StorageError
from securegen.governance.audit_alerts import reasons, rules_of
from securegen.governance.audit_beside import log_of
from securegen.governance.audit_entry import ENGINES, PURPOSES, ROLES, Entry
from securegen.governance.audit_note import Checkpoint
from securegen.governance.audit_verify import read_log
from securegen.governance.decision import Decision, Reason
from securegen.governance.door import ASSOCIATION, LD, NOISY, PEOPLE, QUALITY, SCORES, Request, second_signers
from securegen.governance.ledger import Entries
from securegen.governance.policy_file import POLICY
from securegen.governance.refusals import refusal_reasons
from securegen.governance.signing import canonical, fingerprint, sha256

RULES_FILE = "alerts.toml"
_WHAT = {ASSOCIATION: "table", QUALITY: "counts", SCORES: "scores", PEOPLE: "components", LD: "table", NOISY: "counts"}
_GENOTYPES = {"bed", "pgen", "vcf", "bgen", "cohort"}


def facts_of(request: Request) -> dict[str, Any]:
    """What the log holds of a request. `question`: a digest of what is asked, whoever the people are; `cohort`: of the genotype
    files; `design`: of all input files."""
    outputs = request.outputs
    names = sorted([o.kind, o.name, o.variants, o.reveal] for o in outputs)
    genotypes = [[n, d] for n, d in request.inputs if n in _GENOTYPES]
    kinds = [o.kind for o in outputs if o.kind in _WHAT]
    facts: dict[str, Any] = {
        "what": _WHAT[kinds[0]] if kinds else "table",
        "policy": request.policy.digest, "question": sha256(b"question", canonical([request.engine, names])),
        "inputs": sha256(canonical(list(map(list, request.inputs)))), "decision": request.digest,
        "phenotypes": len(outputs), "rows": sum(o.variants for o in outputs),
        "samples": min((o.samples for o in outputs), default=0), "columns": max((o.columns for o in outputs), default=0),
    }  # fmt: skip
    if genotypes:
        facts["cohort"] = sha256(b"cohort", canonical(genotypes))
    if cases := [o.cases for o in outputs if o.cases is not None]:
        facts["cases"] = min(cases)
    said = (("role", request.role, ROLES), ("engine", request.engine, ENGINES))
    facts |= {name: word for name, word, known in said if word in known}
    code = (request.purpose or "").partition(",")[0]
    if re.fullmatch(PURPOSES, code):  # any other is refused by its rule, and is text
        facts["purpose"] = code
    if (who := _fingerprint(request, request.who)) is not None:
        facts["who"] = who
    if request.visas:
        facts["visas"] = [v.digest for v in request.visas]
    if request.history.people:
        facts["spent"] = request.history.columns
        facts["budget"] = int(request.policy["budgets.columns_share"] * request.history.people)
    able = second_signers(request)
    if able and (second := _fingerprint(request, able[0])) is not None:
        facts["second"] = second
    return facts


def _fingerprint(request: Request, name: str | None) -> str | None:
    found = None if name is None else request.policy.named(name)
    return None if found is None else fingerprint(bytes.fromhex(found.verify_key))


def refuse_unsigned_rules(folder: Path) -> None:
    """Raise PolicyError for rules of alerts in a file of their own beside a policy: nobody signed them."""
    if os.path.lexists(folder / RULES_FILE):
        raise PolicyError(
            f"policy.alerts: {folder / RULES_FILE} is not signed, and who edits or deletes it would lift what it asks for: move "
            f"its tables into {POLICY}, with a later version, sign that, and remove the file"
        )


def entries_beside(folder: Path) -> list[Entry]:
    """What the log of a policy's folder holds. Raises as `audit_beside.log_of` and `read_log`."""
    return list(read_log(log_of(folder / POLICY).folder).entries)


def refuse_older(ledger: Entries, entries: Sequence[Entry]) -> None:
    """Raise StorageError where the log names releases of these people that the ledger does not have: an older ledger."""
    last = next((e for e in reversed(entries) if e.kind == "release" and e.facts.get("ledger")), None)
    if last is None:
        return
    counts = last.facts["sets"], last.facts["charged"], last.facts["released"]
    if ledger.digest_of(counts) != last.facts["ledger"]:
        raise StorageError(
            f"the ledger of these people is an older one, or another: entry {last.number} of the audit log names {counts[2]} "
            f"releases, {len(ledger.releases)} are in it. What was released since would be forgotten. Bring back the latest"
        )


def unusual_reasons(request: Request, entries: Sequence[Entry]) -> tuple[Reason, ...]:
    """What the log's alerts say of a request beside its entries: `audit.second_signature` where one demands it."""
    now = time.time_ns() // 1_000_000
    found = reasons(entries, "release", facts_of(request), at=now, rules=rules_of(request.policy))
    asks = "; it needs a second signature" + ("" if request.explained else f" on request {request.digest}")
    unusual = (r if r.allowed else replace(r, text=r.text + asks) for r in found)
    who = None if request.explained else _fingerprint(request, request.who)  # who is named there has proved nothing
    return (*unusual, *refusal_reasons(request.policy, entries, who))


def tell(folder: Path, request: Request, decision: Decision, ledger: Entries | None = None) -> Checkpoint:
    """Write a decision into the log of a policy's folder; on the disk when this returns. Raises as `AuditLog.append`.

    ledger: with what was allowed in it, on the disk already; an older one is refused from then on.
    """
    log, facts = log_of(folder / POLICY), facts_of(request)
    if ledger is not None:
        counts = ledger.counts
        facts |= dict(zip(("sets", "charged", "released"), counts, strict=True)) | {"ledger": ledger.digest_of(counts)}
    spoke = decision.reasons if decision.allowed else decision.refusals
    facts["rules"] = list(dict.fromkeys(r.rule for r in spoke))[:256]
    if not decision.allowed:
        facts["rules"] = facts["rules"] or ["policy.request"]
    log.append("release" if decision.allowed else "refusal", facts)
    return log.witness()
