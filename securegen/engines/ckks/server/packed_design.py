"""Server side: the columns of a design as the kernel reads them, one set and one chunk at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import numpy as np

from securegen.engines.ckks import codec
from securegen.engines.ckks.ciphertexts import Ciphertexts
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.layout import has_ones, products
from securegen.engines.ckks.studydesign import EncryptedDesign
from securegen.kernels.memory import Rooms
from securegen.kernels.product_tile import rectangle
from securegen.kernels.residue_matmul import PackedColumns, pack_columns
from securegen.rlwe.residues import scaled_residues, to_tiles

Packed = dict[str, PackedColumns]


class PackedDesign:
    """A set of the columns of a design as each stream is multiplied with them.

    count: stream -> polynomials: the public halves, the columns, and the column of ones if the stream needs it.
    """

    def __init__(self, design: EncryptedDesign, number: int, rooms: Rooms) -> None:
        self._design, self._number, self._rooms = design, number, rooms
        p, columns = design.public.parameters, design.columns
        wanted = columns.outputs(number, ("g", "m", "q"))
        place = {j: i for i, j in enumerate(columns.hidden(number))}
        self._index = {s: [place[columns.sets[number][i]] for i in products(wanted, s)] for s in ("g", "m", "q")}
        self._ones = {s: has_ones(wanted, s) for s in ("g", "m", "q")}
        self.count = {
            s: (min(len(i), 1) if design.shared else len(i)) + len(i) + self._ones[s] for s, i in self._index.items()
        }
        ones = to_tiles(scaled_residues(codec.ones_message(p)[None], 0, p.ring), p.ring)
        self._one = ones[:, :, :, None]

    def read(self, chunk: int) -> Packed:
        """The polynomials of one chunk for every stream that has some."""
        p = self._design.public.parameters
        one = np.broadcast_to(self._one, (*self._one.shape[:2], chunks(p)[chunk][1], *self._one.shape[3:]))
        stored = self._design.read_columns(chunk, self._number)
        out: Packed = {}
        for stream, index in self._index.items():
            halves = [*_chosen(stored, index, shared=self._design.shared), *([one] if self._ones[stream] else [])]
            if halves and stream != "g" and self._columns_of(stream) == self._columns_of("g"):
                out[stream] = out["g"]
            elif halves:
                out[stream] = pack_columns(halves, np.array(p.ring.primes, np.uint64), room=self._rooms.take)
        return out

    def done(self, packed: Packed) -> None:
        """Nobody reads these any more: their memory may serve for others."""
        for strips in {id(columns): columns.strips for columns in packed.values()}.values():
            self._rooms.give(strips)

    def _columns_of(self, stream: str) -> tuple[tuple[int, ...], bool]:
        """What a stream is multiplied with: streams of the same share it."""
        return tuple(self._index[stream]), bool(self._ones[stream])

    @property
    def packed(self) -> int:
        """Polynomials a group in memory: streams with the same columns share them, and strips are filled up."""
        width = rectangle()[1]
        shared = {self._columns_of(s): self.count[s] for s in reversed(self._index)}
        return sum(-(-count // width) * width for count in shared.values())

    @property
    def stored(self) -> int:
        """Polynomials a group in the design's files."""
        return len(self._design.columns.hidden(self._number)) * (1 if self._design.shared else 2)


def _chosen(parts: Sequence[Ciphertexts], index: Sequence[int], *, shared: bool) -> list[np.ndarray]:
    """Public halves and then halves with messages of some of the columns that lie in these parts; index: ascending. shared:
    the first part has the public half of all."""
    own, first = [], 0
    public = [parts[0].c1] if shared and index else []
    for part in parts:
        count = part.c0.shape[3]
        here = [i - first for i in index if first <= i < first + count]
        first += count
        some = slice(None) if len(here) == count else here
        if here:
            own.append(part.c0[:, :, :, some])
        if here and not shared:
            public.append(part.halves()[1][:, :, :, some])
    return [half for half in (*public, *own) if half is not None]


def packed_designs(design: EncryptedDesign) -> list[PackedDesign]:
    """Of every set."""
    rooms = Rooms()
    return [PackedDesign(design, number, rooms) for number in range(len(design.columns.sets))]


class ChunkColumns:
    """The columns of every set for one chunk: packed when they are first asked for, and kept until their last use."""

    def __init__(self, columns: Sequence[PackedDesign], chunk: int, uses: Iterable[int]) -> None:
        """uses: the number of the set for every time that one will be used."""
        self.chunk, self._columns, self._lock = chunk, columns, threading.Lock()
        self._left = Counter(uses)
        self._packed: dict[int, Future[Packed]] = {}

    def read(self, number: int) -> Packed:
        """The columns of one set; whoever comes meanwhile waits."""
        with self._lock:
            first = number not in self._packed
            packed = self._packed.setdefault(number, Future())
        if first:
            try:
                packed.set_result(self._columns[number].read(self.chunk))
            except BaseException as error:
                packed.set_exception(error)
        return packed.result()

    def used(self, number: int) -> None:
        """One use of a set is over."""
        with self._lock:
            self._left[number] -= 1
            if not self._left[number]:
                self._columns[number].done(self._packed.pop(number).result())
