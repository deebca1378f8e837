"""One key for every two sites of a study, and one key per site under which all others read what it sends.

| message | says |
|---|---|
| hello | X25519 key, ML-KEM-768 key, commitment to this site's inputs |
| keys | for every site later in the order of names: a ML-KEM ciphertext |
| confirm | for every site: proof of the pair's key, and this site's sender key under it |
| ready | all proofs held here |

k_ij = HKDF(ML-KEM secret ‖ X25519 secret) bound to the study, to both sites' names and keys and to the ciphertext: it stays
secret while one of the two problems is hard. An altered ciphertext gives another key without an error; the proofs find it,
before any masked number leaves. The private halves are deleted then. A sender key hides the totals from whoever carries
messages; its digest is in `confirm`, so that all sites have the same one and read the same arrays.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securegen.engines.federated.conversation import Conversation
from securegen.engines.federated.messages import Message
from securegen.engines.federated.state import SiteState
from securegen.errors import ArtefactError, ProtocolError, UsageError
from securegen.governance.signing import canonical, sha256
from securegen.io.envelope import Unpicklable
from securegen.io.schema import hex_bytes, hex_text, map_of, record

HELLO, KEYS, CONFIRM, READY = "hello", "keys", "confirm", "ready"
KEM_PUBLIC, KEM_CIPHERTEXT, SENDER_BOX = 1184, 1088, 48
_FIELD = 2**255 - 19
_HELLO = record(x25519=hex_bytes(32), mlkem=hex_bytes(KEM_PUBLIC), inputs=hex_text(32))
_KEYS = record(kem=map_of(hex_bytes(KEM_CIPHERTEXT), 64))
_CONFIRM = record(
    proofs=map_of(hex_bytes(32), 64), senders=map_of(hex_bytes(SENDER_BOX), 64), sender_sha256=hex_text(32)
)
_PRIVATE = record(x25519=hex_bytes(32), mlkem=hex_bytes(64), sender=hex_bytes(32))
_SEALED = map_of(record(secret=hex_bytes(32), ciphertext=hex_bytes(KEM_CIPHERTEXT)), 64)
_AGREED = record(transcript=hex_text(32))
_PAIRS = record(pairs=map_of(hex_bytes(32), 64), senders=map_of(hex_bytes(32), 64))


@dataclass(frozen=True, repr=False)
class PairKeys(Unpicklable):
    """pairs: a key of 32 bytes by the other site's name; senders: every site's sender key, this one's included."""

    pairs: dict[str, bytes] = field(repr=False)
    senders: dict[str, bytes] = field(repr=False)


def derive(key: bytes, purpose: str, context: bytes, salt: bytes | None = None) -> bytes:
    """32 bytes of HKDF-SHA256."""
    return HKDF(SHA256(), 32, salt, b"securegen " + purpose.encode() + b" 1\0" + context).derive(key)


def commitment_to_inputs(salt: bytes, digests: dict[str, str]) -> str:
    """What `hello` says of this site's inputs: SHA-256 of a secret salt and the digests of everything that is summed."""
    return sha256(b"securegen inputs", salt, canonical(digests))


def agree_on_keys(session: Conversation, inputs: str) -> PairKeys | None:
    """Agree with every other site; None when this site has finished the study, and its keys are deleted.

    inputs: `commitment_to_inputs`. Raises ProtocolError naming a site, or the pair whose keys differ.
    """
    state, order = session.state, [s.name for s in session.study.sites]
    agreed = state.recall("agreed", _AGREED)
    if agreed is None:
        pairs, senders = _agree(session, inputs)
        value = {"pairs": {n: k.hex() for n, k in pairs.items()}, "senders": {n: k.hex() for n, k in senders.items()}}
        state.remember("pairs", lambda: value, _PAIRS)
        agreed = state.remember("agreed", lambda: {"transcript": session.transcript}, _AGREED)
    finished = state.get("finished") is not None
    for private in ("private", "sealed", *(["pairs"] if finished else [])):
        state.forget(private)
    session.transcript = agreed["transcript"]
    if finished:
        return None
    kept = state.recall("pairs", _PAIRS)
    if kept is None:
        raise ArtefactError(f"{state.folder} lacks the keys of the study: bring it back, or start another study")
    if set(kept["pairs"]) != set(order) - {session.site} or set(kept["senders"]) != set(order):
        raise ArtefactError(f"{state.folder} has the keys of other sites")
    return PairKeys(kept["pairs"], kept["senders"])


