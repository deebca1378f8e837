"""What an owner, a steward and an auditor do with an audit log, from Python as from the command line.

    >>> import securegen as sg
    >>> log = sg.audit.log_beside("cohort.bed")      # None without a policy.toml beside it

An auditor needs the folder alone, or a proof and the log's key; the log's secret stays with its owner.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from securegen.errors import ArtefactError, InputError, StorageError, UsageError
from securegen.governance import audit_witness
from securegen.governance.audit_alerts import RULES, Alert, AlertRule, read_rules, rules_of, unusual
from securegen.governance.audit_beside import FOLDER, log_beside, log_of, make_log, record
from securegen.governance.audit_entry import KINDS, Entry, moment
from securegen.governance.audit_folder import CHECKPOINT, KEY, LogFolder
from securegen.governance.audit_log import AuditLog
from securegen.governance.audit_note import Checkpoint, LogKey, is_proof
from securegen.governance.audit_tree import WIDTH, Frontier, tile_path
from securegen.governance.audit_verify import LogState, read_log
from securegen.governance.policy_file import POLICY, read_policy
from securegen.governance.signing import read_fingerprint
from securegen.io.output import FOLDER_FOR_OTHERS, FOR_OTHERS, atomic, make_folder, write_text
from securegen.io.strict_json import read_regular

__all__ = [
    "AuditLog", "Checkpoint", "Entry", "LogState", "ShownEntry", "alerts", "export_tiles", "log_beside", "log_of", "make_log",
    "prove", "record", "rules_for", "verify", "verify_proof",
]  # fmt: skip


_CLOCKS_APART = datetime.timedelta(minutes=10)


@dataclass(frozen=True)
class ShownEntry:
    """What a proof shows. entry: as it stands in the log; checkpoint: signed size and root of the log that it is in;
    witnesses: how many earlier checkpoints the log grew from."""

    entry: Entry
    checkpoint: Checkpoint
    witnesses: int


def folder_of(path: str | Path) -> Path:
    """The folder of a log: the path, or `audit` in it."""
    path = Path(path)
    inside = path / FOLDER
    return inside if not os.path.lexists(path / CHECKPOINT) and os.path.lexists(inside) else path


def is_proof_file(path: str | Path) -> bool:
    """Whether a path is a proof, rather than a log's folder. Raises InputError where it cannot be read."""
    if os.path.isdir(path):
        return False
    try:
        return is_proof(read_regular(path, "a proof", most=audit_witness.MOST_PROOF, error=InputError))
    except FileNotFoundError:
        return False


def key_in(given: str | Path) -> LogKey:
    """A log's verifier key, from text or from a file, such as `key` in the log's folder. Raises InputError, ArtefactError."""
    text = os.fspath(given)
    if text.count("+") >= 2 and not os.path.exists(text):
        return LogKey.from_text(text)
    try:
        return LogKey.from_text(
            read_regular(text, "a log's key", most=1 << 10, error=InputError).decode(errors="replace")
        )
    except FileNotFoundError:
        raise InputError(f"there is no file {text}: the key of a log is the file key in its folder") from None


def verify(
    path: str | Path, *, seen: Sequence[str | Path | Checkpoint] = (),
    auditor: str | Path | None = None, key: str | Path | None = None,
    fingerprint: str | None = None,
) -> LogState:  # fmt: skip
    """Check a whole log. path: its folder, or one that holds it as `audit`.

    seen: receipts, records, checkpoints, proofs that witnessed it; auditor: the auditor's own file, which is compared and
    then remembers this log; key, fingerprint: the log's, where they are known from elsewhere.
    Raises ArtefactError naming the fault and its place, InputError for a file that holds no witness.
    """
    folder = folder_of(path)
    wanted = None if key is None else key_in(key)
    held = LogFolder(folder).key() if os.path.isdir(folder) else None
    witnesses = _witnesses(seen, held) if held else []
    if auditor is not None and held:
        before = audit_witness.remembered(auditor)
        witnesses += audit_witness.of_log(before, held)
    mark = None if fingerprint is None else read_fingerprint(fingerprint)
    state = read_log(folder, key=wanted, seen=witnesses, fingerprint=mark)
    if auditor is not None:
        audit_witness.remember(auditor, state)
    return state


def _witnesses(seen: Sequence[str | Path | Checkpoint], key: LogKey) -> list[Checkpoint]:
    found = []
    for one in seen:
        held = [one] if isinstance(one, Checkpoint) else audit_witness.witnesses_in(one)
        found += audit_witness.of_log(held, key)
    return found


def verify_proof(
    path: str | Path, *, seen: Sequence[str | Path | Checkpoint] = (),
    key: str | Path | None = None,
) -> ShownEntry:  # fmt: skip
    """Check a proof without the log. key: the log's, as text or file; without it, that of a witness.

    Raises ArtefactError where it does not show its entry, UsageError where no key is known.
    """
    raw = read_regular(path, "a proof", most=audit_witness.MOST_PROOF)
    if key is not None:
        known = key_in(key)
    else:
        kept = [w for one in seen for w in ([one] if isinstance(one, Checkpoint) else audit_witness.witnesses_in(one))]
        keys = [w.key for w in kept if w.key is not None]
        if not keys:
            raise UsageError(f"{path} does not hold the key of its log: give `key`, or a witness that names it")
        known = keys[0]
    witnesses = _witnesses(seen, known)
    entry, checkpoint = audit_witness.read_proof(raw, f"{path}", key=known, seen=witnesses)
    return ShownEntry(entry, checkpoint, len(witnesses))


