"""A study whose parties all listen on this machine's loopback: free ports, keys, certificates and parties.toml.

For tests, demonstrations and `run-local`. The parties are processes of their own and speak mutual TLS, but whoever owns
the machine can read all of them: nothing is hidden from that person.
"""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from securegen.engines.mpc.net.certs import init_ca, issue, request
from securegen.engines.mpc.net.parties import Parties, PartyEntry, write_parties
from securegen.engines.mpc.net.pem import pin

TIMEOUT: Final = 600.0  # the longest silence of a party, in seconds
_MOST_KEPT: Final = 32
_kept: deque[socket.socket] = deque()


def free_ports(count: int) -> list[int]:
    """`count` TCP ports of the loopback interface that nobody else is given before the parties listen there.

    This process stays bound to the last ones and does not listen. Linux lets who names such a port listen on it, and gives it
    to nobody who asks for any free one; elsewhere they are ports that were free a moment ago.
    """
    sockets = []
    for _ in range(count):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind(("127.0.0.1", 0))
        sockets.append(one)
    ports = [s.getsockname()[1] for s in sockets]
    _kept.extend(sockets)
    while len(_kept) > (max(_MOST_KEPT, count) if sys.platform == "linux" else 0):
        _kept.popleft().close()
    return ports


def loopback_study(directory: Path, roles: Mapping[str, str], *, timeout: float = TIMEOUT) -> Parties:
    """Make authority, keys and certificates for the parties `roles` (name to role, in order of rank).

    Writes ca.pem, NAME.pem, NAME.key and parties.toml into `directory` and returns the parties.
    """
    directory = Path(directory)
    init_ca(directory)
    rows = []
    for rank, (port, (name, role)) in enumerate(zip(free_ports(len(roles)), roles.items(), strict=True)):
        certificate = issue(directory, request(directory, name), name=name, rank=rank)
        rows.append(PartyEntry(name, role, f"127.0.0.1:{port}", pin(certificate)))
    parties = Parties("local", tuple(rows), timeout)
    write_parties(directory / "parties.toml", parties)
    return parties
