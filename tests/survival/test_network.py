"""A network between parties that cuts, stalls, is slow, reorders or damages what it carries: the right answer or one named error,
in time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.mpc.loopback import free_ports, loopback_study
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.session import open_session
from securegen.errors import PeerError, ProtocolError

NAMES, TIMEOUT, LONG, ROUNDS = ("ada", "bob"), 4.0, 60.0, 20
AFTER = 40_000  # bytes that pass before the fault: the handshakes, and some of the work
NETWORKS = {  # what is done with each piece that is carried after those
    "slow": lambda piece: (time.sleep(0.02), piece)[1],
    "trickling": lambda piece: piece,
    "cut": lambda piece: None,
    "stalled": lambda piece: time.sleep(3 * TIMEOUT),
    "reordered": lambda piece: piece[len(piece) // 2 :] + piece[: len(piece) // 2],
    "damaged": lambda piece: bytes([piece[0] ^ 1]) + piece[1:],
    "twice": lambda piece: piece + piece,
}


class Wire:
    """Carries every connection of 127.0.0.1:`outside` to `inside`, pieces after the first bytes through `fault`."""

    def __init__(self, outside: int, inside: int, name: str) -> None:
        self._inside, self._fault, self._size = inside, NETWORKS[name], 7 if name == "trickling" else 1 << 14
        self._name, self._server = name, socket.create_server(("127.0.0.1", outside))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = self._far()
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _far(self) -> socket.socket:
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self._inside))
            except OSError:  # not listening yet
                time.sleep(0.01)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := one.recv(self._size if passed > AFTER else 1 << 14):
                passed += len(data)
                piece = self._fault(data) if passed > AFTER else data
                if piece is None:
                    break
                other.sendall(piece)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._server.close()


def exchange(session) -> int:
    """Arrays both ways, each of what came before: one lost, doubled or exchanged would change the sum."""
    (other,) = set(NAMES) - {session.me}
    total = np.arange(1000, dtype=np.int64)
    for i in range(ROUNDS):
        session.send(other, f"x{i}", total)
        total = total * 3 + session.receive(other, f"x{i}", shape=(1000,), dtype="int64")
    return int(total.sum())


def run(folder: Path, name: str, timeout: float) -> tuple[dict[str, object], float]:
    """What both parties end with, whose connection the network `name` carries, and the seconds."""
    parties = loopback_study(folder, dict.fromkeys(NAMES, "site"), timeout=timeout)
    inside, outside = free_ports(2)
    first = replace(parties.party[0], address=f"127.0.0.1:{outside}", listen=f"127.0.0.1:{inside}")
    parties = replace(parties, party=(first, *parties.party[1:]))
    wire, out = Wire(outside, inside, name), {}

    def body(me: str) -> None:
        try:
            with open_session(
                parties, PartyIdentity.in_directory(folder, me), protocol="test/1", dimensions={}
            ) as session:
                out[me] = exchange(session)
        except (PeerError, ProtocolError) as error:
            out[me] = error

    begun = time.monotonic()
    threads = [threading.Thread(target=body, args=(n,)) for n in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * LONG)
        assert not thread.is_alive()
    wire.close()
    return out, time.monotonic() - begun


def expected() -> int:
    total = np.arange(1000, dtype=np.int64)
    for _ in range(ROUNDS):
        total = total * 4
    return int(total.sum())


@pytest.mark.parametrize("name", ["slow", "trickling"])
def test_a_slow_network_changes_nothing(name, tmp_path):
    out, _ = run(tmp_path, name, LONG)
    assert out == dict.fromkeys(NAMES, expected())


@pytest.mark.parametrize("name", ["cut", "stalled", "reordered", "damaged", "twice"])
def test_a_broken_network_ends_both_with_an_error_that_names_the_other(name, tmp_path):
    out, seconds = run(tmp_path, name, TIMEOUT)
    assert all(isinstance(error, PeerError | ProtocolError) for error in out.values()), out
    assert "'bob'" in str(out["ada"]) and "'ada'" in str(out["bob"]), out
    assert seconds < LONG
