"""Where the audit log is: in the folder `audit` beside a policy.toml, with its key beside it. No policy, no log.

The log is made when it is first written to. Its folder appears whole, and its key takes its name last; a key without its
log means that the log was taken away, and is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securegen.errors import StorageError
from securegen.governance.audit_folder import CHECKPOINT, KEY
from securegen.governance.audit_log import AuditLog
from securegen.governance.audit_note import Checkpoint, LogKey, sign_checkpoint
from securegen.governance.audit_tree import EMPTY
from securegen.governance.signing import SigningIdentity, generate, read_identity, write_identity
from securegen.io.output import PRIVATE, PRIVATE_FOLDER, make_folder, sync_folder, write_text

POLICY, FOLDER, SECRET = "policy.toml", "audit", "audit.secret"


def policy_beside(path: str | os.PathLike[str]) -> Path | None:
    """The policy.toml beside a file or a folder, or in the folder; None where there is none. A broken link is one."""
    path = Path(path)
    places = [path, path.parent] if path.is_dir() else [path.parent]
    return next((p / POLICY for p in places if os.path.lexists(p / POLICY)), None)


def policies_beside(paths: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """The policies beside several files, each once."""
    found = (policy for path in paths if (policy := policy_beside(path)) is not None)
    return list({os.path.realpath(policy.parent): policy for policy in found}.values())


def log_beside(path: str | os.PathLike[str]) -> AuditLog | None:
    """The audit log of the policy beside a file or a folder, made when there is none yet; None without a policy.

    Raises StorageError where the log was taken away or cannot be made, KeyFileError where its key was.
    """
    policy = policy_beside(path)
    return None if policy is None else log_of(policy)


def log_of(policy: str | os.PathLike[str]) -> AuditLog:
    """The audit log of a policy file, made when there is none yet. Raises as `log_beside`."""
    place = Path(policy).parent
    with _held(place):
        return AuditLog.open(place / FOLDER, _made(place))


def record(path: str | os.PathLike[str], kind: str, facts: Mapping[str, Any]) -> Checkpoint | None:
    """Write an entry in the log beside a file or a folder; its witness, None without a policy.

    Raises as `log_beside` and `AuditLog.append`: what cannot be logged is not done.
    """
    log = log_beside(path)
    if log is None:
        return None
    log.append(kind, facts)
    return log.witness()


def key_used(path: str | os.PathLike[str], action: str, key: str) -> None:
    """Log the use of a key file. action: made, unlocked, backup, passphrase; key: 64 hex digits that name it, no secret.

    Raises as `record`: a key is not used where that cannot be logged.
    """
    record(path, "key", {"action": action, "key": key})


def make_log(folder: str | os.PathLike[str], identity: SigningIdentity) -> AuditLog:
    """A new, empty log, whole or not at all. Raises StorageError where something is there."""
    folder = Path(folder)
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
