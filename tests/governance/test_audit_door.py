"""What the door decides is in the audit log before anything is shown; what cannot be logged does not leave."""

from __future__ import annotations

import ast
import datetime
import json
import re
import time
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.errors import ArtefactError, PolicyError, StorageError
from securegen.governance import audit_log, audit_release, gate
from securegen.governance.audit_alerts import RULES
from securegen.governance.audit_entry import KINDS, SCHEMAS
from securegen.governance.ledger_file import open_ledger
from securegen.governance.signing import fingerprint, read_identity

FEW = {"chr": "1", "to_bp": 40_000}
ALARM = {"alerts__budget__limit": 0, "alerts__budget__second_signature": True}


def entries(ruled, *kinds: str) -> list[dict]:
    return [{"kind": e.kind, **e.facts} for e in sg.audit.verify(ruled.folder).entries if e.kind in (kinds or KINDS)]


def gwas(ruled, *more, out="out"):
    return securegen(
        "gwas", *ruled.words("--out", ruled.folder / out, "--chr", "1", "--to-bp", "40000", "--quiet", *more)
    )


def test_a_release_and_its_witness(ruled):
    policy = ruled.write()
    assert gwas(ruled, "--purpose", "HMB", "--identity", ruled.key("anna")).code == 0
    (entry,) = entries(ruled, "release")
    assert (entry["what"], entry["role"], entry["purpose"], entry["policy"]) == (
        "table",
        "analyst",
        "HMB",
        policy.digest,
    )
    assert entry["who"] == fingerprint(read_identity(ruled.key("anna")).verify_key)
    assert {"policy.purpose", "budget.columns", "policy.smallest_cohort"} <= set(entry["rules"])
    record = json.loads((ruled.folder / "out.run.json").read_text())
    assert entry["samples"] == record["samples"] and entry["decision"] == record["governance"]["requests"][0]
    assert record["governance"]["audit"]["size"] < record["audit"][0]["size"]
    assert sg.audit.verify(ruled.folder, seen=[ruled.folder / "out.run.json"]).witnesses == 2


def test_a_refusal_names_its_rules(ruled):
    ruled.write(limits__most_variants=1, purposes__allowed=["HMB"])
    assert gwas(ruled, "--purpose", "POA").code == PolicyError.exit_code
    (entry,) = entries(ruled, "refusal")
    assert set(entry["rules"]) >= {"policy.purpose", "policy.most_variants"} and entry["purpose"] == "POA"
    assert [e["exit_code"] for e in entries(ruled, "run") if e["phase"] == "failed"] == [PolicyError.exit_code]
    assert "policy.most_variants" in securegen("audit", "show", ruled.folder, "--kind", "refusal").out


def test_nothing_personal_is_in_the_log(ruled):
    """No id of a person, no name of a phenotype or an identity, no path."""
    ruled.write(purposes__allowed=["HMB"])
    sg.run(ruled.study(purpose="HMB", **FEW))
    with pytest.raises(PolicyError):
        sg.run(ruled.study(purpose="POA", **FEW))
    text = (ruled.folder / "audit/entries/000.jsonl").read_text()
    facts = re.sub(r'"sig":"[^"]*"', "", text)
    people = {w for line in Path(ruled.cohort.pheno).read_text().splitlines()[1:] for w in line.split("\t")[:2]}
    assert len(people) > 100
    for word in [*people, "QT", "anna", "steward", str(ruled.folder), "pheno", "Test"]:
        assert not re.search(rf"\b{re.escape(word)}\b", facts), word


def test_the_entry_is_there_before_the_table(ruled, monkeypatch):
    """A full disk: nothing is released. The ledger, which is written first, has it, and the repetition costs nothing more."""
    ruled.write()
    monkeypatch.setattr(audit_log.LogFolder, "add_lines", full_disk)
    with pytest.raises(StorageError, match="full"):
        sg.run(ruled.study(purpose="HMB", **FEW)).write(ruled.folder / "out")
    assert ruled.results("out") == []
    monkeypatch.undo()
    with open_ledger(ruled.folder / gate.LEDGER) as ledger:
        assert len(ledger.releases) == 1
    sg.run(ruled.study(purpose="HMB", **FEW))
    with open_ledger(ruled.folder / gate.LEDGER) as ledger:
        assert len(ledger.releases) == 1


