"""Signed notes of C2SP: the checkpoint of a log, its verifier key, and a proof that is checked without the log.

A checkpoint is text (the log's name, its size, its root) and a line of signature. Whoever holds one, as a receipt does, is
a witness: the log cannot lose or change what was in it, and stay consistent with it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from securegen.errors import ArtefactError
from securegen.governance.audit_tree import HASH
from securegen.governance.signing import SigningIdentity, fingerprint, verifies
from securegen.io.schema import Refused, hex_text, integer, record, shown, text

MOST_NOTE = 1 << 14
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+\x00-\x20]{1,120}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
_SIGNATURE = re.compile("— ([^\\s+]{1,120}) ([A-Za-z0-9+/]{8,}={0,2})")


@dataclass(frozen=True)
class LogKey:
    """Who signs a log's checkpoints. name: the log's; verify_key: 32 public bytes of Ed25519."""

    name: str
    verify_key: bytes

    @classmethod
    def of(cls, verify_key: bytes) -> LogKey:
        """The key of a log of this project: its name follows from the key."""
        return cls(f"securegen-audit/{hashlib.sha256(verify_key).hexdigest()[:16]}", verify_key)

    @classmethod
    def from_text(cls, line: str) -> LogKey:
        """A C2SP verifier key, `name+id+key`. Raises ArtefactError for anything else."""
        name, _, rest = line.strip().partition("+")
        mark, _, encoded = rest.partition("+")
        raw = _base64(encoded)
        if not _NAME.fullmatch(name) or raw is None or len(raw) != 33 or raw[:1] != _ED25519:
            raise ArtefactError(f"{shown(line)} is not the verifier key of a log")
        key = cls(name, raw[1:])
        if key.mark.hex() != mark:
            raise ArtefactError(f"{shown(line)}: the verifier key of a log is damaged")
        return key

    @property
    def mark(self) -> bytes:
        """The four bytes that name the key in a signature line."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.verify_key).digest()[:4]

    @property
    def fingerprint(self) -> str:
        """What people compare by telephone."""
        return fingerprint(self.verify_key)

    def to_text(self) -> str:
        return f"{self.name}+{self.mark.hex()}+{base64.b64encode(_ED25519 + self.verify_key).decode()}"


@dataclass(frozen=True)
class Checkpoint:
    """How far a log was, and what was in it: number of entries, and their root of 32 bytes.

    key: whose log; note: the signed text, where it is at hand.
    """

    size: int
    root: bytes
    key: LogKey | None = None
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """What receipts, messages and crates carry: `size`, `root` in hex, `key`, `note`."""
        key = self.key.to_text() if self.key else ""
        return {"size": self.size, "root": self.root.hex(), "key": key, "note": self.note}

    @classmethod
    def from_json(cls, value: object) -> Checkpoint:
        """A witness that was read. Raises ArtefactError: not one, or its note says something else."""
        try:
            fields = _WITNESS(value, "witness")
        except Refused as problem:
            raise ArtefactError(f"the witness of a log is damaged: {problem}") from None
        key = LogKey.from_text(fields["key"]) if fields.get("key") else None
        found = cls(fields["size"], bytes.fromhex(fields["root"]), key, fields.get("note", ""))
        if found.note:
            signed = read_checkpoint(found.note.encode(), key, "the witness of a log")
            if (signed.size, signed.root) != (found.size, found.root):
                raise ArtefactError("the witness of a log is damaged: its note says another size or root")
        return found


_WITNESS = record(
    size=integer(0, 10**18), root=hex_text(HASH),
    may_have={"key": text(400), "note": text(MOST_NOTE, printable=False)},
)  # fmt: skip


def is_witness(value: object) -> bool:
    """Whether a part of a JSON file is what `Checkpoint.to_json` writes, damaged or not."""
    return isinstance(value, dict) and {"size", "root"} <= value.keys() <= {"size", "root", "key", "note"}


def sign_checkpoint(size: int, root: bytes, identity: SigningIdentity) -> Checkpoint:
    """A checkpoint of the log whose key this is."""
    key = LogKey.of(identity.verify_key)
    body = f"{key.name}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = base64.b64encode(key.mark + identity.sign(body.encode())).decode()
    return Checkpoint(size, root, key, f"{body}\n— {key.name} {signature}\n")


