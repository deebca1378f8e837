"""Sign the receipt of a finished run, show it, and verify it with the files beside it, from Python as from the command line.

    >>> import securegen as sg, tempfile
    >>> from securegen.governance.signing import generate
    >>> folder, analyst = tempfile.TemporaryDirectory(), generate()
    >>> study = sg.open_study("examples/cohort", pheno="examples/cohort.pheno.tsv", pheno_name="QT", chr="1", to_bp=400_000)
    >>> _ = sg.run(study, out=f"{folder.name}/a", sign=analyst)
    >>> sg.receipt.verify(f"{folder.name}/a", key=analyst.verify_key)
    SignedReceipt(a, 1 file, 1 signature)
    >>> folder.cleanup()

Whoever signs says: these files were written by this run. A signature does not make them right, and whoever has the key can
sign other ones.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any

from securegen.errors import ArtefactError, InputError, UsageError
from securegen.governance.dsse import MOST_BYTES, Envelope
from securegen.governance.signing import (
    SigningIdentity,
    fingerprint,
    read_fingerprint,
    read_identity,
    read_verify_key,
)
from securegen.io.output import write_text
from securegen.io.secret_files import is_secret
from securegen.io.store_urls import is_url
from securegen.io.strict_json import open_regular, parse_json, read_regular
from securegen.record.run_log import read_records
from securegen.record.statement import PAYLOAD, RunStatement, names, record_digest, statement_of

ENDING = ".receipt.json"
_NO_RESULTS = ("log", "run.json", "lock", "receipt.json")
Where = str | os.PathLike[str]
Key = Where | bytes


@dataclass(frozen=True, repr=False)
class SignedReceipt:
    """path: of the file; statement: what it says; signers: fingerprints of keys whose signatures are right, of which only
    those that were named are known to be somebody's; beside: files of the prefix that the receipt does not name."""

    path: str
    statement: RunStatement
    signers: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        files, signed = len(self.statement.subjects), len(self.signers)
        return f"SignedReceipt({self.statement.run}, {files} file{'s' * (files != 1)}, {signed} signature{'s' * (signed != 1)})"


def sign(prefix: Where, key: Where | SigningIdentity, *, passphrase: bytes | None = None) -> SignedReceipt:
    """Write PREFIX.receipt.json of a finished run, or add a signature to the one that is there.

    prefix: what the run was given as out; key: a signing key, or the file of one. A receipt that is there is first held
    against the files. Raises InputError where there is no run, ArtefactError where files are not as the receipt says.
    """
    where, identity = _prefix(prefix), _identity(key, passphrase)
    if not os.path.lexists(where + ENDING):
        return write_receipt(where, identity)
    envelope, statement = _read(where)
    _compare(where, statement)
    return _write(where, envelope.signed_by(identity), statement)


def write_receipt(prefix: Where, key: Where | SigningIdentity) -> SignedReceipt:
    """Write PREFIX.receipt.json of the run that has just ended, in place of one of an earlier run. Raises as `sign`."""
    where, identity = _prefix(prefix), _identity(key, None)
    record = records_as_signed(where)[0]
    statement = statement_of(where, record, _digests(where, record))
    return _write(where, Envelope(PAYLOAD, statement.to_bytes()).signed_by(identity), statement)


def show(path: Where) -> SignedReceipt:
    """What a receipt says. path: its file, or the run's prefix. Nothing is verified but its form; `signers` are whoever made
    the signatures. Raises InputError where there is none, ArtefactError for anything else."""
    where = _prefix(path)
    envelope, statement = _read(where)
    return SignedReceipt(where + ENDING, statement, tuple(sorted(map(fingerprint, envelope.named()))))


def verify(path: Where, *, key: Key | Sequence[Key] = (), fingerprint: str | Sequence[str] = ()) -> SignedReceipt:
    """Check the signatures of a receipt, and the files beside it.

    path: the receipt, or the run's prefix; key: verify keys (files, or 32 bytes) that must have signed; fingerprint: those of
    keys that must have signed, as heard from their owners. All that are named must have. Raises UsageError where none is,
    ArtefactError naming the signer that is absent, or every file and record that is not as signed.
    """
    keys = [key] if isinstance(key, str | os.PathLike | bytes) else list(key)
    marks = [read_fingerprint(f) for f in ([fingerprint] if isinstance(fingerprint, str) else fingerprint)]
    if not keys and not marks:
        raise UsageError(
            "anybody can sign a receipt: name who must have signed it, by `key` (a verify key) or `fingerprint`"
        )
    where = _prefix(path)
    raw = [k if isinstance(k, bytes) else read_verify_key(os.fspath(k)) for k in keys]
    envelope = _envelope(where)
    right = envelope.require(raw, marks, where + ENDING)
    statement = _statement(where, envelope)
    _compare(where, statement)
    return SignedReceipt(where + ENDING, statement, _marks(right), _beside(where, statement))


