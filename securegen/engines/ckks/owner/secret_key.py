"""The secret key, a type of its own: a function that is not handed a `SecretKey` cannot decrypt.

The file holds the RLWE key (SEAL's stream and its residues), and an Ed25519 key that signs everything the owner sends.
It also holds a master key for the owner's local state, and the names that were planned. It is an `envelope`: under a
passphrase or, by a named flag, not; mode 0600; never overwritten.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.parameters import Parameters
from securegen.engines.ckks.planned_design import PlannedDesign
from securegen.errors import ArtefactError, KeyFileError
from securegen.governance.audit_beside import key_used
from securegen.governance.pin import Pin, pinned
from securegen.io import envelope
from securegen.io.envelope import canonical
from securegen.io.strict_json import parse_json
from securegen.randomness import KEY_BYTES
from securegen.rlwe import seal
from securegen.rlwe.publickey import EncryptionKey, publish

SECRET_MAGIC = "securegen secret key 2"
EARLIER_MAGIC = "securegen secret key 1"  # without a digest where there is no passphrase, and without planned names


@dataclass(frozen=True, repr=False)
class SecretKey(envelope.Unpicklable):
    """The owner's secrets. residues: (k, n) uint64, the RLWE key modulo the data primes, NTT form.

    planned: the names of the design that the key was planned for, if any. file: where the key was read or written; policy:
    the one that its owner bound it to: nothing is decrypted without.
    """

    public: PublicKey
    seal_stream: bytes = field(repr=False)
    residues: np.ndarray = field(repr=False)
    signing_key: bytes = field(repr=False)
    master: bytes = field(repr=False)
    planned: PlannedDesign | None = field(default=None, repr=False)
    file: Path | None = field(default=None, compare=False)
    policy: Pin | None = None

    def __repr__(self) -> str:
        return f"SecretKey({self.public.fingerprint[:16]})"

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.signing_key).sign(message)

    def encryption_key(self, nonce: bytes) -> EncryptionKey:
        """What anybody encrypts with for this key's holder: the same for the same nonce (see `publickey`)."""
        error_key = self.derive(f"error of the encryption key for {nonce.hex()}", KEY_BYTES)
        return publish(self.residues, nonce, self.public.parameters.ring, error_key)

    def derive(self, purpose: str, size: int = 32) -> bytes:
        """A sub-key for one purpose (HKDF-SHA256 of the master key)."""
        return HKDF(hashes.SHA256(), size, None, f"securegen {purpose}".encode()).derive(self.master)

    def seal_box(self, name: str, data: bytes) -> bytes:
        """Encrypt the owner's local state under a name (AES-256-GCM, random nonce)."""
        nonce = secrets.token_bytes(12)
        return nonce + AESGCM(self.derive("local state")).encrypt(nonce, data, name.encode())

    def open_box(self, name: str, box: bytes) -> bytes:
        """Raises ArtefactError when the state was altered, renamed or belongs to another key."""
        try:
            return AESGCM(self.derive("local state")).decrypt(box[:12], box[12:], name.encode())
        except (InvalidTag, ValueError):
            raise ArtefactError(f"the owner's file {name} was altered or belongs to another key") from None


def generate(wanted: Parameters, planned: PlannedDesign | None = None) -> SecretKey:
    """A fresh key for these parameters. planned: the names that `encrypt` compares with."""
    stream, residues = seal.new_secret_key(wanted.ring)
    signing = Ed25519PrivateKey.generate()
    public = PublicKey(wanted, signing.public_key().public_bytes_raw(), secrets.token_hex(16))
    return SecretKey(public, stream, residues, signing.private_bytes_raw(), secrets.token_bytes(32), planned)


def write_secret(
    path: str | Path, key: SecretKey, *, passphrase: bytes | None, cost: Mapping[str, int] | None = None
) -> None:
    """Write the secret key, mode 0600, refusing to overwrite. passphrase None leaves it unprotected on disk.

    Raises KeyFileError for a passphrase that is too weak, StorageError when the file exists or cannot be written; and where a
    policy stands beside it and its audit log takes no entry.
    """

    def pack(b: bytes) -> str:
        return base64.b64encode(b).decode()

    key_used(path, "made", key.public.fingerprint)
    secret = canonical(
        {"seal": pack(key.seal_stream), "residues": pack(key.residues.astype("<u8").tobytes()),
         "signing": pack(key.signing_key), "master": pack(key.master),
         "planned": key.planned.to_json() if key.planned else None}
    )  # fmt: skip
    public: dict[str, Any] = {"public": key.public.to_json()}
    if key.policy is not None:
        public["policy"] = key.policy.to_json()
    envelope.write(path, SECRET_MAGIC, public, secret, passphrase=passphrase, cost=cost)


def read_secret(path: str | Path, *, passphrase: bytes | None = None) -> SecretKey:
    """Read a secret key file.

    Raises KeyFileError: absent, readable by others, not a key, damaged, without its passphrase or with a wrong one.
    """
    header, secret = envelope.read(path, SECRET_MAGIC, "secret key", passphrase=passphrase, earlier=EARLIER_MAGIC)
    try:
        public, parts = PublicKey.from_json(header["public"]), parse_json(secret, f"{path}, a secret key,")
        ring = public.parameters.ring

        def unpack(name: str) -> bytes:
            return base64.b64decode(parts[name], validate=True)

        residues = np.frombuffer(unpack("residues"), dtype="<u8").astype(np.uint64).reshape(len(ring.primes), ring.n)
        planned = PlannedDesign.from_json(parts["planned"]) if parts.get("planned") else None
        key = SecretKey(
            public, unpack("seal"), residues, unpack("signing"), unpack("master"), planned,
            Path(os.path.realpath(path)), pinned(header.get("policy")),
        )  # fmt: skip
    except ArtefactError as error:  # of an earlier version, say, whose sums could not be verified
        raise KeyFileError(f"{path}: {error}") from None
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError):
        raise KeyFileError(f"{path} is not a securegen secret key, or it is damaged") from None
    key_used(path, "unlocked", public.fingerprint)
    return key


def retired_marker(path: str | Path) -> Path:
    """The file beside a key file, links followed, that says that it is retired (see `retirement`)."""
    return Path(f"{os.path.realpath(path)}.retired")