def full_disk(*_):
    raise StorageError("the disk is full")


def test_with_the_log_out_the_table_would_leave_unseen(ruled, monkeypatch):
    ruled.write()
    monkeypatch.setattr(gate.audit_release, "tell", lambda *_: sg.audit.verify(ruled.folder).checkpoint)
    sg.run(ruled.study(purpose="HMB", **FEW))
    assert entries(ruled, "release") == []


def test_an_altered_log_stops_every_release(ruled):
    ruled.write()
    sg.run(ruled.study(purpose="HMB", **FEW))
    path = ruled.folder / "audit/entries/000.jsonl"
    path.write_text(path.read_text().replace('"HMB"', '"GRU"'))
    with pytest.raises(ArtefactError, match="altered"):
        sg.run(ruled.study(purpose="HMB", **FEW))
    assert gwas(ruled, "--purpose", "HMB").code == ArtefactError.exit_code and ruled.results("out") == []


def test_an_alert_can_demand_a_second_signature(ruled):
    """Of another identity, on this request: without it the release is refused, and with it it is logged who signed."""
    ruled.write(**ALARM)
    words = ("--purpose", "HMB", "--identity", ruled.key("anna"))
    done = gwas(ruled, *words)
    assert done.code == PolicyError.exit_code and "audit.second_signature: audit.budget" in done.err
    (refused,) = entries(ruled, "refusal")
    assert refused["rules"] == ["audit.second_signature"] and f"on request {refused['decision']}" in done.err
    for name, allowed in (("anna", False), ("otto", True)):
        signed = ruled.folder / f"{name}.signed"
        assert securegen(
            "policy", "countersign", "--request", refused["decision"], "--key", ruled.key(name), "--out", signed
        ).code == 0  # fmt: skip
        assert (gwas(ruled, *words, "--second-signature", signed).code == 0) is allowed, name
    (entry,) = entries(ruled, "release")
    assert entry["second"] == fingerprint(read_identity(ruled.key("otto")).verify_key)


def test_an_alert_takes_the_second_signature_of_a_role_that_may_give_it(ruled):
    """The roles are those of the policy, as for its own rule: not any identity of it."""
    ruled.write(second_signature__by=["owner"], **ALARM)
    words = ("--purpose", "HMB", "--identity", ruled.key("anna"))
    assert gwas(ruled, *words).code == PolicyError.exit_code
    request = entries(ruled, "refusal")[0]["decision"]
    for name, code in (("otto", PolicyError.exit_code), ("steward", 0)):
        signed = ruled.folder / f"{name}.signed"
        sg.policy.countersign(request, ruled.key(name), signed)
        assert gwas(ruled, *words, "--second-signature", signed).code == code, name


def test_nobody_but_the_steward_lifts_what_an_alert_demands(ruled, monkeypatch):
    """Rules beside a policy, in a file that nobody signed, were lifted by deleting it; they are refused by name, wherever."""
    rules, words = ruled.folder / "alerts.toml", ("--purpose", "HMB")
    rules.write_text("[alerts.budget]\nlimit = 0\nsecond_signature = true\n")
    ruled.write()
    done = gwas(ruled, *words)
    assert done.code == PolicyError.exit_code and "policy.alerts" in done.err and "not signed" in done.err
    rules.unlink()
    rules.symlink_to("nowhere")
    assert gwas(ruled, *words).code == PolicyError.exit_code
    rules.unlink()
    ruled.write(version=2, **ALARM)
    assert "alerts.budget.second_signature = true" in securegen("policy", "check", ruled.policy).out
    assert "audit.second_signature" in (done := gwas(ruled, *words)).err and done.code == PolicyError.exit_code
    whole = ruled.policy.read_text()
    ruled.policy.write_text(whole.replace("second_signature = true", "second_signature = false"))
    assert gwas(ruled, *words).code == PolicyError.exit_code
    ruled.policy.write_text(whole)
    monkeypatch.setattr(audit_release, "rules_of", lambda _: RULES)  # the protection
    assert gwas(ruled, *words).code == 0


