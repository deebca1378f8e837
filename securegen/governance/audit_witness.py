"""What an auditor keeps outside the log: witnesses in receipts and records, the auditor's own file, and proofs.

A witness is how far a log was (`Checkpoint`). It stands in whatever the log's owner handed out; here it is found there. A
proof shows one entry, and that the log only grew since earlier checkpoints, to whoever has the log's key and no log.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError, InputError, UsageError
from securegen.governance.audit_entry import Entry, read_entry
from securegen.governance.audit_note import (
    MOST_NOTE,
    Checkpoint,
    LogKey,
    LogProof,
    is_proof,
    is_witness,
    read_checkpoint,
)
from securegen.governance.audit_tree import (
    HASH,
    consistency_proof,
    consistent,
    included,
    inclusion_proof,
    leaf_hash,
    root_of,
)
from securegen.governance.audit_verify import LogState
from securegen.governance.signing import canonical
from securegen.io.output import PRIVATE, write_json
from securegen.io.schema import anything, hex_bytes, integer, list_of, one_of, record, text
from securegen.io.strict_json import parse_json, read_regular

AUDITOR = "securegen auditor 1"
MOST_PROOF = 1 << 18
_SHOWN = record(
    entry=text(1 << 16, printable=False),
    earlier=list_of(
        record(size=integer(0, 10**18), root=hex_bytes(HASH), hashes=list_of(hex_bytes(HASH), 0, 64)), 0, 256
    ),
)
_AUDITOR = record(format=one_of(AUDITOR), seen=list_of(anything, 0, 1 << 20))


def witnesses_in(path: str | Path) -> list[Checkpoint]:
    """The witnesses of audit logs in a file: a checkpoint, a proof, a receipt or record, an auditor's file.

    Raises InputError where the file cannot be read or holds none, ArtefactError for one that is damaged.
    """
    try:
        raw = read_regular(path, "a witness of an audit log", error=InputError)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    if is_proof(raw):
        return [read_checkpoint(LogProof.from_bytes(raw, f"{path}").note.encode(), None, f"{path}")]
    if raw.lstrip()[:1] not in (b"{", b"["):
        return [read_checkpoint(raw, None, f"{path}")]
    value = parse_json(raw, f"{path}", error=InputError)
    found = [Checkpoint.from_json(part) for part in _parts(value)]
    if not found:
        raise InputError(
            f"{path} holds no witness of an audit log: it was written without a policy, or is something else"
        )
    return found


def _parts(value: Any) -> Iterator[Any]:
    """Every part of JSON that is a witness, inside the payload of a DSSE envelope too."""
    if is_witness(value):
        yield value
    elif isinstance(value, dict):
        if isinstance(value.get("payload"), str) and "payloadType" in value:
            try:
                inside = base64.b64decode(value["payload"], validate=True)
            except ValueError:  # of binascii, or of characters beyond ASCII
                raise ArtefactError("the payload of an envelope is damaged: it is not Base 64") from None
            yield from _parts(parse_json(inside, "the payload of an envelope"))
        for inner in value.values():
            yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def of_log(found: Sequence[Checkpoint], key: LogKey) -> list[Checkpoint]:
    """The witnesses of one log: a file may hold those of several owners' logs, and bare ones, which name no log.

    Raises ArtefactError where all are of other logs, and for a note that the log's key did not sign.
    """
    names = [w.key.name if w.key else w.note.partition("\n")[0] for w in found]
    own = [w for w, name in zip(found, names, strict=True) if name in ("", key.name)]
    if found and not own:
        raise ArtefactError(
            f"the witness belongs to another log, {names[0][:60]}: this one, {key.name}, may have been made anew"
        )
    for witness in own:
        if witness.note:
            read_checkpoint(witness.note.encode(), key, "the witness")
    return own


def remembered(path: str | Path) -> list[Checkpoint]:
    """What an auditor's file has seen, nothing where there is none yet. Raises InputError, ArtefactError."""
    try:
        raw = read_regular(path, "an auditor's file", error=InputError)
    except FileNotFoundError:
        return []
    seen = parse_json(raw, f"{path}, an auditor's file,", _AUDITOR, error=InputError)["seen"]
    return [Checkpoint.from_json(w) for w in seen]


