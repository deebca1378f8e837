"""A key under which a result failed verification: from then on it neither decrypts nor encrypts, by whatever name.

It is marked in the owner's folder by the key's fingerprint, since nothing can be decrypted without that folder, and
beside the key file itself, links followed; a process that could write neither mark decrypts nothing. A third mark, by
fingerprint in the user's own state (`$XDG_STATE_HOME`, ~/.local/state), retires copies of the key. They may be used
with another owner's folder, or with one restored from a backup.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from securegen.engines.ckks.owner.secret_key import SecretKey, retired_marker
from securegen.errors import KeyFileError, StorageError, VerificationError
from securegen.io.output import PRIVATE, write_text

_here: set[str] = set()  # fingerprints of keys that were retired by this process, whatever folder they are used with


def marks(key: SecretKey, owner: Path) -> list[Path]:
    """Where a key is marked as retired, whether it is or not."""
    beside = [retired_marker(key.file)] if key.file is not None else []
    return [owner / f"retired-{key.public.fingerprint[:32]}.txt", *beside]


def user_mark(key: SecretKey) -> Path | None:
    """Where a key is marked as retired for everything that this user does on this machine; None without a home."""
    try:
        state = os.environ.get("XDG_STATE_HOME", "")
        base = Path(state) if os.path.isabs(state) else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return base / "securegen" / "retired" / f"{key.public.fingerprint[:32]}.txt"


def _all_marks(key: SecretKey, owner: Path) -> list[Path]:
    own = user_mark(key)
    return [*marks(key, owner), *([own] if own is not None else [])]


def refuse_retired(key: SecretKey, owner: Path, *, key_still_trusted: bool = False) -> None:
    """Raise KeyFileError when a result has failed verification under this key, unless told by name to go on."""
    found = [f" (see {mark})" for mark in _all_marks(key, owner) if os.path.lexists(mark)]
    if (found or key.public.fingerprint in _here) and not key_still_trusted:
        raise KeyFileError(
            f"key {key.public.fingerprint[:16]} is retired: a result failed verification under it{''.join(found[:1])}. Make a "
            "new key and encrypt again; decrypt --key-still-trusted overrides this"
        )


@contextlib.contextmanager
def guarded(key: SecretKey, owner: Path, what: str, *, key_still_trusted: bool = False) -> Iterator[None]:
    """Decrypt `what` in this block: a VerificationError that leaves it retires the key.

    Raises KeyFileError when the key is retired, StorageError when it could not be marked as retired.
    """
    refuse_retired(key, owner, key_still_trusted=key_still_trusted)
    if not any(_writable(mark.parent) for mark in marks(key, owner)):
        raise StorageError(
            f"nothing can be written in {owner}: if a result failed verification, the key could not be marked as retired, "
            "so nothing is decrypted. Make the owner's folder writable"
        )
    try:
        yield
    except VerificationError:
        _retire(key, owner, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {what} failed verification")
        raise


def _retire(key: SecretKey, owner: Path, reason: str) -> None:
    """Write every mark that can be written. Raises VerificationError saying so when there is none."""
    _here.add(key.public.fingerprint)
    problems = []
    for mark in _all_marks(key, owner):
        try:
            earlier = mark.read_text() if mark.exists() else ""
            write_text(mark, earlier + reason + "\n", mode=PRIVATE)
        except (OSError, StorageError) as error:
            problems.append(str(error))
    if len(problems) == len(_all_marks(key, owner)):
        raise VerificationError(unmarked=problems[0])


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False
