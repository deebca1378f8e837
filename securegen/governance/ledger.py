"""What these people have been in before, kept by who holds their genotypes: columns, sets of samples, sets of sites.

Nobody is named: a person is HMAC-SHA256 of family and own id under the ledger's key, and digests of calls at common variants
(`fingerprint`), so that encrypting a cohort again, or naming it or its people otherwise, changes nothing. `ledger_file` keeps
it, on disk before anything is sent.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from json.encoder import encode_basestring_ascii
from typing import Any

import numpy as np

from securegen.governance.fingerprint import Fingerprints
from securegen.governance.leverage import Part, part_of, raised_leverage
from securegen.governance.openings import CONSENTED, FEWEST, OF_FEWEST, OF_SETS, SITE_SHARE, set_fault, sets_fault
from securegen.governance.pin import LedgerPlace
from securegen.governance.same_people import Prints
from securegen.governance.site_sets import ReadAlone, StudySites, alone
from securegen.model import Samples

PERSON_BYTES = 16  # of a person's HMAC that are kept


@dataclass(frozen=True)
class Products:
    """Products of genotypes that were summed. what: the study; mark: of the people and the variants; members: (people,) bool."""

    what: str
    mark: str
    members: np.ndarray


@dataclass
class Entries:
    """The ledger in memory.

    people: HMACs in hex, and places; spent: (people,) int64, columns summed with each one's genotypes; charged: marks of
    columns that are counted; sets: what for, and (people,) bool; studies: with their sites; columns: places (n,), ascending,
    and (n, J) integers that were summed with their genotypes; products: whose products of genotypes with genotypes were
    summed; register: lines of the register of consent that was last written beside this ledger, and the mark of the last of
    them; releases: digest of a request, and its day, YYYY-MM-DD; policy: the latest under which something was released, as
    `pin.Pin.to_json`; prints: of their genotypes; place: of a policy's ledger; registers: of
    consent, paths, of a policy's ledger; witnesses: how far these were; changes: of the file so far; keep: writes what
    was entered by now, for what is written after it."""

    key: bytes = field(repr=False)
    people: dict[str, int] = field(default_factory=dict)
    spent: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    charged: list[str] = field(default_factory=list)
    sets: list[tuple[str, np.ndarray]] = field(default_factory=list)
    studies: list[StudySites] = field(default_factory=list)
    columns: list[Part] = field(default_factory=list)
    products: list[Products] = field(default_factory=list)
    register: tuple[int, str] = (0, "")
    releases: list[tuple[str, str]] = field(default_factory=list)
    policy: dict[str, Any] | None = None
    prints: Prints = field(default_factory=Prints)
    place: LedgerPlace | None = None
    registers: list[str] = field(default_factory=list)
    witnesses: dict[str, tuple[int, str]] = field(default_factory=dict)
    changes: int = 0
    keep: Callable[[], None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Sets, charged columns and releases, to which is only added: how far the ledger is."""
        return len(self.sets), len(self.charged), len(self.releases)

    def digest_of(self, counts: tuple[int, int, int]) -> str | None:
        """What names the first sets, columns and releases, 64 hex digits; None where there are fewer."""
        if any(n > here for n, here in zip(counts, self.counts, strict=True)):
            return None
        sets = [
            [what, self.mark("set", np.flatnonzero(m).astype("<i8").tobytes())] for what, m in self.sets[: counts[0]]
        ]
        return self.mark("so far", json.dumps([sets, self.charged[: counts[1]], self.releases[: counts[2]]]).encode())

    def mark(self, purpose: str, data: bytes) -> str:
        """HMAC-SHA256 under the ledger's key, in hex."""
        return hmac.new(self.key, purpose.encode() + b"\0" + data, hashlib.sha256).hexdigest()

    def person(self, fid: str, iid: str) -> str:
        """What a person is called here, in hex."""
        return self._names([(fid, iid)])[0]

    def names(self, samples: Samples) -> list[str]:
        """What samples are called here."""
        return self._names(zip(map(str, samples.fid), map(str, samples.iid), strict=True))

    def _names(self, ids: Iterable[tuple[str, str]]) -> list[str]:
        """What people are called here: HMACs of the JSON list of both ids, from two states of SHA-256 that are copied."""
        padded_key = self.key.ljust(64, b"\0")
        inner, outer = (hashlib.sha256(bytes(b ^ pad for b in padded_key)) for pad in (0x36, 0x5C))
        inner.update(b"person\0")
        out, quoted, begun, ended = [], encode_basestring_ascii, inner.copy, outer.copy
        for fid, iid in ids:
            first = begun()
            first.update(f"[{quoted(fid)}, {quoted(iid)}]".encode())
            second = ended()
            second.update(first.digest())
            out.append(second.hexdigest()[: 2 * PERSON_BYTES])
        return out

    def rows(self, samples: Samples, genotypes: Fingerprints | None = None) -> np.ndarray:
        """(N,) int64: each sample's place in the ledger; new people are entered.

        genotypes: of these samples, by which people are known under other ids, and one who is there twice has one place.
        """
        names = self.names(samples)
        if genotypes is None:
            return self.places(names)
        bands, found = genotypes.prints(self.key, self.prints.bands)
        ids = np.array([self.people.get(name, -1) for name in names], np.int64)
        out, size = self.prints.resolve(ids, bands, found, len(self.spent))
        self._grow(size)
        np.maximum.at(self.spent, out[ids >= 0], self.spent[ids[ids >= 0]])
        for name, place in zip(names, out.tolist(), strict=True):
            self.people.setdefault(name, place)
        return out

    def places(self, names: Sequence[str]) -> np.ndarray:
        """As `rows`, of people by what they are called here."""
        people, new = self.people, itertools.count(len(self.spent))
        known = (found if (found := people.get(n)) is not None else people.setdefault(n, next(new)) for n in names)
        out = np.fromiter(known, np.int64, len(names))
        self._grow(next(new))
        return out

    def _grow(self, size: int) -> None:
        self.spent = np.concatenate([self.spent, np.zeros(size - len(self.spent), np.int64)])

    def set_fault(self, rows: np.ndarray, people: np.ndarray, fewest: int = FEWEST) -> str | None:
        """What is wrong with summing over a set of samples, (N,) bool, beside all sets of these people's lifetime."""
        mine = self._members(rows, people)
        for what, known in self.sets:
            fault = set_fault(mine, padded(known, len(mine)), fewest)
            if fault is not None:
                return f"{fault} (the other: {what})"
        before = [padded(members, len(mine)) for _, members in self.sets]
        if len(before) < 2 or any((b == mine).all() for b in before):
            return None
        return sets_fault(np.column_stack([*before, mine]), fewest)

    def add_set(self, what: str, rows: np.ndarray, people: np.ndarray) -> None:
        """Enter a set that will be opened, once."""
        mine = self._members(rows, people)
        if not any((padded(known, len(mine)) == mine).all() for _, known in self.sets):
            self.sets.append((what, mine))

    def _members(self, rows: np.ndarray, people: np.ndarray) -> np.ndarray:
        out = np.zeros(len(self.spent), bool)
        out[rows[people]] = True
        return out

    def charge(
        self, rows: np.ndarray, columns: np.ndarray, *, share: float = SITE_SHARE, limit: float = CONSENTED
    ) -> str | None:
        """Count and keep columns, (N, J) integers of these samples, for everybody who is in them; the same column once.

        Returns what is wrong, and counts nothing, when somebody's count would exceed `share` of them, or somebody's leverage in
        all columns of their lifetime `limit`: one value that was corrected between two studies is a column of one person.
        """
        analysed = (columns != 0).any(axis=1)
        if not analysed.any():  # nobody of this site
            return None
        marks, new = self._new(rows, columns)
        most = int(self.spent[rows[analysed]].max()) + len(new)
        if new and most > share * analysed.sum():
            return (
                f"{most} columns would have been summed with one person's genotypes; at most {share:.0%} of "
                f"{analysed.sum()} people are allowed without consent"
            )
        if not new:
            return None
        fresh = part_of(rows[analysed], columns[np.ix_(analysed, new)])
        most_of_one = raised_leverage(self.columns, fresh, len(self.spent)) if self.columns else 0.0
        if most_of_one > limit:
            return f"one person has too large a leverage in the columns of all studies; at most {limit} is allowed"
        self.columns.append(fresh)
        self.spent[fresh[0]] += len(new)
        self.charged += [marks[j] for j in new]
        return None

    def spend(self, rows: np.ndarray, columns: int) -> int:
        """Count columns of which only the number is known for these people; what the most-spent of them has then."""
        self.spent[np.unique(rows)] += columns
        return int(self.spent[rows].max(initial=0))

    def spend_once(self, what: str, rows: np.ndarray, columns: int, most: float = math.inf) -> int:
        """As `spend`; of these people and what the columns are, named by `what`, once; never beyond `most`: not at all then."""
        mark = self.mark("once", np.sort(rows).tobytes() + what.encode())
        if mark in self.charged:
            return self.spend(rows, 0)
        if (after := self.spend(rows, 0) + columns) > most:
            return after
        self.charged.append(mark)
        return self.spend(rows, columns)

    def give_back(self, what: str, rows: np.ndarray, columns: int) -> None:
        """Take back what `spend_once` counted or will count here, once: the columns themselves are known to `charge`."""
        counted, back = (self.mark(word, np.sort(rows).tobytes() + what.encode()) for word in ("once", "back"))
        if back not in self.charged:
            self.spend(rows, -columns if counted in self.charged else 0)
            self.charged += [back] if counted in self.charged else [counted, back]

    def would_spend(self, rows: np.ndarray, columns: np.ndarray) -> int:
        """The columns that the most-spent of these people would have been summed with, these among them."""
        analysed = (columns != 0).any(axis=1)
        return int(self.spent[rows[analysed]].max(initial=0)) + len(self._new(rows, columns)[1])

    def _new(self, rows: np.ndarray, columns: np.ndarray) -> tuple[list[str], list[int]]:
        """A mark of every column, and which are not counted yet."""
        order = np.argsort(rows, kind="stable")
        people, ordered = hmac.new(self.key, b"column\0" + rows[order].tobytes(), hashlib.sha256), columns[order].T
        marks, new, known = [], [], set(self.charged)
        for j, column in enumerate(ordered):
            of = people.copy()
            of.update(np.ascontiguousarray(column).tobytes())
            marks.append(of.hexdigest())
            if marks[-1] not in known:
                known.add(marks[-1])
                new.append(j)
        return marks, new

    def charge_products(
        self, what: str, rows: np.ndarray, people: np.ndarray, variants: bytes, block: int, predictors: int, *,
        share: float = SITE_SHARE, consent: bool = False,
    ) -> str | None:  # fmt: skip
        """Count, for everybody in a set of samples, (N,) bool, what a whole-genome model opens: `block` products of each
        genotype with those of its block, and `predictors` columns. Once in these people's lifetime.

        what: the study and phenotype, for whom the same again is free; variants: what tells them and their blocks. Returns what
        is wrong, and counts nothing, when anybody was in products of other variants or beside other people, which differ by
        few people (not with consent), or when somebody's count would exceed `share` of the people.
        """
        mine = self._members(rows, people)
        if not mine.any():  # nobody of this site
            return None
        mark = self.mark("products", np.flatnonzero(mine).astype("<i8").tobytes() + b"\0" + variants)
        same = [p for p in self.products if p.mark == mark]
        if any(p.what == what for p in same):
            return None
        other = (p for p in self.products if p.mark != mark and not p.what.startswith((OF_SETS, OF_FEWEST)))
        others = [p for p in other if (padded(p.members, len(mine)) & mine).any()]
        if others and not consent:
            return (
                "products of these people's genotypes were opened, of other variants or beside other people; only once is "
                f"allowed without consent (the other: {others[0].what})"
            )
        everybody = np.flatnonzero(mine)
        most = int(self.spent[everybody].max()) + predictors + (0 if same else block)
        if most > share * len(everybody):
            return (
                f"{most} columns would have been summed with one person's genotypes; at most {share:.0%} of "
                f"{len(everybody)} people are allowed without consent"
            )
        self.spent[everybody] += predictors + (0 if same else block)
        self.products.append(Products(what, mark, mine))
        return None

    def alone(self, study: StudySites) -> list[ReadAlone]:
        """Whose own sums the totals of a study would be, beside those of studies in which this site has sent a sum."""
        return alone(study, [known for known in self.studies if known.begun])

    def study(self, what: str) -> StudySites | None:
        """A study that was entered, by its digest."""
        return next((known for known in self.studies if known.what == what), None)

    def add_study(self, study: StudySites) -> None:
        """Enter the sites of a study, once: what its sites agreed to first is kept."""
        if self.study(study.what) is None:
            self.studies.append(study)

    def begin(self, what: str) -> None:
        """Say of a study that its totals may be open from now on."""
        self._change(what, begun=True)

    def unsummed(self, what: str, sites: Collection[str]) -> None:
        """Say of sites, by name, that they signed to have been in no sum of a study."""
        self._change(what, unsummed=frozenset(sites))

    def _change(self, what: str, **changes: Any) -> None:
        self.studies = [replace(known, **changes) if known.what == what else known for known in self.studies]


def padded(members: np.ndarray, size: int) -> np.ndarray:
    """(size,) bool: a set of people, and of those who came later nobody."""
    out = np.zeros(size, bool)
    out[: len(members)] = members
    return out
