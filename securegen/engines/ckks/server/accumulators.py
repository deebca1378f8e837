"""Server side: the accumulators of a few blocks, and the chunks of genotypes that are multiplied into them.

Blocks with the same columns are summed together so that a tile of the design in a core's cache serves them all; a thread
works for one `Accumulators` at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.layout import Output, block_layout
from securegen.engines.ckks.studydesign import EncryptedDesign
from securegen.kernels.fold import fold_tiles
from securegen.kernels.memory import Rooms
from securegen.kernels.residue_matmul import PackedColumns, matmul_residues


class Accumulators:
    """Consecutive blocks of a cohort, of equally many strands and with the same set of columns, that are summed together.

    wanted: outputs of every block of the cohort; columns: stream -> how many polynomials it is multiplied with; number:
    of the set. sums: stream -> (B, k, T, A_g + S, columns, L) uint32, for the B blocks that have the stream, from the first
    chunk on.
    """

    def __init__(
        self, members: range, cohort: EncryptedCohort, wanted: Sequence[list[Output]], columns: Mapping[str, int],
        number: int, rooms: Rooms,
    ) -> None:  # fmt: skip
        self.members, self.number, self._cohort, self._wanted, self._rooms = members, number, cohort, wanted, rooms
        ring, strands = cohort.parameters.ring, cohort.strands(members[0])
        if any(cohort.strands(b) != strands for b in members):
            raise ValueError("blocks that are summed together have equally many strands")
        self._rows = (1 if cohort.shared else strands, strands)
        present = sorted({s for b in members for s in cohort.blocks[b]["streams"] if columns[s]})
        self.blocks = {s: [b for b in members if s in cohort.blocks[b]["streams"]] for s in present}
        self._shapes = {
            s: (len(blocks), len(ring.primes), ring.tiles, sum(self._rows), columns[s], ring.lanes)
            for s, blocks in self.blocks.items()
        }
        self.sums: dict[str, np.ndarray] = {}

    def add(self, chunk: int, packed: Mapping[str, PackedColumns]) -> None:
        """Read one chunk of every block and add its products with the columns of each stream. The first is number 0."""
        primes = np.array(self._cohort.parameters.ring.primes, np.uint64)
        for stream, blocks in self.blocks.items():
            if chunk == 0:
                self.sums[stream] = self._rooms.take(self._shapes[stream])
            expanded: list[np.ndarray] = []

            def room(shape: tuple[int, ...], expanded: list[np.ndarray] = expanded) -> np.ndarray:
                expanded.append(self._rooms.take(shape))
                return expanded[-1]

            rows = [self._cohort.rows(b, stream, chunk, room=room) for b in blocks]
            matmul_residues(rows, packed[stream], primes, self.sums[stream], fresh=chunk == 0, threads=1)
            for public in expanded:
                self._rooms.give(public)
            del rows

    def results(self, design: EncryptedDesign) -> Iterator[tuple[int, np.ndarray]]:
        """(block, its results (k, words) uint32 as `layout` has them). After the last the sums are there no more."""
        for b in self.members:
            yield b, self._block(b, design)
        for sums in self.sums.values():
            self._rooms.give(sums)
        self.sums.clear()

    def _block(self, b: int, design: EncryptedDesign) -> np.ndarray:
        p, wanted, variants = self._cohort.parameters, self._wanted[b], self._cohort.blocks[b]["variants"]
        layout = block_layout(
            p, wanted, variants, shared_genotypes=self._cohort.shared, shared_columns=design.shared
        )  # fmt: skip
        out = np.empty(layout.shape, np.uint32)
        parts = layout.split(out)
        for stream, blocks in self.blocks.items():
            if b not in blocks:
                continue
            tiles = self.sums[stream][blocks.index(b)]
            row, column = self._rows[0], parts[stream, "right"].shape[2]
            parts[stream, "sums"][:] = fold_tiles(tiles[:, :, row:, column:], p.pack, p.ring.primes)
            parts[stream, "right"][:] = _in_order(tiles[:, :, row:, :column])
            parts[stream, "left"][:] = _in_order(tiles[:, :, :row, column:])
            parts[stream, "both"][:] = _in_order(tiles[:, :, :row, :column])
        if ("o", "values") in parts:
            own = design.read_squares(b, parts["o", "values"].shape[1])
            for name, half in zip(("values", "halves"), own.halves(), strict=True):
                parts["o", name][:] = _in_order(half)[:, 0]
        return out


def _in_order(tiles: np.ndarray) -> np.ndarray:
    """(k, T, R, Q, L) -> (k, R, Q, n)."""
    k, count, rows, columns, lanes = tiles.shape
    return tiles.transpose(0, 2, 3, 1, 4).reshape(k, rows, columns, count * lanes)
