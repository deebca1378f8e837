"""Files of secrets: every damage is an error, weak passphrases and readable files are refused, costs are bounded."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.planner import Workload, choose
from securegen.errors import InputError, KeyFileError, StorageError
from securegen.io import envelope
from securegen.io.envelope import WeakPassphrase, canonical

MAGIC, WORDS = "securegen test key 1", b"correct horse battery staple"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "k.secret"


def read(path, passphrase=None, **options):
    return envelope.read(path, MAGIC, "test key", passphrase=passphrase, **options)


@pytest.mark.parametrize("passphrase", [None, WORDS])
def test_every_bit_counts(path, passphrase):
    """Of a file under a passphrase, and of one without: a flipped bit is never another secret."""
    envelope.write(path, MAGIC, {"of": "me"}, b"the secrets", passphrase=passphrase, cost={"n": 4, "r": 1, "p": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and envelope.is_protected(path) == (passphrase is not None)
    header, secret = read(path, passphrase)
    assert (header["of"], secret) == ("me", b"the secrets")
    raw = path.read_bytes()
    assert passphrase is None or b"secrets" not in raw
    for bit in range(0, 8 * len(raw), 3):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(
            KeyFileError, match=r"is not a securegen test key, or it is damaged|wrong passphrase|protected"
        ):
            read(path, passphrase)
    for cut in (0, 1, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:cut])
        with pytest.raises(KeyFileError):
            read(path, passphrase)


def test_a_plain_secret_key_with_a_flipped_bit_is_no_key(path, monkeypatch):
    """As it was, most flips were read, and decryption then accused the server and retired the key."""
    key = secret_key.generate(choose(Workload(20, 10, 2, 16)).parameters)
    secret_key.write_secret(path, key, passphrase=None)
    raw = path.read_bytes()
    places = range(raw.index(b"\n") + 20, len(raw) - 4, len(raw) // 40)
    read_as_it_was = 0
    for at in places:
        path.write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(KeyFileError, match="damaged"):
            secret_key.read_secret(path)
        with monkeypatch.context() as off:
            off.setattr(envelope, "_digest", lambda header, _: header[envelope.DIGEST])
            try:
                back = secret_key.read_secret(path)
                read_as_it_was += back.seal_stream != key.seal_stream or not (back.residues == key.residues).all()
            except KeyFileError:
                continue
    assert read_as_it_was > len(places) // 4
    path.write_bytes(raw)
    secret_key.read_secret(path)


def test_files_of_version_1_still_open(path):
    key = secret_key.generate(choose(Workload(20, 10, 2, 16)).parameters)
    secret_key.write_secret(path, key, passphrase=None)
    line, secret = path.read_bytes().split(b"\n", 1)
    old = {k: v for k, v in json.loads(line).items() if k != envelope.DIGEST} | {"magic": secret_key.EARLIER_MAGIC}
    parts = json.loads(secret)
    del parts["planned"]
    path.write_bytes(canonical(old) + b"\n" + canonical(parts))
    back = secret_key.read_secret(path)
    assert back.master == key.master and back.planned is None
    path.unlink()
    light = {"n": 1 << 16, "r": 8, "p": 1}  # the cost that it had
    envelope.write(
        path, secret_key.EARLIER_MAGIC, {"public": old["public"]}, canonical(parts), passphrase=WORDS, cost=light
    )
    assert secret_key.read_secret(path, passphrase=WORDS).master == key.master
    envelope.rewrap(path, old=WORDS, new=b"quite another passphrase")
    assert secret_key.read_secret(path, passphrase=b"quite another passphrase").master == key.master


@pytest.mark.parametrize(
    "change",
    [
        {"n": 1 << 40}, {"n": 1 << 21}, {"r": 1 << 20}, {"p": 1 << 20}, {"n": 3}, {"n": 0}, {"n": -2}, {"r": 0},
        {"n": "65536"}, {"n": 1.5}, {"n": True}, {"p": None}, {"n": 1 << 400},
    ],
)  # fmt: skip
def test_a_header_cannot_ask_for_more_than_a_gigabyte(path, change, monkeypatch):
    envelope.write(path, MAGIC, {}, b"x", passphrase=WORDS)
    line, secret = path.read_bytes().split(b"\n", 1)
    header = json.loads(line)
    header["scrypt"] |= change
    path.write_bytes(canonical(header) + b"\n" + secret)
    monkeypatch.setattr(envelope, "Scrypt", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(KeyFileError, match="damaged"):
        read(path, WORDS)


def test_the_cost_is_that_of_a_file_which_is_kept(monkeypatch):
    monkeypatch.undo()  # conftest.py makes it light
    assert 128 * envelope.COST["n"] * envelope.COST["r"] * envelope.COST["p"] == 1 << 28


@pytest.mark.parametrize(
    "weak", [b"", b"pw", b"elevenchars", b"aaaaaaaaaaaaaaaa", b"abcabcabcabcabc", "äöüäöüäöüä".encode()]
)
def test_a_passphrase_that_can_be_guessed_is_refused(path, weak):
    with pytest.raises(KeyFileError, match="at least 12 and 5.*--weak-passphrase"):
        envelope.write(path, MAGIC, {}, b"x", passphrase=weak)
    assert not path.exists()
    envelope.write(path, MAGIC, {}, b"x", passphrase=WeakPassphrase(weak))
    assert read(path, weak)[1] == b"x"
    with pytest.raises(KeyFileError, match="at least 12"):
        envelope.rewrap(path, old=weak, new=weak)
    assert read(path, weak)[1] == b"x"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_passphrase_file_that_others_can_read_is_refused(tmp_path, mode):
    file = tmp_path / "pass.txt"
    file.write_bytes(WORDS + b"\nsecond line")
    file.chmod(0o600)
    assert envelope.passphrase_in(file) == WORDS and not isinstance(envelope.passphrase_in(file), WeakPassphrase)
    file.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"can be read by others \(mode {mode:o}\): chmod 600 .*--weak-passphrase"):
        envelope.passphrase_in(file)
    assert envelope.passphrase_in(file, weak=True) == WORDS


def test_a_passphrase_may_come_through_a_pipe(tmp_path):
    """As in --passphrase-file <(pass show study)."""
    reading, writing = os.pipe()
    os.write(writing, WORDS + b"\n")
    os.close(writing)
    assert envelope.passphrase_in(f"/dev/fd/{reading}") == WORDS
    os.close(reading)
    os.mkfifo(tmp_path / "fifo", 0o600)
    threading.Thread(target=lambda: (tmp_path / "fifo").write_bytes(WORDS)).start()
    assert envelope.passphrase_in(tmp_path / "fifo") == WORDS
    (tmp_path / "fifo").chmod(0o644)  # others could read it first
    threading.Thread(target=lambda: os.close(os.open(tmp_path / "fifo", os.O_WRONLY))).start()
    with pytest.raises(KeyFileError, match="can be read by others"):
        envelope.passphrase_in(tmp_path / "fifo")
    with pytest.raises(InputError, match="No such file"):
        envelope.passphrase_in(tmp_path / "none")


def test_rewrapping_keeps_the_secret_and_a_copy_is_never_overwritten(path, tmp_path):
    envelope.write(path, MAGIC, {"of": "me"}, b"x", passphrase=None)
    (tmp_path / "link").symlink_to(path)
    envelope.rewrap(tmp_path / "link", old=None, new=WORDS)
    assert (tmp_path / "link").is_symlink() and envelope.is_protected(path) and read(path, WORDS)[0]["of"] == "me"
    with pytest.raises(KeyFileError, match="protected"):
        read(path)
    before = path.read_bytes()
    envelope.rewrap(path, old=WORDS, new=b"for another place", copy=tmp_path / "copy")
    assert path.read_bytes() == before and read(tmp_path / "copy", b"for another place")[1] == b"x"
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    with pytest.raises(StorageError, match="exists and is not overwritten"):
        envelope.rewrap(path, old=WORDS, new=b"for another place", copy=tmp_path / "copy")
    for wrong in (b"not the passphrase", None):
        with pytest.raises(KeyFileError):
            envelope.rewrap(path, old=wrong, new=b"some other words")
    assert path.read_bytes() == before
    with pytest.raises(KeyFileError, match="is not a securegen"):
        envelope.read(path, "securegen secret key 2", "secret key", passphrase=WORDS)


def test_a_secret_in_memory_is_on_no_disk():
    with envelope.in_memory(b"pem") as name:
        assert Path(name).read_bytes() == b"pem" and os.readlink(name).startswith("/memfd:")
    assert not os.path.exists(name)
