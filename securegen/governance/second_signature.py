"""A second person's signature on one request: made for its digest, checked against the policy's identities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from securegen.errors import PolicyError
from securegen.governance.door import Request
from securegen.governance.signing import SigningIdentity, verifies
from securegen.io.output import FOR_OTHERS, write_json
from securegen.io.schema import hex_bytes, hex_text, one_of, record
from securegen.io.strict_json import read_json

MAGIC = "securegen second signature 1"
DOMAIN = b"securegen second signature"
_FILE = record(magic=one_of(MAGIC), request=hex_text(32), key=hex_bytes(32), signature=hex_bytes(64))


def countersign(path: str | Path, request: str, key: SigningIdentity) -> None:
    """Write a second signature on the request of this digest, 64 hex digits. Raises PolicyError for other text, StorageError
    where a file is there."""
    try:
        digest = hex_text(32)(request, "request")
    except ValueError as error:
        raise PolicyError(f"policy.second_signature: {error}") from None
    made = {
        "magic": MAGIC, "request": digest, "key": key.verify_key.hex(),
        "signature": key.sign(DOMAIN + bytes.fromhex(digest)).hex(),
    }  # fmt: skip
    write_json(path, made, mode=FOR_OTHERS, overwrite=False)


def who_signed(request: Request, files: Sequence[str]) -> tuple[str, ...]:
    """Names of the identities whose signature on this request is in one of the files. Raises PolicyError for a file that is no
    second signature or is false; one on another request counts for nothing."""
    names = set()
    for path in files:
        try:
            found = read_json(path, "a second signature", _FILE, most=1 << 12, error=PolicyError)
        except FileNotFoundError:
            raise PolicyError(f"policy.second_signature: there is no {path}") from None
        if not verifies(found["key"], DOMAIN + bytes.fromhex(found["request"]), found["signature"]):
            raise PolicyError(f"policy.second_signature: {path} was altered")
        who = request.policy.identity(found["key"].hex())
        if who is not None and found["request"] == request.digest:
            names.add(who.name)
    return tuple(sorted(names))
