"""All parties of a study on one machine: free ports, keys, certificates and parties.toml in one directory.

For tests, demonstrations and `run-local`. The parties are still separate and speak mutual TLS over loopback, but
whoever owns the machine can read all of them: nothing is hidden from that person.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from securegen.engines.mpc.net.certs import Identity, init_ca, issue, pin, request
from securegen.engines.mpc.net.parties import Parties, Party, write_parties


def free_ports(count: int) -> list[int]:
    """`count` TCP ports of the loopback interface that were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def local_study(directory: Path, roles: Mapping[str, str], *, study: str = "local", timeout: float = 60.0) -> Parties:
    """Make authority, keys and certificates for the parties `roles` (name to role, in order of rank).

    Writes ca.pem, NAME.pem, NAME.key and parties.toml into `directory` and returns the parties.
    """
    directory = Path(directory)
    init_ca(directory)
    rows = []
    for rank, (port, (name, role)) in enumerate(zip(free_ports(len(roles)), roles.items(), strict=True)):
        certificate = issue(directory, request(directory, name), name=name, rank=rank)
        rows.append(Party(name, role, f"127.0.0.1:{port}", pin(certificate)))
    parties = Parties(study, tuple(rows), timeout)
    write_parties(directory / "parties.toml", parties)
    return parties


def identity(directory: Path, name: str) -> Identity:
    """The files of party `name` in a directory made by `local_study`."""
    return Identity.in_directory(directory, name)
