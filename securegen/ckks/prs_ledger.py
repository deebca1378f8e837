"""The model owner's ledger of replies: how often each model has answered each client, kept across keys and sessions.

Replies are charged before they are written, under a lock, so that a crash or two processes never give one away. A
model is known by the digest of its scoring file, not by what a cohort matched of it, and a client by the name that the
model owner gave it: neither a new key nor another variant list starts a new count.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from securegen.errors import InputError, PolicyError, StorageError
from securegen.io.output import write_json

MAGIC = "securegen reply ledger 1"


class Ledger:
    """A file of mode 0600 that only the model owner reads."""

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Path(f"{path}.lock")

    def used(self, model: str, client: str) -> int:
        """Replies charged so far."""
        return int(self._read().get(model, {}).get(client, 0))

    def _read(self) -> dict[str, dict[str, int]]:
        try:
            content = json.loads(self.path.read_text())
            if content["magic"] != MAGIC:
                raise ValueError
            return content["replies"]
        except FileNotFoundError:
            if self._lock.exists():
                raise InputError(
                    f"{self.path} is gone, but {self._lock} is there: restore the ledger from a backup, or remove the "
                    "lock knowing that every count starts at zero"
                ) from None
            return {}
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(
                f"{self.path} is not a ledger of replies, or is damaged: restore it from a backup"
            ) from None

    def check(self, caps: Mapping[str, int], client: str, people: int) -> None:
        """Raise PolicyError when so many more replies would pass a cap (model -> replies in its life)."""
        _add(self._read(), caps, client, people)

    def charge(self, caps: Mapping[str, int], client: str, people: int) -> None:
        """Charge `people` replies of each model to a client, all or none.

        caps: model -> replies in its life. Raises PolicyError when one of them would be passed, StorageError when the
        file cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._open_lock()
        except OSError as error:
            raise StorageError(f"cannot lock {self.path}: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            replies = self._read()
            _add(replies, caps, client, people)
            write_json(self.path, {"magic": MAGIC, "replies": replies}, mode=0o600)
            _to_disk(self.path)
        finally:
            os.close(lock)

    def _open_lock(self) -> int:
        """A descriptor of the lock file; whoever makes it makes the ledger first, so that a lost ledger is noticed."""
        try:
            return os.open(self._lock, os.O_RDWR)
        except FileNotFoundError:
            with contextlib.suppress(StorageError):  # another process was first
                write_json(self.path, {"magic": MAGIC, "replies": {}}, mode=0o600, overwrite=False)
            return os.open(self._lock, os.O_CREAT | os.O_RDWR, 0o600)


def _to_disk(path: Path) -> None:
    """A count that a crash of the machine forgets would be given twice."""
    for name, kind in ((path, os.O_RDONLY), (path.parent, os.O_RDONLY | os.O_DIRECTORY)):
        descriptor = os.open(name, kind)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _add(replies: dict[str, dict[str, int]], caps: Mapping[str, int], client: str, people: int) -> None:
    for model, cap in caps.items():
        count = replies.setdefault(model, {}).get(client, 0)
        if count + people > cap:
            raise PolicyError(
                f"{count} replies of this model went to {client} and {people} more are asked for; the cap is {cap} in its "
                "life (docs/prs-protocols.md). Ask about fewer people (--keep), or raise the cap knowing that the weights "
                "can be solved for (--reply-cap)"
            )
        replies[model][client] = count + people
