"""What tells a person again whose id was changed: digests of calls at common variants, made by who holds the genotypes.

A *band* is 12 common autosomal variants of a chromosome, 14 bits or more: two people agree in it by chance once in 2^14. A
person's print in a band is AES-128 of the calls, cut to 16 bits, under a key that HMAC-SHA256 derives from the ledger's key
and the band's variants; 0 where a call is missing. Two prints are of one person if three bands or more agree, and a quarter of
those that both have: so calls that are missing or wrong, and variants that are left out, cost bands and not the match.

Which variants: those of a chromosome in the order of a public mix of chromosome and position, as many as are common, called and
not linked to those before. The ledger remembers them, so that another set of people or a thinned file is looked at in the same
places; a chromosome of which no band is whole gets bands of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from securegen.model import GenotypeReader, IntArray, Variants
from securegen.vocabulary import AUTOSOMES, canonical_chromosome

Band = tuple[str, ...]  # variants, as `names_of`

VARIANTS = 12
BITS = 14.0  # of a band, at least: Σ −log2 of the chance that two people have the same call
MOST_BANDS = 320  # of a ledger
_BANDS = 16  # of a file at least, and six a chromosome
_LOOK, _TRIES = 160, 8  # variants that are looked at together, and how often
_RARE, _MISSING, _LINKED = 0.2, 0.02, 0.3  # allele frequency at least; share of missing calls, r² at most
_PEOPLE = 2000  # by whom linkage is judged
_ABSENT = 3  # a missing call


def names_of(variants: Variants, rows: IntArray) -> list[str]:
    """Chromosome, position and both alleles in the order of their text, whichever is counted.

    >>> one = Variants(*(np.array([v], object) for v in ("chr1", 10, "rs1", "T", "A")))
    >>> names_of(one, np.array([0]))
    ['1:10:A:T']
    """
    out = []
    for i in rows.tolist():
        alleles = sorted((str(variants.effect_allele[i]), str(variants.other_allele[i])))
        out.append(":".join([canonical_chromosome(variants.chromosome[i]), str(int(variants.position[i])), *alleles]))
    return out


@dataclass(frozen=True)
class _Seen:
    """A common variant. calls: (≤ 2000,) with mean 0 and norm 1; bits: −log2 of the chance that two people have the same."""

    row: int
    calls: np.ndarray
    bits: float


class Fingerprints:
    """What tells the people of a cohort, whose genotypes are here in the clear. Its files are read forwards, a few times at most,
    when it is first asked; what was read is kept, 4 bytes per person and band."""

    def __init__(self, reader: GenotypeReader) -> None:
        self._reader = reader
        self._packed: dict[Band, tuple[np.ndarray, np.ndarray]] = {}
        self._added: dict[frozenset[int], list[Band]] = {}

    @cached_property
    def chromosome(self) -> IntArray:
        """(M,) 1 to 22, 0 for all others."""
        names = self._reader.variants.chromosome.tolist()
        number = {name: int(name) for name in AUTOSOMES}
        codes = {c: number.get(canonical_chromosome(c), 0) for c in set(names)}
        return np.array([codes[c] for c in names], np.int64)

    @cached_property
    def _place(self) -> IntArray:
        return self.chromosome << 40 | np.asarray(self._reader.variants.position, np.int64) & (1 << 40) - 1

    def prints(self, key: bytes, bands: Sequence[Band]) -> tuple[list[Band], np.ndarray]:
        """The bands of a ledger with those that this file adds, and (N, B) uint16 of these people under the ledger's key.

        Dosages count as the nearest copies. Nothing is added by rows of more than two copies.
        """
        known = list(bands)
        there = frozenset(int(self.chromosome[rows[0]]) for rows in self.rows_of(known) if rows is not None)
        if self._reader.dosage_max == 2 * self._reader.dosage_grid and len(known) < MOST_BANDS:
            if there not in self._added:
                self._added[there] = self.bands_beside(there)
            known += self._added[there][: MOST_BANDS - len(known)]
        self._read([band for band in known if band not in self._packed])
        out = np.zeros((len(self._reader.samples), len(known)), np.uint16)
        for j, band in enumerate(known):
            if band in self._packed:
                packed, missing = self._packed[band]
                out[:, j] = np.where(missing, 0, _digests(packed, _key(key, band)))
        return known, out

    def _read(self, bands: Sequence[Band]) -> None:
        """Calls of those of some bands of which this file has all variants."""
        count, places = len(self._reader.samples), list[tuple[int, int, Band]]()
        for band, rows in zip(bands, self.rows_of(bands), strict=True):
            if rows is not None:
                self._packed[band] = np.zeros(count, np.uint32), np.zeros(count, bool)
                places += [(row, k, band) for k, row in enumerate(rows.tolist())]
        places.sort()
        for row, calls in self.calls(row for row, _, _ in places):
            for _, k, band in places[bisect_left(places, (row,)) : bisect_left(places, (row + 1,))]:
                packed, missing = self._packed[band]
                packed |= calls.astype(np.uint32) << np.uint32(2 * k)
                missing |= calls == _ABSENT

    def rows_of(self, bands: Sequence[Band]) -> list[IntArray | None]:
        """Of each band the rows of its variants, None where this file lacks one."""
        parts = (name.split(":") for name in {name for band in bands for name in band})
        places = np.array([int(c) << 40 | int(p) for c, p, *_ in parts], np.int64)
        rows = np.flatnonzero(np.isin(self._place, places))
        row = dict(zip(reversed(names_of(self._reader.variants, rows)), reversed(rows.tolist()), strict=True))
        return [np.array([row[n] for n in band]) if all(n in row for n in band) else None for band in bands]

    def bands_beside(self, there: Collection[int]) -> list[Band]:
        """New bands of the chromosomes that are not in `there`; of several together where none has enough variants."""
        chromosomes = [c for c in range(1, 23) if (self.chromosome == c).any()]
        each = max(6, -(-_BANDS // max(len(chromosomes), 1)))
        found = self._choose([self.chromosome == c for c in chromosomes if c not in there], each)
        return found or ([] if there else self._choose([self.chromosome > 0], _BANDS))

    def _choose(self, groups: Sequence[np.ndarray], count: int) -> list[Band]:
        """Up to `count` bands of each group of variants, (M,) bool."""
        orders = [np.flatnonzero(among) for among in groups]
        orders = [rows[np.argsort(_mixed(self._place[rows]), kind="stable")] for rows in orders]
        taken: list[list[_Seen]] = [[] for _ in groups]
        for start in range(0, _LOOK * _TRIES, _LOOK):
            open_ = [i for i, seen in enumerate(taken) if len(seen) < count * VARIANTS]
            looked = {int(row): i for i in open_ for row in orders[i][start : start + _LOOK]}
            common = {seen.row: seen for seen in self._common(sorted(looked))}
            for i in open_:
                for row in orders[i][start : start + _LOOK].tolist():
                    new = common.get(row)
                    if new is None or len(taken[i]) == count * VARIANTS:
                        continue
                    if all(abs(new.calls @ seen.calls) <= _LINKED**0.5 for seen in taken[i]):
                        taken[i].append(new)
        bands = [seen[k : k + VARIANTS] for seen in taken for k in range(0, len(seen) - VARIANTS + 1, VARIANTS)]
        return [
            tuple(names_of(self._reader.variants, np.array([seen.row for seen in band])))
            for band in bands if sum(seen.bits for seen in band) >= BITS
        ]  # fmt: skip

    def _common(self, rows: Sequence[int]) -> Iterator[_Seen]:
        """Those of some rows, in file order, that can tell people apart."""
        for row, calls in self.calls(rows):
            counts = np.bincount(calls, minlength=4)
            called = int(counts[:3].sum())
            frequency = (counts[1] + 2 * counts[2]) / max(2 * called, 1)
            if min(frequency, 1 - frequency) < _RARE or counts[3] > _MISSING * len(calls):
                continue
            x = calls[:_PEOPLE].astype(np.float64)
            x = np.where(x == _ABSENT, 2 * frequency, x)
            x -= x.mean()
            if (norm := float(np.sqrt(x @ x))) > 0:
                yield _Seen(row, x / norm, float(-np.log2(((counts[:3] / called) ** 2).sum())))

    def calls(self, rows: Iterable[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Each row once, of rows in file order, and (N,) uint8: copies of the allele whose text comes first; 3 where missing."""
        variants, grid, last = self._reader.variants, self._reader.dosage_grid, -1
        for row in rows:
            if row == last:
                continue
            block, last = self._reader.read(row, row + 1), row
            if block.alleles is not None:
                copies = np.asarray(block.alleles[0], np.int64)
            else:
                copies = (2 * np.asarray(block.dosage[0], np.int64) + grid) // (2 * grid)
            if str(variants.effect_allele[row]) > str(variants.other_allele[row]):
                copies = 2 - copies
            out = np.clip(copies, 0, 2).astype(np.uint8)
            if block.missing is not None:
                out[block.missing[0]] = _ABSENT
            yield row, out


def _mixed(place: IntArray) -> np.ndarray:
    """A public order of places that looks like chance (the finaliser of SplitMix64)."""
    x = place.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    out: np.ndarray = x ^ (x >> np.uint64(31))
    return out


def _key(key: bytes, band: Band) -> bytes:
    return hmac.digest(key, b"band\0" + "\n".join(band).encode(), hashlib.sha256)[:16]


def _digests(calls: np.ndarray, key: bytes) -> np.ndarray:
    """(N,) uint16, never 0, of (N,) uint32 packed calls."""
    blocks = np.zeros((len(calls), 4), "<u4")
    blocks[:, 0] = calls
    out = np.frombuffer(Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(blocks.tobytes()), "<u2")
    first: np.ndarray = np.maximum(out.reshape(-1, 8)[:, 0], 1).astype(np.uint16)
    return first
