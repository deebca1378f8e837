"""Where a policy's ledger is kept, so that a copy of it has no budget of its own until the steward signs it over.

A place is the file number of the ledger's lock, which a copy and a restored backup have anew, and the machine, an HMAC under the
ledger's key of /etc/machine-id. Containers have no machine of their own, or a new one with every start: there the file
number alone tells, which a mounted folder keeps. A renamed or moved folder is the same place. Whoever holds the ledger's key can
write any ledger: for the holder of the data it is a record and a brake.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from securegen.errors import PolicyError, StorageError
from securegen.governance import audit_ledger
from securegen.governance.ledger import Entries
from securegen.governance.ledger_file import open_ledger
from securegen.governance.pin import LedgerPlace
from securegen.governance.policy import Policy
from securegen.governance.signing import SigningIdentity, canonical, verifies

_DOMAIN = b"securegen place of a ledger\0"
_MACHINE: Final = Path("/etc/machine-id")
_CONTAINERS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))


def settle(entries: Entries, path: Path, policy: Policy) -> None:
    """Enter where a ledger is, the first time. Raises StorageError where it is a copy, or was signed over by nobody."""
    if not os.path.lexists(_lock(path)):  # there is none yet, and nothing is entered
        return
    here, kept = _here(entries, path, entries.changes), entries.place
    if kept is None:
        entries.place = here
        return
    moved = kept.file != here.file or (kept.machine and here.machine and kept.machine != here.machine)
    if moved:
        raise StorageError(
            f"{path} is a copy, or was brought back: its lock is another file, or this another machine, than where it was kept "
            f"({kept.changes} changes or more). What is spent in two copies is spent twice. If no other is in use, the "
            "steward signs it over to this place: securegen policy sign policy.toml --key FILE --ledger-here. Of a copy, "
            "work where the first one is"
        )
    if kept.signature and not verifies(
        bytes.fromhex(policy.steward), _told(entries, kept), bytes.fromhex(kept.signature)
    ):
        raise StorageError(f"{path} was signed over to this place by another key than the steward's")


def sign_over(path: Path, policy: Policy, steward: SigningIdentity) -> None:
    """Say that the ledger at `path` is the one to go on with, where it lies now; the audit log names how far it is.

    Raises PolicyError for another key than the steward's, StorageError where no ledger is there.
    """
    if steward.verify_key.hex() != policy.steward:
        raise PolicyError("policy.steward: only the steward of a policy signs its ledger over")
    if not os.path.lexists(path):
        raise StorageError(f"there is no ledger {path} to sign over; the first release makes one")
    with open_ledger(path, audited=False) as entries:
        place = _here(entries, path, entries.changes + 1)
        signature = steward.sign(_told(entries, place))
        entries.place = LedgerPlace(place.file, place.machine, place.changes, signature.hex())
        entries.keep()
        audit_ledger.tell(path, entries.changes, {"whole": entries.mark("place", _told(entries, place))})


def _told(entries: Entries, place: LedgerPlace) -> bytes:
    told = {
        "ledger": entries.mark("ledger", b""),
        "file": place.file,
        "machine": place.machine,
        "changes": place.changes,
    }
    return _DOMAIN + canonical(told)


def _lock(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _here(entries: Entries, path: Path, changes: int) -> LedgerPlace:
    return LedgerPlace(os.stat(_lock(path), follow_symlinks=False).st_ino, _machine(entries), changes)


def _machine(entries: Entries) -> str:
    """64 hex digits, "" where there is no machine that stays."""
    if any(os.path.lexists(path) for path in _CONTAINERS):
        return ""
    try:
        text = _MACHINE.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return entries.mark("machine", text.encode()) if re.fullmatch("[0-9a-f]{32}", text) else ""


def refuse_second(folder: Path, others: Iterable[Path]) -> None:
    """Raise PolicyError where a ledger of the same policy lies elsewhere, beside other files of the run."""
    for other in others:
        if os.path.lexists(other):
            raise PolicyError(
                f"policy.file: {folder} and {other.parent} both have this policy, and {other} knows what was released already: "
                "keep the policy, and the data, in one of them"
            )
