"""The owner's state, keys, certificates, parties.toml and kept masked blocks: modes, refusals, exact messages."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.masked_store import MaskedStore
from securegen.engines.mpc.net import certs, pem
from securegen.engines.mpc.net.parties import Parties, PartyEntry, read_parties, write_parties
from securegen.engines.mpc.state_file import StateFile, digest_array
from securegen.errors import InputError, KeyFileError, PolicyError, ProtocolError, StorageError, UsageError

PIN = "sha256:" + "0" * 64
GOOD = f'study = "s"\ntimeout_seconds = 5\n[[party]]\nname = "ada"\nrole = "site"\naddress = "h:1"\npin = "{PIN}"\n'
SECOND = GOOD[GOOD.index("[[") :].replace("ada", "bob").replace("h:1", "h:2").replace("00", "11", 1)


def test_state_is_private_and_survives(tmp_path):
    state = StateFile(tmp_path / "state.json")
    key = state.mask_key("c", "g/0", "d")
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o600
    assert StateFile(tmp_path / "state.json").mask_key("c", "g/0", "d") == key
    assert len({key, state.mask_key("c", "g/1", "d"), state.mask_key("other", "g/0", "d")}) == 3
    assert not list(tmp_path.glob("*.part"))


def test_a_mask_is_claimed_once_even_for_the_same_data(tmp_path):
    state = StateFile(tmp_path / "s")
    state.claim("session 1", "d")
    with pytest.raises(PolicyError, match="used before"):
        StateFile(tmp_path / "s").claim("session 1", "d")


def test_of_many_that_claim_at_once_one_wins(tmp_path):
    def claim(_):
        try:
            StateFile(tmp_path / "s").claim("session", "d")
            return 1
        except PolicyError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(claim, range(24))) == 1


def test_a_process_killed_after_the_claim_does_not_get_the_mask_again(tmp_path):
    code = (
        "import os, sys; from securegen.engines.mpc.state_file import StateFile; "
        "StateFile(sys.argv[1]).claim('session', 'd'); os.kill(os.getpid(), 9)"
    )
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True)
    assert child.returncode == -9
    with pytest.raises(PolicyError):
        StateFile(tmp_path / "s").claim("session", "other")


def test_spending_stops_at_the_limit_and_counts_nothing_that_was_refused(tmp_path):
    state = StateFile(tmp_path / "s")
    assert state.spend("c", 3, limit=5) == 3
    with pytest.raises(PolicyError, match="3 of at most 5"):
        state.spend("c", 3, limit=5)
    assert state.spend("c", 2, limit=5) == 5


@pytest.mark.parametrize("text", ["not json", "[]", json.dumps({"format": "other"})])
def test_a_damaged_state_is_an_error_not_a_fresh_start(tmp_path, text):
    (tmp_path / "s").write_text(text)
    with pytest.raises(StorageError):
        StateFile(tmp_path / "s").claim("session", "d")
    assert (tmp_path / "s").read_text() == text


def test_state_in_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="cannot keep"):
        StateFile(tmp_path / "none" / "s").claim("x", "d")


def test_digest_depends_on_values_shape_and_dtype():
    a = np.arange(6, dtype=np.int8)
    digests = {digest_array(x) for x in (a, a.reshape(2, 3), a.astype(np.int16), a + 1)}
    assert len(digests) == 4
    assert digest_array(a.reshape(2, 3).T) == digest_array(a.reshape(2, 3).T.copy())


def test_keys_are_private_and_never_overwritten(tmp_path):
    certs.init_ca(tmp_path)
    certs.request(tmp_path, "ada")
    for name in ("ca.key", "ada.key"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    for again in (lambda: certs.init_ca(tmp_path), lambda: certs.request(tmp_path, "ada")):
        with pytest.raises(KeyFileError, match="never overwritten"):
            again()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("absent", "has the key of bob: is the role right"), ("mode", "chmod 600"), ("garbage", "not a certificate in PEM"),
        ("pin", "parties.toml pins"), ("key", "not the private key of"), ("authority", "not signed by"),
        ("rank", "urn:securegen:rank:1; parties.toml has ada at rank 0"), ("expired", "is valid until 20.* issued anew"),
    ],
)  # fmt: skip
def test_a_party_finds_what_is_wrong_with_its_own_files_before_it_connects(tmp_path, fault, text):
    d, other = tmp_path / "ours", tmp_path / "other"
    for folder in (d, other):
        certs.init_ca(folder)
        certs.issue(folder, certs.request(folder, "ada"), name="ada", rank=0)
    certs.request(d, "bob")
    own, pin = certs.PartyIdentity.in_directory(d, "ada"), pem.pin(d / "ada.pem")
    own.check(pin=pin, rank=0)
    if fault in ("absent", "key"):
        own.key.unlink()
    if fault == "key":
        own.key.write_bytes((other / "ada.key").read_bytes())
        own.key.chmod(0o600)
    elif fault == "mode":
        own.key.chmod(0o640)
    elif fault == "garbage":
        own.certificate.write_bytes(own.key.read_bytes())
    elif fault == "pin":
        pin = pem.pin(other / "ada.pem")
    elif fault == "authority":
        own.authority.write_bytes((other / "ca.pem").read_bytes())
    elif fault in ("rank", "expired"):
        own.certificate.unlink()
        rank, days = (1, 365) if fault == "rank" else (0, 0)
        certs.issue(d, d / "ada.csr", name="ada", rank=rank, days=days)
        time.sleep(1)  # certificates count whole seconds
    with pytest.raises(KeyFileError, match=text):
        own.check(pin=pin, rank=0)


def test_a_request_is_signed_only_for_its_own_name(tmp_path):
    certs.init_ca(tmp_path)
    csr = certs.request(tmp_path, "ada")
    with pytest.raises(InputError, match="not a valid request of party 'bob'"):
        certs.issue(tmp_path, csr, name="bob", rank=0)
    with pytest.raises(KeyFileError, match="certs"):
        certs.issue(tmp_path, tmp_path / "none.csr", name="ada", rank=0)
    (tmp_path / "bad.csr").write_text("no")
    with pytest.raises(KeyFileError, match="not a certificate signing request"):
        certs.issue(tmp_path, tmp_path / "bad.csr", name="ada", rank=0)


@pytest.mark.parametrize("name", ["Ada", "a b", "../x", "", "a" * 32, "9a"])
def test_names_that_cannot_be_a_host_label_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="lower-case"):
        certs.request(tmp_path, name)


def test_parties_are_written_as_they_are_read(tmp_path):
    parties = loopback_study(tmp_path / "a", {"ada": "genotypes", "bob": "phenotypes", "deal": "dealer"}, timeout=7)
    assert read_parties(tmp_path / "a" / "parties.toml") == parties
    assert parties.computing == ("ada", "bob") and parties.only("dealer") == "deal" and parties.rank("bob") == 1
    with pytest.raises(UsageError, match="exists already"):
        write_parties(tmp_path / "a" / "parties.toml", parties)
    for wrong in (lambda: parties.only("server"), lambda: parties["zed"]):
        with pytest.raises(UsageError):
            wrong()


def test_digest_of_the_study_changes_with_name_role_order_and_pin_not_with_addresses():
    ada, bob = (PartyEntry(n, "site", "h:1", PIN) for n in ("ada", "bob"))
    base = Parties("s", (ada, bob)).digest()
    others = [
        Parties("t", (ada, bob)), Parties("s", (bob, ada)), Parties("s", (PartyEntry("ada", "dealer", "h:1", PIN), bob)),
        Parties("s", (PartyEntry("ada", "site", "h:1", PIN.replace("0", "1")), bob)),
    ]  # fmt: skip
    assert base not in {p.digest() for p in others}
    assert base == Parties("s", (PartyEntry("ada", "site", "elsewhere:2", PIN), bob)).digest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("= no toml", "TOML"),
        (GOOD, "at least two"),
        (GOOD.replace('"s"', '"s\\nada\\tsite"') + SECOND, "one line of printable"),
        (GOOD + SECOND + "[other]\n", "unknown key 'other'"),
        (GOOD.replace("5", "0.1") + SECOND, "timeout_seconds"),
        (GOOD + SECOND.replace("bob", "Bob"), "party 2: name 'Bob'"),
        (GOOD + SECOND.replace('"site"', '"king"'), "role 'king'"),
        (GOOD + SECOND.replace("sha256:", "md5:"), "pin must be"),
        (GOOD + SECOND.replace("h:2", "h"), "must be host:port"),
        (GOOD + SECOND.replace("h:2", "h:70000"), "the port from 1 to 65535"),
        (GOOD + SECOND.replace("h:2", "h:1"), "the same address"),
        (GOOD + SECOND.replace("bob", "ada"), "the same name 'ada'"),
        (GOOD + SECOND.replace("11", "00", 1), "the same pin"),
        (GOOD + SECOND + 'extra = "x"\n', "needs the text fields .*: extra"),
        (GOOD + SECOND.replace("role", "roll"), "wrong or absent: role, roll"),
    ],
)
def test_wrong_parties_files_are_refused_with_the_reason(tmp_path, text, message):
    path = tmp_path / "parties.toml"
    path.write_text(GOOD + SECOND)
    assert read_parties(path).names == ("ada", "bob")
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_parties(path)


def test_masked_blocks_are_kept_whole_and_found_by_their_mask_only(tmp_path):
    store = MaskedStore(tmp_path / "m")
    block = np.arange(6, dtype=np.uint64).reshape(2, 3)
    store.put("../../g", 0, "mark", block)
    np.testing.assert_array_equal(store.get("../../g", 0, "mark", shape=(2, 3), dtype=block.dtype), block)
    assert [p.parent for p in tmp_path.rglob("*.npy")] == [tmp_path / "m"]
    for stream, start, mark in (("../../g", 0, "other"), ("../../g", 1, "mark"), ("m", 0, "mark")):
        with pytest.raises(ProtocolError, match="was not kept"):
            store.get(stream, start, mark, shape=(2, 3), dtype=block.dtype)
    with pytest.raises(ProtocolError, match="expected uint32"):
        store.get("../../g", 0, "mark", shape=(2, 3), dtype=np.dtype(np.uint32))
    path = next(tmp_path.rglob("*.npy"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ProtocolError, match="was not kept"):
        store.get("../../g", 0, "mark", shape=(2, 3), dtype=block.dtype)
