"""Wrong certificates, replayed frames, dead and stalled parties: every party ends with an error that says so."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from securegen.engines.mpc.loopback import loopback_study
from securegen.engines.mpc.net import certs, pem, transport
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.connect import tls_context
from securegen.engines.mpc.net.frames import ARRAY, header
from securegen.engines.mpc.net.session import open_session
from securegen.errors import KeyFileError, PeerError, ProtocolError

TRIO = ("ada", "bob", "cyd")
PARTY = """
import sys, numpy as np
from pathlib import Path
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import read_parties
from securegen.engines.mpc.net.session import open_session
d, me = Path(sys.argv[1]), sys.argv[2]
print("started", flush=True)
with open_session(read_parties(d / "parties.toml"), PartyIdentity.in_directory(d, me), protocol="test/1", dimensions={}) as s:
    s.barrier("ready")
    s.mesh.flush()  # what the others wait for is out
    print("ready", flush=True)
    s.receive(sys.argv[3], "never")
"""


SILENCE = 4.0  # seconds; parties have longer to meet, however slow the machine is


def waits_for(other):
    def program(s):
        s.barrier("ready")
        s.mesh.timeout = SILENCE
        s.receive(other, "never")

    return program


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_dead_or_stalled_party_is_named_by_all_within_the_timeout(study, how, monkeypatch):
    monkeypatch.setattr(transport, "_WARNED", 0.3)  # of ada's word to bob before his patience ends
    s = study(TRIO)
    child = subprocess.Popen(
        [sys.executable, "-c", PARTY, str(s.directory), "cyd", "ada"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "started\n"
        out, ended = {}, {}

        def body(name, other):
            try:
                with s.open(name) as session:
                    waits_for(other)(session)
            except PeerError as error:
                out[name], ended[name] = error, time.monotonic()

        # bob waits for ada, who waits for cyd: bob must not blame ada
        threads = [threading.Thread(target=body, args=args) for args in (("ada", "cyd"), ("bob", "ada"))]
        for t in threads:
            t.start()
        assert child.stdout.readline() == "ready\n"
        start = time.monotonic()
        os.kill(child.pid, how)
        for t in threads:
            t.join(120)
        word = "died" if how == signal.SIGKILL else "stalled"
        for name in ("ada", "bob"):
            assert "party 'cyd'" in str(out[name]) and word in str(out[name]), out
            assert ended[name] - start < s.parties.timeout / 2
    finally:
        child.kill()
        child.wait()


def test_party_that_never_starts_is_named(study):
    s = study(TRIO, timeout=4)
    out = s.run({"ada": waits_for("bob"), "bob": waits_for("ada")})
    for name in ("ada", "bob"):
        assert isinstance(out[name], PeerError) and "'cyd' did not connect to us" in str(out[name]), out


def test_two_that_wait_for_each_other_are_called_desynchronised(study):
    out = study(("ada", "bob")).run({"ada": waits_for("bob"), "bob": waits_for("ada")})
    assert any("wait for each other" in str(e) for e in out.values()), out
    assert all(isinstance(e, PeerError | ProtocolError) for e in out.values())


class Unchecked(certs.PartyIdentity):
    """The files of a party that does not look at them itself."""

    @staticmethod
    def in_directory(directory, name):
        return Unchecked(name, directory / f"{name}.pem", directory / f"{name}.key", directory / "ca.pem")

    def check(self, *, pin, rank):
        pass


def _other_authority(s, tmp_path):
    other = tmp_path / "other"
    loopback_study(other, dict.fromkeys(TRIO, "site"))
    return other


@pytest.mark.parametrize("fault", ["authority", "key", "rank", "name", "expired"])
def test_wrong_certificate_ends_every_party(study, tmp_path, fault):
    """bob shows a certificate of another authority, of another key, of another rank, cyd's, or an old one, and has taken
    the check of his own files out of his program: alone the others can stop him."""
    s = study(TRIO, timeout=4)
    d = s.directory
    for suffix in ("pem", "key", "csr"):
        (d / f"bob.{suffix}").rename(d / f"old-bob.{suffix}")
    if fault == "authority":
        other = _other_authority(s, tmp_path)
        for suffix in ("pem", "key"):
            (d / f"bob.{suffix}").write_bytes((other / f"bob.{suffix}").read_bytes())
    elif fault == "key":
        certs.issue(d, certs.request(d, "bob"), name="bob", rank=1)
    elif fault in ("rank", "expired"):
        (d / "old-bob.key").rename(d / "bob.key")
        rank, days = (2, 365) if fault == "rank" else (1, 0)
        certs.issue(d, d / "old-bob.csr", name="bob", rank=rank, days=days)
        time.sleep(1)  # certificates count whole seconds
    else:
        for suffix in ("pem", "key"):
            (d / f"bob.{suffix}").write_bytes((d / f"cyd.{suffix}").read_bytes())
    # bob's own copy of parties.toml agrees with his certificate: he is the one who cheats
    party = s.parties["bob"]
    cheat = type(party)(party.name, party.role, party.address, pem.pin(d / "bob.pem"))
    theirs = type(s.parties)(s.parties.study, (s.parties.party[0], cheat, s.parties.party[2]), s.parties.timeout)
    out = {}

    def body(name):
        try:
            own = (
                (theirs, Unchecked.in_directory(d, name))
                if name == "bob"
                else (s.parties, PartyIdentity.in_directory(d, name))
            )
            with open_session(*own, protocol="test/1", dimensions={}):
                out[name] = "joined"
        except PeerError as error:
            out[name] = error

    start = time.monotonic()
    s.threads({n: (lambda n=n: body(n)) for n in TRIO}, out)
    assert time.monotonic() - start < s.parties.timeout + 30
    assert all(isinstance(out[n], PeerError) for n in TRIO), out
    for name in ("ada", "cyd"):
        assert "bob" in str(out[name]), out
        assert any(word in str(out[name]) for word in ("wrong certificate", "refused", "broke off")), out


def test_own_certificate_must_be_the_pinned_one(study):
    s = study(("ada", "bob"))
    (s.directory / "ada.pem").unlink(), (s.directory / "ada.csr").unlink(), (s.directory / "ada.key").unlink()
    certs.issue(s.directory, certs.request(s.directory, "ada"), name="ada", rank=0)
    with pytest.raises(KeyFileError, match="parties.toml pins"):
        s.open("ada")


def test_stranger_without_certificate_does_not_stop_the_session(study):
    s = study(("ada", "bob"))
    stop = threading.Event()

    def knock():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", s.port("ada")), timeout=1) as raw:
                    context.wrap_socket(raw).sendall(b"hello")
            except OSError:
                time.sleep(0.01)

    stranger = threading.Thread(target=knock)
    stranger.start()
    out = s.run({n: (lambda session: "joined") for n in ("ada", "bob")})
    stop.set()
    stranger.join()
    assert out == {"ada": "joined", "bob": "joined"}


def test_only_tls_1_3_is_spoken(study):
    s = study(("ada", "bob"))
    context = tls_context(PartyIdentity.in_directory(s.directory, "ada"), server=False)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3 and context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname


@pytest.mark.parametrize("fault", ["replayed", "skipped", "session", "garbage"])
def test_replayed_skipped_or_foreign_frame_ends_every_party(study, fault):
    """ada authenticates properly and then misbehaves below the API: the frame she sends is not the next one."""

    def ada(s):
        zero = np.zeros(2, np.int64)
        s.send("bob", "x", zero)
        s.mesh.flush()
        sequence = {"replayed": 1, "skipped": 7}.get(fault, 2)
        session = bytes(16) if fault == "session" else s.id
        bad = header(ARRAY, session, sequence, "x", zero) + zero.tobytes()
        with contextlib.suppress(OSError):  # below the mesh: bob closes as soon as he has read the head
            s.mesh._links.outgoing["bob"].sendall(b"\0" * 100 if fault == "garbage" else bad)
        s.receive("cyd", "never")

    def bob(s):
        s.receive("ada", "x")
        s.receive("ada", "x")

    def cyd(s):
        s.receive("bob", "never")

    out = study(TRIO).run({"ada": ada, "bob": bob, "cyd": cyd})
    word = {"replayed": "replayed", "skipped": "skipped", "session": "another session", "garbage": "not a frame"}[fault]
    assert isinstance(out["bob"], ProtocolError)
    assert isinstance(out["ada"], PeerError) and isinstance(out["cyd"], PeerError)
    for name in TRIO:
        assert word in str(out[name]) and "party 'ada'" in str(out[name]), out


def test_frame_recorded_in_one_session_does_not_fit_the_next(study):
    s = study(("ada", "bob"))
    ids = [s.run({n: (lambda session: session.id) for n in ("ada", "bob")}) for _ in range(2)]
    assert ids[0]["ada"] == ids[0]["bob"] != ids[1]["ada"] == ids[1]["bob"]


def test_a_huge_announced_frame_is_refused_before_memory_is_taken(study):
    def ada(s):
        s.mesh.flush()  # what the mesh writes itself must be out
        head = bytearray(header(ARRAY, s.id, 1, "x", np.zeros(1, np.uint64)))
        head[32:40] = (1 << 50).to_bytes(8, "little")
        head[40:48] = (1 << 47).to_bytes(8, "little")
        with contextlib.suppress(OSError):  # below the mesh: bob closes as soon as he has read the head
            s.mesh._links.outgoing["bob"].sendall(bytes(head))
        s.receive("bob", "never")

    out = study(("ada", "bob")).run({"ada": ada, "bob": lambda s: s.receive("ada", "x")})
    assert isinstance(out["bob"], ProtocolError) and "at most" in str(out["bob"])
    assert isinstance(out["ada"], PeerError)


def test_unopened_session_leaves_the_port_free(study):
    s = study(("ada", "bob"))
    soon = replace(s.parties, timeout=1.5)
    with pytest.raises(PeerError, match="within 1.5 s"):
        open_session(soon, PartyIdentity.in_directory(s.directory, "ada"), protocol="test/1", dimensions={})
    out = s.run({n: (lambda session: "joined") for n in ("ada", "bob")})
    assert out == {"ada": "joined", "bob": "joined"}
