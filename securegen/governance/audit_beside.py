"""Where the audit log is: in the folder `audit` beside a policy.toml, with its key beside it. No policy, no log.

The log is made when it is first written to. Its folder appears whole, and its key takes its name last; a key without its
log means that the log was taken away, and is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securegen.errors import StorageError
from securegen.governance import policy_file
from securegen.governance.audit_folder import CHECKPOINT, KEY
from securegen.governance.audit_log import AuditLog
from securegen.governance.audit_note import Checkpoint, LogKey, sign_checkpoint
from securegen.governance.audit_tree import EMPTY
from securegen.governance.signing import SigningIdentity, generate, read_identity, write_identity
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, make_folder, sync_folder, write_text

FOLDER, SECRET = "audit", "audit.secret"


def logs_beside(paths: Iterable[str | os.PathLike[str]]) -> list[AuditLog]:
    """The audit logs of the policies beside some files and folders, and in the folders; made where there are none yet.

    Raises StorageError where a log was taken away or cannot be made or its key is gone, PolicyError as `policy_file.beside`.
    """
    return [log_of(policy) for policy in policy_file.beside(paths)]


def log_beside(path: str | os.PathLike[str]) -> AuditLog | None:
    """The audit log of the policy beside a file or a folder, the first of several; None without a policy. Raises as
    `logs_beside`."""
    return next(iter(logs_beside([path])), None)


def log_of(policy: str | os.PathLike[str]) -> AuditLog:
    """The audit log of a policy file, made when there is none yet. Raises as `logs_beside`."""
    place = Path(policy).parent
    with _held(place):
        return AuditLog.open(place / FOLDER, _made(place))


def record(path: str | os.PathLike[str], kind: str, facts: Mapping[str, Any]) -> Checkpoint | None:
    """Write an entry in the log of every policy beside a file or a folder; the witness of the first, None without a policy.

    Raises as `logs_beside` and `AuditLog.append`: what cannot be logged is not done.
    """
    logs = logs_beside([path])
    for log in logs:
        log.append(kind, facts)
    return logs[0].witness() if logs else None


def key_used(path: str | os.PathLike[str], action: str, key: str) -> None:
    """Log the use of a key file. action: made, unlocked, backup, passphrase; key: 64 hex digits that name it, no secret.

    Raises as `record`: a key is not used where that cannot be logged.
    """
    record(path, "key", {"action": action, "key": key})


def make_log(folder: str | os.PathLike[str], identity: SigningIdentity) -> AuditLog:
    """A new, empty log, whole or not at all; what a killed attempt left is deleted. Raises StorageError where something is there.

    One process at a time: see `log_of`."""
    folder = Path(folder)
    for left in folder.parent.glob(f".{folder.name}.*"):
        if re.fullmatch("[0-9a-f]{8}", left.suffix[1:]):
            shutil.rmtree(left, ignore_errors=True)
    made = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    key = LogKey.of(identity.verify_key)
    try:
        make_folder(made / "entries", PRIVATE_FOLDER)
        write_text(made / KEY, key.to_text() + "\n", mode=PRIVATE)
        write_text(made / CHECKPOINT, sign_checkpoint(0, EMPTY, identity).note, mode=PRIVATE)
        if os.path.lexists(folder):
            raise StorageError(f"{folder} exists: an audit log is not made in its place")
        try:
            os.rename(made, folder)
            sync_folder(folder.parent)
        except OSError as problem:
            raise StorageError(f"cannot make the audit log {folder}: {problem.strerror}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return AuditLog.open(folder, identity)


def _made(place: Path) -> SigningIdentity:
    """The key of the log in a folder; where there is neither, both are made. An attempt that was killed is finished."""
    kept, coming, folder = place / SECRET, place / f"{SECRET}.new", place / FOLDER
    if os.path.lexists(kept):
        if not os.path.lexists(folder):
            raise StorageError(
                f"the audit log {folder} is gone, and its key {kept} is there: bring the log back from a backup. "
                "Without it nothing is run or released under this policy"
            )
        return read_identity(kept)
    if os.path.lexists(coming):
        identity = read_identity(coming)
    elif os.path.lexists(folder):
        raise StorageError(f"the audit log {folder} is there, and its key {kept} is gone: bring it back from a backup")
    else:
        identity = generate()
        write_identity(coming, identity)
    if not os.path.lexists(folder):
        make_log(folder, identity)
    try:
        os.rename(coming, kept)
        sync_folder(place)
    except OSError as problem:
        raise StorageError(f"cannot write {kept}: {problem.strerror}") from None
    return identity


@contextlib.contextmanager
def _held(place: Path) -> Iterator[None]:
    """One process at a time makes the log of a folder."""
    try:
        at = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as problem:
        raise StorageError(f"cannot open the folder {place}: {problem.strerror}") from None
    try:
        with contextlib.suppress(OSError):  # a file system without locks says so when the log itself is locked
            fcntl.flock(at, fcntl.LOCK_EX)
        yield
    finally:
        os.close(at)
