"""Signed envelopes: bytes of a named type, and Ed25519 signatures on both (DSSE, version 1).

What is signed is PAE(type, payload), which has the lengths of both in it: a signature on one type does not hold for another, and
no byte moves from one part into the other. A keyid is the signer's public key in hex. It is a hint that nobody signed:
whoever verifies names the keys that count.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from securegen.errors import ArtefactError
from securegen.governance.signing import SigningIdentity, fingerprint, verifies
from securegen.io.schema import has, list_of, text
from securegen.io.strict_json import parse_json

MOST_BYTES = 1 << 24
MOST_SIGNATURES = 64
_KEY = re.compile("[0-9a-f]{64}")
_BASE64 = text(2 * MOST_BYTES, printable=False)
_ENVELOPE = has(
    "payloadType", "payload", "signatures", payloadType=text(255, least=1), payload=_BASE64,
    signatures=list_of(has("sig", sig=text(1024, printable=False), keyid=text(255)), 1, MOST_SIGNATURES),
)  # fmt: skip


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed.

    >>> pae("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


@dataclass(frozen=True)
class EnvelopeSignature:
    """keyid: what the signer's key is said to be; signature: 64 bytes of Ed25519."""

    keyid: str
    signature: bytes

    @property
    def key(self) -> bytes | None:
        """The public key that the keyid says, None where it says none."""
        return bytes.fromhex(self.keyid) if _KEY.fullmatch(self.keyid) else None


@dataclass(frozen=True)
class Envelope:
    """payload_type: how to read the payload; nothing in it is to be believed before `signers` has named who signed it."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...] = ()

    def signed_by(self, identity: SigningIdentity) -> Envelope:
        """The same envelope with one more signature, which takes the place of an earlier one of that key."""
        keyid = identity.verify_key.hex()
        mine = EnvelopeSignature(keyid, identity.sign(pae(self.payload_type, self.payload)))
        return replace(self, signatures=(*(s for s in self.signatures if s.keyid != keyid), mine))

    def signers(self, keys: Iterable[bytes]) -> frozenset[bytes]:
        """Those of these public keys (32 bytes each) of which a signature is right, whatever its keyid says."""
        signed = pae(self.payload_type, self.payload)
        return frozenset(k for k in keys if any(verifies(k, signed, s.signature) for s in self.signatures))

    def named(self) -> frozenset[bytes]:
        """The public keys that keyids say and whose signatures are right. Anybody can make such a key."""
        return self.signers({s.key for s in self.signatures if s.key is not None})

    def require(self, keys: Iterable[bytes], marks: Iterable[str], what: str) -> frozenset[bytes]:
        """The keys that signed, each of `keys` and one of each fingerprint in `marks` among them.

        Raises ArtefactError naming whoever did not sign.
        """
        wanted, named = set(keys), self.named()
        right = self.signers(wanted) | named
        absent = [fingerprint(k) for k in wanted - right]
        absent += [mark for mark in marks if mark not in {fingerprint(k) for k in named}]
        if absent:
            others = ", ".join(sorted(map(fingerprint, named))) or "nobody whom it names"
            raise ArtefactError(
                f"{what} has no right signature of {', '.join(absent)}: it was altered, or others signed it ({others})"
            )
        return right

    def to_bytes(self) -> bytes:
        """The file of the envelope."""
        signatures = [{"keyid": s.keyid, "sig": _base64(s.signature)} for s in self.signatures]
        value = {"payload": _base64(self.payload), "payloadType": self.payload_type, "signatures": signatures}
        return json.dumps(value, indent=1).encode() + b"\n"

    @classmethod
    def from_bytes(cls, raw: bytes, what: str) -> Envelope:
        """An envelope that was read; fields that it has besides are of others. Raises ArtefactError."""
        if len(raw) > 2 * MOST_BYTES:
            raise ArtefactError(f"{what} has {len(raw)} bytes: too large to be a signed envelope")
        fields = parse_json(raw, what, _ENVELOPE)
        signatures = tuple(
            EnvelopeSignature(s.get("keyid", ""), _bytes(s["sig"], f"a signature of {what}"))
            for s in fields["signatures"]
        )
        return cls(fields["payloadType"], _bytes(fields["payload"], f"the payload of {what}"), signatures)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(encoded: str, what: str) -> bytes:
    """Base 64 of either alphabet, as verifiers of DSSE take it."""
    try:
        return base64.b64decode(encoded.translate(str.maketrans("-_", "+/")), validate=True)
    except (binascii.Error, ValueError):
        raise ArtefactError(f"{what} is damaged: it is not Base 64") from None
