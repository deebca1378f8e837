"""A session: the parties have agreed on protocol, versions, study and public dimensions, and then exchange frames.

Before anything else every party sends the others what it is about to run; the first difference ends the session with
an error that names it. The session id is a hash of everybody's nonce, so that no frame of an earlier session fits.

    with open_session(parties, identity, protocol="vertical/1", dimensions={"samples": 500}) as session:
        session.send("registry", "step", array)

Leaving the block normally waits for everybody; leaving it by an error tells everybody.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import DTypeLike

from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.connect import connect_all
from securegen.engines.mpc.net.frames import MAX_TEXT
from securegen.engines.mpc.net.parties import Parties
from securegen.engines.mpc.net.queues import Traffic
from securegen.engines.mpc.net.transport import Mesh
from securegen.errors import ProtocolError
from securegen.io.schema import (
    Refused,
    boolean,
    either,
    hex_text,
    integer,
    map_of,
    number,
    optional,
    printable,
    record,
    shown,
    text,
)
from securegen.version import VERSION

Scalar = str | int | float | bool | None
_SCALAR = optional(either(boolean, integer(-(1 << 63), 1 << 63), number(-1e300, 1e300), text(1 << 12)))
_TERMS = record(terms=map_of(_SCALAR, 256), nonce=hex_text(16))
MAX_JSON = 1 << 22  # bytes, but for what is said to be longer


@dataclass(frozen=True)
class Session:
    """One run of one protocol among `parties`, as party `me`."""

    parties: Parties
    me: str
    mesh: Mesh

    @property
    def id(self) -> bytes:
        return self.mesh.session

    @property
    def others(self) -> tuple[str, ...]:
        return self.mesh.names

    @property
    def rank(self) -> int:
        return self.parties.rank(self.me)

    @property
    def traffic(self) -> Traffic:
        """Bytes sent to each party and rounds so far."""
        return self.mesh.traffic

    def send(self, to: str, step: str, array: np.ndarray) -> None:
        """Queue `array` for party `to`; it must not change until sent (see Mesh.send)."""
        self.mesh.send(to, step, array)

    def receive(
        self, source: str, step: str, *, shape: tuple[int, ...] | None = None, dtype: DTypeLike | None = None
    ) -> np.ndarray:
        """The next array of `source`, checked against step, shape and dtype (see Mesh.receive)."""
        return self.mesh.receive(source, step, shape=shape, dtype=dtype)

    def send_json(self, to: str, step: str, value: object) -> None:
        """Queue a JSON object for party `to`."""
        self.mesh.send_json(to, step, value)

    def receive_json(self, source: str, step: str, *, limit: int = MAX_JSON) -> object:
        """The next JSON object of `source`, of this step, of at most `limit` bytes. What is in it is the caller's to
        check."""
        return self.mesh.receive_json(source, step, limit=limit)

    def send_key(self, to: str, step: str, key: bytes) -> None:
        """Send a 128-bit key."""
        self.send(to, step, np.frombuffer(key, np.uint8))

    def receive_key(self, source: str, step: str) -> bytes:
        """Receive a 128-bit key."""
        return self.receive(source, step, shape=(16,), dtype=np.uint8).tobytes()

    def barrier(self, step: str, among: tuple[str, ...] | None = None) -> None:
        """Wait until every party of `among` (default: all) is here."""
        others = [n for n in (among or self.parties.names) if n != self.me]
        for name in others:
            self.send(name, step, np.empty(0, np.uint8))
        for name in others:
            self.receive(name, step, shape=(0,), dtype=np.uint8)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.mesh.abort(error)
            return
        try:
            self.mesh.close()
        except BaseException as failure:
            self.mesh.abort(failure)
            raise


def open_session(
    parties: Parties, identity: PartyIdentity, *, protocol: str, dimensions: Mapping[str, Scalar]
) -> Session:
    """Connect to every party and agree on what is run.

    protocol: name and version of the protocol; dimensions: public numbers and choices on which all must agree.
    Raises PeerError (a party is absent, silent or not who it should be) and ProtocolError (it runs something else).
    """
    mesh = Mesh(identity.name, connect_all(parties, identity), timeout=parties.timeout)
    session = Session(parties, identity.name, mesh)
    try:
        _agree(session, protocol, dimensions)
    except BaseException as error:
        mesh.abort(error)
        raise
    return session


def _agree(session: Session, protocol: str, dimensions: Mapping[str, Scalar]) -> None:
    mesh = session.mesh
    terms: dict[str, Scalar] = {
        "protocol": protocol,
        "securegen": VERSION,
        "byte order": sys.byteorder,
        "study": session.parties.digest(),
        **{f"dimension {k}": v for k, v in dimensions.items()},
    }
    nonces = {session.me: secrets.token_hex(16)}
    for name in mesh.names:
        mesh.send_json(name, "agree", {"terms": terms, "nonce": nonces[session.me]})
    for name in mesh.names:
        try:
            theirs = _TERMS(mesh.receive_json(name, "agree", limit=MAX_TEXT), "")
        except Refused as error:
            raise ProtocolError(f"party {name!r} sent no terms: {error}") from None
        for key in sorted(terms.keys() | theirs["terms"].keys()):
            mine, other = terms.get(key), theirs["terms"].get(key)
            if mine != other:
                raise ProtocolError(
                    f"party {name!r} runs with {printable(key, 80)} {shown(other, 80)}, party {session.me!r} with {mine!r}"
                )
        nonces[name] = theirs["nonce"]
    everything = json.dumps([terms, sorted(nonces.items())], sort_keys=True)
    mesh.session = hashlib.sha256(everything.encode()).digest()[:16]
