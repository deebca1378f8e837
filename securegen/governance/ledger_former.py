"""Ledgers of format 2, which were JSON text: read, and written again in the form of `ledger_format` with the next change."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import StorageError
from securegen.governance.ledger import PERSON_BYTES, Entries, Products, padded
from securegen.governance.ledger_format import RELEASES, STUDIES, read_beside
from securegen.governance.leverage import narrow
from securegen.governance.policy import PIN
from securegen.io.schema import hex_text, integer, list_of, one_of, record, text
from securegen.io.strict_json import parse_json

_FORMAT = "securegen ledger 2"
_MOST = 1 << 30
_CONTENT = record(
    format=text(32),
    people=list_of(hex_text(PERSON_BYTES), 0, 1 << 24),
    spent=list_of(integer(0, 1 << 24), 0, 1 << 24),
    charged=list_of(hex_text(32), 0, 1 << 20),
    sets=list_of(record(what=text(400), members=text(1 << 24)), 0, 1 << 16),
    studies=STUDIES,
    columns=list_of(
        record(members=list_of(integer(0, 1 << 24), 1, 1 << 24), bits=one_of(32, 64), values=text(1 << 29)), 0, 1 << 16
    ),
    may_have={
        "products": list_of(record(what=text(400), mark=hex_text(32), members=text(1 << 24)), 0, 1 << 16),
        "releases": RELEASES,
        "policy": PIN,
        "register": record(lines=integer(1, 1 << 40), mark=hex_text(PERSON_BYTES)),
    },
)
_FILE = record(content=text(_MOST, printable=False), hmac=hex_text(32), may_have={"changes": integer(1, 1 << 60)})


def read_former(raw: bytes, key: bytes, path: Path) -> Entries:
    """The entries of a file of format 2. Raises StorageError for another one, or one that was altered."""
    entries = Entries(key)
    held: dict[str, Any] = parse_json(raw, f"{path}, a ledger,", _FILE, error=StorageError)
    entries.changes = held.get("changes") or 0  # 0 in a ledger from before changes were counted
    content = held["content"]
    marked = f"{entries.changes} {content}" if entries.changes else content
    if not hmac.compare_digest(entries.mark("ledger", marked.encode()), held["hmac"]):
        raise StorageError(f"{path} was altered or belongs to another key: bring it back from a backup")
    value = parse_json(content, f"{path}, a ledger,", _CONTENT, error=StorageError)
    other = StorageError(f"{path} is not a ledger of this version")
    if value["format"] != _FORMAT or len(value["spent"]) != len(value["people"]):
        raise other
    try:
        _fill(entries, value)
    except ValueError:  # not hexadecimal, or of other people than it says
        raise other from None
    return entries


def _fill(entries: Entries, value: dict[str, Any]) -> None:
    entries.people = {p: i for i, p in enumerate(value["people"])}
    entries.spent, entries.charged = np.array(value["spent"], np.int64), value["charged"]
    size = len(entries.spent)
    entries.sets = [(item["what"], _unpacked(item["members"], size)) for item in value["sets"]]
    entries.products = [
        Products(item["what"], item["mark"], _unpacked(item["members"], size)) for item in value.get("products", ())
    ]
    for item in value["columns"]:
        people = np.array(item["members"], np.int64)
        values = np.frombuffer(bytes.fromhex(item["values"]), f"<i{item['bits'] // 8}").reshape(len(people), -1)
        if max(item["members"]) >= size:
            raise ValueError
        order = np.argsort(people)
        entries.columns.append((people[order], narrow(values[order])))
    read_beside(entries, value)


def _unpacked(members: str, people: int) -> np.ndarray:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(members), np.uint8), bitorder="little").astype(bool)
    return padded(bits[:people], people)
