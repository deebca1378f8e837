"""Folders that travel between parties: a signed manifest and .npy files, checked before they are parsed. They lie on a disk or in
an object store (`io.folders`).

The manifest names every file with its BLAKE3 digest and holds parameters, shapes and fingerprints, never ids. What the owner
sends is signed with the owner's Ed25519 key; what a server returns is digested and bound to the digests of what it was
computed from (its truth is established by verification, see `verify`).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from blake3 import blake3

from securegen.engines.ckks.keys import PublicKey
from securegen.errors import ArtefactError
from securegen.io import looks
from securegen.io.envelope import canonical
from securegen.io.folder import Folder
from securegen.io.folders import Place, folder_of
from securegen.io.output import json_bytes
from securegen.io.schema import Check, Refused, anything, map_of, printable, record, shown, text
from securegen.io.strict_json import parse_json

MANIFEST = "manifest.json"
FORMAT_VERSION = 3
MOST_MANIFEST = 1 << 28  # bytes: half a million people × a million variants need half of them
MOST_VALUES = 1 << 24
MOST_FIELDS = 64
_BELIEVED = 1 << 28  # bytes: memory is taken for larger files when they are as large as their manifest says


class Signer(Protocol):
    """Whoever signs what it sends: a `SecretKey`, or what stands for one."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, message: bytes) -> bytes: ...


@dataclass(frozen=True)
class FileEntry:
    """One file of an artefact. seed: public seed of the half of the ciphertext that is not stored, hex, or ''."""

    name: str
    blake3: str
    size: int
    seed: str = ""


def entry_for(folder: Place, name: str) -> FileEntry:
    """The entry of a file that is there already. Raises FileNotFoundError."""
    folder = folder_of(folder)
    return FileEntry(name, folder.digest(name), folder.size(name) or 0)