def check_files(prefix: Where) -> None:
    """Hold the files beside a receipt against it, whoever signed it. Raises as `verify`."""
    where = _prefix(prefix)
    _compare(where, _read(where)[1])


def planned(prefix: Where) -> str:
    """The file that `sign` writes."""
    return _prefix(prefix) + ENDING


def _marks(keys: frozenset[bytes]) -> tuple[str, ...]:
    return tuple(sorted(fingerprint(k) for k in keys))


def _prefix(path: Where) -> str:
    return os.fspath(path).removesuffix(ENDING).removesuffix(".run.json")


def _identity(key: Where | SigningIdentity, passphrase: bytes | None) -> SigningIdentity:
    return key if isinstance(key, SigningIdentity) else read_identity(os.fspath(key), passphrase=passphrase)


def _read(where: str) -> tuple[Envelope, RunStatement]:
    envelope = _envelope(where)
    return envelope, _statement(where, envelope)


def _envelope(where: str) -> Envelope:
    path = where + ENDING
    try:
        raw = read_regular(path, "a signed receipt", most=2 * MOST_BYTES)
    except FileNotFoundError:
        raise InputError(f"there is no {path}: a run with `sign`, or securegen receipt sign, writes it") from None
    envelope = Envelope.from_bytes(raw, f"{path}, a signed receipt,")
    if envelope.payload_type != PAYLOAD:
        raise ArtefactError(f"{path} is not a receipt: its payload is {envelope.payload_type[:80]!r}, not {PAYLOAD}")
    return envelope


def _statement(where: str, envelope: Envelope) -> RunStatement:
    statement = RunStatement.from_bytes(envelope.payload, f"{where}{ENDING}, a signed receipt,")
    if statement.run != Path(where).name:
        raise ArtefactError(f"{where}{ENDING} is the receipt of run {statement.run!r}, not of {Path(where).name!r}")
    return statement


def records_as_signed(where: str) -> list[dict[str, Any]]:
    """The records of PREFIX.run.json as they stand there, the last run first. Raises InputError."""
    path = f"{where}.run.json"
    try:
        read_records(path)
        value: dict[str, Any] = parse_json(read_regular(path, "the record of a run", error=InputError), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name what a finished run was given as --out") from None
    earlier = value.pop("earlier", [])
    return [value, *earlier]


def _digests(where: str, record: dict[str, Any]) -> dict[str, str]:
    """Name and SHA-256 of every file that a run wrote beside its record: of a folder its manifest, or all its files. What it
    wrote into a store stands in the record itself (`stored`)."""
    folder, out = Path(where).parent, {}
    for name in sorted({Path(str(p)).name for p in record.get("outputs") or () if not is_url(str(p))}):
        path = folder / name
        found = [path]
        if os.path.isdir(path):
            manifest = path / "manifest.json"
            found = [manifest] if manifest.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in found:
            told = file.relative_to(folder).as_posix()
            digest = _sha256(folder / told, told)
            if digest is None:
                raise InputError(f"{file} is gone: the record {where}.run.json says that the run wrote it")
            if not is_secret(file):
                out[told] = digest
    return out


def _sha256(path: Path, what: str) -> str | None:
    """None for a file that is not there. Raises ArtefactError for what is not a regular file."""
    h = hashlib.sha256()
    try:
        with open_regular(path, f"the file {what} of a receipt") as (stream, _):
            while part := stream.read(1 << 20):
                h.update(part)
    except FileNotFoundError:
        return None
    return h.hexdigest()


def _compare(where: str, statement: RunStatement) -> None:
    """Raise ArtefactError naming every file that is not as signed, and the record where it is another run's."""
    changed, absent = [], []
    for name, digest in sorted(statement.subjects.items()):
        found = _sha256(Path(where).parent / name, name)
        if found is None:
            absent.append(name)
        elif found != digest:
            changed.append(name)
    wrong = [f"changed since they were signed: {names(changed)}"] if changed else []
    wrong += [f"not there: {names(absent)}"] if absent else []
    wanted = statement.predicate["record"]["sha256"]
    try:
        held = wanted in map(record_digest, records_as_signed(where))
    except InputError:
        held = False
    if not held:
        wrong.append(f"{Path(where).name}.run.json has no record of the run that was signed")
    if wrong:
        raise ArtefactError(f"{where}{ENDING} is not of the files beside it: {'; '.join(wrong)}")


def _beside(where: str, statement: RunStatement) -> tuple[str, ...]:
    """Files PREFIX.* that the receipt says nothing of."""
    base = Path(where).name
    known = {name.split("/")[0] for name in statement.subjects} | {f"{base}.{word}" for word in _NO_RESULTS}
    return tuple(sorted(p.name for p in Path(where).parent.glob(f"{escape(base)}.*") if p.name not in known))


def _write(where: str, envelope: Envelope, statement: RunStatement) -> SignedReceipt:
    write_text(where + ENDING, envelope.to_bytes().decode())
    return SignedReceipt(where + ENDING, statement, _marks(envelope.named()), ())