def read_checkpoint(raw: bytes, key: LogKey | None, what: str) -> Checkpoint:
    """A signed checkpoint. key: whose signature it must have; None where it is not known, and nothing is verified.

    Raises ArtefactError: damaged, of another log, or not signed by the key. Signatures of others, such as of witnesses, are
    passed over.
    """
    body, lines = read_note(raw, what)
    rows = body.split("\n")[:-1]
    root = _base64(rows[2]) if len(rows) > 2 else None
    if len(rows) < 3 or not all(rows) or not _SIZE.fullmatch(rows[1]) or root is None or len(root) != HASH:
        raise ArtefactError(f"{what} is damaged: it is not a checkpoint")
    if key is not None:
        if rows[0] != key.name:
            raise ArtefactError(f"{what} belongs to another log, {shown(rows[0], 60)}; this one is {key.name}")
        signed = [s for name, s in lines if name == key.name and s[:4] == key.mark]
        if not signed or not all(verifies(key.verify_key, body.encode(), s[4:]) for s in signed):
            raise ArtefactError(f"{what} is forged or damaged: it has no valid signature of key {key.fingerprint}")
    return Checkpoint(int(rows[1]), root, key, raw.decode())


def read_note(raw: bytes, what: str) -> tuple[str, list[tuple[str, bytes]]]:
    """A note's text, and its signatures by name of key. Raises ArtefactError."""
    damaged = ArtefactError(f"{what} is damaged: it is not a signed note")
    try:
        whole = raw.decode()
    except UnicodeDecodeError:
        raise damaged from None
    body, parted, end = whole.rpartition("\n\n")
    if len(raw) > MOST_NOTE or not parted or not end.endswith("\n") or any(c < " " and c != "\n" for c in whole):
        raise damaged
    found = []
    for line in end[:-1].split("\n"):
        match = _SIGNATURE.fullmatch(line)
        signature = _base64(match[2]) if match else None
        if match is None or signature is None or len(signature) < 5:
            raise damaged
        found.append((match[1], signature))
    return body + "\n", found


@dataclass(frozen=True)
class LogProof:
    """A C2SP tlog-proof: an entry, its place, the hashes that lead to a checkpoint's root, and the checkpoint.

    extra: bytes that nothing authenticates; whoever reads them checks them against the hashes.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: str
    extra: bytes = b""

    def to_text(self) -> str:
        lines = [_PROOF, *([f"extra {base64.b64encode(self.extra).decode()}"] if self.extra else [])]
        lines += [f"index {self.index}", *(base64.b64encode(h).decode() for h in self.hashes), ""]
        return "\n".join(lines) + "\n" + self.note

    @classmethod
    def from_bytes(cls, raw: bytes, what: str) -> LogProof:
        """Raises ArtefactError for bytes that are not a proof."""
        damaged = ArtefactError(f"{what} is damaged: it is not a proof of a log")
        try:
            head, parted, note = raw.decode().partition("\n\n")
        except UnicodeDecodeError:
            raise damaged from None
        lines = head.split("\n")
        if not parted or lines.pop(0) != _PROOF or not lines:
            raise damaged
        extra: bytes | None = b""
        if lines[0].startswith("extra "):
            extra = _base64(lines.pop(0)[6:])
        word, _, number = lines.pop(0).partition(" ") if lines else ("", "", "")
        hashes = [_base64(line) for line in lines]
        kept = tuple(h for h in hashes if h is not None and len(h) == HASH)
        if (
            extra is None
            or word != "index"
            or not _SIZE.fullmatch(number)
            or len(kept) != len(hashes)
            or len(kept) > 64
        ):
            raise damaged
        return cls(int(number), kept, note, extra)


_PROOF = "c2sp.org/tlog-proof@v1"


def is_proof(raw: bytes) -> bool:
    """Whether bytes claim to be a proof."""
    return raw.startswith(_PROOF.encode())


def _base64(text: str) -> bytes | None:
    """The bytes of standard Base 64; None for text that is not, or not in its one form."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def encoded(values: Sequence[bytes]) -> list[str]:
    """Hashes as text for JSON."""
    return [v.hex() for v in values]
