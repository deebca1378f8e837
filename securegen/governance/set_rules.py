"""Rules of rows that are made of sets of variants: masks, and the markers of set tests. Pure functions on one site's own arrays.

Masks of a set contain each other by design, and whoever writes the list of sets chooses what contains what: the largest of
two masks and their union tell who carries both, a set named again without a variant tells who carries that one. So the rows of
sets that share a variant are looked at together, however far they lie apart, in all their integer combinations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from securegen.governance.lattice import LARGEST_NORM, withheld_for_lattice
from securegen.governance.openings import FEWEST
from securegen.model import IntArray

TOGETHER = 128  # rows of sets that share a variant


def groups_of(sets: Sequence[IntArray]) -> IntArray:
    """(S,) int64: the number of each set's group; sets that share a variant are in one. sets: numbers of variants of each.

    >>> groups_of([np.array([0, 1]), np.array([5]), np.array([1, 2]), np.array([2, 9])]).tolist()
    [0, 1, 0, 0]
    """
    parent = list(range(len(sets)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[int, int] = {}
    for s, variants in enumerate(sets):
        for v in variants.tolist():
            a, b = root(first.setdefault(v, s)), root(s)
            parent[max(a, b)] = min(a, b)
    found: IntArray = np.unique([root(i) for i in range(len(sets))], return_inverse=True)[1].astype(np.int64).ravel()
    return found


def withheld_combinations(
    rows: IntArray, fewest: int = FEWEST, divisor: int = 1, beside: IntArray | None = None
) -> np.ndarray:
    """(R,) bool: rows to leave out, so that no integer combination of the others singles few of this site's people out.

    rows: (R, n) dosages of own people in steps of 1/divisor, of one group, in the order in which they are taken; beside: (n, E)
    int64 columns of few values that are opened with the products of rows. Of more than `TOGETHER` rows the rest is left out.
    """
    out = np.ones(len(rows), bool)
    x = rows[:TOGETHER].astype(np.int64).T
    n = len(x)
    first = np.full((n, 1), divisor, np.int64)
    whole = np.zeros((n, 0), np.int64) if beside is None else beside * divisor
    integers = np.concatenate([first, whole, x], axis=1)
    gram = integers.T @ integers
    if gram.diagonal().max(initial=0) < LARGEST_NORM:
        out[:TOGETHER] = withheld_for_lattice(gram, fewest, divisor, whole.shape[1])
    return out
