"""Commands that write two files, killed between them: the same command ends what was begun, and takes no other key for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import securegen

from securegen.errors import KeyFileError, StorageError

PASS = "correct horse battery staple\n"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("pass.txt", "other.txt"):
        Path(name).touch(0o600)
        Path(name).write_text(name + PASS)
    return tmp_path


def keygen(steps, passphrase: str = "pass.txt"):
    plan = steps.owner / "study.plan.json"
    return securegen("keygen", "--plan", plan, "--passphrase-file", passphrase, "--out", "k", "--quiet")


COMMANDS = {  # what is run, the half that a killed run had written, the other
    "site": (["site", "keygen", "--state", "st", "--out", "st.public"], "st/site.secret", "st.public"),
    "authority": (["certs", "init-ca", "--dir", "ca"], "ca/ca.key", "ca/ca.pem"),
    "party": (["certs", "request", "--dir", "keys", "--name", "ada"], "keys/ada.key", "keys/ada.csr"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_run_between_two_files_is_ended(name, here):
    line, first, second = COMMANDS[name]
    assert securegen(*line).code == 0
    kept = Path(first).read_bytes()
    Path(second).unlink()  # where it was killed
    done = securegen(*line)
    assert done.code == 0 and Path(second).exists() and Path(first).read_bytes() == kept, done.err
    refused = securegen(*line)
    assert refused.code in (StorageError.exit_code, KeyFileError.exit_code) and Path(first).read_bytes() == kept


def test_a_killed_keygen_is_ended_with_its_own_passphrase_alone(steps, here):
    assert keygen(steps).code == 0
    kept, public = Path("k.secret").read_bytes(), Path("k.public").read_bytes()
    Path("k.public").unlink()
    other = keygen(steps, "other.txt")
    assert other.code == KeyFileError.exit_code and not Path("k.public").exists()
    assert keygen(steps).code == 0
    assert (Path("k.secret").read_bytes(), Path("k.public").read_bytes()) == (kept, public)
    assert keygen(steps).code == StorageError.exit_code


def test_a_key_for_something_else_is_not_taken(steps, small, here):
    assert keygen(steps).code == 0
    Path("k.public").unlink()
    assert securegen("plan", *small.options("QT"), "--qc", "--out", "other", "--quiet").code == 0
    done = securegen("keygen", "--plan", "other.plan.json", "--passphrase-file", "pass.txt", "--out", "k", "--quiet")
    assert done.code == StorageError.exit_code and "a key for something else" in done.err
    assert not Path("k.public").exists()
