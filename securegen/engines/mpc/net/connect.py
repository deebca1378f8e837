"""Connections between parties: mutual TLS 1.3, each peer checked by name, rank and pinned public key.

Each pair has two connections, one a direction: OpenSSL does not allow one thread to read and another to write on the
same connection. One party of the pair dials both (`Parties.dials`), so that the other alone must be reachable. A
stranger who reaches the port and cannot prove to be a party is turned away and remembered for the error message; only
the deadline, or a configured peer that is not who it should be, ends the attempt. Strangers that connect and say nothing
hold few connections, and for seconds only: the oldest gives way to the next, and a party that is cut off dials again.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from securegen.engines.mpc.net.certs import RANK_URI, PartyIdentity
from securegen.engines.mpc.net.frames import ABORT, JSON
from securegen.engines.mpc.net.greeting import plain, reason_of, receive_small, send_small, try_send
from securegen.engines.mpc.net.parties import Parties, split_address
from securegen.engines.mpc.net.pem import pin_of_der
from securegen.errors import KeyFileError, PeerError, SecuregenError
from securegen.io.schema import printable, shown

_UNPROVEN = 64  # connections at a time that have not shown who they are
_PATIENCE = 10.0  # seconds for showing it


@dataclass
class Links:
    """The connections of one party. outgoing: written by us; incoming: read by us; both keyed by the peer's name."""

    outgoing: dict[str, ssl.SSLSocket] = field(default_factory=dict)
    incoming: dict[str, ssl.SSLSocket] = field(default_factory=dict)


