"""Server side: the columns of a design as the kernel reads them, one set and one slice at a time."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack

import numpy as np

from securegen.engines.ckks import codec
from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.layout import has_ones, products
from securegen.engines.ckks.slices import HalvesInSlices, Slice
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
        self._one = to_tiles(scaled_residues(codec.ones_message(p)[None], 0, p.ring), p.ring)[:, :, :, None]
        self._files: dict[int, list[HalvesInSlices]] = {}

    def begin(self) -> None:
        """Read from the first slice on again."""
        self._files.clear()

    def read(self, piece: Slice, span: range) -> Packed:
        """The polynomials of some chunks for every stream that has some. Slices come in order."""
        p = self._design.public.parameters
        one = self._one[piece.prime : piece.prime + 1, piece.first : piece.first + piece.tiles]
        primes = np.array(p.ring.primes[piece.prime : piece.prime + 1], np.uint64)
        out: Packed = {}
        with ExitStack() as used:
            stored = [self._halves(chunk, piece, used) for chunk in span]
            groups = [chunks(p)[chunk][1] for chunk in span]
            for stream, index in self._index.items():
                if self._ones[stream] or index:
                    same = stream != "g" and self._columns_of(stream) == self._columns_of("g")
                    out[stream] = out["g"] if same else pack_columns(
                        [
                            [
                                *_chosen(*halves, index, shared=self._design.shared),
                                *([np.broadcast_to(one, (*one.shape[:2], n, *one.shape[3:]))] * self._ones[stream]),
                            ]
                            for halves, n in zip(stored, groups, strict=True)
                        ],
                        primes, room=self._rooms.take, threads=1,
                    )  # fmt: skip
            del stored
        return out

    def _halves(self, chunk: int, piece: Slice, used: ExitStack) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Public halves and halves with messages of every part of the set in one chunk, until `used` is closed."""
        if chunk not in self._files:
            self._files[chunk] = self._design.in_slices(chunk, self._number)
        public: list[np.ndarray] = []
        own: list[np.ndarray] = []
        for part in self._files[chunk]:
            if public and self._design.shared:
                own.append(used.enter_context(part.messages(piece)))
            else:
                a, b = used.enter_context(part.both(piece, self._rooms.take, self._rooms.give))
                public.append(a)
                own.append(b)
        return public, own

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


def _chosen(
    public: Sequence[np.ndarray], own: Sequence[np.ndarray], index: Sequence[int], *, shared: bool
) -> list[np.ndarray]:
    """Public halves and then halves with messages of some of the columns that lie in these parts; index: ascending. shared:
    one public half is that of all."""
    first, hidden = 0, list[np.ndarray]()
    halves = [public[0]] if shared and index else list[np.ndarray]()
    for i, part in enumerate(own):
        count = part.shape[3]
        here = [j - first for j in index if first <= j < first + count]
        first += count
        some = slice(None) if len(here) == count else here
        if here:
            hidden.append(part[:, :, :, some])
        if here and not shared:
            halves.append(public[i][:, :, :, some])
    return [*halves, *hidden]


def packed_designs(design: EncryptedDesign) -> list[PackedDesign]:
    """Of every set."""
    rooms = Rooms()
    return [PackedDesign(design, number, rooms) for number in range(len(design.columns.sets))]


class SliceColumns:
    """The columns of every set for one slice and some chunks: packed when they are first asked for, and kept until their
    last use."""

    def __init__(self, columns: Sequence[PackedDesign], piece: Slice, span: range, uses: Iterable[int]) -> None:
        """uses: the number of the set for every time that one will be used."""
        self.piece, self.span, self._columns, self._lock = piece, span, columns, threading.Lock()
        self._left = Counter(uses)
        self._packed: dict[int, Future[Packed]] = {}
        self._begun: set[int] = set()

    def read(self, number: int) -> Packed:
        """The columns of one set; whoever comes meanwhile waits."""
        self.prepare(number)
        return self._packed[number].result()

    def prepare(self, number: int) -> None:
        """Read the columns of a set unless somebody has begun to: a file is read once."""
        with self._lock:
            if number in self._begun:
                return
            self._begun.add(number)
            packed = self._packed[number] = Future()
        try:
            packed.set_result(self._columns[number].read(self.piece, self.span))
        except BaseException as error:
            packed.set_exception(error)

    def used(self, number: int) -> None:
        """One use of a set is over."""
        with self._lock:
            self._left[number] -= 1
            if not self._left[number]:
                self._columns[number].done(self._packed.pop(number).result())
