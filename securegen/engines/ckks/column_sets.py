"""Which columns of a design a block is multiplied with, as the owner writes it and the server reads it.

A design has one list of columns. A set is some of them, in order, and every block has one set: a study whose chromosomes
have designs of their own has a set for each, and a column that several need is stored once. Encrypted columns that are in
the same sets are a part, which is a file for each chunk; so what a block is multiplied with is whole files.

Who learns what: the server learns how many columns each set has, which of them are shared, and which block has which set.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from securegen.engines.ckks.layout import Output, outputs


@dataclass(frozen=True)
class ColumnSets:
    """public_ones, squared: marks of every column; sets: indices of columns, ascending; set_of: the set of each block, empty
    where there is one for all."""

    public_ones: tuple[bool, ...]
    squared: tuple[bool, ...]
    sets: tuple[tuple[int, ...], ...]
    set_of: tuple[int, ...] = ()

    @staticmethod
    def from_body(body: Mapping[str, Any]) -> ColumnSets:
        """Of a manifest that was held against `bodies.DESIGN`."""
        columns = len(body["public_ones"])
        sets = body.get("sets", [range(columns)])
        return ColumnSets(
            tuple(body["public_ones"]), tuple(body["squared"]), tuple(map(tuple, sets)), tuple(body.get("set_of", ()))
        )

    def to_body(self) -> dict[str, Any]:
        """The fields of a manifest; one set is not written, it has every column."""
        out: dict[str, Any] = {"public_ones": list(self.public_ones), "squared": list(self.squared)}
        if self.set_of:
            out |= {"sets": [list(s) for s in self.sets], "set_of": list(self.set_of)}
        return out

    def of(self, block: int) -> int:
        """The number of the set of a block."""
        return self.set_of[block] if self.set_of else 0

    def hidden(self, number: int) -> list[int]:
        """The columns of a set that are ciphertexts."""
        return [j for j in self.sets[number] if not self.public_ones[j]]

    def squares(self, number: int) -> list[int]:
        """The columns of a set that have a Σ g²."""
        return [j for j in self.sets[number] if self.squared[j]]

    def outputs(self, number: int, streams: Sequence[str]) -> list[Output]:
        """Sums of a block with this set and these streams; a column is its place in the set."""
        columns = self.sets[number]
        return outputs([self.public_ones[j] for j in columns], [self.squared[j] for j in columns], streams)

    @cached_property
    def parts(self) -> list[tuple[int, ...]]:
        """Encrypted columns that lie in one file, in order: neighbours that are in the same sets."""
        members: dict[int, list[int]] = {j: [] for j, one in enumerate(self.public_ones) if not one}
        for number, columns in enumerate(self.sets):
            for j in columns:
                if j in members:
                    members[j].append(number)
        return [tuple(group) for _, group in itertools.groupby(members, key=lambda j: members[j])]

    def parts_of(self, number: int) -> list[int]:
        """Which parts a set has."""
        mine = set(self.sets[number])
        return [i for i, part in enumerate(self.parts) if part[0] in mine]