def tls_context(identity: PartyIdentity, *, server: bool) -> ssl.SSLContext:
    """TLS 1.3 only; both sides show a certificate of the study authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        identity.load_into(context)
        context.load_verify_locations(identity.authority)
    except (OSError, ssl.SSLError) as error:
        raise KeyFileError(f"certificate files of party {identity.name!r} cannot be used: {error}") from error
    context.verify_mode = ssl.CERT_REQUIRED
    if server:
        context.num_tickets = 0  # a ticket would sit unread on a connection that only we read
    return context


def connect_all(parties: Parties, identity: PartyIdentity) -> Links:
    """Connect to every other party, within parties.timeout seconds.

    Raises PeerError naming the party that could not be reached or is not who it should be, KeyFileError when our own
    files cannot be used.
    """
    identity.check(pin=parties[identity.name].pin, rank=parties.rank(identity.name))
    return _Attempt(parties, identity).run()


class _Attempt:
    def __init__(self, parties: Parties, identity: PartyIdentity) -> None:
        self.parties, self.me = parties, identity.name
        self.peers = [n for n in parties.names if n != self.me]
        self.dialled = [n for n in self.peers if parties.dials(self.me, n)]
        self.deadline = time.monotonic() + parties.timeout
        self.server, self.client = tls_context(identity, server=True), tls_context(identity, server=False)
        self.links = Links()
        self.turned_away: deque[str] = deque(maxlen=3)
        self.broke_off: dict[str, str] = {}
        self.unproven: dict[ssl.SSLSocket, None] = {}  # oldest first
        self.over = False
        self.error: SecuregenError | None = None
        self.changed = threading.Condition()

    def run(self) -> Links:
        listener = self._listen() if len(self.dialled) < len(self.peers) else None
        acceptor = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        if listener:
            acceptor.start()
        for peer in self.dialled:
            threading.Thread(target=self._dial, args=(peer,), daemon=True).start()
        with self.changed:
            self.changed.wait_for(lambda: self.error or self._complete(), self.deadline - time.monotonic())
            if not self._complete():
                self.error = self.error or self._nobody_came()
        if self.error and listener:
            time.sleep(min(1.0, self._left()))  # whoever is still dialling us is told the reason
        self.over = True
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept(), which would keep the port
            acceptor.join()
            listener.close()
        self._make_room(0)
        if self.error:
            self._tell_and_close(self.error)
            raise self.error
        return self.links

    def _complete(self) -> bool:
        return len(self.links.outgoing) == len(self.links.incoming) == len(self.peers)

    def _nobody_came(self) -> PeerError:
        missing = [p for p in self.peers if p not in self.links.outgoing or p not in self.links.incoming]
        out = [p for p in missing if p in self.dialled]
        where = ", ".join(
            f"{p!r} at {self.parties[p].address}" if p in self.dialled else f"{p!r}" for p in out or missing
        )
        why = "could not be reached" if out else "did not connect to us"
        why += "".join(f" (it broke off while connecting: {self.broke_off[p]})" for p in out[:1] if p in self.broke_off)
        hint = "" if out else f"; has its parties.toml our address, {self.parties[self.me].address}?"
        away = f"; turned away: {'; '.join(list(self.turned_away)[-3:])}" if self.turned_away else ""
        return PeerError(f"party {where} {why} within {self.parties.timeout:g} s{hint}{away}")

    def _listen(self) -> socket.socket:
        place = self.parties[self.me].listens
        host, port = split_address(place)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family, backlog=16)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise PeerError(
                f"party {self.me!r} cannot listen on {place}: {why}; another program may have the port, or the address in "
                'parties.toml is not this machine\'s: then say beside it where to listen, as in listen = "0.0.0.0:7001"'
            ) from error

    def _left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.01)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                raw, address = listener.accept()
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = self.server.wrap_socket(raw, server_side=True, do_handshake_on_connect=False)
            except (OSError, ValueError):  # closed; or a stranger left at once, or no descriptor is left
                if self.over:
                    return
                self._make_room(1)
                time.sleep(0.01)
                continue
            self._make_room(_UNPROVEN - 1)
            with self.changed:
                self.unproven[connection] = None
            threading.Thread(target=self._welcome, args=(connection, str(address[0])), daemon=True).start()

    def _make_room(self, most: int) -> None:
        """Cut off the oldest unproven connections until `most` are left."""
        with self.changed:
            while len(self.unproven) > most:
                oldest = next(iter(self.unproven))
                del self.unproven[oldest]
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # its own thread closes it

    def _welcome(self, connection: ssl.SSLSocket, address: str) -> None:
        proven = False
        try:
            connection.settimeout(min(self._left(), _PATIENCE))  # for the handshake as a whole
            connection.do_handshake()
            proven = True
            name = self._verify(connection, None)
            with self.changed:
                self.unproven.pop(connection, None)
            hello = receive_small(connection).json()
            hello = hello if isinstance(hello, dict) else {}
            writer, said = hello.get("writes"), hello.get("from")
            if said != name:
                raise PeerError(f"{printable(said, 40)} showed a wrong certificate: it belongs to {name!r}")
            if hello != self._hello(name, self.me, name if writer == name else self.me):
                raise PeerError(f"party {name!r} has another parties.toml (study, names, roles or pins differ)")
            if name in self.dialled:
                raise PeerError(f"party {name!r} dials us, and by our parties.toml we dial it: the files differ in which "
                                "party has an address")  # fmt: skip
            with self.changed:
                if self.error or name in (self.links.incoming if writer == name else self.links.outgoing):
                    raise self.error or PeerError(f"party {name!r} connected twice")
                send_small(connection, JSON, {"welcome": self.me})
                self._keep(connection, name, writer == self.me)
        except (OSError, ValueError, SecuregenError) as error:  # ssl.SSLError is an OSError
            if isinstance(error, SecuregenError) and proven:
                try_send(connection, ABORT, {"party": self.me, "reason": str(error)})
            with self.changed:
                self.unproven.pop(connection, None)
                self.turned_away.append(f"{address} ({plain(error)})")
            connection.close()

    def _hello(self, one: str, other: str, writes: str) -> dict[str, str]:
        """The first frame of a connection that `one` dials."""
        return {"from": one, "to": other, "study": self.parties.digest(), "writes": writes}

    def _keep(self, connection: ssl.SSLSocket, peer: str, ours: bool) -> None:
        """Take a proven connection, under the lock. ours: we write on it."""
        connection.settimeout(self.parties.timeout if ours else None)
        (self.links.outgoing if ours else self.links.incoming)[peer] = connection
        self.changed.notify_all()

    def _dial(self, peer: str) -> None:
        try:
            for writer in (self.me, peer):
                connection = self._reach(peer, writer)
                if connection is None:
                    return
                with self.changed:
                    self._keep(connection, peer, writer == self.me)
        except SecuregenError as error:
            with self.changed:
                self.error = self.error or error
                self.changed.notify_all()

    def _reach(self, peer: str, writer: str) -> ssl.SSLSocket | None:
        address = self.parties[peer].address or ""
        where = f"party {peer!r} at {address}"
        while time.monotonic() < self.deadline and not self.error:
            try:
                raw = socket.create_connection(split_address(address), timeout=self._left())
            except OSError:  # not there yet
                time.sleep(0.05)
                continue
            connection = None
            try:
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection = self.client.wrap_socket(raw, server_hostname=peer)
                self._verify(connection, peer)
                send_small(connection, JSON, self._hello(self.me, peer, writer))
                answer = receive_small(connection)
            except ssl.SSLCertVerificationError as error:
                raise PeerError(f"{where} showed a wrong certificate: {error.verify_message}") from error
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, EOFError) as error:
                self.broke_off[peer] = plain(error)  # who refuses us says so; this may have been to make room
                (connection or raw).close()
                time.sleep(0.05)
                continue
            except ssl.SSLError as error:
                raise PeerError(f"{where} refused our certificate or is not a TLS 1.3 party: {plain(error)}") from error
            except OSError as error:
                raise PeerError(f"{where} broke off while connecting: {plain(error)}") from error
            if answer.kind != JSON:
                raise PeerError(f"{where} refused us: {reason_of(answer)}")
            return connection
        return None

    def _verify(self, connection: ssl.SSLSocket, expected: str | None) -> str:
        """The name that the peer's certificate proves, after comparing rank and pin with parties.toml."""
        subject = connection.getpeercert() or {}
        alternatives: Any = subject.get("subjectAltName", ())
        names, uris = ([v for k, v in alternatives if k == kind] for kind in ("DNS", "URI"))
        name = names[0] if len(names) == 1 else None
        if name not in self.peers or (expected and name != expected):
            raise PeerError(
                f"party {expected or 'unknown'!r} showed a wrong certificate: it belongs to {shown(names, 80)}"
            )
        found, wanted = pin_of_der(connection.getpeercert(binary_form=True) or b""), self.parties[name].pin
        if found != wanted:
            raise PeerError(f"party {name!r} showed a wrong certificate: key {found}, parties.toml pins {wanted}")
        if uris != [f"{RANK_URI}{self.parties.rank(name)}"]:
            raise PeerError(
                f"party {name!r} showed a wrong certificate: {shown(uris, 80)} is not rank {self.parties.rank(name)}"
            )
        return str(name)

    def _tell_and_close(self, error: SecuregenError) -> None:
        for connection in self.links.outgoing.values():
            try_send(connection, ABORT, {"party": self.me, "reason": str(error)})
        for connection in [*self.links.outgoing.values(), *self.links.incoming.values()]:
            connection.close()
