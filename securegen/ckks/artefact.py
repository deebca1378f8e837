"""Folders that travel between parties: a signed manifest and .npy files, checked before they are parsed.

The manifest names every file with its SHA-256 and holds parameters, shapes and fingerprints, never ids. What the owner
sends is signed with the owner's Ed25519 key; what a server returns is digested and bound to the digests of what it was
computed from (its truth is established by verification, see `verify`).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks.keys import PublicKey, SecretKey, canonical
from securegen.errors import ArtefactError
from securegen.io.output import write_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class FileEntry:
    """One file of an artefact. seed: public seed of the half of the ciphertext that is not stored, hex, or ''."""

    name: str
    sha256: str
    size: int
    seed: str = ""


def sha256_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entry_for(folder: Path, name: str, seed: bytes | None = None) -> FileEntry:
    path = folder / name
    return FileEntry(name, sha256_file(path), path.stat().st_size, seed.hex() if seed else "")


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the signed part of a manifest: the identity of the artefact."""
    return hashlib.sha256(canonical(_read_json(folder)["body"])).hexdigest()


def _read_json(folder: Path) -> Any:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > 1 << 30:
            raise ArtefactError(f"{path} is too large to be a manifest")
        content = json.loads(path.read_text())
        if not (isinstance(content, dict) and isinstance(content.get("body"), dict)):
            raise ValueError("no body")
        return content
    except FileNotFoundError:
        raise ArtefactError(f"{folder} has no manifest: it is not complete, or not a securegen artefact") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path} cannot be read as a manifest: {error}") from None


def write_manifest(folder: Path, role: str, body: dict[str, Any], key: SecretKey | None) -> str:
    """Write the manifest last, so that a folder with one is complete. Returns its digest."""
    body = {"magic": "securegen", "version": FORMAT_VERSION, "role": role, **body}
    signature = key.sign(canonical(body)).hex() if key is not None else ""
    write_json(folder / MANIFEST, {"body": body, "signature": signature})
    return hashlib.sha256(canonical(body)).hexdigest()


def read_manifest(folder: Path, role: str, key: PublicKey | None) -> dict[str, Any]:
    """The checked body of a manifest: version, role and, with `key`, the owner's signature and fingerprint.

    Raises ArtefactError saying which of these is wrong.
    """
    content = _read_json(folder)
    try:
        body, signature = content["body"], bytes.fromhex(content["signature"])
        if body["magic"] != "securegen" or body["version"] != FORMAT_VERSION:
            raise ArtefactError(f"{folder} was written by another version of securegen ({body['version']})")
        if body["role"] != role:
            raise ArtefactError(f"{folder} is an encrypted {body['role']}, expected {role}")
        if key is not None:
            if body["key"] != key.fingerprint:
                raise ArtefactError(f"{folder} belongs to key {body['key'][:16]}, not to {key.fingerprint[:16]}")
            if not key.verify(canonical(body), signature):
                raise ArtefactError(f"{folder}: the manifest is not signed by its owner; it was altered")
        return body
    except (KeyError, TypeError, ValueError) as error:
        raise ArtefactError(f"{folder / MANIFEST} is not a securegen manifest: {error}") from None


def load_array(folder: Path, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4") -> np.ndarray:
    """Read a .npy file after checking size and SHA-256, and its shape and dtype. Raises ArtefactError naming it."""
    try:
        name, expected_size, digest = entry["name"], entry["size"], entry["sha256"]
    except (KeyError, TypeError):
        raise ArtefactError(f"{folder}: the manifest names a file without name, size or SHA-256") from None
    if not isinstance(name, str) or os.path.basename(name) != name or "\0" in name:
        raise ArtefactError(f"{folder}: {name!r} is not a file name")
    path = folder / name
    try:
        size = path.stat().st_size
        if size != expected_size:
            raise ArtefactError(f"{path} has {size} bytes, its manifest says {expected_size}: truncated or replaced")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if hashlib.sha256(raw).hexdigest() != digest:
        raise ArtefactError(f"{path} does not have the SHA-256 its manifest names: it was altered")
    return parse_array(raw, path, shape, dtype)


def parse_array(raw: bytes, path: Path | str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A .npy image of known shape and dtype, without pickling and without a copy."""
    expected = np.dtype(dtype)
    count = int(np.prod(shape))
    offset = len(raw) - count * expected.itemsize
    header = {"descr": expected.str, "fortran_order": False, "shape": tuple(shape)}
    import io

    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    if offset < 0 or raw[:offset] != stream.getvalue():
        raise ArtefactError(f"{path} is not a {expected} array of shape {tuple(shape)}")
    return np.frombuffer(raw, expected, count, offset).reshape(shape)
