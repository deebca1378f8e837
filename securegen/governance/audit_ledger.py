"""How far each ledger is, in the audit log of the policy beside it: one that came back with its lock is refused by name.

The entry is written after the ledger, before what it counts is done or shown. A kill between the two leaves the ledger ahead of
the log, which is whole; a ledger behind the log, or another one of the same number of changes, was brought back. Who brings back
the log too is found by a witness alone: receipts carry the log's size and root. Without a policy there is no log, and a ledger
that came back with its lock is not seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from securegen.errors import StorageError
from securegen.governance import policy_file
from securegen.governance.audit_beside import FOLDER, SECRET, log_of
from securegen.governance.audit_verify import read_log
from securegen.governance.signing import sha256

LEDGER = "ledger"  # kind of entry
Names = Iterable[str | os.PathLike[str]]


def refuse_older(
    path: Path, changes: int, same: Callable[[Mapping[str, Any]], bool], beside: Names = (), *, what: str = "the ledger"
) -> None:
    """Raise StorageError where a log names more changes of a ledger than it has, or others.

    same: whether the ledger has what the facts of an entry name, which has as many changes or fewer; beside: files and folders
    beside which a policy may stand, too. Raises as `audit_beside.log_of` and `read_log`.
    """
    for which, policy in _logs(path, beside):
        if not any(os.path.lexists(policy.parent / name) for name in (FOLDER, SECRET)):
            continue
        entries = read_log(log_of(policy).folder).entries
        last = next((e for e in reversed(entries) if e.kind == LEDGER and e.facts["which"] == which), None)
        if last is not None and (changes < last.facts["changes"] or not same(last.facts)):
            raise StorageError(
                f"{what} {path} is an older one, or another: entry {last.number} of the audit log beside {policy} names "
                f"{last.facts['changes']} changes, {changes} are in it. What was counted since would be forgotten. Bring back "
                "the latest"
            )


def tell(path: Path, changes: int, facts: Mapping[str, Any], beside: Names = ()) -> None:
    """Write how far a ledger is, which is on the disk, into the log of every policy beside it. facts: what `same` compares.

    Raises as `AuditLog.append`: what cannot be logged is not done.
    """
    for which, policy in _logs(path, beside):
        log_of(policy).append(LEDGER, {"which": which, "changes": changes, **facts})


def known(path: Path, beside: Names = ()) -> bool:
    """Whether a log names a ledger in this place. Raises as `refuse_older`."""
    try:
        refuse_older(path, -1, lambda _: True, beside)
    except StorageError:
        return True
    return False


def _logs(path: Path, beside: Names) -> Iterator[tuple[str, Path]]:
    """What the ledger is called in each log, a digest of where it lies from there, and the policy."""
    real = os.path.realpath(path)
    for policy in policy_file.beside([path, *beside]):
        place = os.path.relpath(real, os.path.realpath(policy.parent))
        yield sha256(b"ledger", os.fsencode(place)), policy
