"""The messages of a federated study over mutual TLS between its sites, instead of a shared folder: the same bytes.

Who learns what: as with a folder, but nobody who stores messages; an observer of the network sees who speaks and how much.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from securegen.engines.federated.message_folder import MessageFolder
from securegen.engines.federated.messages import FINISHED, MOST_PAYLOAD, Message, Transport, read_message
from securegen.engines.federated.site import Connect
from securegen.engines.federated.studyfile import StudyFile
from securegen.engines.mpc.net.certs import PartyIdentity
from securegen.engines.mpc.net.parties import Parties
from securegen.engines.mpc.net.session import Session, open_session
from securegen.errors import ProtocolError, UsageError
from securegen.io.schema import shown

PROTOCOL = "sites/1"
FRAME = "site message"
MOST_STEP = 80
PLACE = 1 << 12  # bytes that a waiting message takes at least: empty ones without end take memory too


class MessageLinks:
    """The other sites over one session; the names of parties and sites are the same. What came early waits here."""

    forgets: ClassVar[bool] = True

    def __init__(self, session: Session, study: StudyFile, me: str) -> None:
        self._session, self._study, self._me = session, study, me
        self._early: dict[tuple[str, str], bytes] = {}
        self._waiting = dict.fromkeys(session.others, 0)  # bytes of these
        self._posted: set[str] = set()

    def post(self, step: str, raw: bytes) -> None:
        if step in self._posted:
            return
        self._posted.add(step)
        frame = np.frombuffer(step.encode() + b"\n" + raw, np.uint8)
        for other in self._session.others:
            self._session.send(other, FRAME, frame)

    def own(self, step: str) -> Message | None:
        return None  # nobody keeps what was sent

    def collect(self, step: str) -> dict[str, Message]:
        sites = [s for s in self._study.sites if s.name != self._me]
        try:
            return {s.name: read_message(self._next(s.name, step), self._study, s, step) for s in sites}
        except ProtocolError as error:
            raise ProtocolError(f"in {step}: {error}") from None

    def _next(self, site: str, step: str) -> bytes:
        while (site, step) not in self._early:
            frame = self._session.receive(site, FRAME, dtype=np.uint8).tobytes()
            name, _, raw = frame.partition(b"\n")
            key = (site, name.decode("ascii", "replace"))
            self._waiting[site] += len(raw) + PLACE
            if len(name) > MOST_STEP or key in self._early or self._waiting[site] > MOST_PAYLOAD:
                raise ProtocolError(f"site {site} sent {shown(key[1])} twice, or more than is summed together")
            self._early[key] = raw
        raw = self._early.pop((site, step))
        self._waiting[site] -= len(raw) + PLACE
        return raw

    def leave(self) -> None:
        """Stay until every other site has all it needs."""
        self.collect(FINISHED)


def linked(parties: Parties, identity: PartyIdentity) -> Connect:
    """How a site of these parties reaches the others. Raises UsageError when the study has other sites."""

    @contextlib.contextmanager
    def connect(message_folder: MessageFolder) -> Iterator[Transport]:
        study = message_folder.study
        if set(parties.names) != {s.name for s in study.sites} or identity.name != message_folder.me:
            raise UsageError(
                f"the parties are {', '.join(parties.names)} and this is {identity.name}; the study's sites are "
                f"{', '.join(s.name for s in study.sites)} and this one's key is of {message_folder.me}: "
                "the names must be the same"
            )
        terms = {"study file": study.digest}
        with open_session(parties, identity, protocol=PROTOCOL, dimensions=terms) as session:
            yield MessageLinks(session, study, message_folder.me)

    return connect
