"""Where a policy stands beside its files, a command's run and the use of keys are in the log, before anything is shown."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from support import securegen

import securegen as sg
from securegen.engines.ckks.owner import secret_key
from securegen.errors import ArtefactError
from securegen.governance import audit_steps as audit
from securegen.governance import policy_file, signing
from securegen.governance.audit_beside import key_used
from securegen.governance.policy_draft import draft


def govern(folder) -> None:
    """A signed policy that lets a run pass; `sg.policy.sign` would be the log's first entry."""
    steward = signing.generate()
    settings = {"purposes.required": False, "limits.minor_alleles": 0, "budgets.columns_share": 0.16}
    (folder / "policy.toml").write_text(draft("Test", steward.verify_key.hex(), [], settings))
    policy_file.sign_policy(folder / "policy.toml", steward)


@pytest.fixture
def place(small, tmp_path):
    """A folder of its own for the phenotypes, with a policy beside them."""
    shutil.copy(small.pheno, tmp_path / "pheno.tsv")
    govern(tmp_path)
    return tmp_path


def gwas(small, place, **environment) -> tuple:
    return securegen("gwas", "--bfile", small.bfile, "--pheno", place / "pheno.tsv", "--pheno-name", "QT", "--chr", "2",
                     "--out", place / "out", "--quiet")  # fmt: skip


def entries(place) -> list[dict]:
    return [{"kind": e.kind, **e.facts} for e in audit.verify(place).entries if e.kind == "run"]


def test_a_run_is_logged_and_its_record_is_a_witness(small, place):
    done = gwas(small, place)
    assert done.code == 0, done.err
    start, end = entries(place)
    assert (start["phase"], end["phase"], start["command"]) == ("start", "end", "gwas")
    assert start["run"] == end["run"] and start["account"] == end["account"]
    record = json.loads((place / "out.run.json").read_text())
    assert (end["samples"], end["variants"], end["engine"]) == (record["samples"], record["variants"], "plain")
    assert audit.verify(place, seen=[place / "out.run.json"]).witnesses == 2, "of the release, and of the run's end"
    for i in range(2):
        audit.record(place / "x", "key", {"action": "unlocked", "key": f"{i:064x}"})
    assert audit.verify(place, seen=[place / "out.run.json"]).witnesses == 2, "the log grew"


def test_nothing_of_a_person_or_a_file_is_in_the_log(small, place):
    assert gwas(small, place).code == 0
    ids = {word for line in (place / "pheno.tsv").read_text().splitlines()[1:] for word in line.split("\t")[:2]}
    text = re.sub('"sig":"[^"]*"', "", (place / "audit/entries/000.jsonl").read_text())  # Base 64 may spell an id
    assert len(ids) > 50 and not [i for i in ids if f'"{i}"' in text or re.search(rf"\b{i}\b", text)]
    assert "pheno" not in re.sub(r'"phenotypes"', "", text) and str(place) not in text and "QT" not in text


def test_without_a_policy_there_is_no_log(small, place):
    (place / "policy.toml").unlink()
    (place / "policy.toml.sig").unlink()
    assert gwas(small, place).code == 0
    assert not list(place.glob("audit*")) and "audit" not in json.loads((place / "out.run.json").read_text())


def test_a_failed_run_is_logged(small, place):
    (place / "pheno.tsv").write_text("#FID\tIID\tQT\n")
    done = gwas(small, place)
    assert done.code
    assert [(e["phase"], e.get("exit_code")) for e in entries(place)] == [("start", None), ("failed", done.code)]


def test_a_rehearsal_is_not_logged(small, place):
    done = securegen("gwas", "--bfile", small.bfile, "--pheno", place / "pheno.tsv", "--pheno-name", "QT", "--chr", "2",
                     "--out", place / "out", "--dry-run")  # fmt: skip
    assert done.code == 0 and not sg.audit.verify(place).entries


def test_what_cannot_be_logged_is_not_run(small, place):
    """The log was cut, or is gone: no table."""
    assert gwas(small, place).code == 0
    (place / "out.QT.glm.linear").unlink()
    whole = (place / "audit/entries/000.jsonl").read_bytes()
    (place / "audit/entries/000.jsonl").write_bytes(whole.splitlines(keepends=True)[0])
    done = gwas(small, place)
    assert done.code == 7 and "was cut" in done.err
    (place / "audit").rename(place / "elsewhere")
    done = gwas(small, place)
    assert done.code == 9 and "gone" in done.err
    assert not (place / "out.QT.glm.linear").exists()


@pytest.fixture(scope="module")
def key(small, tmp_path_factory):
    """A key file without a passphrase, made where no policy stood."""
    folder = tmp_path_factory.mktemp("key")
    assert securegen("plan", *small.options(), "--out", folder / "p").code == 0
    assert securegen("keygen", "--plan", folder / "p.plan.json", "--plain-secret-key", "--out", folder / "k").code == 0
    return folder / "k.secret"


def test_keys_are_logged_when_they_are_made_unlocked_and_copied(key, tmp_path):
    govern(tmp_path)
    shutil.copy(key, tmp_path / "k.secret")
    opened = secret_key.read_secret(tmp_path / "k.secret")
    secret_key.write_secret(tmp_path / "again.secret", opened, passphrase=None)
    word = {"SECUREGEN_NEW_PASSPHRASE": "correct horse battery"}
    for line in (["backup", tmp_path / "k.secret", "--out", tmp_path / "b"], ["passphrase", tmp_path / "k.secret"]):
        assert securegen("key", *line, environment=word).code == 0
    found = [(e.facts["action"], e.facts["key"]) for e in audit.verify(tmp_path).entries if e.kind == "key"]
    mark = opened.public.fingerprint
    assert found == [("unlocked", mark), ("made", mark), ("backup", mark), ("passphrase", mark)]


def test_a_key_is_not_unlocked_where_that_cannot_be_logged(key, tmp_path):
    govern(tmp_path)
    shutil.copy(key, tmp_path / "k.secret")
    secret_key.read_secret(tmp_path / "k.secret")
    (tmp_path / "audit/checkpoint").write_text("x")
    with pytest.raises(ArtefactError):
        secret_key.read_secret(tmp_path / "k.secret")


def test_without_the_entry_a_key_would_be_used_unseen(key, tmp_path, monkeypatch):
    """The attack that the log is for: with it out, the key opens and nobody hears of it."""
    govern(tmp_path)
    shutil.copy(key, tmp_path / "k.secret")
    monkeypatch.setattr(secret_key, "key_used", lambda *_: None)
    secret_key.read_secret(tmp_path / "k.secret")
    assert not (tmp_path / "audit").exists()
    monkeypatch.setattr(secret_key, "key_used", key_used)
    secret_key.read_secret(tmp_path / "k.secret")
    assert len(audit.verify(tmp_path).entries) == 1


def test_a_sites_key_is_logged(tmp_path):
    from securegen.engines.federated import steps

    govern(tmp_path)
    mark = steps.keygen(tmp_path / "private", tmp_path / "public")
    (entry,) = audit.verify(tmp_path).entries
    assert entry.facts["action"] == "made" and entry.facts["key"].startswith(mark.replace("-", "")[:28])
