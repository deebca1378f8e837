"""Passphrases and backups of key files, whichever engine they belong to."""

from __future__ import annotations

from pathlib import Path

from securegen.engines.ckks.owner.secret_key import retired_marker
from securegen.io import envelope
from securegen.io.output import PRIVATE, copy_file


def rewrap(path: str | Path, *, old: bytes | None, new: bytes, copy: str | Path | None = None) -> None:
    """Put a key file, or with `copy` a copy of it, under another passphrase. old: None where it has none.

    A copy of a retired key is retired. Raises KeyFileError for a wrong or weak passphrase, StorageError where the copy exists.
    """
    if copy is None and _is_pem(path):
        from securegen.engines.mpc.net.certs import protect

        protect(Path(path), new)
        return
    envelope.rewrap(path, old=old, new=new, copy=copy)
    if copy is not None and retired_marker(path).exists():
        copy_file(retired_marker(path), retired_marker(copy), mode=PRIVATE)


def _is_pem(path: str | Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return b"-----BEGIN" in stream.read(64)
    except OSError:
        return False  # the error is named where the file is opened
