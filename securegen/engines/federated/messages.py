"""Signed messages of a study, and what carries them: a folder (`message_folder`) or links between the sites.

A message is one line of JSON, {"body": …, "signature": …}, and after it the bytes of its payload, of which the body has
size and SHA-256. The body names study, site, step and `after`, the digest of all messages on which it depends. A message is
read only after signature, names and payload were checked; whatever does not pass is refused with one line.

Who learns what: whoever carries a message sees who sends it, in which step and of what size; payloads are encrypted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from securegen.engines.federated.studyfile import Site, StudyFile
from securegen.errors import ProtocolError
from securegen.governance.signing import SigningIdentity, canonical, sha256, verifies
from securegen.io.schema import hex_bytes, hex_text, integer, map_of, optional, record, text
from securegen.io.strict_json import parse_json

DOMAIN = b"securegen federated message "
ACCEPT, FINISHED, STOPPED, LEFT = "accept", "finished", "stopped", "left"
MOST_HEAD = 1 << 22  # bytes of the line
MOST_PAYLOAD = 1 << 28
_BODY = record(
    study=hex_text(32), site=text(64), step=text(80), after=hex_text(32), value=map_of(lambda v, _: v, 64),
    payload=optional(record(size=integer(0, MOST_PAYLOAD), sha256=hex_text(32))),
)  # fmt: skip
_LINE = record(body=_BODY, signature=hex_bytes(64))


@dataclass(frozen=True)
class Message:
    """A checked message. value: what its step says, still to be checked; digest: of body and payload."""

    site: str
    step: str
    after: str
    value: dict[str, Any]
    payload: bytes
    digest: str


class Transport(Protocol):
    """What brings messages to the other sites. One site uses it. forgets: what was posted must be posted again at a start."""

    forgets: ClassVar[bool]

    def post(self, step: str, raw: bytes) -> None:
        """Send a message to all others; the same again changes nothing."""

    def own(self, step: str) -> Message | None:
        """A message of that step with this site's signature that is already out, None where none is found."""

    def collect(self, step: str) -> dict[str, Message]:
        """Every other site's message of a step. Raises PeerError naming the silent ones, ProtocolError."""

    def leave(self) -> None:
        """This site has sent all it will."""


def write_message(
    study: str,
    site: str,
    step: str,
    after: str,
    value: dict[str, Any],
    payload: bytes | None,
    identity: SigningIdentity,
) -> bytes:
    """The bytes of a message. study: the digest."""
    told = None if payload is None else {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    body = {"study": study, "site": site, "step": step, "after": after, "value": value, "payload": told}
    line = json.dumps({"body": body, "signature": identity.sign(DOMAIN + canonical(body)).hex()}, sort_keys=True)
    return line.encode() + b"\n" + (payload or b"")


def read_head(raw: bytes, what: str) -> dict[str, Any]:
    """Body and signature of a message, of the right form and not yet checked. Raises ProtocolError."""
    line = raw.partition(b"\n")[0]
    if len(line) > MOST_HEAD:
        raise ProtocolError(f"{what} is too large to be a message")
    head: dict[str, Any] = parse_json(line, what, _LINE, error=ProtocolError)
    return head


def read_message(raw: bytes, study: StudyFile, site: Site, step: str) -> Message:
    """Check a message that came under a site's name. Raises ProtocolError saying what is wrong, without naming the site."""
    return read_signed(raw, study.digest, site, step)


def read_signed(raw: bytes, study: str, site: Site, step: str) -> Message:
    """As `read_message`, of the study with this digest."""
    content, payload = read_head(raw, "it"), raw.partition(b"\n")[2]
    body = content["body"]
    if not verifies(site.verify_key, DOMAIN + canonical(body), content["signature"]):
        raise ProtocolError("it is not signed by that site: somebody altered it on the way")
    if (body["study"], body["site"], body["step"]) != (study, site.name, step):
        raise ProtocolError("it is a message of another study, site or step")
    told = body["payload"] or {"size": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    if (len(payload), hashlib.sha256(payload).hexdigest()) != (told["size"], told["sha256"]):
        raise ProtocolError("what follows is not what the site signed: somebody altered it on the way")
    return Message(site.name, step, body["after"], body["value"], payload, sha256(canonical(body)))
