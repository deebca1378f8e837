"""The bytes of a ledger of people: records of fixed size after a header, so that half a million people are read at once.

A magic line, the number of changes, the length of a header and the header, JSON; then for each id the HMAC and the person's
place, for each person the columns spent, for each print of genotypes the place and 2 bytes a band, the marks of columns, for each
set and product one bit per person, for each group of columns one bit per person and the values of those who are in it; last an
HMAC-SHA256 over all. Integers are little-endian. What is read is checked against that HMAC first, and its length against the
header then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from securegen.errors import StorageError
from securegen.governance.fingerprint import MOST_BANDS, VARIANTS
from securegen.governance.ledger import PERSON_BYTES, Entries, Products, padded
from securegen.governance.pin import LedgerPlace
from securegen.governance.policy import PIN
from securegen.governance.same_people import Prints
from securegen.governance.site_sets import StudySites
from securegen.io.schema import boolean, hex_text, integer, list_of, one_of, record, text
from securegen.io.strict_json import parse_json

MAGIC = b"securegen ledger 3\n"
MOST_BYTES = 1 << 29
_COUNTS = len(MAGIC) + 8 + 4
_HMAC, _MARK = 32, 32
STUDIES = list_of(
    record(
        what=text(100),
        sites=list_of(text(200), 1, 128),
        may_have={
            "own": text(64),
            "agreed": list_of(text(64), 0, 128),
            "begun": boolean,
            "unsummed": list_of(text(64), 0, 128),
        },
    ),
    0,
    1 << 16,
)
RELEASES = list_of(record(request=hex_text(32), day=text(10, least=10)), 0, 1 << 20)
_HEADER = record(
    people=integer(0, 1 << 24),
    names=integer(0, 1 << 24),
    prints=integer(0, 1 << 24),
    bands=list_of(list_of(text(400), VARIANTS, VARIANTS), 0, MOST_BANDS),
    charged=integer(0, 1 << 20),
    sets=list_of(text(400), 0, 1 << 16),
    products=list_of(record(what=text(400), mark=hex_text(32)), 0, 1 << 16),
    columns=list_of(
        record(people=integer(1, 1 << 24), columns=integer(1, 1 << 20), width=one_of(1, 2, 4, 8)), 0, 1 << 16
    ),
    studies=STUDIES,
    releases=RELEASES,
    may_have={
        "policy": PIN,
        "registers": list_of(text(4096, least=1), 1, 256),
        "witnesses": list_of(
            record(register=text(4096, least=1), lines=integer(0, 1 << 40), mark=text(2 * PERSON_BYTES)), 1, 256
        ),
        "register": record(lines=integer(1, 1 << 40), mark=hex_text(PERSON_BYTES)),
        "place": record(
            file=integer(0, (1 << 64) - 1), machine=text(64), changes=integer(0, 1 << 60), signature=text(128)
        ),
    },
)


def pack(entries: Entries) -> list[bytes]:
    """The body: header with its length, and records. Raises StorageError where it would be too large to be read."""
    size = len(entries.spent)
    witnesses = [{"register": path, "lines": n, "mark": mark} for path, (n, mark) in entries.witnesses.items()]
    header = {
        "people": size, "names": len(entries.people), "prints": len(entries.prints.places),
        "bands": list(map(list, entries.prints.bands)), "charged": len(entries.charged),
        "sets": [what for what, _ in entries.sets],
        "products": [{"what": p.what, "mark": p.mark} for p in entries.products],
        "columns": [
            {"people": len(rows), "columns": values.shape[1], "width": values.dtype.itemsize}
            for rows, values in entries.columns
        ],
        "studies": [
            {"what": s.what, "sites": [" ".join(site) for site in s.sites], "own": s.own, "agreed": sorted(s.agreed),
             "unsummed": sorted(s.unsummed), "begun": s.begun} for s in entries.studies
        ],
        "releases": [{"request": r, "day": d} for r, d in entries.releases],
        **({"policy": entries.policy} if entries.policy else {}),
        **({"place": vars(entries.place)} if entries.place else {}),
        **({"registers": entries.registers} if entries.registers else {}),
        **({"witnesses": witnesses} if witnesses else {}),
        **({"register": dict(zip(("lines", "mark"), entries.register, strict=True))} if entries.register[0] else {}),
    }  # fmt: skip
    told = json.dumps(header, separators=(",", ":")).encode()
    out = [
        len(told).to_bytes(4, "little"), told, bytes.fromhex("".join(entries.people)),
        np.fromiter(entries.people.values(), "<u4", len(entries.people)).tobytes(),
        entries.spent.astype("<u4").tobytes(), entries.prints.places.astype("<u4").tobytes(),
        entries.prints.values.astype("<u2").tobytes(),
        bytes.fromhex("".join(entries.charged)),
        *(_packed(members, size) for _, members in entries.sets), *(_packed(p.members, size) for p in entries.products),
    ]  # fmt: skip
    for rows, values in entries.columns:
        members = np.zeros(size, bool)
        members[rows] = True
        out += [_packed(members, size), values.tobytes()]
    if sum(map(len, out)) > MOST_BYTES - 4096:
        raise StorageError(f"a ledger would pass {MOST_BYTES >> 20} MB: too many columns and people for one")
    return out


def refuse_unreadable(body: list[bytes], path: Path) -> None:
    """Raise StorageError for a body that could not be read again, so that the one before it stays."""
    try:
        parse_json(body[1], "a header", _HEADER, error=StorageError)
    except StorageError as problem:
        raise StorageError(f"{path} cannot keep what was entered, and stays as it was: {problem}") from None


def digest(body: list[bytes]) -> bytes:
    """SHA-256 of a body."""
    of = hashlib.sha256()
    for part in body:
        of.update(part)
    return of.digest()


def framed(key: bytes, body: list[bytes], changes: int) -> list[bytes]:
    """The file of a body."""
    counted = changes.to_bytes(8, "little")
    return [MAGIC, counted, *body, _sealed(key, counted, digest(body))]


def unpack(raw: memoryview, key: bytes, path: Path) -> tuple[Entries, bytes]:
    """The entries of a file, which keeps `raw`, and the digest of its body. Raises StorageError for another one, or one that
    was altered."""
    counted, found = bytes(raw[len(MAGIC) : _COUNTS - 4]), hashlib.sha256(raw[_COUNTS - 4 : -_HMAC]).digest()
    if len(raw) < _COUNTS + _HMAC or not hmac.compare_digest(_sealed(key, counted, found), raw[-_HMAC:]):
        raise StorageError(f"{path} was altered or belongs to another key: bring it back from a backup")
    header = _COUNTS + int.from_bytes(raw[_COUNTS - 4 : _COUNTS], "little")
    value: dict[str, Any] = parse_json(bytes(raw[_COUNTS:header]), f"{path}, a ledger,", _HEADER, error=StorageError)
    size, bits = value["people"], -(-value["people"] // 8)
    named, count, bands = value["names"], value["prints"], len(value["bands"])
    lengths = [named * PERSON_BYTES, named * 4, size * 4, count * 4, count * bands * 2, value["charged"] * _MARK]
    lengths += [bits] * (len(value["sets"]) + len(value["products"]))
    for item in value["columns"]:
        lengths += [bits, item["people"] * item["columns"] * item["width"]]
    if sum(lengths) != len(raw) - header - _HMAC:
        raise StorageError(f"{path} is not a ledger of this version: its header does not say how long it is")
    parts = _split(raw[header:], lengths)
    entries = Entries(key, changes=int.from_bytes(counted, "little"))
    names, places = bytes(next(parts)).hex(), np.frombuffer(next(parts), "<u4").tolist()
    entries.people = dict(zip(_cut(names, 2 * PERSON_BYTES), places, strict=True))
    entries.spent = np.frombuffer(next(parts), "<u4").astype(np.int64)
    whose = np.frombuffer(next(parts), "<u4").astype(np.int64)
    values = np.frombuffer(next(parts), "<u2").astype(np.uint16).reshape(count, bands)
    entries.prints = Prints([tuple(band) for band in value["bands"]], values, whose)
    if len(entries.people) != named or max([*places, *whose.tolist()], default=-1) >= size:
        raise StorageError(f"{path} is not a ledger of this version: it names nobody, or somebody twice")
    marks = bytes(next(parts)).hex()
    entries.charged = _cut(marks, 2 * _MARK)
    entries.sets = [(what, _unpacked(next(parts), size)) for what in value["sets"]]
    entries.products = [Products(p["what"], p["mark"], _unpacked(next(parts), size)) for p in value["products"]]
    for item in value["columns"]:
        rows = np.flatnonzero(_unpacked(next(parts), size))
        values = np.frombuffer(next(parts), f"<i{item['width']}").reshape(item["people"], item["columns"])
        if len(rows) != len(values):
            raise StorageError(f"{path} is not a ledger of this version: its columns hold other people than its header")
        entries.columns.append((rows, values))
    read_beside(entries, value)
    if value.get("place"):
        entries.place = LedgerPlace(**value["place"])
    return entries, found


def read_beside(entries: Entries, value: Mapping[str, Any]) -> None:
    """What a ledger holds beside its people, from JSON that was checked."""
    entries.registers = value.get("registers", [])
    entries.witnesses = {w["register"]: (w["lines"], w["mark"]) for w in value.get("witnesses", ())}
    if value.get("register"):
        entries.register = value["register"]["lines"], value["register"]["mark"]
    entries.studies = [_study(item) for item in value["studies"]]
    entries.releases = [(item["request"], item["day"]) for item in value.get("releases", ())]
    entries.policy = value.get("policy")


def _study(item: Mapping[str, Any]) -> StudySites:
    """A study of the file. Earlier versions wrote less: their studies count as opened, and as agreed by nobody."""
    sites = tuple((name, key) for name, _, key in (site.partition(" ") for site in item["sites"]))
    agreed = frozenset(item.get("agreed", ()))
    unsummed = frozenset(item.get("unsummed", ()))
    return StudySites(item["what"], sites, item.get("own", ""), agreed, unsummed, item.get("begun", True))


def _sealed(key: bytes, counted: bytes, body: bytes) -> bytes:
    return hmac.digest(key, b"ledger 3\0" + counted + body, "sha256")


def _cut(text: str, width: int) -> list[str]:
    return [text[i : i + width] for i in range(0, len(text), width)]


def _split(raw: memoryview, lengths: list[int]) -> Iterator[memoryview]:
    at = 0
    for length in lengths:
        yield raw[at : at + length]
        at += length


def _packed(members: np.ndarray, size: int) -> bytes:
    return np.packbits(padded(members, size), bitorder="little").tobytes()


def _unpacked(part: memoryview, size: int) -> np.ndarray:
    out: np.ndarray = np.unpackbits(np.frombuffer(part, np.uint8), count=size, bitorder="little").astype(bool)
    return out
