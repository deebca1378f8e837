"""Server side: the sums of a few blocks, a slice after the other, and what is kept of them.

Blocks with the same columns are summed together so that a tile of the design in a core's cache serves them all; a thread
works for one `Accumulators` at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack

import numpy as np

from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.layout import BlockLayout
from securegen.engines.ckks.slices import HalvesInSlices, Slice
from securegen.engines.ckks.studydesign import EncryptedDesign
from securegen.kernels.fold import copy_in_order, fold_tiles
from securegen.kernels.memory import Rooms
from securegen.kernels.residue_matmul import PackedColumns, matmul_residues


class Accumulators:
    """Consecutive blocks of a cohort, of equally many strands and with the same set of columns, that are summed together.

    layouts: of the results of every block of the cohort; out: block -> the array of its results, (k, words) uint32; columns:
    stream -> how many polynomials it is multiplied with; number: of the set.
    """

    def __init__(
        self, members: range, cohort: EncryptedCohort, layouts: Sequence[BlockLayout], out: Mapping[int, np.ndarray],
        columns: Mapping[str, int], number: int, rooms: Rooms,
    ) -> None:  # fmt: skip
        self.members, self.number, self._cohort, self._rooms = members, number, cohort, rooms
        strands, self._out = cohort.strands(members[0]), out
        self._parts = {b: layouts[b].split(out[b]) for b in members}
        if any(cohort.strands(b) != strands for b in members):
            raise ValueError("blocks that are summed together have equally many strands")
        self._halves, self._columns = 1 if cohort.shared else strands, columns
        self._rows, self._chunks = self._halves + strands, len(chunks(cohort.parameters))
        present = sorted({s for b in members for s in cohort.blocks[b]["streams"] if columns[s]})
        self.blocks = {s: [b for b in members if s in cohort.blocks[b]["streams"]] for s in present}
        self._files: dict[tuple[int, str, int], HalvesInSlices] = {}
        self._sums: dict[str, np.ndarray] = {}  # of a slice: stream -> (B, 1, T, A_g + S, columns, L), its B blocks

    def add(self, piece: Slice, span: range, packed: Mapping[str, PackedColumns]) -> None:
        """Add the products of some chunks with the columns of each stream to the sums of a slice, in order; after its last
        chunk, keep what is returned of them."""
        p = self._cohort.parameters
        primes = np.array(p.ring.primes[piece.prime : piece.prime + 1], np.uint64)
        for stream, blocks in self.blocks.items():
            if span.start == 0:
                self._sums[stream] = self._rooms.take(
                    (len(blocks), 1, piece.tiles, self._rows, self._columns[stream], p.ring.lanes)
                )
            with ExitStack() as used:
                rows = [[used.enter_context(self._read(b, stream, c, piece)) for c in span] for b in blocks]
                matmul_residues(rows, packed[stream], primes, self._sums[stream], fresh=span.start == 0, threads=1)
                del rows
        if span.stop == self._chunks:
            for stream, blocks in self.blocks.items():
                sums = self._sums.pop(stream)
                for b, tiles in zip(blocks, sums, strict=True):
                    self._keep(b, stream, piece, tiles)
                self._rooms.give(sums)

    def _read(self, block: int, stream: str, chunk: int, piece: Slice) -> AbstractContextManager[list[np.ndarray]]:
        name = (block, stream, chunk)
        if name not in self._files:
            self._files[name] = self._cohort.in_slices(*name)
        return self._files[name].both(piece, self._rooms.take, self._rooms.give)

    def _keep(self, block: int, stream: str, piece: Slice, tiles: np.ndarray) -> None:
        """tiles: (1, T, A_g + S, columns, L) sums."""
        p, row = self._cohort.parameters, self._halves
        parts = self._parts[block]
        column = parts[stream, "right"].shape[2]
        start, stop = piece.first * p.ring.lanes, (piece.first + piece.tiles) * p.ring.lanes
        own = p.ring.primes[piece.prime : piece.prime + 1]
        parts[stream, "sums"][piece.prime, :, :, start // p.pack : stop // p.pack] = fold_tiles(
            tiles[:, :, row:, column:], p.pack, own, first=piece.first, n=p.ring.n
        )[0]
        for name, some in (
            ("right", tiles[0, :, row:, :column]),
            ("left", tiles[0, :, :row, column:]),
            ("both", tiles[0, :, :row, :column]),
        ):
            copy_in_order(some, parts[stream, name][piece.prime, :, :, start:stop])

    def results(self, design: EncryptedDesign) -> Iterator[tuple[int, np.ndarray]]:
        """(block, its results as `layout` has them)."""
        for b in self.members:
            parts = self._parts[b]
            if ("o", "values") in parts:
                own = design.read_squares(b, parts["o", "values"].shape[1])
                for name, half in zip(("values", "halves"), own.halves(), strict=True):
                    for tiles, polynomials in zip(half, parts["o", name], strict=True):
                        copy_in_order(tiles, polynomials[None])
            yield b, self._out[b]
