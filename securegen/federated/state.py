"""A site's private memory of one study: its key share, what it has sent, and which sums it has helped to open.

It makes a killed run safe to repeat: the same bytes are sent again, a slot (study and step) is opened for one sum only,
and the number of opened ciphertexts never exceeds what the smudging was chosen for. Losing it, or bringing back an old
copy, ends the site's part in the study: start another study, with other keys. Mode 0700, files 0600.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from securegen.ckks.threshold import SecretShare, ThresholdParameters, share_from, ternary
from securegen.errors import ArtefactError, PolicyError, ProtocolError, StorageError
from securegen.federated.studyfile import Study
from securegen.io.output import write_array, write_json, write_text
from securegen.randomness import fresh_key


def _private_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.chmod(folder, 0o700)
    except OSError as error:
        raise StorageError(f"cannot make the folder {folder}: {error.strerror}") from None


@dataclass(frozen=True, repr=False)
class SiteState:
    """folder: of this study alone; master: 32 bytes that never leave; share: the site's s_i."""

    folder: Path
    master: bytes = field(repr=False)
    share: SecretShare = field(repr=False)

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 under the master key, for digests and keys that say nothing to others. 32 bytes."""
        return hmac.new(self.master, purpose.encode() + b"\0" + data, hashlib.sha256).digest()

    def remember(self, name: str, make: Callable[[], Any]) -> Any:
        """The JSON value of that name: made at the first call, on disk before it is returned, the same ever after."""
        path = self.folder / f"{name}.json"
        if not path.is_file():
            write_json(path, make(), mode=0o600)
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise ArtefactError(f"the site's file {path} is damaged: {error}") from None

    def remember_text(self, name: str, make: Callable[[], str]) -> str:
        """As `remember`, for a text that must stay the same to the byte."""
        path = self.folder / name
        if not path.is_file():
            write_text(path, make(), mode=0o600)
        return path.read_text()

    def array_path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def write_array(self, name: str, array: np.ndarray) -> Path:
        write_array(self.array_path(name), array, mode=0o600)
        return self.array_path(name)

    def read_array(self, name: str) -> np.ndarray | None:
        """An array written before, None when there is none."""
        path = self.array_path(name)
        try:
            return np.load(path, allow_pickle=False) if path.is_file() else None
        except (OSError, ValueError, EOFError) as error:
            raise ArtefactError(f"the site's file {path} is damaged: {error}") from None

    def claim(self, slot: str, digest: str, ciphertexts: int, most: int) -> None:
        """Reserve a slot for the sum with this digest, before anything of it is decrypted.

        Raises ProtocolError when the slot was given to another sum, PolicyError when the study's ciphertexts are used up.
        """
        path = self.folder / f"slot.{slot}.json"
        if path.is_file():
            if json.loads(path.read_text())["sum"] != digest:
                raise ProtocolError(
                    f"{slot} was opened for another sum before: this site opens one sum a step, and no second"
                )
            return
        used = sum(json.loads(p.read_text())["ciphertexts"] for p in self.folder.glob("slot.*.json"))
        if used + ciphertexts > most:
            raise PolicyError(
                f"the study allows {most} opened ciphertexts, {used} are used and {slot} needs {ciphertexts}"
            )
        write_json(path, {"sum": digest, "ciphertexts": ciphertexts}, mode=0o600, overwrite=False)

    def opened(self) -> int:
        """Ciphertexts whose sums this site has helped to open."""
        return sum(json.loads(p.read_text())["ciphertexts"] for p in self.folder.glob("slot.*.json"))

    def forget_ciphertexts(self, step: str) -> None:
        """Delete own ciphertexts of a finished step: the shared folder has them."""
        for path in self.folder.glob(f"{step}.*.npy"):
            path.unlink()


def study_folder(state: Path, study: Study) -> Path:
    return state / f"study-{study.digest[:16]}"


@contextlib.contextmanager
def open_state(state: Path, study: Study) -> Iterator[SiteState]:
    """The site's memory of a study, made at the first call, locked against a second process.

    Raises StorageError when another process of this site runs.
    """
    folder = study_folder(state, study)
    _private_folder(folder)
    lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StorageError(f"another process works on {folder}: one process a site and study") from None
        yield _load(folder, study.parameters)
    finally:
        os.close(lock)


def _load(folder: Path, parameters: ThresholdParameters) -> SiteState:
    path = folder / "share.json"
    if not path.is_file():
        coefficients = ternary(fresh_key(), 0, parameters.ring.n).astype(np.int8)
        value = {"master": secrets.token_hex(32), "share": coefficients.tobytes().hex()}
        write_json(path, value, mode=0o600, overwrite=False)
    try:
        value = json.loads(path.read_text())
        coefficients = np.frombuffer(bytes.fromhex(value["share"]), np.int8)
        master = bytes.fromhex(value["master"])
        if coefficients.shape != (parameters.ring.n,) or np.abs(coefficients).max() > 1 or len(master) != 32:
            raise ValueError("wrong length")
    except (ValueError, KeyError, TypeError) as error:
        raise ArtefactError(f"the site's key share {path} is damaged: {error}") from None
    return SiteState(folder, master, share_from(parameters, coefficients))
