"""Server side: the accumulators of a few blocks, and the chunks of genotypes that are added to them.

Blocks are summed together so that a tile of the design in a core's cache serves them all; a thread works for one team at
a time and keeps its buffers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np

from securegen.ckks.cohort import CHUNK_GROUPS, EncryptedCohort, chunks
from securegen.ckks.encryption import Ciphertexts
from securegen.ckks.parameters import Ring
from securegen.ckks.studydesign import EncryptedDesign, Output
from securegen.kernels.residue_mac import add_parts, mac_blocks


class Team:
    """Consecutive blocks of a cohort that are summed together.

    streams, wanted: of every block of the cohort. products: stream -> (B, k, T, J, 3, L) uint64, additions: stream ->
    (B, k, T, 2, L) uint64, for the B blocks of the team that have the stream.
    """

    def __init__(
        self, members: range, streams: Sequence[tuple[str, ...]], wanted: Sequence[list[Output]], ring: Ring
    ) -> None:
        self.members, self._ring = members, ring
        present = sorted({s for b in members for s in streams[b]})
        self.blocks = {s: [b for b in members if s in streams[b]] for s in present}
        self.products: dict[str, np.ndarray] = {}
        self.additions: dict[str, np.ndarray] = {}
        shape = len(ring.primes), ring.tiles
        for stream, blocks in self.blocks.items():
            kinds = [o.kind for o in wanted[blocks[0]] if o.stream == stream]
            if "product" in kinds:
                rows = kinds.count("product")
                self.products[stream] = np.zeros((len(blocks), *shape, rows, 3, ring.lanes), np.uint64)
            if "addition" in kinds:
                self.additions[stream] = np.zeros((len(blocks), *shape, 2, ring.lanes), np.uint64)

    def add(
        self, chunk: int, cohort: EncryptedCohort, columns: dict[str, Ciphertexts], buffers: threading.local
    ) -> None:
        """Read one chunk of every block and add its products with the columns of each stream, and its sum."""
        primes = np.array(self._ring.primes, np.uint64)
        for stream, blocks in self.blocks.items():
            g0, g1 = _halves(buffers, len(blocks), self._ring, chunks(cohort.parameters)[chunk][1])
            for i, b in enumerate(blocks):
                cohort.read_into(b, stream, chunk, g0[i], g1[i])
            if stream in self.products:
                mac_blocks(g0, g1, *columns[stream].halves(), primes, self.products[stream], threads=1)
            if stream in self.additions:
                for i in range(len(blocks)):
                    add_parts(g0[i], g1[i], primes, self.additions[stream][i], threads=1)

    def results(self, wanted: Sequence[list[Output]], design: EncryptedDesign) -> Iterator[tuple[int, np.ndarray]]:
        """(block, its results (k, T, polynomials, L) uint32 in the order of its outputs)."""
        for b in self.members:
            own = design.read_squares(b) if any(o.kind == "owner" for o in wanted[b]) else None
            row = dict.fromkeys([*self.blocks, "o"], 0)
            pieces = []
            for o in wanted[b]:
                if o.kind == "owner":
                    assert own is not None
                    pieces.append(np.stack([half[:, :, row["o"]] for half in own.halves()], 2))
                elif o.kind == "product":
                    pieces.append(self.products[o.stream][self.blocks[o.stream].index(b), :, :, row[o.stream]])
                else:  # every column of ones: the same sum
                    pieces.append(self.additions[o.stream][self.blocks[o.stream].index(b)])
                    continue
                row[o.stream] += 1
            flat = np.empty((*pieces[0].shape[:2], sum(o.size for o in wanted[b]), self._ring.lanes), np.uint32)
            at = 0
            for piece in pieces:
                flat[:, :, at : at + piece.shape[2]] = piece
                at += piece.shape[2]
            assert at == flat.shape[2]
            yield b, flat


def _halves(buffers: threading.local, blocks: int, ring: Ring, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """This thread's two buffers as (blocks, k, T, groups, L) uint32."""
    polynomial = len(ring.primes) * ring.n
    size = blocks * polynomial * groups
    if getattr(buffers, "size", 0) < size:
        buffers.size = blocks * polynomial * max(groups, CHUNK_GROUPS)
        buffers.halves = np.empty((2, buffers.size), np.uint32)
    shape = (blocks, len(ring.primes), ring.tiles, groups, ring.lanes)
    first, second = buffers.halves
    return first[:size].reshape(shape), second[:size].reshape(shape)
