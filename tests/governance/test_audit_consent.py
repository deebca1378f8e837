"""Changes of consent are in the audit log of the policy beside the register, in counts, before they are written."""

from __future__ import annotations

import re

import pytest

from securegen.errors import ArtefactError
from securegen.governance import audit_steps as audit
from securegen.governance import consent_steps as consent


@pytest.fixture
def register(tmp_path):
    """A register beside a policy, and a table of three people."""
    (tmp_path / "policy.toml").touch()
    rows = "".join(f"F{i}\tPERSON{i}\tHMB\t2020-01-0{i}\n" for i in (1, 2, 3))
    (tmp_path / "table.tsv").write_text("FID\tIID\tDUO\tDATE\n" + rows)
    (tmp_path / "gone.txt").write_text("F2 PERSON2\n")
    return tmp_path / "register.tsv"


def test_imports_and_withdrawals_are_logged_in_counts(register):
    consent.import_table(register, register.with_name("table.tsv"))
    consent.withdraw(register, register.with_name("gone.txt"))
    consent.withdraw(register, register.with_name("gone.txt"))  # nobody new: no change, no entry
    found = audit.verify(register.parent).entries
    assert [(e.kind, e.facts["action"], e.facts["people"]) for e in found if e.kind != "ledger"] == [
        ("consent", "imported", 3), ("consent", "withdrawn", 1)
    ]  # fmt: skip
    text = re.sub('"sig":"[^"]*"', "", (register.parent / "audit/entries/000.jsonl").read_text())
    assert "PERSON" not in text and "F2" not in text


def test_a_withdrawal_that_cannot_be_logged_is_not_entered(register):
    consent.import_table(register, register.with_name("table.tsv"))
    before = register.read_bytes()
    (register.parent / "audit/checkpoint").write_text("x")
    with pytest.raises(ArtefactError):
        consent.withdraw(register, register.with_name("gone.txt"))
    assert register.read_bytes() == before
