"""The columns of all strata of a study as one list, each of them once, and which blocks are multiplied with which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from blake3 import blake3

from securegen.design.strata import Stratum
from securegen.engines.ckks.column_sets import ColumnSets
from securegen.errors import ArtefactError


@dataclass(frozen=True)
class ColumnPool:
    """columns: J arrays (N,) int64; sets: what the server is told, the set of each block included; places: of each stratum,
    where each of its columns is; digits: how many neighbours are one column, likewise, none where every one is whole."""

    columns: tuple[np.ndarray, ...]
    sets: ColumnSets
    places: tuple[tuple[int, ...], ...]
    digits: tuple[tuple[int, ...], ...] = ()

    @property
    def sum_abs(self) -> np.ndarray:
        """(J,) int64 Σ|c|."""
        return np.array([int(np.abs(c).sum()) for c in self.columns], np.int64)

    @property
    def largest_norm(self) -> float:
        """Largest 2-norm of a column; 0 where there is none."""
        return max(map(self.norm, range(len(self.columns))), default=0.0)

    def norm(self, j: int) -> float:
        """2-norm of a column."""
        return float(np.sqrt((self.columns[j].astype(np.float64) ** 2).sum()))

    def of(self, number: int) -> np.ndarray:
        """(N, J) int64 of one set."""
        columns = [self.columns[j] for j in self.sets.sets[number]]
        return np.stack(columns, axis=1) if columns else np.zeros((len(self.columns[0]), 0), np.int64)


def pooled(strata: Sequence[Stratum], starts: Sequence[int] = ()) -> ColumnPool:
    """The columns of these strata. starts: first variant of every block of the cohort, and how many variants there are; none
    where blocks do not matter.

    One stratum keeps its columns as they are. Of several, equal columns are one, and those in the same sets are neighbours.
    Raises ArtefactError for a block that is not in one stratum.
    """
    if len(strata) == 1:
        (columns,) = (s.design.columns for s in strata)
        own, alone = tuple(range(len(columns.names))), tuple(columns.values.T)
        return ColumnPool(alone, ColumnSets(_ones(alone), columns.squared, (own,)), (own,))
    found: dict[bytes, tuple[np.ndarray, set[int]]] = {}
    keys: list[list[bytes]] = []
    squared: set[bytes] = set()
    for number, stratum in enumerate(strata):
        values, marks = stratum.design.columns.values, stratum.design.columns.squared
        keys.append([blake3(column.tobytes()).digest() for column in values.T])
        for key, column, mark in zip(keys[-1], values.T, marks, strict=True):
            if key not in found:
                found[key] = column.copy(), set()  # of many columns that are remade, these alone stay
            found[key][1].add(number)
            squared |= {key} if mark else set()
    groups: dict[frozenset[int], list[bytes]] = {}
    for key, (_, members) in found.items():
        groups.setdefault(frozenset(members), []).append(key)
    order = [key for group in groups.values() for key in group]
    place = {key: j for j, key in enumerate(order)}
    places = tuple(tuple(place[key] for key in own) for own in keys)
    kept = [found[key][0] for key in order]
    sets = ColumnSets(
        _ones(kept), tuple(key in squared for key in order), tuple(tuple(sorted(set(own))) for own in places),
        strata_of(strata, starts),
    )  # fmt: skip
    return ColumnPool(tuple(kept), sets, places)


def _ones(columns: Sequence[np.ndarray]) -> tuple[bool, ...]:
    return tuple(bool((column == 1).all()) for column in columns)


def strata_of(strata: Sequence[Stratum], starts: Sequence[int]) -> tuple[int, ...]:
    """The number of the stratum of every block. Raises ArtefactError for a block that is not in one."""
    runs = sorted((*run, number) for number, stratum in enumerate(strata) for run in stratum.runs)
    out, at = [], 0
    for block, (start, stop) in enumerate(zip(starts, starts[1:], strict=False)):
        while at < len(runs) and runs[at][1] <= start:
            at += 1
        if at == len(runs) or start < runs[at][0] or stop > runs[at][1]:
            raise ArtefactError(
                f"block {block} of the encrypted cohort, variants {start} to {stop - 1}, reaches over several designs: an "
                "earlier version let blocks cross the ends of chromosomes; encrypt the cohort again"
            )
        out.append(runs[at][2])
    return tuple(out)
