"""A study whose parties all listen on this machine's loopback: free ports, keys, certificates and parties.toml.

For tests, demonstrations and `run-local`. The parties are processes of their own and speak mutual TLS, but whoever owns
the machine can read all of them: nothing is hidden from that person.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from securegen.engines.mpc.net.certs import init_ca, issue, request
from securegen.engines.mpc.net.parties import Parties, PartyEntry, write_parties
from securegen.engines.mpc.net.pem import pin

TIMEOUT: Final = 600.0  # the longest silence of a party, in seconds


def free_ports(count: int) -> list[int]:
    """`count` TCP ports of the loopback interface that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
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
