"""One site's part in the conversation of a study: messages that each name, by digest, all those on which they depend.

A message is made once, is on disk before a byte of it leaves, and only these bytes are sent again. A site that meets its
own signature on another message than the one in its memory has ended its part: a second message of a step, beside the
first, is what masks do not survive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from securegen.engines.federated.messages import Message, Transport, read_message, write_message
from securegen.engines.federated.state import SiteState
from securegen.engines.federated.studyfile import StudyFile
from securegen.errors import ArtefactError, PolicyError, ProtocolError
from securegen.governance.signing import SigningIdentity, canonical, sha256
from securegen.io.schema import Check, Refused, hex_text, map_of

SENT_BEFORE = (
    "this site has signed another message of this step, which its memory does not know: the memory is an old copy, or two "
    "copies ran. Its part in the study has ended; start another study, which has other keys"
)
COMPUTED = "computed"  # in a message: marks of numbers that every site computes by itself
_SEEN = map_of(hex_text(32), 64)


class Conversation:
    """One site's part in the conversation of a study. transcript: digest of everything all sites have said so far."""

    def __init__(
        self, transport: Transport, study: StudyFile, site: str, identity: SigningIdentity, state: SiteState
    ) -> None:
        self.transport, self.study, self.site, self.state = transport, study, site, state
        self._identity = identity
        self.transcript = study.digest
        self._computed: dict[str, str] = {}
        ended = state.get("ended")
        if ended is not None:
            raise PolicyError(ended.decode())
        if transport.forgets or state.get("finished") is None:
            for name in state.names("seen."):  # others may have lost what was sent
                step = name.removeprefix("seen.")
                self.post(step, self.made(step, self._nothing))

    def _nothing(self) -> NoReturn:
        raise ArtefactError(f"{self.state.folder} lacks a message that was sent: bring it back, or start another study")

    def end(self, reason: str) -> NoReturn:
        """This site takes no further part in the study. Raises PolicyError, now and at every later start."""
        self.state.once("ended", reason.encode)
        raise PolicyError(reason)

    def made(
        self, step: str, make: Callable[[], tuple[dict[str, Any], bytes | None]], after: str | None = None
    ) -> Message:
        """The own message of a step: make() gives value and payload at the first call, and is never asked again."""
        name, after = f"sent.{step}", after or self.transcript
        raw = self.state.get(name)
        if raw is None:
            if self.transport.own(step) is not None:
                self.end(SENT_BEFORE)
            value, payload = make()
            if self._computed:
                value = value | {COMPUTED: self._computed}
            raw = write_message(self.study.digest, self.site, step, after, value, payload, self._identity)
            self.state.put(name, raw)
        return read_message(raw, self.study, self.study.site(self.site), step)

    def post(self, step: str, message: Message) -> None:
        """Send the own message of a step, the bytes that are in the memory."""
        out = self.transport.own(step)
        if out is not None and out.digest != message.digest:
            self.end(SENT_BEFORE)
        raw = self.state.get(f"sent.{step}")
        self.transport.post(step, raw if raw is not None else self._nothing())

    @property
    def sent_bytes(self) -> int:
        """Bytes of all messages of this site."""
        return sum((self.state.folder / name).stat().st_size for name in self.state.names("sent."))

    def gather(self, step: str, own: Message, after: str) -> dict[str, Message]:
        """Wait for everybody's message of a step, in the order of the study file.

        Raises ProtocolError naming a site whose message is altered, is a second one, or depends on other messages than
        those here; PeerError naming a silent one.
        """
        found = {**self.transport.collect(step), self.site: own}
        messages = {s.name: found[s.name] for s in self.study.sites}
        seen = self.state.remember(f"seen.{step}", lambda: {n: m.digest for n, m in messages.items()}, _SEEN)
        self._same_numbers(own, messages)
        for site, message in messages.items():
            if seen.get(site) != message.digest:
                raise ProtocolError(f"site {site} sent a second message for {step}, unlike its first")
            if message.after != after:
                raise ProtocolError(
                    f"site {site} answered in {step} to other messages than those here: the sites are shown different ones"
                )
        self.take_up(step)
        return messages

    def take_up(self, step: str) -> None:
        """Let the transcript go on with a step that was read."""
        seen = self.state.recall(f"seen.{step}", _SEEN)
        if seen is None:
            self._nothing()
        self.transcript = sha256(self.transcript.encode(), step.encode(), canonical(seen))
        self._computed = {}

    def depend_on(self, name: str, mark: str) -> None:
        """Let all that follows depend on numbers that every site computes by itself. mark: the same where these are."""
        self.transcript = sha256(self.transcript.encode(), COMPUTED.encode(), name.encode(), mark.encode())
        self._computed |= {name: mark}

    def _same_numbers(self, own: Message, messages: dict[str, Message]) -> None:
        mine = own.value.get(COMPUTED, {})
        if others := [site for site, m in messages.items() if m.value.get(COMPUTED, {}) != mine]:
            raise ProtocolError(
                f"site {', '.join(others)} computed {' or '.join(mine) or 'something'} otherwise than this site, from the same "
                f"totals; {own.step} stays closed: compare versions and machines, and start another study"
            )

    def exchange(self, step: str, make: Callable[[], tuple[dict[str, Any], bytes | None]]) -> dict[str, Message]:
        """Post the own message and wait for everybody's."""
        own, after = self.made(step, make), self.transcript
        self.post(step, own)
        return self.gather(step, own, after)

    def checked(self, message: Message, check: Check) -> Any:
        """What a message says. Raises ProtocolError naming the site."""
        try:
            return check({k: v for k, v in message.value.items() if k != COMPUTED}, "")
        except Refused as error:
            raise ProtocolError(f"site {message.site} sent something malformed in {message.step}: {error}") from None