def _agree(session: Conversation, inputs: str) -> tuple[dict[str, bytes], dict[str, bytes]]:
    state, me = session.state, session.site
    if state.get(f"sent.{HELLO}") is not None and state.get("private") is None:
        raise ArtefactError(f"{state.folder} lacks its private keys: bring it back as it was, or start another study")
    own = state.remember("private", _fresh, _PRIVATE)
    x, kem = X25519PrivateKey.from_private_bytes(own["x25519"]), MLKEM768PrivateKey.from_seed_bytes(own["mlkem"])
    public = {"x25519": x.public_key().public_bytes_raw().hex(), "mlkem": kem.public_key().public_bytes_raw().hex()}
    hellos = session.exchange(HELLO, lambda: ({**public, "inputs": inputs}, None))
    told = {name: session.checked(m, _HELLO) for name, m in hellos.items()}
    _refuse_same_keys(told)
    later, others = [n for n in sorted(told) if n > me], [n for n in sorted(told) if n != me]
    exchanged = {n: _shared(x, n, told[n]["x25519"]) for n in others}
    sealed = state.remember("sealed", lambda: {n: _encapsulate(n, told[n]["mlkem"]) for n in later}, _SEALED)
    keys = session.exchange(KEYS, lambda: ({"kem": {n: sealed[n]["ciphertext"].hex() for n in later}}, None))
    pairs = {}
    for other in others:
        first, second = sorted((me, other))
        box = _box(session, keys[first], second)
        secret = sealed[other]["secret"] if first == me else kem.decapsulate(box)
        pairs[other] = _pair_key(session, told, (first, second), box, secret + exchanged[other])
    return pairs, _confirm(session, pairs, own["sender"])


def _fresh() -> dict[str, str]:
    try:
        x, kem = X25519PrivateKey.generate(), MLKEM768PrivateKey.generate()
    except UnsupportedAlgorithm:
        raise UsageError("this build of the package cryptography has no ML-KEM: install a newer one") from None
    return {
        "x25519": x.private_bytes_raw().hex(), "mlkem": kem.private_bytes_raw().hex(), "sender": secrets.token_hex(32)
    }  # fmt: skip


def _refuse_same_keys(told: dict[str, dict[str, Any]]) -> None:
    for name, said in told.items():
        if int.from_bytes(said["x25519"], "little") >= _FIELD:
            raise ProtocolError(f"site {name} sent an X25519 key in another form than the one")
    for kind in ("x25519", "mlkem"):
        first: dict[bytes, str] = {}
        for name, said in told.items():
            other = first.setdefault(said[kind], name)
            if other != name:
                raise ProtocolError(
                    f"sites {other} and {name} sent the same {kind} key: one of them copied the other's"
                )


def _encapsulate(name: str, public: bytes) -> dict[str, str]:
    try:
        secret, ciphertext = MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise ProtocolError(f"site {name} sent a ML-KEM key that is not one") from None
    return {"secret": secret.hex(), "ciphertext": ciphertext.hex()}


def _box(session: Conversation, message: Message, receiver: str) -> bytes:
    kem = session.checked(message, _KEYS)["kem"]
    if set(kem) != {s.name for s in session.study.sites if s.name > message.site}:
        raise ProtocolError(f"site {message.site} sent keys for other sites than those after it")
    box: bytes = kem[receiver]
    return box


def _shared(own: X25519PrivateKey, name: str, public: bytes) -> bytes:
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # a point of low order
        raise ProtocolError(f"site {name} sent an X25519 key that gives everybody the same secret") from None


def _pair_key(
    session: Conversation, told: Mapping[str, Any], pair: tuple[str, str], box: bytes, secret: bytes
) -> bytes:
    both = [
        {"name": n, "verify": session.study.site(n).verify_key.hex(), "x25519": told[n]["x25519"].hex(),
         "mlkem": told[n]["mlkem"].hex()} for n in pair
    ]  # fmt: skip
    return derive(secret, "pair", canonical(both) + box, salt=bytes.fromhex(session.study.digest))


def _proof(key: bytes, name: str, transcript: str) -> bytes:
    return hmac.new(key, b"confirm\0" + name.encode() + b"\0" + transcript.encode(), hashlib.sha256).digest()


def _digest(sender: bytes) -> str:
    return sha256(b"securegen sender key", sender)


def _confirm(session: Conversation, pairs: dict[str, bytes], sender: bytes) -> dict[str, bytes]:
    """Prove every pair's key, give and take the sender keys; no masked number leaves before this returns."""
    me, after = session.site, session.transcript
    boxes = {
        n: AESGCM(derive(k, "sender", me.encode())).encrypt(bytes(12), sender, after.encode()) for n, k in pairs.items()
    }
    proofs = {n: _proof(k, me, after).hex() for n, k in pairs.items()}
    value = {"proofs": proofs, "senders": {n: b.hex() for n, b in boxes.items()}, "sender_sha256": _digest(sender)}
    said = session.exchange(CONFIRM, lambda: (value, None))
    senders = {me: sender}
    for other, key in pairs.items():
        told = session.checked(said[other], _CONFIRM)
        if not hmac.compare_digest(told["proofs"].get(me, b""), _proof(key, other, after)):
            raise ProtocolError(
                f"sites {' and '.join(sorted((me, other)))} do not have the same key: what one sent the other was altered, "
                "and nothing was summed; start another study"
            )
        try:
            senders[other] = AESGCM(derive(key, "sender", other.encode())).decrypt(
                bytes(12), told["senders"].get(me, b""), after.encode()
            )
        except InvalidTag:
            senders[other] = b""
        if _digest(senders[other]) != told["sender_sha256"]:
            raise ProtocolError(f"site {other} sent site {me} another sender key than it announced to all")
    session.exchange(READY, lambda: ({}, None))
    return senders


def forget_keys(state: SiteState) -> None:
    """Delete what opens and masks this study's numbers: it has ended for this site."""
    state.once("finished", lambda: b"")
    state.forget("pairs")
