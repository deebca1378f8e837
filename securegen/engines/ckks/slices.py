"""Slices of ciphertexts: some tiles of one prime, of all groups. What is summed over groups is summed within a slice, and a
slice is one stretch of every file of ciphertexts, in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from securegen.engines.ckks.artefact import array_bytes
from securegen.engines.ckks.file_parts import FileInParts
from securegen.io.folder import FilePart, Folder
from securegen.rlwe.ring import Ring
from securegen.rlwe.uniform import expand_tiles

Room = Callable[[tuple[int, ...]], np.ndarray]


@dataclass(frozen=True)
class Slice:
    """prime: its place in the ring; first: tile; tiles: how many."""

    prime: int
    first: int
    tiles: int


def slices(ring: Ring, tiles: int) -> list[Slice]:
    """All of a ring, in the order of files; tiles: of each, a divisor of those of a polynomial."""
    return [Slice(p, first, tiles) for p in range(len(ring.primes)) for first in range(0, ring.tiles, tiles)]


class HalvesInSlices:
    """Ciphertexts of one chunk, (k, T, G, C, L) and their public halves, read slice by slice in order."""

    def __init__(
        self, folder: Folder, entries: list[dict[str, Any]], ring: Ring, groups: int, count: int, *, shared: bool
    ) -> None:
        """entries: of the half with messages and, where it is stored, of the public one; count: ciphertexts a group, C;
        shared: whether they have one public half."""
        self._ring, self._groups, self._count = ring, groups, count
        self._public = 1 if shared else count
        self._own = FileInParts(folder, entries[0], _shape(ring, groups, count))
        self._seed, self._other = b"", None
        if len(entries) == 2:
            self._other = FileInParts(folder, entries[1], _shape(ring, groups, self._public))
        else:
            self._seed = bytes.fromhex(entries[0]["seed"])

    @contextlib.contextmanager
    def messages(self, piece: Slice) -> Iterator[np.ndarray]:
        """(1, T, G, C, L) uint32 of the next slice: the halves with messages. Raises ArtefactError as `FileInParts` does."""
        with self._stored(self._own, piece, self._count) as own:
            yield own

    @contextlib.contextmanager
    def both(self, piece: Slice, room: Room, give: Callable[[np.ndarray], None]) -> Iterator[list[np.ndarray]]:
        """The public halves, (1, T, G, 1 or C, L) uint32, and those with messages. room: makes the array of a shape for what
        is expanded; give: takes it back after the block."""
        if self._other is not None:
            with self._stored(self._other, piece, self._public) as public, self.messages(piece) as own:
                yield [public, own]
            return
        with self.messages(piece) as own:
            public = room((1, piece.tiles, self._groups, self._public, self._ring.lanes))
            flat = public.reshape(piece.tiles, -1, self._ring.lanes)
            expand_tiles(self._seed, self._ring, piece.prime, piece.first, flat)
            yield [public, own]
            give(public)

    @contextlib.contextmanager
    def _stored(self, file: FileInParts, piece: Slice, count: int) -> Iterator[np.ndarray]:
        shape = (1, piece.tiles, self._groups, count, self._ring.lanes)
        with file.next(piece.tiles * self._groups * count * self._ring.lanes) as flat:
            yield flat.reshape(shape)


def parts_of_slice(
    entries: list[dict[str, Any]], ring: Ring, groups: int, count: int, piece: Slice, *, shared: bool
) -> Iterator[FilePart]:
    """What `HalvesInSlices.both` reads of its files for a slice, in order."""
    stored = [(entries[0], count)] if len(entries) == 1 else [(entries[1], 1 if shared else count), (entries[0], count)]
    for entry, each in stored:
        size, line = array_bytes(_shape(ring, groups, each)), 4 * groups * each * ring.lanes
        begin = size - len(ring.primes) * ring.tiles * line
        first = piece.prime * ring.tiles + piece.first
        yield FilePart(entry["name"], size, begin + first * line if first else 0, begin + (first + piece.tiles) * line)


def _shape(ring: Ring, *middle: int) -> tuple[int, ...]:
    return (len(ring.primes), ring.tiles, *middle, ring.lanes)
