"""Who signs: an Ed25519 key of a site, a coordinator, a steward or an analyst, and the file of its public half.

The private file (mode 0600, never overwritten) may have a passphrase. It decrypts nothing: whoever takes it can sign as
its owner, not read what others send.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from securegen.errors import ArtefactError, KeyFileError, UsageError
from securegen.governance.policy import PIN
from securegen.io import envelope
from securegen.io.output import FOR_OTHERS, write_json
from securegen.io.schema import hex_bytes, one_of, printable, record
from securegen.io.strict_json import read_json

SECRET_MAGIC = "securegen signing key 2"
PUBLIC_MAGIC = "securegen verify key 1"


def canonical(value: Any) -> bytes:
    """The JSON bytes that are signed and digested."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sha256(*parts: bytes) -> str:
    """Hex SHA-256 of length-prefixed parts."""
    h = hashlib.sha256()
    for part in parts:
        h.update(len(part).to_bytes(8, "little") + part)
    return h.hexdigest()


def digest_of(options: Mapping[str, object]) -> str:
    """Hex SHA-256 of options by name: what a request asks for beside its files."""
    return sha256(b"options", json.dumps(options, sort_keys=True, default=str).encode())


def fingerprint(verify_key: bytes) -> str:
    """What people compare by telephone: 128 bits, in groups of four hexadecimal digits.

    >>> fingerprint(bytes(32))
    '3a63-3b62-1e12-d78f-3ec7-153d-1562-a014'
    """
    digits = key_digest(verify_key)[:32]
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def key_digest(verify_key: bytes) -> str:
    """64 hex digits that name a key in a log; they begin as its fingerprint does."""
    return sha256(b"fingerprint", verify_key)


def read_fingerprint(text: str) -> str:
    """A fingerprint as somebody typed it, in the one form. Raises UsageError when it is not 32 hexadecimal digits."""
    digits = re.sub(r"[\s:-]", "", text).lower()
    if not re.fullmatch(r"[0-9a-f]{32}", digits):
        raise UsageError(f"{printable(text, 80)!r} is not a fingerprint: 32 hexadecimal digits, in groups of four")
    return "-".join(digits[i : i + 4] for i in range(0, 32, 4))


def is_weak(verify_key: bytes) -> bool:
    """Whether the point of a key has an order of 1, 2, 4 or 8, so that anybody can sign under it: of its coordinate y holds
    y(y² − 1)(dy⁴ + 2y² − 1) = 0 modulo 2^255 − 19, d = −121665/121666."""
    p = 2**255 - 19
    y = int.from_bytes(verify_key, "little") % 2**255
    return y * (y * y - 1) * (121666 * (2 * y * y - 1) - 121665 * y**4) % p == 0


def verifies(verify_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is that key's on `message`; never of a key that anybody signs under."""
    if is_weak(verify_key):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(verify_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, repr=False)
class SigningIdentity(envelope.Unpicklable):
    """A private signing key. verify_key: its 32 public bytes; policy: the one that its owner bound it to, as `pin.Pin`."""

    signing_key: bytes = field(repr=False)
    verify_key: bytes
    policy: dict[str, Any] | None = None

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.signing_key).sign(message)


def generate() -> SigningIdentity:
    """A fresh key of the operating system's randomness."""
    key = Ed25519PrivateKey.generate()
    return SigningIdentity(key.private_bytes_raw(), key.public_key().public_bytes_raw())


def write_identity(path: str | Path, identity: SigningIdentity, *, passphrase: bytes | None = None) -> None:
    """Write the private file, unprotected without a passphrase. Raises StorageError when it exists, KeyFileError for a weak
    passphrase."""
    public: dict[str, Any] = {"verify_key": identity.verify_key.hex()}
    if identity.policy is not None:
        public["policy"] = identity.policy
    envelope.write(path, SECRET_MAGIC, public, identity.signing_key, passphrase=passphrase)


def write_verify_key(path: str | Path, identity: SigningIdentity) -> None:
    """Write what others need to check this key's signatures."""
    bound = {} if identity.policy is None else {"policy": identity.policy}
    write_json(
        path, {"magic": PUBLIC_MAGIC, "key": identity.verify_key.hex(), **bound}, mode=FOR_OTHERS, overwrite=False
    )


def read_identity(path: str | Path, *, passphrase: bytes | None = None) -> SigningIdentity:
    """Raises KeyFileError when the file is absent, readable by others, damaged or something else, or the passphrase wrong."""
    if not Path(path).exists():
        raise KeyFileError(f"there is no signing key {path}: securegen site keygen makes one")
    head, raw = envelope.read(path, SECRET_MAGIC, "signing key", passphrase=passphrase)
    if len(raw) != 32:
        raise KeyFileError(f"{path} is not a securegen signing key, or it is damaged")
    bound = head.get("policy")
    try:
        policy = None if bound is None else PIN(bound, "policy")
    except ValueError as error:
        raise KeyFileError(f"{path} is not a securegen signing key, or it is damaged: {error}") from None
    return SigningIdentity(raw, Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw(), policy)


def read_verify_key(path: str | Path) -> bytes:
    """32 public bytes. Raises KeyFileError or ArtefactError."""
    key: bytes = read_public(path)["key"]
    return key


def read_public(path: str | Path) -> dict[str, Any]:
    """`key`, 32 public bytes, and `policy`, where its owner bound it to one. Raises KeyFileError or ArtefactError."""
    check = record(magic=one_of(PUBLIC_MAGIC), key=hex_bytes(32), may_have={"policy": PIN})
    try:
        found: dict[str, Any] = read_json(path, "a securegen verify key", check, most=1 << 16)
        return found
    except FileNotFoundError:
        raise KeyFileError(f"there is no verify key {path}: securegen site keygen makes one") from None
    except ArtefactError as error:
        if Path(path).suffix == ".secret":
            raise KeyFileError(
                f"{path} is a secret key: give the public key, its other file, which ends in .pub"
            ) from None
        raise error
