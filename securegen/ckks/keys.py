"""Keys as types of their own: a function that is not handed a `SecretKey` cannot decrypt.

The secret key file holds the RLWE key (SEAL's stream and its residues), an Ed25519 key that signs everything the owner
sends, and a master key for the owner's local state. It is encrypted with a passphrase (scrypt, RFC 7914; AES-256-GCM)
or, by a named flag, not; mode 0600; never overwritten. The public file holds no secret and no evaluation key.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from securegen.ckks import parameters, seal
from securegen.ckks.parameters import Parameters
from securegen.errors import ArtefactError, KeyFileError
from securegen.io.output import FOR_OTHERS, atomic, write_json, write_text
from securegen.io.schema import hex_text, one_of, record, text
from securegen.io.strict_json import parse_json, read_regular

SECRET_MAGIC = "securegen secret key 1"
PUBLIC_MAGIC = "securegen public key 1"
SCRYPT = {"n": 1 << 16, "r": 8, "p": 1}  # 64 MiB, about 0.15 s
SCRYPT_MEMORY = 1 << 28  # refuse headers that ask for more
MOST_KEY = 1 << 24  # bytes of a key file


def canonical(value: Any) -> bytes:
    """The JSON bytes that are signed and digested."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


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
        try:
            Ed25519PublicKey.from_public_bytes(self.verify_key).verify(signature, message)
        except InvalidSignature:
            return False
        return True

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


@dataclass(frozen=True, repr=False)
class SecretKey:
    """The owner's secrets. residues: (k, n) uint64, the RLWE key modulo the data primes, NTT form."""

    public: PublicKey
    seal_stream: bytes = field(repr=False)
    residues: np.ndarray = field(repr=False)
    signing_key: bytes = field(repr=False)
    master: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"SecretKey({self.public.fingerprint[:16]})"

    def sign(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.signing_key).sign(message)

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


def generate(planned: Parameters) -> SecretKey:
    """A fresh key for these parameters."""
    stream, residues = seal.new_secret_key(planned.ring)
    signing = Ed25519PrivateKey.generate()
    public = PublicKey(planned, signing.public_key().public_bytes_raw(), secrets.token_hex(16))
    return SecretKey(public, stream, residues, signing.private_bytes_raw(), secrets.token_bytes(32))


def write_public(path: str | Path, key: PublicKey) -> None:
    write_json(path, key.to_json(), mode=FOR_OTHERS, overwrite=False)


def read_public(path: str | Path) -> PublicKey:
    """Raises KeyFileError when there is no such file, ArtefactError when it is not a public key."""
    raw = _bytes_of(path, "public key")
    try:
        return PublicKey.from_json(parse_json(raw, f"{path}, a public key,"))
    except ArtefactError as error:
        raise ArtefactError(f"{path} is not a securegen public key: {error}") from None


def _bytes_of(path: str | Path, what: str) -> bytes:
    try:
        return read_regular(path, f"a {what}", most=MOST_KEY, error=KeyFileError)
    except FileNotFoundError:
        raise KeyFileError(f"cannot read the {what} {path}: No such file or directory") from None


def write_secret(path: str | Path, key: SecretKey, *, passphrase: bytes | None) -> None:
    """Write the secret key, mode 0600, refusing to overwrite. passphrase None leaves it unprotected on disk.

    Raises StorageError when the file exists or cannot be written.
    """
    pack = lambda b: base64.b64encode(b).decode()  # noqa: E731
    secret = canonical(
        {"seal": pack(key.seal_stream), "residues": pack(key.residues.astype("<u8").tobytes()),
         "signing": pack(key.signing_key), "master": pack(key.master)}
    )  # fmt: skip
    header: dict[str, Any] = {"magic": SECRET_MAGIC, "public": key.public.to_json(), "protection": "none"}
    if passphrase is not None:
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        header |= {"protection": "scrypt+aes-256-gcm", "scrypt": SCRYPT, "salt": salt.hex(), "nonce": nonce.hex()}
        wrapping = Scrypt(salt, 32, **SCRYPT).derive(passphrase)
        secret = AESGCM(wrapping).encrypt(nonce, secret, canonical(header))
    with atomic(path, mode=0o600, overwrite=False) as stream:
        stream.write(canonical(header) + b"\n" + secret)


def read_secret(path: str | Path, *, passphrase: bytes | None = None) -> SecretKey:
    """Read a secret key file.

    Raises KeyFileError: absent, readable by others, needs a passphrase, wrong passphrase; ArtefactError: not a key.
    """
    path = Path(path)
    raw = _bytes_of(path, "secret key")
    mode = path.stat().st_mode
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
    try:
        first, secret = raw.split(b"\n", 1)
        header = parse_json(first, f"{path}, a secret key,")
        if header["magic"] != SECRET_MAGIC:
            raise ValueError
        if header["protection"] != "none":
            if passphrase is None:
                raise KeyFileError(f"{path} is protected: give --passphrase-file or SECUREGEN_PASSPHRASE")
            cost = {name: int(header["scrypt"][name]) for name in ("n", "r", "p")}
            if 128 * cost["n"] * cost["r"] * cost["p"] > SCRYPT_MEMORY:
                raise ValueError
            wrapping = Scrypt(bytes.fromhex(header["salt"]), 32, **cost).derive(passphrase)
            secret = AESGCM(wrapping).decrypt(bytes.fromhex(header["nonce"]), secret, canonical(header))
        public, parts = PublicKey.from_json(header["public"]), parse_json(secret, f"{path}, a secret key,")
        ring = public.parameters.ring
        unpack = lambda name: base64.b64decode(parts[name], validate=True)  # noqa: E731
        residues = np.frombuffer(unpack("residues"), dtype="<u8").astype(np.uint64).reshape(len(ring.primes), ring.n)
        return SecretKey(public, unpack("seal"), residues, unpack("signing"), unpack("master"))
    except InvalidTag:
        raise KeyFileError(f"{path}: wrong passphrase, or the file was altered") from None
    except (ValueError, KeyError, TypeError):
        raise ArtefactError(f"{path} is not a securegen secret key, or it is damaged") from None


def retired_marker(path: str | Path) -> Path:
    return Path(f"{path}.retired")


def retire(path: str | Path, reason: str) -> None:
    """Record locally (mode 0600) that a result failed verification under this key; from now on it refuses to decrypt."""
    marker = retired_marker(path)
    earlier = marker.read_text() if marker.exists() else ""
    write_text(marker, earlier + reason + "\n", mode=0o600)


def refuse_retired(path: str | Path, *, still_trusted: bool = False) -> None:
    """Raise KeyFileError when a result has failed verification under this key, unless told by name to go on."""
    if retired_marker(path).exists() and not still_trusted:
        raise KeyFileError(
            f"{path} is retired: a result failed verification under it (see {retired_marker(path)}). Make a new key and "
            "encrypt again; --key-still-trusted overrides this"
        )


def lock_down_process() -> None:
    """No core dumps from a process that holds a secret key."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
