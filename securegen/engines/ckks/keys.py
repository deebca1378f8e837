"""The public side of a key: what both roles may read. It holds no secret, no name and no evaluation key.

Its owner's secret key is in `owner.secret_key`, which the server's modules and what they import cannot name.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.engines.ckks import parameters
from securegen.engines.ckks.parameters import Parameters
from securegen.errors import ArtefactError, KeyFileError
from securegen.governance.signing import verifies
from securegen.io.envelope import canonical
from securegen.io.output import FOR_OTHERS, write_json
from securegen.io.schema import hex_text, one_of, record, text
from securegen.io.strict_json import parse_json, read_regular

PUBLIC_MAGIC = "securegen public key 1"
MOST_KEY = 1 << 24  # bytes of a key file


@dataclass(frozen=True)
class PublicKey:
    """Public side of a key: parameters, the Ed25519 key that verifies the owner's signatures, and a random id."""

    parameters: Parameters
    verify_key: bytes
    key_id: str

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(canonical(self.to_json())).hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {
            "magic": PUBLIC_MAGIC, "parameters": self.parameters.to_json(),
            "verify_key": self.verify_key.hex(), "key_id": self.key_id,
        }  # fmt: skip

    def verify(self, message: bytes, signature: bytes) -> bool:
        return verifies(self.verify_key, message, signature)

    @staticmethod
    def from_json(value: object) -> PublicKey:
        try:
            fields = PUBLIC(value, "")
        except ValueError as error:
            raise ArtefactError(f"not a securegen public key: {error}") from None
        return PublicKey(
            Parameters.from_json(fields["parameters"]), bytes.fromhex(fields["verify_key"]), fields["key_id"]
        )


PUBLIC = record(
    magic=one_of(PUBLIC_MAGIC), parameters=parameters.SCHEMA, verify_key=hex_text(32), key_id=text(64),
)  # fmt: skip


def write_public(path: str | Path, key: PublicKey) -> None:
    """Write NAME.public, readable by everybody; never over another one. Raises StorageError."""
    write_json(path, key.to_json(), mode=FOR_OTHERS, overwrite=False)


def read_public(path: str | Path) -> PublicKey:
    """Raises KeyFileError when there is no such file, ArtefactError when it is not a public key."""
    raw = _bytes_of(path, "public key")
    try:
        return PublicKey.from_json(parse_json(raw, f"{path}, a public key,"))
    except ArtefactError as error:
        head = raw[:4096].split(b"\n", 1)[0]
        secret = b'"securegen secret key ' in head
        why = "it is a secret key, which stays with its owner: give the .public beside it" if secret else error
        raise ArtefactError(f"{path} is not a securegen public key: {why}") from None


def _bytes_of(path: str | Path, what: str) -> bytes:
    try:
        return read_regular(path, f"a {what}", most=MOST_KEY, error=KeyFileError)
    except FileNotFoundError:
        raise KeyFileError(f"cannot read the {what} {path}: No such file or directory") from None
