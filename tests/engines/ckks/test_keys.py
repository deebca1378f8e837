"""Key files: protected, private, never overwritten, and refused when anything about them is wrong."""

from __future__ import annotations

import json
import os
import stat

import numpy as np
import pytest

from securegen.engines.ckks import keys
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.planner import Workload, choose
from securegen.errors import ArtefactError, KeyFileError, StorageError
from securegen.io.envelope import canonical

WORDS = b"correct horse battery staple"


@pytest.fixture(scope="module")
def key():
    return secret_key.generate(choose(Workload(20, 10, 2, 16)).parameters)


@pytest.fixture
def protected(key, tmp_path):
    path = tmp_path / "k.secret"
    secret_key.write_secret(path, key, passphrase=WORDS)
    return path


@pytest.mark.parametrize("passphrase", [None, WORDS, "Zürich ✓ Genève".encode()])
def test_a_secret_key_comes_back_whole(key, tmp_path, passphrase):
    path = tmp_path / "k.secret"
    secret_key.write_secret(path, key, passphrase=passphrase)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    back = secret_key.read_secret(path, passphrase=passphrase)
    assert back.public == key.public and back.seal_stream == key.seal_stream and back.master == key.master
    np.testing.assert_array_equal(back.residues, key.residues)
    assert back.public.verify(b"text", key.sign(b"text")) and not back.public.verify(b"tex", key.sign(b"text"))


def test_a_protected_file_holds_nothing_secret_in_the_clear(key, protected, tmp_path):
    raw = protected.read_bytes()
    bare = tmp_path / "bare.secret"
    secret_key.write_secret(bare, key, passphrase=None)
    secrets = json.loads(bare.read_bytes().split(b"\n", 1)[1])
    assert secrets.pop("planned") is None and set(secrets) == {"seal", "residues", "signing", "master"}
    for value in secrets.values():
        assert value.encode()[:40] not in raw
    assert WORDS not in raw and json.loads(raw.split(b"\n", 1)[0])["protection"] == "scrypt+aes-256-gcm"


def test_a_secret_never_shows_in_its_text(key):
    text = repr(key) + str(key) + repr(key.public)
    shown = str(key.residues[0, :3]).strip("[]")  # three: one of 2^30 may well be a number of the text
    assert key.master.hex() not in text and "residues" not in text and shown not in text


def test_wrong_or_missing_passphrase(protected):
    with pytest.raises(KeyFileError, match="wrong passphrase, or the file was altered"):
        secret_key.read_secret(protected, passphrase=b"other words")
    with pytest.raises(KeyFileError, match="is protected: give --passphrase-file"):
        secret_key.read_secret(protected)


def test_an_altered_header_or_body_is_refused(protected, tmp_path):
    """The public part is authenticated with the secret one: parameters cannot be exchanged."""
    first, body = protected.read_bytes().split(b"\n", 1)
    header = json.loads(first)
    header["public"]["key_id"] = "0" * 32
    other = tmp_path / "other.secret"
    for raw in (canonical(header) + b"\n" + body, first + b"\n" + body[:-1] + bytes([body[-1] ^ 1])):
        other.write_bytes(raw)
        other.chmod(0o600)
        with pytest.raises(KeyFileError, match="wrong passphrase, or the file was altered"):
            secret_key.read_secret(other, passphrase=WORDS)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o666, 0o601])
def test_a_key_that_others_can_read_is_refused(protected, mode):
    protected.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"can be read by others \(mode {mode & 0o777:o}\): chmod 600"):
        secret_key.read_secret(protected, passphrase=WORDS)


def test_an_existing_key_is_never_overwritten(key, protected):
    before = protected.read_bytes()
    with pytest.raises(StorageError, match="exists and is not overwritten"):
        secret_key.write_secret(protected, key, passphrase=b"other words again")
    assert protected.read_bytes() == before and os.listdir(protected.parent) == [protected.name]
    public = protected.parent / "k.public"
    keys.write_public(public, key.public)
    with pytest.raises(StorageError, match="exists and is not overwritten"):
        keys.write_public(public, key.public)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"{}\n{}", b"\x00" * 50, b'{"magic": "securegen secret key 1"}\nx', b"[]\n[]"]
)
def test_what_is_no_key_is_refused(tmp_path, content):
    path = tmp_path / "k.secret"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="is not a securegen secret key, or it is damaged"):
        secret_key.read_secret(path, passphrase=WORDS)
    with pytest.raises(ArtefactError, match="public key"):
        keys.read_public(path)


def test_a_secret_key_in_the_place_of_a_public_one_is_told_so(protected):
    with pytest.raises(ArtefactError, match="it is a secret key, which stays with its owner"):
        keys.read_public(protected)


def test_a_header_that_asks_for_gigabytes_is_refused(protected):
    first, body = protected.read_bytes().split(b"\n", 1)
    header = json.loads(first)
    header["scrypt"]["n"] = 1 << 40
    protected.write_bytes(canonical(header) + b"\n" + body)
    with pytest.raises(KeyFileError, match="damaged"):
        secret_key.read_secret(protected, passphrase=WORDS)


def test_a_missing_key_says_so(tmp_path):
    for read in (secret_key.read_secret, keys.read_public):
        with pytest.raises(KeyFileError, match="cannot read the (secret|public) key .*No such file"):
            read(tmp_path / "none")


def test_keys_and_their_purposes_differ(key):
    other = secret_key.generate(key.public.parameters)
    assert other.public.fingerprint != key.public.fingerprint and (other.residues != key.residues).any()
    assert len({k.derive(purpose) for k in (key, other) for purpose in ("a", "b")}) == 4


def test_boxes_are_bound_to_name_and_key(key):
    box = key.seal_box("name", b"state")
    assert key.open_box("name", box) == b"state" and b"state" not in box and key.seal_box("name", b"state") != box
    other = secret_key.generate(key.public.parameters)
    for holder, name, raw in ((key, "other", box), (other, "name", box), (key, "name", box[:-1]), (key, "name", b"")):
        with pytest.raises(ArtefactError, match="altered or belongs to another key"):
            holder.open_box(name, raw)
