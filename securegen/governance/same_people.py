"""Which place of the ledger a person has: by genotypes first (`fingerprint`), and by id where these tell nobody else."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from securegen.governance.fingerprint import Band
from securegen.model import IntArray

_LEAST, _SHARE = 3, 4  # bands that agree, and one in so many of those that both have


def agree(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N,) bool: prints (N, B) of two, row by row, are of one person."""
    both = (first != 0) & (second != 0)
    same = (both & (first == second)).sum(axis=1)
    out: np.ndarray = (same >= _LEAST) & (_SHARE * same >= both.sum(axis=1))
    return out


def first_alike(prints: np.ndarray, known: np.ndarray) -> IntArray:
    """(N,) int64: for each of (N, B) prints the first of (R, B) known ones that is of the same person, −1 for none."""
    out = np.full(len(prints), len(known), np.int64)
    usable = np.flatnonzero(prints.any(axis=0) & known.any(axis=0))
    for pair in (usable[j : j + 2] for j in range(0, len(usable) - 1, 2)):
        mine, theirs = _together(prints[:, pair]), _together(known[:, pair])
        there = np.flatnonzero(theirs)
        if not len(there):
            continue
        order = there[np.argsort(theirs[there], kind="stable")]  # of equal prints the first place first
        values = theirs[order]
        at = np.minimum(np.searchsorted(values, mine), len(values) - 1)
        rows = np.flatnonzero((values[at] == mine) & (mine != 0))
        rows = rows[order[at[rows]] < out[rows]]
        found = order[at[rows]]
        good = agree(prints[rows], known[found])
        out[rows[good]] = found[good]
    out[out == len(known)] = -1
    return out


def _together(pair: np.ndarray) -> IntArray:
    """(N,) int64 of (N, 2) prints, 0 where one is 0: what is looked up, since one band alone is shared by many."""
    out: np.ndarray = np.where((pair != 0).all(axis=1), pair[:, 0].astype(np.int64) << 16 | pair[:, 1], 0)
    return out


@dataclass
class Prints:
    """Prints of genotypes, and whose they are. bands: their variants; values: (K, B) uint16, 0 where a call was missing or a
    file had no such band; places: (K,) int64, of people in the ledger, who may have several."""

    bands: list[Band] = field(default_factory=list)
    values: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.uint16))
    places: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    def resolve(self, ids: IntArray, bands: list[Band], found: np.ndarray, people: int) -> tuple[IntArray, int]:
        """Places of samples, (N,) int64, and how many people there are then; their prints are kept.

        ids: (N,) the place of the id, -1 where it is new; bands: those of here, and more; found: (N, B) their prints; people: of
        the ledger so far. Who has the genotypes of a known person is that person, whatever the id; an id holds where
        genotypes tell nobody else; new people who are alike are one.
        """
        self.bands = bands
        self.values = np.pad(self.values, ((0, 0), (0, len(bands) - self.values.shape[1])))
        first = np.full(people + 1, -1, np.int64)  # of each place its first print; of the place -1 none
        first[self.places[::-1]] = np.arange(len(self.places))[::-1]
        at = np.where(ids >= 0, first[ids], -1)
        same = at >= 0
        same[same] = agree(found[same], self.values[at[same]])
        rest = np.flatnonzero(~same)
        at[rest] = first_alike(found[rest], self.values)
        out = np.where(at >= 0, self.places[at] if len(self.places) else -1, ids)
        known = at >= 0
        self.values[at[known]] = np.where(self.values[at[known]] == 0, found[known], self.values[at[known]])
        new = np.flatnonzero(out < 0)
        root = first_alike(found[new], found[new])
        root = np.where(root < 0, np.arange(len(new)), root)
        while (again := root[root] != root).any():
            root[again] = root[root[again]]
        heads = root == np.arange(len(new))
        out[new] = people + (np.cumsum(heads) - 1)[root]
        added = ~known & (found != 0).any(axis=1)
        added[new[~heads]] = False
        self.values = np.vstack([self.values, found[added]])
        self.places = np.concatenate([self.places, out[added]])
        return out, people + int(heads.sum())
