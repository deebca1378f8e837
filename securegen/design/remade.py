"""Columns that are made anew where they are read: of many designs over the same people, one has its columns in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from securegen.design.columns import Design
from securegen.errors import SecuregenError
from securegen.model import Columns, IntArray


class Workbench:
    """Holds the columns that were read last, of all that are made on it."""

    def __init__(self) -> None:
        self._owner: object = None
        self._values: IntArray | None = None

    def put(self, owner: object, values: IntArray) -> IntArray:
        self._owner, self._values = owner, values
        return values

    def clear(self) -> None:
        """Drop what is held, before the next columns take its memory."""
        self._owner = self._values = None

    def held_for(self, owner: object) -> IntArray | None:
        return self._values if self._owner is owner else None


class RemadeColumns(Columns):
    """Columns of which `values` are made when they are read, unless they were read last."""

    _make: Callable[[], Columns]
    _bench: Workbench
    _digest: bytes
    _people: dict[int, np.ndarray]
    _count: int

    def __init__(self, made: Columns, make: Callable[[], Columns], bench: Workbench) -> None:
        """made: the columns as they are now; make: makes the same ones again."""
        values = made.values
        marks = (
            j for j in range(values.shape[1]) if values[:, j].min(initial=0) >= 0 and values[:, j].max(initial=0) <= 1
        )
        known = {
            "names": made.names, "squared": made.squared, "_make": make, "_bench": bench, "_digest": _digest(values),
            "_people": {j: np.packbits(values[:, j] != 0) for j in marks}, "_count": len(values),
        }  # fmt: skip
        for name, value in known.items():
            object.__setattr__(self, name, value)
        bench.put(self, values)

    @property
    def values(self) -> IntArray:
        """(N, J) int64. Raises SecuregenError where other columns were made than the first time, of which the models are."""
        held = self._bench.held_for(self)
        if held is not None:
            return held
        self._bench.clear()
        values = self._make().values
        if _digest(values) != self._digest:
            raise SecuregenError(
                "a design that was made again is another one: this must never happen, please report it"
            )
        return self._bench.put(self, values)

    def people(self, j: int) -> np.ndarray:
        if j not in self._people:
            return super().people(j)
        return np.unpackbits(self._people[j], count=self._count).astype(bool)


def _digest(values: IntArray) -> bytes:
    shape = repr(values.shape).encode()
    return hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16, key=shape[:64]).digest()


def remade(design: Design, make: Callable[[], Design], bench: Workbench) -> Design:
    """The same design, whose columns are made again by `make` when they are read. Nothing else of it may hold them."""
    return Design(RemadeColumns(design.columns, lambda: make().columns, bench), design.analyses)