def remember(path: str | Path, state: LogState) -> None:
    """Add a checked log's checkpoint to an auditor's file, mode 0600, made when absent. Raises StorageError, InputError."""
    kept = [w.to_json() for w in remembered(path)]
    if (now := state.checkpoint.to_json()) not in kept:
        write_json(path, {"format": AUDITOR, "seen": [*kept, now]}, mode=PRIVATE)


def prove(state: LogState, number: int, *, sizes: Sequence[int] = (), seen: Sequence[Checkpoint] = ()) -> LogProof:
    """That an entry is in a log, and that the log only grew since it had `sizes` entries, or since witnesses.

    Raises UsageError for an entry or a size that the checkpoint does not have.
    """
    size = state.checkpoint.size
    if not 0 <= number < size:
        raise UsageError(f"the log's checkpoint has entries 0 to {size - 1}: there is no entry {number} to prove")
    earlier = []
    for wanted in sorted({*sizes, *(w.size for w in seen)}):
        if not 0 <= wanted <= size:
            raise UsageError(f"the log has {size} entries: it cannot have grown from {wanted}")
        hashes = [h.hex() for h in consistency_proof(state.leaves, wanted)]
        earlier.append({"size": wanted, "root": root_of(state.leaves[:wanted]).hex(), "hashes": hashes})
    extra = canonical({"entry": state.entries[number].line.decode(), "earlier": earlier})
    return LogProof(number, tuple(inclusion_proof(state.leaves, number)), state.checkpoint.note, extra)


def read_proof(raw: bytes, what: str, *, key: LogKey, seen: Sequence[Checkpoint] = ()) -> tuple[Entry, Checkpoint]:
    """The entry that a proof shows, and the checkpoint that it is in. key: the log's; seen: witnesses to compare with.

    Raises ArtefactError where the proof does not show it, is not of this log, or the log is not the one a witness saw.
    """
    if len(raw) > MOST_PROOF:
        raise ArtefactError(f"{what} has {len(raw)} bytes: too large to be a proof of a log")
    proof = LogProof.from_bytes(raw, what)
    signed = read_checkpoint(proof.note.encode()[: MOST_NOTE + 1], key, f"the checkpoint in {what}")
    shown = parse_json(proof.extra, what, _SHOWN)
    entry = read_entry(shown["entry"].encode(), f"the entry in {what}")
    if entry.number != proof.index:
        raise ArtefactError(f"{what} was altered: it shows entry {entry.number} at place {proof.index}")
    if not included(leaf_hash(entry.line), proof.index, signed.size, proof.hashes, signed.root):
        raise ArtefactError(f"{what} was altered: entry {proof.index} is not in the checkpoint")
    earlier = {e["size"]: e for e in shown["earlier"]}
    for e in shown["earlier"]:
        if not consistent(e["size"], signed.size, e["root"], signed.root, e["hashes"]):
            raise ArtefactError(f"{what} was altered: the log did not grow from its {e['size']} entries")
    for witness in seen:
        if witness.key is not None and witness.key != key:
            raise ArtefactError(f"{what} has key {key.fingerprint}, the witness {witness.key.fingerprint}")
        known = signed.root if witness.size == signed.size else earlier.get(witness.size, {}).get("root")
        if known is None and witness.size > signed.size:
            raise ArtefactError(f"{what} is older than the witness: {signed.size} entries, {witness.size} were seen")
        if known is None:
            raise ArtefactError(
                f"{what} says nothing of {witness.size} entries: ask for a proof with --from {witness.size}"
            )
        if known != witness.root:
            raise ArtefactError(
                f"{what} belongs to another log than the witness saw: its first {witness.size} entries differ"
            )
    return entry, signed
