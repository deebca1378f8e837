"""Passphrases and backups of key files, whichever engine they belong to."""

from __future__ import annotations

from pathlib import Path

from securegen.engines.ckks.keys import PublicKey
from securegen.engines.ckks.owner.secret_key import retired_marker
from securegen.errors import SecuregenError
from securegen.governance import signing
from securegen.governance.audit_beside import key_used
from securegen.io import digests, envelope
from securegen.io.output import PRIVATE, copy_file


def rewrap(path: str | Path, *, old: bytes | None, new: bytes, copy: str | Path | None = None) -> None:
    """Put a key file, or with `copy` a copy of it, under another passphrase. old: None where it has none.

    A copy of a retired key is retired. Raises KeyFileError for a wrong or weak passphrase, StorageError where the copy exists.
    """
    key_used(path, "passphrase" if copy is None else "backup", _digest(path))
    if copy is None and _is_pem(path):
        from securegen.engines.mpc.net.certs import protect

        protect(Path(path), new)
        return
    envelope.rewrap(path, old=old, new=new, copy=copy)
    if copy is not None and retired_marker(path).exists():
        copy_file(retired_marker(path), retired_marker(copy), mode=PRIVATE)


def _digest(path: str | Path) -> str:
    """What names a key in an audit log: of an encryption key its fingerprint, of a signing key a digest that begins as its
    fingerprint does, of any other that of its public part, or of its file."""
    try:
        public = envelope.public_part(path)
        if isinstance(verify_key := public.get("verify_key"), str):
            return signing.key_digest(bytes.fromhex(verify_key))
        if "public" in public:
            return PublicKey.from_json(public["public"]).fingerprint
        return signing.sha256(envelope.canonical(public))
    except (SecuregenError, ValueError):
        return (
            digests.sha256(path) if Path(path).is_file() else "00" * 32
        )  # the error is named where the file is opened


def _is_pem(path: str | Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return b"-----BEGIN" in stream.read(64)
    except OSError:
        return False  # the error is named where the file is opened
