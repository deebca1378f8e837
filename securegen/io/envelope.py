"""A file of secrets under a passphrase: one line of JSON that anybody may read, then the secrets.

The line says what the file is and whose; it is authenticated with the secrets. scrypt (RFC 7914) makes a key from the
passphrase, AES-256-GCM encrypts under it with the line as associated data. Without a passphrase, which the owner chooses
by name, the line holds the SHA-256 of both, so that damage is seen. Mode 0600; never overwritten, except by `rewrap`.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn, Self, SupportsIndex

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from securegen.errors import InputError, KeyFileError
from securegen.io.output import PRIVATE, atomic
from securegen.io.strict_json import parse_json, read_regular

NONE, SCRYPT_AES = "none", "scrypt+aes-256-gcm"
COST = {"n": 1 << 18, "r": 8, "p": 1}  # 256 MiB, 0.6 s: a key file may be copied and guessed at for years
DRAWN_COST = {"n": 1 << 12, "r": 8, "p": 1}  # a passphrase drawn at random cannot be guessed at any cost
MOST_MEMORY = 1 << 30  # a header that asks for more is refused before scrypt runs
LEAST_CHARACTERS, LEAST_DIFFERENT = 12, 5
DIGEST = "sha256"
_PROTECTION = {"protection", "scrypt", "salt", "nonce", DIGEST}
DRAWN_MAGIC = "securegen drawn passphrase 1"


class Unpicklable:
    """Secrets that only their own writer puts into a file: pickled, by a pool of workers or a notebook, they would be in the
    clear and as readable as that file. A copy is the object itself."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} holds secrets and is not pickled: write it by its own function, 0600")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self


class WeakPassphrase(bytes):
    """A passphrase below the minimum that its owner accepts by name."""


def check_passphrase(passphrase: bytes) -> None:
    """Raise KeyFileError for a new passphrase that can be guessed, unless it is a `WeakPassphrase`."""
    if isinstance(passphrase, WeakPassphrase):
        return
    letters = passphrase.decode(errors="replace")
    if len(letters) < LEAST_CHARACTERS or len(set(letters)) < LEAST_DIFFERENT:
        raise KeyFileError(
            f"the passphrase has {len(letters)} characters, {len(set(letters))} of them different: a key file needs at "
            f"least {LEAST_CHARACTERS} and {LEAST_DIFFERENT}, since whoever copies it may guess for years. Four or five "
            "random words do; --weak-passphrase (Python: WeakPassphrase) takes it all the same"
        )


def passphrase_in(path: str | Path, *, weak: bool = False) -> bytes:
    """The first line of a passphrase file; a `WeakPassphrase` when told so by name.

    Raises InputError when it cannot be read or is empty, KeyFileError when others can read it.
    """
    try:
        with open(path, "rb") as stream:
            status = os.fstat(stream.fileno())
            kept = stat.S_ISREG(status.st_mode) or stat.S_ISFIFO(status.st_mode)  # whoever reads a pipe first has it
            if kept and status.st_mode & 0o077 and not weak:
                raise KeyFileError(
                    f"{path} can be read by others (mode {status.st_mode & 0o777:o}): chmod 600 {path}; "
                    "--weak-passphrase takes it all the same"
                )
            first = stream.read(1 << 16).removeprefix(codecs.BOM_UTF8).splitlines()[:1]  # Notepad writes one
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not first or not first[0]:
        raise InputError(f"{path} is empty: its first line must be the passphrase")
    return WeakPassphrase(first[0]) if weak else first[0]


def write(
    path: str | Path,
    magic: str,
    public: Mapping[str, Any],
    secret: bytes,
    *,
    passphrase: bytes | None,
    cost: Mapping[str, int] | None = None,
) -> None:
    """Write a file that does not exist. public: what the first line says besides; passphrase None leaves it unprotected.

    Raises KeyFileError for a passphrase that is too weak, StorageError when the file exists or cannot be written.
    """
    content = sealed(magic, public, secret, passphrase, cost)
    with atomic(path, mode=PRIVATE, overwrite=False) as stream:
        stream.write(content)


def read(
    path: str | Path, magic: str, what: str, *, passphrase: bytes | None = None, earlier: str | None = None
) -> tuple[dict[str, Any], bytes]:
    """The first line and the secrets of a file. earlier: the magic of files whose unprotected form had no digest.

    Raises KeyFileError: absent, readable by others, something else, damaged, no passphrase or a wrong one.
    """
    raw = _private_bytes(Path(path), what)
    header = _header(raw, path, what)
    if header["magic"] not in (magic, earlier):
        raise KeyFileError(f"{path} is not a securegen {what}, or it is damaged")
    return header, _opened(raw, header, path, what, passphrase, digested=header["magic"] == magic)


