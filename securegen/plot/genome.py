"""Where the points of a Manhattan plot lie: natural chromosome order, one axis, the variants that get a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from securegen.model import FloatArray, IntArray, TextArray

GENOME_WIDE = 5e-8
SUGGESTIVE = 1e-5
_LETTERS = {"X": 23, "Y": 24, "XY": 25, "PAR1": 25, "PAR2": 25, "MT": 26, "M": 26}


def chromosome_order(name: str) -> tuple[int, str]:
    """Sort key: 1 before 2 before 10 before X; names that are not chromosomes come last, by alphabet.

    >>> sorted(["10", "chr2", "X", "1", "scaffold_7", "MT"], key=chromosome_order)
    ['1', 'chr2', '10', 'X', 'MT', 'scaffold_7']
    """
    bare = (name[3:] if name.lower().startswith("chr") else name).upper()
    number = int(bare) if bare.isdecimal() and len(bare) < 10 else _LETTERS.get(bare, 1 << 40)
    return number, bare


@dataclass(frozen=True)
class GenomeAxis:
    """x: (M,) float64 place of each variant on one axis, in base pairs; names, start, stop, first: (C,) chromosomes in
    natural order, the places where they begin and end, their smallest positions; index: (M,) chromosome of each variant."""

    x: FloatArray
    names: tuple[str, ...]
    start: FloatArray
    stop: FloatArray
    first: IntArray
    index: IntArray

    @property
    def centre(self) -> FloatArray:
        centre: FloatArray = (self.start + self.stop) / 2
        return centre


def genome_axis(chromosome: Sequence[str] | TextArray, position: IntArray, *, gap: float = 0.005) -> GenomeAxis:
    """Lay chromosomes side by side, each from its first to its last variant, with `gap` of the genome between two.

    chromosome, position: (M,), in any order.

    >>> axis = genome_axis(["2", "10", "2"], np.array([100, 5, 300]), gap=0.5)
    >>> axis.names, axis.x.tolist(), axis.start.tolist()
    (('2', '10'), [0.0, 300.0, 200.0], [0.0, 300.0])
    """
    inverse, labels = pd.factorize(np.asarray(chromosome, dtype=object))
    order = sorted(range(len(labels)), key=lambda i: chromosome_order(str(labels[i])))
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels))
    index = rank[inverse]
    position = np.asarray(position, np.int64)
    first, last = np.full(len(labels), np.iinfo(np.int64).max), np.zeros(len(labels), np.int64)
    np.minimum.at(first, index, position)
    np.maximum.at(last, index, position)
    length = (last - first).astype(np.float64)
    space = gap * max(float(length.sum()), 1.0)
    start = np.concatenate([[0.0], np.cumsum(length + space)[:-1]]) if len(labels) else np.empty(0)
    x = start[index] + (position - first[index])
    return GenomeAxis(x, tuple(str(labels[i]) for i in order), start, start + length, first, index)


def thin(x: FloatArray, y: FloatArray, columns: int = 2000, rows: int = 1000) -> IntArray:
    """Indices of one point for each cell of a fine grid, the highest: the same picture from far fewer points.

    x, y: (M,) finite. The order is ascending.
    """
    if len(x) <= columns:
        return np.arange(len(x))

    def spread(v: np.ndarray, n: int) -> np.ndarray:
        out: np.ndarray = ((v - v.min()) / max(float(np.ptp(v)), 1e-300) * (n - 1)).astype(np.int64)
        return out

    cell = spread(x, columns) * rows + spread(y, rows)
    by_height = np.argsort(-y, kind="stable")
    _, first = np.unique(cell[by_height], return_index=True)
    return np.sort(by_height[first])


def lead_variants(
    index: IntArray,
    position: IntArray,
    log10p: FloatArray,
    *,
    threshold: float = SUGGESTIVE,
    window: int = 500_000,
    count: int = 10,
) -> list[int]:
    """The strongest variant of each locus with p below `threshold`, strongest first, at most `count`.

    A locus ends `window` base pairs from its lead. index, position, log10p: (M,); NaN is not a hit. Where nothing reaches
    the threshold, the strongest variant alone.

    >>> lead_variants(np.zeros(3, int), np.array([1, 9, 900_000]), np.array([8.0, 9.0, 6.0]))
    [1, 2]
    """
    finite = np.flatnonzero(~np.isnan(log10p))
    candidates = finite[np.argsort(-log10p[finite], kind="stable")]
    leads: list[int] = []
    for i in candidates[log10p[candidates] >= -np.log10(threshold)]:
        if len(leads) == count:
            break
        if all(index[i] != index[j] or abs(int(position[i]) - int(position[j])) > window for j in leads):
            leads.append(int(i))
    return leads or [int(i) for i in candidates[:1]]
