"""Folders that travel between parties: a signed manifest and .npy files, checked before they are parsed.

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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from blake3 import blake3

from securegen.engines.ckks.keys import PublicKey
from securegen.errors import ArtefactError
from securegen.io.envelope import canonical
from securegen.io.output import FOR_OTHERS, atomic, write_json
from securegen.io.schema import Check, Refused, anything, map_of, printable, record, shown, text
from securegen.io.strict_json import open_regular, parse_json, read_regular

MANIFEST = "manifest.json"
FORMAT_VERSION = 3
MOST_MANIFEST = 1 << 28  # bytes: half a million people × a million variants need half of them
MOST_VALUES = 1 << 24
MOST_FIELDS = 64


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


def digest_file(path: Path) -> str:
    return blake3().update_mmap(path).hexdigest()


def entry_for(folder: Path, name: str) -> FileEntry:
    """The entry of a file that is there already."""
    return FileEntry(name, digest_file(folder / name), (folder / name).stat().st_size)


def write_entry(folder: Path, name: str, array: np.ndarray, seed: bytes | None = None) -> FileEntry:
    """Write an array as .npy, whole or not at all, and return its entry."""
    array = np.ascontiguousarray(array)
    header = npy_header(array.shape, array.dtype)
    body = array.reshape(-1).view(np.uint8).data
    with atomic(folder / name, mode=FOR_OTHERS) as stream:
        stream.write(header)
        stream.write(body)
    digest = blake3(header)
    digest.update(body)
    return FileEntry(name, digest.hexdigest(), len(header) + len(body), seed.hex() if seed else "")


@dataclass(frozen=True)
class Manifest:
    """A manifest as it was written. body: JSON of any form, but for magic, version and role."""

    folder: Path
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
            raise ArtefactError(f"{self.folder / MANIFEST} is damaged: {error}") from None


_MANIFEST = record(body=map_of(anything, MOST_FIELDS), signature=text(1 << 10))


def open_manifest(folder: Path, role: str | None = None) -> Manifest:
    """The manifest of a folder. Raises ArtefactError unless there is one, of this version and, where given, of this role."""
    path = folder / MANIFEST
    try:
        raw = read_regular(path, "a manifest", most=MOST_MANIFEST)
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
            f"{folder} has format version {version}, this securegen reads {FORMAT_VERSION}, which takes fewer bytes a genotype: "
            "its owner plans, makes a key and encrypts again (securegen plan, keygen, encrypt); what is opened from results "
            "of before needs the securegen that encrypted them"
        )
    if version != FORMAT_VERSION:
        raise ArtefactError(f"{folder} was written by another version of securegen ({shown(version)})")
    if not isinstance(named, str):
        raise ArtefactError(f"{path} is not a securegen manifest: its role is {shown(named)}")
    if role is not None and named != role:
        raise ArtefactError(f"{folder} is an encrypted {printable(named, 40)}, expected {role}")
    return found


@contextlib.contextmanager
def found_in(folder: Path) -> Iterator[None]:
    """Name the folder in an ArtefactError."""
    try:
        yield
    except ArtefactError as error:
        raise ArtefactError(f"{folder}: {error}") from None


def manifest_digest(folder: Path) -> str:
    """SHA-256 of the signed part of a manifest: the identity of the artefact."""
    return open_manifest(folder).digest


def write_manifest(folder: Path, role: str, body: dict[str, Any], key: Signer | None) -> str:
    """Write the manifest last, so that a folder with one is complete. Returns its digest."""
    signed = _signed(role, body)
    signature = key.sign(canonical(signed)).hex() if key is not None else ""
    write_json(folder / MANIFEST, {"body": signed, "signature": signature}, mode=FOR_OTHERS)
    return digest_of(role, body)


def _signed(role: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"magic": "securegen", "version": FORMAT_VERSION, "role": role, **body}


def digest_of(role: str, body: dict[str, Any]) -> str:
    """The digest of the manifest that `write_manifest` writes."""
    return hashlib.sha256(canonical(_signed(role, body))).hexdigest()


def read_manifest(folder: Path, role: str, key: PublicKey | None, check: Check | None = None) -> dict[str, Any]:
    """The body of a manifest, as `check` returns it; with `key`, only if its owner signed it.

    Raises ArtefactError saying what is wrong: version, role, fingerprint, signature, or a field.
    """
    found = open_manifest(folder, role)
    body = found.body if check is None else found.checked(check)
    if key is not None:
        found.require_signature(key)
    return body


def load_array(
    folder: Path, entry: dict[str, Any], shape: tuple[int, ...], dtype: str = "<u4", *, out: np.ndarray | None = None
) -> np.ndarray:
    """Read a .npy file after checking size, and check its digest, shape and dtype. Raises ArtefactError naming it.

    out: a contiguous array of that shape to read into; it holds anything when an error is raised.
    """
    path = path_of(folder, entry)
    with opened(path, entry, shape, np.dtype(dtype)) as stream:
        array = np.empty(shape, dtype) if out is None else out
        if array.shape != tuple(shape) or array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
            raise ValueError(f"{path} is read into another array than its own")
        header, body = bytearray(array_bytes(shape, dtype) - array.nbytes), array.reshape(-1).view(np.uint8).data
        for part in (memoryview(header), body):
            while part and (got := stream.readinto(part)):
                part = part[got:]
    digest = blake3(header)
    digest.update(body)
    require_whole(path, entry, digest.hexdigest(), bytes(header), shape, np.dtype(dtype))
    return array


def path_of(folder: Path, entry: dict[str, Any]) -> Path:
    """The file of an entry. Raises ArtefactError unless the entry has a name, a size and a digest."""
    try:
        name, _, _ = entry["name"], entry["size"], entry["blake3"]
    except (KeyError, TypeError):
        raise ArtefactError(f"{folder}: the manifest names a file without name, size or digest") from None
    if not isinstance(name, str) or os.path.basename(name) != name or name in ("", ".", "..") or not name.isprintable():
        raise ArtefactError(f"{folder}: {shown(name)} is not a file name")
    return folder / name


def array_bytes(shape: tuple[int, ...], dtype: str = "<u4") -> int:
    """Size of the .npy file of such an array."""
    return len(npy_header(shape, np.dtype(dtype))) + math.prod(shape) * np.dtype(dtype).itemsize


@contextlib.contextmanager
def opened(path: Path, entry: dict[str, Any], shape: tuple[int, ...], dtype: np.dtype) -> Iterator[io.FileIO]:
    """The file, which must be a regular one and have the size of its entry and of such an array."""
    try:
        with open_regular(path, "part of an artefact") as (stream, status):
            found = status.st_size
            if found != entry["size"]:
                raise ArtefactError(
                    f"{path} has {found} bytes, its manifest says {shown(entry['size'])}: truncated or replaced"
                )
            if found != array_bytes(shape, dtype.str):
                raise ArtefactError(f"{path} is not a {dtype} array of shape {shape}")
            yield stream
    except FileNotFoundError as error:
        raise ArtefactError(f"{path} cannot be read: {error.strerror}") from None


def require_whole(
    path: Path, entry: dict[str, Any], digest: str, header: bytes, shape: tuple[int, ...], dtype: np.dtype
) -> None:
    """Raise ArtefactError unless what was read has the digest of its entry, and begins as such an array does."""
    if digest != entry["blake3"]:
        raise ArtefactError(f"{path} does not have the digest its manifest names: it was altered")
    if header != npy_header(shape, dtype):
        raise ArtefactError(f"{path} is not a {dtype} array of shape {shape}")


def npy_header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    """The start of the .npy file of such an array."""
    stream = io.BytesIO()
    description = {"descr": dtype.str, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


def parse_array(raw: bytes, path: Path | str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """A .npy image of known shape and dtype, without pickling and without a copy."""
    expected = np.dtype(dtype)
    header, count = npy_header(shape, expected), int(np.prod(shape))
    if len(raw) != array_bytes(shape, expected.str) or raw[: len(header)] != header:
        raise ArtefactError(f"{path} is not a {expected} array of shape {tuple(shape)}")
    return np.frombuffer(raw, expected, count, len(header)).reshape(shape)