def write_entry(folder: Place, name: str, array: np.ndarray, seed: bytes | None = None) -> FileEntry:
    """Write an array as .npy, whole or not at all, and return its entry."""
    array = np.ascontiguousarray(array)
    header = npy_header(array.shape, array.dtype)
    body = array.reshape(-1).view(np.uint8).data
    folder_of(folder).write(name, (header, body))
    digest = blake3(header)
    digest.update(body)
    return FileEntry(name, digest.hexdigest(), len(header) + len(body), seed.hex() if seed else "")


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was written. body: JSON of any form, but for magic, version and role."""

    folder: Folder
    body: dict[str, Any]
    signature: str

    @property
    def digest(self) -> str:
        """SHA-256 of the signed part: the identity of the artefact."""
        return hashlib.sha256(canonical(self.body)).hexdigest()

    def require_signature(self, key: PublicKey) -> None:
        """Raise ArtefactError unless the owner of `key` signed it."""
        named = self.body.get("key")
        if named != key.fingerprint:
            raise ArtefactError(f"{self.folder} belongs to key {shown(named, 16)}, not to {key.fingerprint[:16]}")
        if not key.verify(canonical(self.body), bytes.fromhex(self.signature)):
            raise ArtefactError(f"{self.folder}: the manifest is not signed by its owner; it was altered")

    def checked(self, check: Check) -> dict[str, Any]:
        """The body as `check` returns it. Raises ArtefactError saying what it does not allow."""
        try:
            found: dict[str, Any] = check(self.body, "")
            return found
        except Refused as error:
            raise ArtefactError(f"{self.folder.at(MANIFEST)} is damaged: {error}") from None


_MANIFEST = record(body=map_of(anything, MOST_FIELDS), signature=text(1 << 10))


def open_manifest(folder: Place, role: str | None = None) -> Manifest:
    """The manifest of a folder. Raises ArtefactError unless there is one, of this version and, where given, of this role."""
    folder = folder_of(folder)
    path = folder.at(MANIFEST)
    try:
        raw = folder.read(MANIFEST, "a manifest", MOST_MANIFEST)
        looks.was_read(path, raw)
        if raw.count(b",") > MOST_VALUES:
            raise ArtefactError(f"{path} is damaged: it has more than {MOST_VALUES} values")
        content = parse_json(raw, f"{path}, a manifest,", _MANIFEST)
        found = Manifest(folder, content["body"], content["signature"])
        bytes.fromhex(found.signature)
    except FileNotFoundError:
        raise ArtefactError(f"{folder} has no manifest: it is not complete, or not a securegen artefact") from None
    except ValueError:
        raise ArtefactError(f"{path} is not a securegen manifest: its signature is not hexadecimal") from None
    version, named = found.body.get("version"), found.body.get("role")
    if found.body.get("magic") != "securegen":
        raise ArtefactError(f"{path} is not a securegen manifest")
    if version in (1, 2):
        raise ArtefactError(
            f"{folder} has format version {version}, this securegen reads {FORMAT_VERSION}, in fewer bytes per genotype: "
            "its owner plans, makes a key and encrypts again (securegen plan, keygen, encrypt); earlier results are "
            "opened by the securegen that encrypted them"
        )
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{folder} was written by another version of securegen ({shown(version)})")
    if not isinstance(named, str):
        raise ArtefactError(f"{path} is not a securegen manifest: its role is {shown(named)}")
    if role is not None and named != role:
        raise ArtefactError(f"{folder} is an encrypted {printable(named, 40)}, expected {role}")
    return found


@contextlib.contextmanager
def found_in(folder: Place) -> Iterator[None]:
    """Name the folder in an ArtefactError."""
    try:
        yield
    except ArtefactError as error:
        raise ArtefactError(f"{folder}: {error}") from None


def manifest_digest(folder: Place) -> str:
    """SHA-256 of the signed part of a manifest: the identity of the artefact."""
    return open_manifest(folder).digest


def write_manifest(folder: Place, role: str, body: dict[str, Any], key: Signer | None) -> str:
    """Write the manifest last, so that a folder with one is complete. Returns its digest."""
    signed = _signed(role, body)
    signature = key.sign(canonical(signed)).hex() if key is not None else ""
    folder, raw = folder_of(folder), json_bytes({"body": signed, "signature": signature})
    looks.was_written(folder.at(MANIFEST), raw)
    folder.write(MANIFEST, [raw])
    return digest_of(role, body)


def writer_of(*digests: str) -> Callable[[], str]:
    """Who writes what follows from these digests: whoever else computes it writes the same bytes."""
    return lambda: hashlib.sha256(canonical(digests)).hexdigest()


def _signed(role: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"magic": "securegen", "version": FORMAT_VERSION, "role": role, **body}


def digest_of(role: str, body: dict[str, Any]) -> str:
    """The digest of the manifest that `write_manifest` writes."""
    return hashlib.sha256(canonical(_signed(role, body))).hexdigest()


def read_manifest(folder: Place, role: str, key: PublicKey | None, check: Check | None = None) -> dict[str, Any]:
    """The body of a manifest, as `check` returns it; with `key`, only if its owner signed it.

    Raises ArtefactError saying what is wrong: version, role, fingerprint, signature, or a field.
    """
    found = open_manifest(folder, role)
    body = found.body if check is None else found.checked(check)
    if key is not None:
        found.require_signature(key)
    return body


def load_array(
    folder: Place, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4", *,
    out: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """Read a .npy file after checking size, and check its digest, shape and dtype. Raises ArtefactError naming it.

    out: a contiguous array of that shape to read into; it holds anything when an error is raised.
    """
    folder = folder_of(folder)
    name = name_of(folder, entry)
    with found(folder, name, entry, shape, np.dtype(dtype)) as size:
        array = np.empty(shape, dtype) if out is None else out
        if array.shape != tuple(shape) or array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
            raise ValueError(f"{folder.at(name)} is read into another array than its own")
        header, body = bytearray(size - array.nbytes), array.reshape(-1).view(np.uint8).data
        folder.fill(name, size, (memoryview(header), body))
    digest = blake3(header)
    digest.update(body)
    require_whole(folder, name, entry, digest.hexdigest(), bytes(header), shape, np.dtype(dtype))
    return array


def name_of(folder: Place, entry: dict[str, Any]) -> str:
    """The name of the file of an entry. Raises ArtefactError unless the entry has one, a size and a digest."""
    try:
        name, _, _ = entry["name"], entry["size"], entry["blake3"]
    except (KeyError, TypeError):
        raise ArtefactError(f"{folder}: the manifest names a file without name, size or digest") from None
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", "..") or not name.isprintable():
        raise ArtefactError(f"{folder}: {shown(name)} is not a file name")
    return name


def array_bytes(shape: tuple[int, ...], dtype: str = "<u4") -> int:
    """Size of the .npy file of such an array."""
    return len(npy_header(shape, np.dtype(dtype))) + math.prod(shape) * np.dtype(dtype).itemsize


@contextlib.contextmanager
def found(folder: Folder, name: str, entry: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[int]:
    """The size of a file, which must be that of its entry and of such an array; names the file where it is absent."""
    size = array_bytes(shape, dtype.str)
    try:
        if entry["size"] != size or size > _BELIEVED:
            there = folder.size(name)
            if there is None:
                raise FileNotFoundError
            if there != entry["size"]:
                raise ArtefactError(
                    f"{folder.at(name)} has {there} bytes, its manifest says {shown(entry['size'])}: truncated or replaced"
                )
            if there != size:
                raise ArtefactError(f"{folder.at(name)} is not a {dtype} array of shape {shape}")
        yield size
    except FileNotFoundError:
        raise ArtefactError(f"{folder.at(name)} cannot be read: No such file or directory") from None


def require_whole(
    folder: Folder,
    name: str,
    entry: dict[str, Any],
    digest: str,
    header: bytes,
    shape: tuple[int, ...],
    dtype: np.dtype,
) -> None:
    """Raise ArtefactError unless what was read has the digest of its entry, and begins as such an array does."""
    if digest != entry["blake3"]:
        raise ArtefactError(
            f"{folder.at(name)} does not have the digest its manifest names: it was altered, or changed while this ran"
        )
    if header != npy_header(shape, dtype):
        raise ArtefactError(f"{folder.at(name)} is not a {dtype} array of shape {shape}")


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The start of the .npy file of such an array."""
    stream = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()
