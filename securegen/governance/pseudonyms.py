"""Pseudonyms: ids are replaced by keyed HMACs, one key per study; only its keeper can reverse them.

A pseudonym is P and HMAC-SHA256 of an id under the key, 120 bits in base 32, of families and of people apart. It is a renaming:
equal ids have equal pseudonyms in every file, different ones different pseudonyms, so that files join as before. HMAC has no
inverse: to open a table the keeper makes the pseudonyms of a list of people again and looks them up. Who learns what: whoever
has the files and not the key learns the order of rows, families, and every column but the ids; with the key, which names of
a list are there. A key file that was rotated keeps its earlier keys, for earlier tables. No server and no other party needs it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from securegen.errors import InputError, KeyFileError, UsageError
from securegen.governance.generalise import refuse_dates, refuse_free_text
from securegen.io import envelope
from securegen.io.output import PRIVATE, atomic, make_folder, write_text
from securegen.io.tables import read_ids
from securegen.io.text import fields_of, iterate_lines
from securegen.randomness import fresh_key
from securegen.vocabulary import is_missing

Name = str | os.PathLike[str]
MAGIC: Final = "securegen pseudonym key 1"
WHAT: Final = "pseudonym key"
FAMILY, PERSON = "family", "person"
ID_COLUMNS: Final = {
    "FID": FAMILY, "FID1": FAMILY, "FID2": FAMILY, "IID": PERSON, "IID1": PERSON, "IID2": PERSON, "PAT": PERSON, "MAT": PERSON,
    "SID": PERSON,
}  # fmt: skip
_FAM: Final = (FAMILY, PERSON, PERSON, PERSON)  # of a file without a header
_UNKNOWN: Final = "0"  # plink's word for no family, no parent
_KEY_BYTES, _MARK_BYTES = 32, 15
_LOOKS: Final = re.compile("P[A-Z2-7]{24}")
Rename = Callable[[str, str, int], str]  # kind, id, line -> what stands in its place


@dataclass(frozen=True, repr=False)
class PseudonymKey(envelope.Unpicklable):
    """The keys of a study, the latest last."""

    keys: tuple[bytes, ...] = field(repr=False)

    def __repr__(self) -> str:
        return f"PseudonymKey({len(self.keys)} of {_KEY_BYTES} bytes)"

    def pseudonym(self, kind: str, name: str, key: bytes | None = None) -> str:
        """What a family or a person is called; 0 stays 0."""
        if name == _UNKNOWN:
            return name
        raw = hmac.new(key or self.keys[-1], kind.encode() + b"\0" + name.encode(), hashlib.sha256).digest()
        return "P" + base64.b32encode(raw[:_MARK_BYTES]).decode()


def make_key(path: Name, *, passphrase: bytes | None = None) -> PseudonymKey:
    """A new key in a file of its own, mode 0600. Raises StorageError where there is one, KeyFileError for a weak passphrase."""
    made = PseudonymKey((fresh_key() + fresh_key(),))
    envelope.write(os.fspath(path), MAGIC, {}, made.keys[0], passphrase=passphrase)
    return made


def read_key(path: Name, *, passphrase: bytes | None = None) -> PseudonymKey:
    """Raises KeyFileError: absent, readable by others, something else, damaged, no passphrase or a wrong one."""
    _, raw = envelope.read(os.fspath(path), MAGIC, WHAT, passphrase=passphrase)
    if not raw or len(raw) % _KEY_BYTES:
        raise KeyFileError(f"{path} is not a securegen {WHAT}, or it is damaged")
    return PseudonymKey(tuple(raw[i : i + _KEY_BYTES] for i in range(0, len(raw), _KEY_BYTES)))


def rotate(path: Name, *, passphrase: bytes | None = None) -> PseudonymKey:
    """A further key in the file, from now on the one that makes pseudonyms; the earlier ones still open theirs."""
    old = read_key(path, passphrase=passphrase)
    new = PseudonymKey((*old.keys, fresh_key() + fresh_key()))
    content = envelope.sealed(MAGIC, {}, b"".join(new.keys), passphrase, None)
    with atomic(os.path.realpath(path), mode=PRIVATE) as stream:
        stream.write(content)
    return new


def make(key: PseudonymKey, files: Sequence[Name], folder: Name) -> list[Path]:
    """Write files with pseudonyms in place of ids into a folder, under their names: .fam, and tables with a header of FID
    or IID (.psam, phenotypes, covariates). Returns their paths.

    All are read before one is written. Raises InputError for what has no ids, PolicyError for a column of whole dates or free
    text, UsageError for two files of one name, StorageError for a name that is there.
    """
    names = [Path(file).name for file in files]
    if len(set(names)) != len(names):
        raise UsageError("two files of one name: they would be one in the folder")
    texts = []
    for file in files:
        _refuse_personal(file)
        texts.append(_rewritten(file, lambda kind, name, _: key.pseudonym(kind, name)))
    make_folder(Path(folder))
    paths = [Path(folder) / name for name in names]
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text, overwrite=False)
    return paths


def open_table(key: PseudonymKey, people: Name, table: Name, out: Name) -> int:
    """Write a table of results (.sscore, .eigenvec, .kin0 …) with ids in place of pseudonyms, for its owner alone.

    people: the ids as they were: a .fam, .psam, or a list of FID IID or IID. Returns how many pseudonyms were opened. Raises
    InputError naming the line of one that is nobody's of the list under any key.
    """
    known: dict[tuple[str, str], str] = {}
    for family, person in _people(people):
        for single in key.keys:
            known[FAMILY, key.pseudonym(FAMILY, family, single)] = family
            known[PERSON, key.pseudonym(PERSON, person, single)] = person
    opened = 0

    def back(kind: str, name: str, line: int) -> str:
        nonlocal opened
        if name == _UNKNOWN:
            return name
        if (kind, name) not in known:
            raise InputError(
                f"{table}, line {line}: {name if _LOOKS.fullmatch(name) else 'an id'} is not a pseudonym of a {kind} of {people} "
                "under this key"
            )
        opened += 1
        return known[kind, name]

    write_text(os.fspath(out), _rewritten(table, back), mode=PRIVATE, overwrite=False)
    return opened


def _people(path: Name) -> Iterator[tuple[str, str]]:
    """(FID, IID) of a list, 0 for a family that it does not have."""
    text = os.fspath(path)
    if text.endswith(".fam"):
        yield from ((cells[0], cells[1]) for _, cells in _rows(text) if len(cells) > 1)
        return
    first = next((cells for _, cells in _rows(text)), [])
    if first and first[0].lstrip("#").upper() in ("FID", "IID") and len(first) > 2:  # a table with more columns
        at = {name.lstrip("#").upper(): i for i, name in enumerate(first)}
        for n, (_, cells) in enumerate(_rows(text)):
            if n:
                yield cells[at["FID"]] if "FID" in at else _UNKNOWN, cells[at["IID"]]
        return
    for ids in read_ids(text):
        yield (ids[0], ids[1]) if len(ids) == 2 else (_UNKNOWN, ids[0])


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Lines and their cells, comments (##) and empty lines left out."""
    tabs: bool | None = None
    for number, line in enumerate(iterate_lines(path), 1):
        if not line.strip() or line.startswith("##"):
            continue
        tabs = "\t" in line if tabs is None else tabs
        yield number, [cell.strip(" ") for cell in line.split("\t")] if tabs else fields_of(line)


