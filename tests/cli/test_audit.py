"""securegen audit: an owner's log, an auditor with a copy, and one with a proof alone."""

from __future__ import annotations

import json
import shutil

import pytest
from support import securegen

from securegen.cli.main import main
from securegen.governance import audit_steps as audit
from securegen.governance.audit_entry import COMMANDS
from securegen.governance.policy_draft import draft
from securegen.governance.policy_file import sign_policy
from securegen.governance.signing import generate


@pytest.fixture
def place(tmp_path):
    """A folder with a policy and a log of three entries."""
    (tmp_path / "policy.toml").touch()
    for i in range(3):
        audit.record(tmp_path / "key.secret", "release", {"what": "table", "rows": i})
    return tmp_path


def test_verify_says_what_it_cannot_say(place):
    done = securegen("audit", "verify", place / "audit")
    assert done.code == 0 and "3 entries" in done.out and "consistent, no witness" in done.out
    record = json.loads(securegen("audit", "verify", place, "--json").out)
    assert (record["entries"], record["witnesses"], record["checkpoint"]["size"]) == (3, 0, 3)


def test_a_receipt_is_a_witness(place):
    receipt = place / "result.run.json"
    receipt.write_text(json.dumps({"command": "decrypt", "audit": audit.verify(place).checkpoint.to_json()}))
    assert "consistent with 1 witness" in securegen("audit", "verify", place, "--seen", receipt).out
    older = place / "older"
    shutil.copytree(place / "audit", older)
    audit.record(place / "x", "release", {"what": "table"})
    receipt.write_text(json.dumps(audit.verify(place).checkpoint.to_json()))
    done = securegen("audit", "verify", older, "--seen", receipt)
    assert done.code == 7 and "rolled back: it has 3 entries, and a witness saw 4" in done.err


def test_the_auditors_file_and_the_fingerprint(place):
    seen = place / "seen.json"
    mark = audit.verify(place).key.fingerprint
    assert securegen("audit", "verify", place, "--auditor", seen, "--fingerprint", mark).code == 0
    assert "consistent with 1 witness" in securegen("audit", "verify", place, "--auditor", seen).out
    done = securegen("audit", "verify", place, "--fingerprint", mark[:-4] + "0000")
    assert done.code == 7 and "has key" in done.err
    assert securegen("audit", "verify", place, "--fingerprint", "x").code == 2


def test_an_edited_log_is_refused_by_every_command(place):
    entries = place / "audit/entries/000.jsonl"
    entries.write_text(entries.read_text().replace('"rows":1', '"rows":9'))
    for words in (["verify"], ["show"], ["alerts"], ["prove", "--entry", "0", "--out", place / "p"],
                  ["export", "--html", "--out", place / "h"], ["export", "--tiles", "--out", place / "t"]):  # fmt: skip
        done = securegen("audit", words[0], place, *words[1:])
        assert done.code == 7 and "entry 1 of" in done.err, words
    assert not any((place / name).exists() for name in "pht")


def test_show_chooses(place):
    audit.record(place / "x", "key", {"action": "unlocked", "key": "00" * 32})
    assert [line.split()[0] for line in securegen("audit", "show", place).out.splitlines()] == ["0", "1", "2", "3"]
    assert "action=unlocked" in securegen("audit", "show", place, "--kind", "key").out
    last = json.loads(securegen("audit", "show", place, "--last", "2", "--json").out)
    assert [e["n"] for e in last["entries"]] == [2, 3]
    assert securegen("audit", "show", place, "--since", "2999-01-01").out == ""
    for bad in (["--kind", "x"], ["--since", "x"]):
        assert securegen("audit", "show", place, *bad).code == 2


def test_a_proof_is_checked_without_the_log(place, tmp_path_factory):
    far = tmp_path_factory.mktemp("far")
    proof = far / "e1.tlog-proof"
    assert securegen("audit", "prove", place, "--entry", "1", "--from", "2", "--out", proof, "--dry-run").code == 0
    assert not proof.exists()
    assert securegen("audit", "prove", place, "--entry", "1", "--from", "2", "--out", proof).code == 0
    shutil.copy(place / "audit/key", far)
    shutil.rmtree(place / "audit")
    done = securegen("audit", "verify", proof, "--key", far / "key")
    assert done.code == 0 and "rows=1" in done.out and "consistent, no witness" in done.out
    assert securegen("audit", "verify", proof).code == 2, "whose key?"
    proof.write_text(proof.read_text().replace("index 1", "index 0"))
    assert securegen("audit", "verify", proof, "--key", far / "key").code == 7


def test_the_page_has_the_rules_that_were_applied(tmp_path):
    """Those of the policy beside the log, as `audit alerts`, and those of a file in their place."""
    steward = generate()
    policy = tmp_path / "policy.toml"
    policy.write_text(draft("Test", steward.verify_key.hex(), [], {"alerts.keys.limit": 1234}))
    sign_policy(policy, steward)
    audit.record(policy, "policy", {"action": "signed", "policy": "00" * 32})
    rules, page = tmp_path / "rules.toml", tmp_path / "log.html"
    rules.write_text("[alerts.keys]\nlimit = 4321\n")
    for words, limit, other in (((), "1,234", "4,321"), (("--rules", rules), "4,321", "1,234")):
        assert securegen("audit", "export", tmp_path, "--html", "--out", page, *words).code == 0
        assert f">{limit}</td>" in page.read_text() and other not in page.read_text()


def test_export_and_alerts(place):
    page = place / "log.html"
    (place / "policy.toml").unlink()
    assert securegen("audit", "export", place, "--html", "--out", page).code == 0
    assert "What was decided and why" in page.read_text()
    assert securegen("audit", "export", place, "--tiles", "--out", place / "tiles").code == 0
    assert (place / "tiles/tile/entries/000.p/3").is_file()
    assert securegen("audit", "export", place, "--out", page).code == 2
    rules = place / "rules.toml"
    rules.write_text("[alerts.burst]\nlimit = 2\n[alerts.odd_hours]\non = false\n")
    done = securegen("audit", "alerts", place, "--rules", rules)
    assert done.code == 0 and "audit.burst: many requests" in done.out
    rules.write_text("[alerts.burst]\nlimits = 2\n")
    assert securegen("audit", "alerts", place, "--rules", rules).code == 3


def test_no_log_is_no_traceback(tmp_path):
    (tmp_path / "file").touch()
    for words in (["verify"], ["show"], ["alerts"], ["prove", "--entry", "0", "--out", tmp_path / "p"],
                  ["export", "--html", "--out", tmp_path / "h"]):  # fmt: skip
        for where in (tmp_path, tmp_path / "none", tmp_path / "file"):
            done = securegen("audit", words[0], where, *words[1:])
            assert done.code in (3, 7, 9) and done.err.startswith("Error: ") and done.err.count("\n") == 1, done.err


def test_every_command_has_a_word_in_the_log():
    """A run whose command the log did not know could not be logged, and would be refused."""
    import click

    def below(words, command):
        if not isinstance(command, click.Group):
            yield words
        for name in command.list_commands(None) if isinstance(command, click.Group) else ():
            yield from below([*words, name], command.get_command(click.Context(main), name))

    names = {" ".join(words) for words in below([], main)} - {"completion", "doctor", "example"}
    names = {"audit" if n.startswith("audit ") else n for n in names}
    assert names <= set(COMMANDS), names - set(COMMANDS)