@pytest.mark.parametrize("wrong", ["alerts.budgets.limit", "alerts.budget.limits", "alerts.budget"])
def test_rules_that_are_none_are_refused_with_their_line(ruled, wrong):
    with pytest.raises(PolicyError, match=r"policy\.file: .*line [0-9]+"):
        ruled.write(**{wrong.replace(".", "__"): 0})
    with pytest.raises(PolicyError, match="is -1, expected"):
        ruled.write(alerts__budget__limit=-1)


def test_a_signed_policy_is_in_the_log_before_its_signature(ruled):
    policy = ruled.write()
    ruled.policy.write_text(ruled.policy.read_text().replace("version = 1", "version = 2"))
    signed = sg.policy.sign(ruled.policy, ruled.key("steward"))
    (entry,) = entries(ruled, "policy")
    assert signed.digest != policy.digest and (entry["action"], entry["policy"]) == ("signed", signed.digest)
    assert entry["by"] == fingerprint(read_identity(ruled.key("steward")).verify_key)
    (ruled.folder / "audit/checkpoint").write_text("x")
    ruled.policy.write_text(ruled.policy.read_text().replace("version = 2", "version = 3"))
    with pytest.raises(ArtefactError):
        sg.policy.sign(ruled.policy, ruled.key("steward"))
    with pytest.raises(PolicyError):
        sg.policy.check(ruled.policy)  # the new version is not signed


def test_every_rule_of_the_package_is_a_word_of_the_log():
    """Rules are literals in the code: the log takes each, or a refusal by it could not be logged."""
    found = set()
    for path in Path(sg.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Reason" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    found.add(first.value)
                elif isinstance(first, ast.JoinedStr):
                    found.add("".join(v.value if isinstance(v, ast.Constant) else "x" for v in first.values))
    assert len(found) > 10
    for rule in found:
        SCHEMAS["refusal"]({"rules": [rule]}, "")


def test_a_release_after_a_month_without_an_entry_waits_for_somebody_who_knows_the_date(ruled, monkeypatch):
    """A clock set forward renews the budgets of 30 days: here the clock was behind while the first table left."""
    ruled.write(budgets__releases_per_month=1, alerts__clock_ahead__second_signature=True)
    words = ("--purpose", "HMB", "--identity", ruled.key("anna"))
    now, at = time.time_ns(), datetime.datetime.now(datetime.UTC)
    ago = datetime.timedelta(days=31)
    with monkeypatch.context() as past:
        past.setattr(time, "time_ns", lambda: now - int(ago.total_seconds()) * 10**9)
        past.setattr(
            gate.datetime, "datetime", type("Past", (datetime.datetime,), {"now": classmethod(lambda *_: at - ago)})
        )
        sg.run(ruled.study(purpose="HMB", identity=ruled.key("anna"), **FEW))
    done = gwas(ruled, *words, "--no-input-missing-phenotype")
    assert done.code == PolicyError.exit_code and "audit.clock_ahead" in done.err and "31 days after entry" in done.err
    assert "budget.releases_per_month" not in done.err  # the clock renewed it
    (digest,) = {e["decision"] for e in entries(ruled, "refusal")}
    out = ruled.folder / "second.json"
    words += ("--no-input-missing-phenotype", "--second-signature", out)
    sign = ["policy", "countersign", "--key", ruled.key("steward"), "--request", digest, "--out", out]
    assert (done := securegen(*sign)).code == 0, done.err
    assert (done := gwas(ruled, *words)).code == 0, done.err
    assert "audit.clock_ahead" in securegen("audit", "alerts", ruled.folder).out


def test_an_auditor_is_told_of_a_log_that_is_ahead(ruled, monkeypatch):
    ruled.write()
    sg.audit.record(ruled.policy, "key", {"action": "unlocked", "key": "ab" * 32})
    assert "WARNING" not in securegen("audit", "verify", ruled.folder).out
    later = time.time_ns() + 31 * 86_400 * 10**9
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time_ns", lambda: later)
        sg.audit.record(ruled.policy, "key", {"action": "unlocked", "key": "ab" * 32})
    assert re.search(r"WARNING: .*74[34]\.[0-9] hours after the clock", securegen("audit", "verify", ruled.folder).out)