def prove(
    path: str | Path, entry: int, out: str | Path, *, sizes: Sequence[int] = (),
    seen: Sequence[str | Path | Checkpoint] = (),
) -> LogState:  # fmt: skip
    """Write a proof that an entry is in the log, and that the log only grew since it had `sizes` entries or was seen.

    Raises UsageError for an entry or size that the checkpoint does not have; else as `verify`.
    """
    folder = folder_of(path)
    state = read_log(folder)
    witnesses = _witnesses(seen, state.key)
    state = read_log(folder, seen=witnesses)
    proof = audit_witness.prove(state, entry, sizes=sizes, seen=witnesses)
    write_text(out, proof.to_text(), mode=FOR_OTHERS)
    return state


def export_tiles(path: str | Path, out: str | Path) -> LogState:
    """Write a new folder in the whole layout of C2SP tlog-tiles, bundles of entries too, for a web server or other tools.

    Raises StorageError where the folder exists; else as `verify`.
    """
    state, out = read_log(folder_of(path)), Path(out)
    if os.path.lexists(out):
        raise StorageError(f"{out} exists and is not overwritten: choose another name or remove it")
    make_folder(out, FOLDER_FOR_OTHERS)
    frontier, tiles = Frontier(), []
    for leaf in state.leaves:
        tiles += frontier.add(leaf)
    for level, index, tile in [*tiles, *frontier.partial_tiles()]:
        _write(out / tile_path(level, index, len(tile) // 32), tile)
    lines = [e.line for e in state.entries[: state.checkpoint.size]]
    for start in range(0, len(lines), WIDTH):
        part = lines[start : start + WIDTH]
        bundle = b"".join(len(line).to_bytes(2, "big") + line for line in part)
        _write(out / tile_path("entries", start // WIDTH, len(part)), bundle)
    _write(out / KEY, (state.key.to_text() + "\n").encode())
    _write(out / CHECKPOINT, state.checkpoint.note.encode())
    return state


def _write(path: Path, content: bytes) -> None:
    with atomic(path, mode=FOR_OTHERS, overwrite=False) as stream:
        stream.write(content)


def alerts(log: LogState | str | Path, *, rules: str | Path | Sequence[AlertRule] | None = None) -> list[Alert]:
    """What the rules of alerts say of a log that is whole. rules: a TOML file with a table [alerts], or rules; default: those of
    the policy beside the log's folder, else `audit_alerts.RULES`. Raises InputError for another file, PolicyError for a policy
    that is not as it was signed, ArtefactError as `verify`."""
    state = log if isinstance(log, LogState) else read_log(folder_of(log))
    return unusual(state.entries, rules_for(log, rules))


def rules_for(log: LogState | str | Path, rules: str | Path | Sequence[AlertRule] | None = None) -> Sequence[AlertRule]:
    """The rules that `alerts` applies to a log. Arguments and errors as there."""
    if rules is not None:
        return read_rules(rules) if isinstance(rules, str | Path) else rules
    policy = None if isinstance(log, LogState) else folder_of(log).parent / POLICY
    return rules_of(read_policy(policy)) if policy is not None and os.path.lexists(policy) else RULES


def chosen(
    entries: Sequence[Entry], *, kind: str | None = None, last: int | None = None, since: str | None = None
) -> list[Entry]:
    """Some entries of a log. kind: of `KINDS`; since: a date or time in UTC, 2026-11-29; last: so many. Raises UsageError."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"the log has no entries of kind {kind!r}: there are {', '.join(KINDS)}")
    if since is not None:
        try:
            time.strptime(since[:10], "%Y-%m-%d")
        except ValueError:
            raise UsageError(f"{since!r} is not a date such as 2026-11-29") from None
    found = [e for e in entries if kind in (None, e.kind) and (since is None or e.at >= since)]
    return found if last is None else found[max(0, len(found) - last) :]


def told(entry: Entry) -> str:
    """An entry as one line for people."""
    facts = " ".join(f"{name}={_short(value)}" for name, value in sorted(entry.facts.items()))
    behind = f" (the clock said {entry.clock})" if entry.clock else ""
    return f"{entry.number:>6}  {entry.at}{behind}  {entry.kind:<8} {facts}"


def _short(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    text = str(value)
    return text[:16] + "…" if len(text) == 64 else text


def summary(state: LogState) -> list[str]:
    """What `verify` prints."""
    ends = f", {state.entries[0].at} to {state.entries[-1].at}" if state.entries else ""
    lines = [
        f"audit log {state.key.name}, key {state.key.fingerprint}",
        f"{len(state.entries)} entries{ends}",
        f"root {state.checkpoint.root.hex()} of {state.checkpoint.size}",
    ]
    if state.entries and (ahead := moment(state.entries[-1].at) - datetime.datetime.now(datetime.UTC)) > _CLOCKS_APART:
        lines.append(
            f"WARNING: the last entry is {ahead.total_seconds() / 3600:.1f} hours after the clock of this machine: where the log "
            "is kept a clock was set forward, or this one is behind"
        )
    if state.beyond:
        lines.append(
            f"{state.beyond} of them, signed, are not in the checkpoint: a run was killed; the next one takes them in"
        )
    if state.torn:
        lines.append(f"{state.torn} bytes of an entry that was never acknowledged: the next run drops them")
    return [*lines, state.verdict]


def require_folder(path: str | Path) -> Path:
    """The folder of a log. Raises ArtefactError where there is none."""
    folder = folder_of(path)
    if not os.path.isdir(folder):
        raise ArtefactError(f"there is no audit log {folder}")
    return folder