def _kinds(path: str, first: list[str]) -> tuple[dict[int, str], bool]:
    """Which columns are ids, and whether the first line is a header."""
    names = [name.lstrip("#").upper() for name in first]
    found = {i: ID_COLUMNS[name] for i, name in enumerate(names) if name in ID_COLUMNS}
    if found and names[0] in ID_COLUMNS:
        return found, True
    if path.endswith(".fam"):
        return dict(enumerate(_FAM)), False
    raise InputError(f"{path}: neither a .fam nor a table whose header begins with FID or IID: its ids cannot be told")


def _rewritten(path: Name, rename: Rename) -> str:
    """The text of a file with other ids, tab separated."""
    text = os.fspath(path)
    out: list[str] = []
    kinds: dict[int, str] = {}
    width = 0
    for number, cells in _rows(text):
        if not width:
            kinds, header = _kinds(text, cells)
            width = len(cells)
            if header:
                out.append("\t".join(cells))
                continue
        if len(cells) != width or width <= max(kinds):
            raise InputError(f"{text}, line {number}: {len(cells)} fields, {max(width, max(kinds) + 1)} are expected")
        out.append("\t".join(rename(kinds[i], cell, number) if i in kinds else cell for i, cell in enumerate(cells)))
    if not out:
        raise InputError(f"{text} is empty")
    return "\n".join(out) + "\n"


def _refuse_personal(path: Name) -> None:
    """Raise PolicyError for a column beside the ids that names people, InputError for one that repeats ids."""
    text = os.fspath(path)
    rows = list(_rows(text))
    if not rows:
        raise InputError(f"{text} is empty")
    kinds, header = _kinds(text, rows[0][1])
    names = rows[0][1] if header else [str(i + 1) for i in range(len(rows[0][1]))]
    body = [cells for _, cells in rows[header:] if len(cells) == len(names)]
    for i, name in enumerate(names):
        if i in kinds:
            continue
        cells = np.array([row[i] for row in body], object)
        refuse_dates(text, name, cells, categories=True)
        same = [row[i] for row in body if any(_alike(row[i], row[k]) for k in kinds)]
        if 2 * len(same) > len(body) and len(set(same)) > 2:  # of a few numbers, as sex, some are anybody's
            raise InputError(f"{text}: column {name} repeats ids: leave it out")
        if not all(is_missing(cell) or _is_number(cell) for cell in cells):
            if any(not _is_number(row[i]) and row[i] in {row[k] for k in kinds} for row in body):
                raise InputError(f"{text}: column {name} repeats an id: leave it out")
            refuse_free_text(text, name, cells)


def _alike(cell: str, name: str) -> bool:
    """Whether a cell is an id, be it written as another number of that value."""
    if name == _UNKNOWN:
        return False
    return cell == name or (_is_number(cell) and _is_number(name) and float(cell) == float(name))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