def public_part(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What the first line of a file says besides how it is protected. Raises KeyFileError."""
    header = _header(_private_bytes(Path(path), "key file"), Path(path), "key file")
    return {k: v for k, v in header.items() if k not in _PROTECTION}


def is_protected(path: str | os.PathLike[str]) -> bool:
    """Whether a file needs a passphrase; False for what is not an envelope, of which `read` says what is wrong."""
    try:
        raw = read_regular(Path(path), "a key file", error=KeyFileError)
        return bool(_header(raw, Path(path), "key file")["protection"] != NONE)
    except (OSError, KeyFileError):
        return False


def rewrap(path: str | Path, *, old: bytes | None, new: bytes, copy: str | Path | None = None) -> None:
    """Put a file of any kind under another passphrase, in its place or as a copy beside it.

    Raises KeyFileError as `read` and `write` do; StorageError when the copy exists. The file is never half-written.
    """
    raw = _private_bytes(Path(path), "key file")
    header = _header(raw, path, "key file")
    magic = str(header["magic"])
    digested = DIGEST in header or header["protection"] != NONE
    secret = _opened(raw, header, path, "key file", old, digested=digested)
    public = {k: v for k, v in header.items() if k not in _PROTECTION}
    content = sealed(magic, public, secret, new)
    with atomic(copy or os.path.realpath(path), mode=PRIVATE, overwrite=copy is None) as stream:
        stream.write(content)


def write_drawn(path: str | Path, passphrase: bytes) -> bytes:
    """A passphrase drawn at random for many key files (at `DRAWN_COST`), kept under the owner's: scrypt runs once."""
    drawn = secrets.token_hex(32).encode()
    write(path, DRAWN_MAGIC, {}, drawn, passphrase=passphrase)
    return drawn


def read_drawn(path: str | Path, passphrase: bytes) -> bytes:
    """What `write_drawn` returned. Raises KeyFileError as `read`."""
    return read(path, DRAWN_MAGIC, "passphrase of several keys", passphrase=passphrase)[1]


@contextlib.contextmanager
def in_memory(secret: bytes) -> Iterator[str]:
    """A path under which a library that wants a file finds the secret; it is never on a disk."""
    descriptor = os.memfd_create("securegen")
    try:
        os.write(descriptor, secret)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def canonical(value: Any) -> bytes:
    """The JSON bytes that are authenticated."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sealed(
    magic: str,
    public: Mapping[str, Any],
    secret: bytes,
    passphrase: bytes | None,
    cost: Mapping[str, int] | None = None,
) -> bytes:
    """The bytes that `write` writes. Raises KeyFileError for a passphrase that is too weak."""
    header: dict[str, Any]
    if passphrase is None:
        header = {**public, "magic": magic, "protection": NONE}
        header[DIGEST] = _digest(header, secret)
    else:
        check_passphrase(passphrase)
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
        cost = COST if cost is None else cost
        how = {"protection": SCRYPT_AES, "scrypt": dict(cost), "salt": salt.hex(), "nonce": nonce.hex()}
        header = {**public, "magic": magic, **how}
        secret = AESGCM(Scrypt(salt, 32, **cost).derive(passphrase)).encrypt(nonce, secret, canonical(header))
    return canonical(header) + b"\n" + secret


def _digest(header: Mapping[str, Any], secret: bytes) -> str:
    line = canonical({k: v for k, v in header.items() if k != DIGEST})
    return hashlib.sha256(len(line).to_bytes(8, "little") + line + secret).hexdigest()


def _private_bytes(path: Path, what: str) -> bytes:
    try:
        raw = read_regular(path, f"a {what}", error=KeyFileError)
        mode = path.stat().st_mode
    except OSError as error:
        raise KeyFileError(f"cannot read the {what} {path}: {error.strerror}") from None
    if mode & 0o077:
        raise KeyFileError(f"{path} can be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
    return raw


def _header(raw: bytes, path: str | Path, what: str) -> dict[str, Any]:
    try:
        header = parse_json(raw.partition(b"\n")[0], f"{path}", error=KeyFileError)
    except KeyFileError:
        header = None
    if not isinstance(header, dict) or not isinstance(header.get("magic"), str) or "protection" not in header:
        raise KeyFileError(f"{path} is not a securegen {what}, or it is damaged")
    return header


def _opened(
    raw: bytes, header: dict[str, Any], path: str | Path, what: str, passphrase: bytes | None, *, digested: bool
) -> bytes:
    secret = raw.partition(b"\n")[2]
    damaged = KeyFileError(f"{path} is not a securegen {what}, or it is damaged")
    if header["protection"] == NONE:
        if digested and header.get(DIGEST) != _digest(header, secret):
            raise damaged
        return secret
    if header["protection"] != SCRYPT_AES:
        raise damaged
    if passphrase is None:
        raise KeyFileError(f"{path} is protected: give --passphrase-file or SECUREGEN_PASSPHRASE")
    try:
        cost = {name: header["scrypt"][name] for name in ("n", "r", "p")}
        salt, nonce = bytes.fromhex(header["salt"]), bytes.fromhex(header["nonce"])
    except (KeyError, TypeError, ValueError):
        raise damaged from None
    n, r, p = cost.values()
    if not all(type(v) is int and 1 <= v <= MOST_MEMORY for v in (n, r, p)) or n < 2 or n & (n - 1) or len(nonce) != 12:
        raise damaged
    if 128 * n * r * p > MOST_MEMORY:
        raise damaged
    try:
        return AESGCM(Scrypt(salt, 32, **cost).derive(passphrase)).decrypt(nonce, secret, canonical(header))
    except (InvalidTag, ValueError):
        raise KeyFileError(f"{path}: wrong passphrase, or the file was altered") from None
