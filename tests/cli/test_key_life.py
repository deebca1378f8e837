"""Passphrases and backups of key files through the commands: of the owner, of a party, of an authority."""

from __future__ import annotations

import shutil
import ssl
import stat
from pathlib import Path

import pytest
from support import securegen

from securegen.engines.mpc.net import certs, pem
from securegen.engines.mpc.net.certs import PartyIdentity


@pytest.fixture
def words(tmp_path):
    """Files of passphrases by name."""

    def make(name: str, text: str, mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.touch(mode)
        path.write_text(text + "\n")
        path.chmod(mode)
        return path

    return make


def decrypt(steps, key, *more) -> list:
    return ["decrypt", "--key", key, "--owner", steps.owner / "study.owner", "--results", steps.server / "study.results",
            "--quiet", *more]  # fmt: skip


def test_a_passphrase_is_changed_and_a_backup_opens(steps, words, tmp_path):
    key = tmp_path / "k.secret"
    shutil.copy(steps.owner / "key.secret", key)
    old, new, safe = (
        ["--passphrase-file", steps.owner / "passphrase"],
        words("new", "four five six"),
        words("safe", "for the safe place"),
    )
    call = ["key", "backup", key, *old, "--new-passphrase-file", safe, "--out", tmp_path / "b" / "backup.secret"]
    assert securegen(*call).code == 0
    assert securegen(*call).code == 9, "a backup is not overwritten"
    assert securegen("key", "passphrase", key, *old, "--new-passphrase-file", new).code == 0
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    wrong = securegen(*decrypt(steps, key, *old, "--out", tmp_path / "t"))
    assert wrong.code == 6 and "wrong passphrase" in wrong.err
    for file, passphrase in ((key, new), (tmp_path / "b" / "backup.secret", safe)):
        done = securegen(*decrypt(steps, file, "--passphrase-file", passphrase, "--out", tmp_path / "t"))
        assert done.code == 0, done.err
    assert "needs at least" not in done.err
    from_environment = securegen(
        "key", "passphrase", key,
        environment={"SECUREGEN_PASSPHRASE": "four five six", "SECUREGEN_NEW_PASSPHRASE": "seven eight nine"},
    )  # fmt: skip
    assert from_environment.code == 0, from_environment.err
    done = securegen(
        *decrypt(steps, key, "--out", tmp_path / "t"), environment={"SECUREGEN_PASSPHRASE": "seven eight nine"}
    )
    assert done.code == 0, done.err


def test_weak_passphrases_and_readable_files_are_refused_until_named(steps, words, tmp_path):
    plan = steps.owner / "study.plan.json"
    short, loose = words("short", "pw"), words("loose", "correct horse battery", 0o644)
    for file, message in ((short, "the passphrase has 2 characters"), (loose, "can be read by others (mode 644)")):
        call = ["keygen", "--plan", plan, "--passphrase-file", file, "--out", tmp_path / f"{file.name}-key"]
        refused = securegen(*call)
        assert refused.code == 6 and message in refused.err and len(refused.err.splitlines()) == 2, refused.err
        assert not list(tmp_path.glob("*.secret"))
    short.unlink()
    for name, text, mode in (("weak", "pw", 0o600), ("open", "correct horse battery", 0o644)):
        file = words(name, text, mode)
        call = ["keygen", "--plan", plan, "--passphrase-file", file, "--out", tmp_path / f"{name}-key"]
        assert securegen(*call, "--weak-passphrase").code == 0
        assert '"weak-passphrase": true' in (tmp_path / f"{name}-key.run.json").read_text(), "it is on record"
        assert text not in (tmp_path / f"{name}-key.run.json").read_text()
    refused = securegen("keygen", "--plan", plan, "--out", tmp_path / "e", environment={"SECUREGEN_PASSPHRASE": "a"})
    assert refused.code == 6 and not (tmp_path / "e.secret").exists()
    # a key that has a weak passphrase still opens
    opened = securegen(
        *decrypt(
            steps, tmp_path / "weak-key.secret", "--passphrase-file", words("again", "pw"), "--out", tmp_path / "t"
        )
    )
    assert opened.code == 7 and "belongs to another key" in opened.err


def test_keys_of_parties_and_of_the_authority_may_have_a_passphrase(words, tmp_path, monkeypatch):
    monkeypatch.setenv("SECUREGEN_PASSPHRASE", "")
    ca, own = words("ca words", "the words of the authority"), words("own words", "the words of this party")
    authority, keys = tmp_path / "ca", tmp_path / "keys"
    assert securegen("certs", "init-ca", "--dir", authority, "--passphrase-file", ca).code == 0
    assert securegen("certs", "request", "--dir", keys, "--name", "ada", "--passphrase-file", own).code == 0
    for key in (authority / "ca.key", keys / "ada.key"):
        assert b"PRIVATE KEY" not in key.read_bytes() and stat.S_IMODE(key.stat().st_mode) == 0o600
        assert "private key" in securegen("inspect", key).out
    issue = ["certs", "issue", "--ca", authority, "--csr", keys / "ada.csr", "--name", "ada", "--rank", 0,
             "--out", keys / "ada.pem"]  # fmt: skip
    assert securegen(*issue).code == 2, "nobody to ask for a passphrase"
    assert securegen(*issue, "--passphrase-file", own).code == 6
    assert securegen(*issue, "--passphrase-file", ca).code == 0
    shutil.copy(authority / "ca.pem", keys)
    pin = pem.pin(keys / "ada.pem")
    PartyIdentity.in_directory(keys, "ada", b"the words of this party").check(pin=pin, rank=0)
    for wrong, message in ((None, "is protected: give --passphrase-file"), (b"others", "wrong passphrase")):
        with pytest.raises(Exception, match=message):
            PartyIdentity.in_directory(keys, "ada", wrong).check(pin=pin, rank=0)
    assert "words" not in repr(PartyIdentity.in_directory(keys, "ada", b"the words of this party"))
    # a key without one gets its first, and works as before
    assert securegen("certs", "request", "--dir", keys, "--name", "bob").code == 0
    assert securegen("key", "passphrase", keys / "bob.key", "--new-passphrase-file", own).code == 0
    assert b"PRIVATE KEY" not in (keys / "bob.key").read_bytes()
    certs.issue(
        authority, keys / "bob.csr", name="bob", rank=1, out=keys / "bob.pem", passphrase=b"the words of the authority"
    )
    bob = PartyIdentity.in_directory(keys, "bob", b"the words of this party")
    bob.check(pin=pem.pin(keys / "bob.pem"), rank=1)
    bob.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_a_dry_run_of_a_dealer_reads_its_protected_key(words, tmp_path, monkeypatch):
    from securegen.engines.mpc.loopback import loopback_study

    monkeypatch.setenv("SECUREGEN_PASSPHRASE", "")
    loopback_study(tmp_path / "d", {"g": "genotypes", "p": "phenotypes", "deal": "dealer"})
    own = words("own", "the words of this party")
    assert securegen("key", "passphrase", tmp_path / "d" / "deal.key", "--new-passphrase-file", own).code == 0
    call = ["dealer", "--parties", tmp_path / "d" / "parties.toml", "--out", tmp_path / "x", "--dry-run"]
    assert securegen(*call).code == 2
    assert securegen(*call, "--passphrase-file", own).code == 0
