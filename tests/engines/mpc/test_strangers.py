"""Strangers on the listening port: many that say nothing, slow ones, old TLS, certificates of the right authority."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time

import pytest

from securegen.engines.mpc.net import certs, connect, greeting
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.connect import tls_context
from securegen.errors import PeerError

PAIR = ("ada", "bob")
CROWD = """
import socket, sys, time
held, end = [], time.monotonic() + 80
while len(held) < 120 and time.monotonic() < end:
    try:
        held.append(socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=0.3))
    except OSError:
        time.sleep(0.02)
    if len(held) == 44:
        print("crowded", flush=True)
time.sleep(100 if len(held) >= 44 else 0)
"""


ADA = """
import resource, sys
from pathlib import Path
from securegen.errors import PeerError
from securegen.engines.mpc.net import connect
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
d = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
connect._UNPROVEN = 16
if sys.argv[2] == "off":
    connect._Attempt._make_room = lambda self, most: None
try:
    with open_session(read_parties(d / "parties.toml"), PartyIdentity.in_directory(d, "ada"), protocol="test/1", dimensions={}):
        print("joined")
except PeerError as error:
    print(error)
"""


@pytest.mark.parametrize("protection", ["off", "on"])
def test_a_crowd_that_says_nothing_does_not_keep_a_party_out(study, protection):
    """120 silent connections, more than ada has descriptors for; bob comes after the first 44."""
    s = study(PAIR, timeout=3 if protection == "off" else 90)
    out = {}
    crowd = subprocess.Popen([sys.executable, "-c", CROWD, str(s.port("ada"))], stdout=subprocess.PIPE, text=True)
    ada = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ADA, str(s.directory), protection], stdout=subprocess.PIPE, text=True
    )
    try:
        assert crowd.stdout is not None and crowd.stdout.readline() == "crowded\n"
        try:
            with s.open("bob"):
                out["bob"] = "joined"
        except PeerError as error:
            out["bob"] = str(error)
        out["ada"] = ada.communicate(timeout=120)[0].strip()
    finally:
        for child in (crowd, ada):
            child.kill()
            child.communicate()
    if protection == "on":
        assert out == {"ada": "joined", "bob": "joined"}
    else:
        assert "ada" in out["bob"] and "bob" in out["ada"], out


def dialled(port: int) -> socket.socket:
    """A connection to a party that listens now or soon."""
    end = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=60)
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_handshake_that_trickles_is_cut_off(study, monkeypatch):
    monkeypatch.setattr(connect, "_PATIENCE", 0.6)
    s = study(PAIR, timeout=5)
    out, cut = {}, []

    def stranger():
        with dialled(s.port("ada")) as raw:
            start = time.monotonic()
            raw.sendall(b"\x16\x03\x01\x02\x00\x01")  # a hello that never ends
            try:
                while party.is_alive():
                    time.sleep(0.2)
                    raw.sendall(b"\0")
            except OSError:
                cut.append(time.monotonic() - start)

    def ada():
        try:
            s.open("ada")
        except PeerError as error:
            out["ada"] = error

    party = threading.Thread(target=ada)
    party.start()
    stranger()
    party.join(60)
    assert cut and cut[0] < s.parties.timeout, "a slow stranger kept its connection"
    assert "turned away" in str(out["ada"])


def old_tls(s):
    context = tls_context(PartyIdentity.in_directory(s.directory, "bob"), server=False)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    return context, "protocol version"


def other_key(s):
    """The right name and rank, signed by the study authority, but not the pinned key."""
    folder = s.directory / "other"
    folder.mkdir()
    csr = certs.request(folder, "bob")
    certs.issue(s.directory, csr, name="bob", rank=1, out=folder / "bob.pem")
    (folder / "ca.pem").write_bytes((s.directory / "ca.pem").read_bytes())
    return tls_context(PartyIdentity.in_directory(folder, "bob"), server=False), "wrong certificate"


def other_rank(s):
    """The pinned key and name, signed by the study authority for another rank."""
    folder = s.directory / "other"
    folder.mkdir()
    certs.issue(s.directory, s.directory / "bob.csr", name="bob", rank=0, out=folder / "bob.pem")
    for name in ("bob.key", "ca.pem"):
        (folder / name).write_bytes((s.directory / name).read_bytes())
    return tls_context(PartyIdentity.in_directory(folder, "bob"), server=False), "is not rank 1"


@pytest.mark.parametrize("who", [old_tls, other_key, other_rank])
def test_who_cannot_prove_to_be_a_party_gets_no_frame_and_stops_nobody(study, who):
    s = study(PAIR)
    context, word = who(s)
    out, answers = {}, []

    def body(name):
        with s.open(name):
            out[name] = "joined"

    ada = threading.Thread(target=body, args=("ada",))
    ada.start()
    while not answers:
        raw = dialled(s.port("ada"))
        try:
            with context.wrap_socket(raw, server_hostname="ada") as connection:
                greeting.send_small(connection, connect.JSON, {"from": "bob", "to": "ada", "study": s.parties.digest()})
                answers.append(greeting.reason_of(greeting.receive_small(connection)))
        except OSError as error:
            answers.append(greeting.plain(error))
    assert word in answers[0], answers
    bob = threading.Thread(target=body, args=("bob",))
    bob.start()
    ada.join(90), bob.join(90)
    assert out == {"ada": "joined", "bob": "joined"}
