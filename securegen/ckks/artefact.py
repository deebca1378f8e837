"""Folders that travel between parties: a signed manifest and .npy files, checked before they are parsed.

The manifest names every file with its BLAKE3 digest and holds parameters, shapes and fingerprints, never ids. What the owner
sends is signed with the owner's Ed25519 key; what a server returns is digested and bound to the digests of what it was
computed from (its truth is established by verification, see `verify`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from securegen.ckks.keys import PublicKey, SecretKey, canonical
from securegen.errors import ArtefactError
from securegen.io.output import FOR_OTHERS, atomic, write_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 2


@dataclass(frozen=True)
class FileEntry:
    """One file of an artefact. seed: public seed of the half of the ciphertext that is not stored, hex, or ''."""

    name: str
    blake3: str
    size: int
    seed: str = ""


def digest_file(path: Path) -> str:
    return blake3().update_mmap(path).hexdigest()


def entry_for(folder: Path, name: str) -> FileEntry:
    """The entry of a file that is there already."""
    raw = (folder / name).read_bytes()
    return FileEntry(name, blake3(raw).hexdigest(), len(raw))


def write_entry(folder: Path, name: str, array: np.ndarray, seed: bytes | None = None) -> FileEntry:
    """Write an array as .npy, whole or not at all, and return its entry."""
    array = np.ascontiguousarray(array)
    header = _npy_header(array.shape, array.dtype)
    body = array.reshape(-1).view(np.uint8).data
    with atomic(folder / name, mode=FOR_OTHERS) as stream:
        stream.write(header)
        stream.write(body)
    digest = blake3(header)
    digest.update(body)
    return FileEntry(name, digest.hexdigest(), len(header) + len(body), seed.hex() if seed else "")


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
    write_json(folder / MANIFEST, {"body": body, "signature": signature}, mode=FOR_OTHERS)
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


def load_array(
    folder: Path, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4", *, out: np.ndarray | None = None
) -> np.ndarray:
    """Read a .npy file after checking size, and check its digest, shape and dtype. Raises ArtefactError naming it.

    out: a contiguous array of that shape to read into; it holds anything when an error is raised.
    """
    array = np.empty(shape, dtype) if out is None else out
    assert array.shape == tuple(shape) and array.dtype == np.dtype(dtype) and array.flags.c_contiguous
    wanted = _npy_header(shape, array.dtype)
    header, body = bytearray(len(wanted)), array.reshape(-1).view(np.uint8).data
    path = path_of(folder, entry)
    with _opened(path, entry, len(header) + len(body), array) as stream:
        for part in (memoryview(header), body):
            while part and (got := stream.readinto(part)):
                part = part[got:]
    _check(path, entry, bytes(header), body, wanted, array)
    return array


def map_array(folder: Path, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4") -> np.ndarray:
    """As `load_array`, but the file is mapped, not copied: read-only, and unmapped with the last reference."""
    like = np.broadcast_to(np.zeros((), dtype), shape)
    wanted = _npy_header(shape, like.dtype)
    path = path_of(folder, entry)
    with _opened(path, entry, len(wanted) + like.size * like.itemsize, like) as stream:
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
        memory = mmap.mmap(stream.fileno(), 0, flags=flags, prot=mmap.PROT_READ)
    array = np.frombuffer(memory, like.dtype, like.size, len(wanted)).reshape(shape)
    _check(path, entry, memory[: len(wanted)], array.reshape(-1).view(np.uint8).data, wanted, array)
    return array


def path_of(folder: Path, entry: dict[str, Any]) -> Path:
    """The file of an entry. Raises ArtefactError unless the entry has a name, a size and a digest."""
    try:
        name, _, _ = entry["name"], entry["size"], entry["blake3"]
    except (KeyError, TypeError):
        raise ArtefactError(f"{folder}: the manifest names a file without name, size or digest") from None
    if not isinstance(name, str) or os.path.basename(name) != name or "\0" in name:
        raise ArtefactError(f"{folder}: {name!r} is not a file name")
    return folder / name


@contextlib.contextmanager
def _opened(path: Path, entry: dict[str, Any], size: int, like: np.ndarray) -> Iterator[io.FileIO]:
    """The file, which must have the size of its entry and of an array like this one."""
    try:
        with path.open("rb", buffering=0) as stream:
            found = os.fstat(stream.fileno()).st_size
            if found != entry["size"]:
                raise ArtefactError(
                    f"{path} has {found} bytes, its manifest says {entry['size']}: truncated or replaced"
                )
            if found != size:
                raise ArtefactError(f"{path} is not a {like.dtype} array of shape {like.shape}")
            yield stream
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {getattr(error, 'strerror', error)}") from None


def _check(path: Path, entry: dict[str, Any], header: bytes, body: Any, wanted: bytes, like: np.ndarray) -> None:
    digest = blake3(header)
    digest.update(body)
    if digest.hexdigest() != entry["blake3"]:
        raise ArtefactError(f"{path} does not have the digest its manifest names: it was altered")
    if header != wanted:
        raise ArtefactError(f"{path} is not a {like.dtype} array of shape {like.shape}")


def _npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    stream = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def parse_array(raw: bytes, path: Path | str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A .npy image of known shape and dtype, without pickling and without a copy."""
    expected = np.dtype(dtype)
    header, count = _npy_header(shape, expected), int(np.prod(shape))
    if len(raw) != len(header) + count * expected.itemsize or raw[: len(header)] != header:
        raise ArtefactError(f"{path} is not a {expected} array of shape {tuple(shape)}")
    return np.frombuffer(raw, expected, count, len(header)).reshape(shape)
