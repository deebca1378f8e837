"""Who dials whom: one party of each pair, by parties.toml; a party without an address, one that listens elsewhere."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from securegen.engines.mpc.loopback import free_ports
from securegen.engines.mpc.net import certs, connect, pem
from securegen.engines.mpc.net.parties import Parties, PartyEntry, read_parties, write_parties
from securegen.errors import InputError, PeerError
from securegen.inspection import inspect

TRIO = ("ada", "bob", "cyd")
PIN = "sha256:" + "0" * 64


def change(s, name, **fields):
    """The study with one party's line changed, at everybody."""
    party = tuple(replace(p, **fields) if p.name == name else p for p in s.parties.party)
    s.parties = Parties(s.parties.study, party, s.parties.timeout)


def exchange(session):
    """Everybody sends everybody an array, so that every connection of the mesh carries one."""
    others = [n for n in TRIO if n != session.me]
    for name in others:
        session.send(name, "x", np.arange(3) + TRIO.index(session.me))
    return [session.receive(name, "x", shape=(3,), dtype="int64")[0].item() for name in others]


@pytest.fixture
def listeners(monkeypatch):
    """Where parties listened."""
    places = []
    create = socket.create_server
    monkeypatch.setattr(connect.socket, "create_server", lambda a, **more: places.append(a[1]) or create(a, **more))
    return places


def test_the_last_of_two_with_addresses_dials_and_need_not_be_reachable(study, listeners):
    s = study(TRIO)
    out = s.run(dict.fromkeys(TRIO, exchange))
    assert out == {"ada": [1, 2], "bob": [0, 2], "cyd": [0, 1]}
    assert sorted(filter(None, listeners)) == sorted([s.port("ada"), s.port("bob")])  # 0: to find free ports


@pytest.mark.parametrize("silent", TRIO)
def test_a_party_without_an_address_dials_only(study, listeners, silent):
    s = study(TRIO)
    own = s.port(silent)
    change(s, silent, address=None)
    out = s.run(dict.fromkeys(TRIO, exchange))
    assert out == {"ada": [1, 2], "bob": [0, 2], "cyd": [0, 1]}, out
    assert own not in listeners and all(s.parties.dials(silent, n) for n in TRIO if n != silent)


def relay(port, target, stop):
    """Forward every connection to 127.0.0.1:port to `target`, as a router between the networks would."""

    def pump(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def serve():
        with socket.create_server(("127.0.0.1", port)) as server:
            server.settimeout(0.1)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    near, _ = server.accept()
                    try:
                        far = socket.create_connection(("127.0.0.1", target))
                    except OSError:  # she does not listen yet
                        near.close()
                        continue
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


def test_a_party_listens_elsewhere_than_it_is_dialled(study, listeners):
    """ada is dialled at the port of a relay and listens behind it; the certificates prove who she is all the same."""
    s = study(TRIO)
    inside, outside = free_ports(2)
    change(s, "ada", address=f"127.0.0.1:{outside}", listen=f"127.0.0.1:{inside}")
    stop = threading.Event()
    router = relay(outside, inside, stop)
    try:
        out = s.run(dict.fromkeys(TRIO, exchange))
    finally:
        stop.set()
        router.join()
    assert out == {"ada": [1, 2], "bob": [0, 2], "cyd": [0, 1]}, out
    assert inside in listeners


@pytest.mark.parametrize("cheat", ["ada", "bob"])
def test_both_sides_check_pins_whoever_dials(study, cheat):
    """bob dials ada. Either shows a certificate of the study authority for the right name and rank, but of another key."""
    s = study(("ada", "bob"), timeout=3)
    d = s.directory
    for suffix in ("pem", "key", "csr"):
        (d / f"{cheat}.{suffix}").unlink()
    certs.issue(d, certs.request(d, cheat), name=cheat, rank=("ada", "bob").index(cheat))
    party = s.parties[cheat]
    false = Parties(
        s.parties.study,
        tuple(replace(p, pin=pem.pin(d / f"{cheat}.pem")) if p is party else p for p in s.parties.party),
        s.parties.timeout,
    )
    out = {}

    def body(name):
        try:
            with s.open(name, parties=false if name == cheat else s.parties):
                out[name] = "joined"
        except PeerError as error:
            out[name] = error

    s.threads({n: (lambda n=n: body(n)) for n in ("ada", "bob")}, out)
    honest = "bob" if cheat == "ada" else "ada"
    assert isinstance(out[honest], PeerError) and "wrong certificate" in str(out[honest]), out
    assert isinstance(out[cheat], PeerError)


def test_files_that_differ_in_who_has_an_address_are_named(study):
    """By ada's file she has no address and dials bob, by bob's file bob dials her."""
    s = study(TRIO, timeout=3)
    theirs = s.parties
    change(s, "ada", address=None)
    mine, out = s.parties, {}

    def body(name):
        try:
            with s.open(name, parties=mine if name == "ada" else theirs):
                out[name] = "joined"
        except PeerError as error:
            out[name] = str(error)

    s.threads({n: (lambda n=n: body(n)) for n in TRIO}, out)
    assert "the files differ in which party has an address" in out["ada"], out
    assert "'ada'" in out["bob"] and "'ada'" in out["cyd"], out


def test_of_every_pair_one_dials():
    for absent in (None, *TRIO):
        parties = Parties(
            "s", tuple(PartyEntry(n, "site", None if n == absent else f"h:{i + 1}", PIN) for i, n in enumerate(TRIO))
        )
        for one in TRIO:
            for other in TRIO:
                assert one == other or parties.dials(one, other) != parties.dials(other, one)


def test_the_file_of_parties_with_and_without_addresses(tmp_path):
    rows = (
        PartyEntry("ada", "site", "ada.example:7001", PIN, "0.0.0.0:7000"),
        PartyEntry("bob", "site", None, PIN.replace("0", "1")),
        PartyEntry("cyd", "site", "[2001:db8::1]:7001", PIN.replace("0", "2")),
    )
    parties = Parties("s", rows)
    write_parties(tmp_path / "p.toml", parties)
    assert read_parties(tmp_path / "p.toml") == parties
    facts = inspect(tmp_path / "p.toml").facts
    assert facts["pins"][0] == f"ada {PIN}" and "bob (site) dials only" in facts["parties"]
    assert sorted(facts["who dials"]) == [
        "bob -> ada at ada.example:7001", "bob -> cyd at [2001:db8::1]:7001", "cyd -> ada at ada.example:7001",
    ]  # fmt: skip
    text = (tmp_path / "p.toml").read_text()
    for change, words in (
        (lambda t: t.replace('address = "[2001:db8::1]:7001"\n', ""), "bob and cyd have no address"),
        (lambda t: t.replace('address = "ada.example:7001"\n', ""), "not the address at which others dial it"),
        (lambda t: t.replace("0.0.0.0:7000", "0.0.0.0"), "listen '0.0.0.0' must be host:port"),
        (lambda t: t.replace("0.0.0.0:7000", "0.0.0.0:" + "9" * 5000), "must be host:port"),
    ):
        (tmp_path / "q.toml").write_text(change(text))
        with pytest.raises(InputError, match=words.replace("[", r"\[")):
            read_parties(tmp_path / "q.toml")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a bound port is for one socket")
def test_ports_are_kept_until_the_parties_listen():
    """Who takes one all the same, as a program that is given any free port would, is refused; a party is not."""
    (port,) = free_ports(1)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
            pass
    more = free_ports(40)
    assert len(set(more)) == 40 and port not in more
