"""inspect knows what lies there, finds what was altered, and never shows a secret."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from support import securegen

from securegen.engines.ckks import keys
from securegen.engines.ckks.artefact import FORMAT_VERSION
from securegen.engines.ckks.owner import secret_key
from securegen.errors import InputError
from securegen.inspection import inspect


@pytest.mark.parametrize("part, role", [("cohort", "cohort"), ("design", "design"), ("results", "results")])
def test_every_folder_that_travels(part, role, steps):
    found = inspect(
        steps.server / f"study.{part}",
        public=None if part == "results" else keys.read_public(steps.owner / "key.public"),
    )
    assert (
        found.facts["role"] == role
        and found.facts["version"] == FORMAT_VERSION
        and not found.problems
        and not found.notes
    )
    assert found.checks["digests"].startswith("hold: ") and int(found.facts["files"].split()[0]) > 0
    assert found.checks["signature"] == ("none: results are verified" if part == "results" else "holds")


def test_a_cohort_tells_its_parameters_without_any_key(steps):
    done = securegen("inspect", steps.server / "study.cohort", "--json")
    (found,) = json.loads(done.out)["found"]
    public = keys.read_public(steps.owner / "key.public")
    assert done.code == 0 and found["kind"] == "encrypted cohort"
    assert found["facts"]["fingerprint"] == public.fingerprint and found["facts"]["security_bits"] == 128
    assert found["facts"]["samples"] == 90 and found["facts"]["variants"] == 1300
    assert found["checks"]["signature"].startswith("holds under the key it names")


def test_what_was_altered_is_found(steps, small_encrypted, tmp_path):
    """A byte of a file, a byte of the manifest, a file that is gone, one too many, another owner's signature."""
    cohort = tmp_path / "study.cohort"
    shutil.copytree(steps.server / "study.cohort", cohort)
    (stream, *_, gone) = sorted(cohort.glob("*.npy"))
    raw = stream.read_bytes()
    stream.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    done = securegen("inspect", cohort)
    assert done.code == 7 and f"{stream.name} does not have the digest" in done.err and "PROBLEM" in done.out
    assert securegen("inspect", cohort, "--no-digests").code == 0
    stream.write_bytes(raw)
    gone.rename(cohort / "stranger.npy")
    found = inspect(cohort)
    assert f"{gone} is missing" in found.problems and "stranger.npy" in found.notes[0]
    (cohort / "stranger.npy").rename(gone)
    other = keys.read_public(steps.owner / "key.public")
    assert not inspect(cohort, public=other).problems
    foreign = keys.PublicKey(other.parameters, other.verify_key, "ff" * 16)
    assert any("belongs to key" in p for p in inspect(cohort, public=foreign).problems)
    manifest = cohort / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"variants": 1300', '"variants": 1301'))
    assert any("is not signed by its owner" in p for p in inspect(cohort, public=other).problems)
    manifest.write_text("{")
    assert securegen("inspect", cohort).code == 7


def secrets_of(key: secret_key.SecretKey) -> list[bytes]:
    """The secret half in every form in which it could be printed."""
    raw = [key.signing_key, key.master, key.seal_stream[64:96], key.residues.tobytes()[:32]]
    return [form for r in raw for form in (r.hex().encode(), repr(r).encode())]


@pytest.mark.parametrize("protected", [True, False])
def test_a_secret_key_shows_its_public_half_only(protected, small_key, tmp_path):
    path = tmp_path / "k.secret"
    secret_key.write_secret(path, small_key, passphrase=b"some words here" if protected else None)
    done = securegen("inspect", path)
    assert done.code == 0 and small_key.public.fingerprint in done.out and "mode             600" in done.out
    assert ("scrypt" in done.out) == protected and ("whoever reads the file can decrypt" in done.out) != protected
    body = path.read_bytes().split(b"\n", 1)[1]
    shown = (done.out + done.err).encode()
    assert not any(secret in shown for secret in secrets_of(small_key))
    assert not any(body[i : i + 12] in shown for i in range(0, len(body) - 12, 7))
    path.chmod(0o644)
    loose = securegen("inspect", path)
    assert loose.code == 7 and "can be read by others (mode 644): chmod 600" in loose.err
    secret_key.retired_marker(path).write_text("why")
    assert "retired, a result failed verification" in securegen("inspect", path).out


def test_keys_and_files_of_the_other_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert securegen("site", "keygen", "--state", "s", "--out", "s.public").code == 0
    assert securegen("certs", "init-ca", "--dir", "ca").code == 0
    assert securegen("certs", "request", "--dir", "keys", "--name", "a").code == 0
    secret = Path("s/site.secret").read_bytes().partition(b"\n")[2].decode("latin-1")
    kinds = {
        "s/site.secret": "signing key", "s.public": "verification key", "ca/ca.key": "private key of a TLS",
        "ca/ca.pem": "certificate of a party", "keys/a.csr": "certificate request",
    }  # fmt: skip
    for path, kind in kinds.items():
        done = securegen("inspect", path)
        assert done.code == 0 and kind in done.out, done.err
        assert secret not in done.out and "BEGIN" not in done.out
    marks = [securegen("inspect", p, "--json").out for p in ("s/site.secret", "s.public")]
    assert len({json.loads(m)["found"][0]["facts"]["fingerprint"] for m in marks}) == 1


def test_owners_folder_plan_record_and_table(steps):
    for path, words in (
        (steps.owner / "study.owner", "boxes encrypted under the owner's key"),
        (steps.owner / "study.plan.json", "plan (public)"),
        (steps.owner / "final.run.json", "securegen rerun"), (steps.owner / "final.QT.glm.linear", "linear association"),
        (steps.owner / "key.public", "public key"), (next((steps.owner / "study.owner").glob("*.box")), "owner's box"),
    ):  # fmt: skip
        done = securegen("inspect", path)
        assert done.code == 0 and words in done.out, (path, done.out, done.err)


@pytest.mark.parametrize("content", [b"my passphrase\n", b"\x00\xff" * 40, b"", b"{}", b"{nonsense", b"a\tb\n1\t2\n"])
def test_what_it_does_not_know_is_said_and_never_shown(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    done = securegen("inspect", path)
    assert done.code in (3, 7) and len(done.err.splitlines()) == 1 and done.out == ""
    assert "my passphrase" not in done.err


def test_names_that_lead_nowhere(steps, tmp_path):
    done = securegen("inspect", steps.owner / "study")
    assert done.code == 3 and "did you mean" in done.err and "study.owner" in done.err
    with pytest.raises(InputError, match="there is no file or folder"):
        inspect(tmp_path / "none")
    with pytest.raises(InputError, match="has no manifest.json; in it: nothing"):
        (tmp_path / "empty").mkdir()
        inspect(tmp_path / "empty")


def test_one_bad_path_does_not_hide_the_others(steps, tmp_path):
    done = securegen("inspect", tmp_path / "none", steps.owner / "key.public")
    assert done.code == 3 and "public key" in done.out and "none" in done.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0)
    assert securegen("inspect", path).code == 3
