"""What the server's pass over a cohort takes in memory: the slices that it sums at a time, and the batches of blocks whose
results it keeps until the last slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort
from securegen.engines.ckks.layout import BlockLayout

WORKING_BYTES = 512 << 20
TOGETHER = 2  # blocks that a thread sums together at most: more map more files at a time and are no faster
SLICE_TILES = 256  # of a slice at most: what threads work on stays in caches, and calls are few
LEAST_TILES = 64  # of one that memory makes small
FILE_BYTES = 4 << 10  # of memory that a file takes while it is read in slices


@dataclass(frozen=True)
class PassMemory:
    """batches: (first, last) blocks; tiles: of a slice; span: chunks of groups whose columns are in memory together.

    early: the columns of the next slice are read beside those in use; working: bytes of results, sums, packed columns and
    every thread's buffers; mapped: bytes of files that are mapped at a time beside these, which the system may drop and
    read again.
    """

    batches: tuple[tuple[int, int], ...]
    tiles: int
    span: int
    early: bool
    working: int
    mapped: int

    def spans(self, count: int) -> list[range]:
        """Of `count` chunks."""
        return [range(c, min(c + self.span, count)) for c in range(0, count, self.span)]


def plan_pass(
    cohort: EncryptedCohort, layouts: Sequence[BlockLayout], counts: Sequence[Mapping[str, int]], stored: int, packed: int,
    limit: int, threads: int, *, sets: int = 1,
) -> PassMemory:  # fmt: skip
    """Everything that the pass takes, within `limit` bytes where a block at a time fits.

    layouts: of the results of every block; counts: of every block, stream -> polynomials it is multiplied with; stored,
    packed: ciphertexts of the design a group, as files and as columns in memory, of the largest of so many sets.
    """
    p, ring = cohort.parameters, cohort.parameters.ring
    parts, line = chunks(p), ring.lanes * 4
    strands = [cohort.strands(b) for b in range(len(cohort.blocks))]
    rows = [s + (1 if cohort.shared else s) for s in strands]
    sums = [
        row * sum(own[s] for s in block["streams"]) * line
        for row, block, own in zip(rows, cohort.blocks, counts, strict=True)
    ]  # of a tile
    results = [
        4 * layout.shape[0] * layout.shape[1] + FILE_BYTES * len(parts) * len(block["streams"])
        for layout, block in zip(layouts, cohort.blocks, strict=True)
    ]
    least = max(LEAST_TILES, p.pack // ring.lanes)  # tiles that have whole sums

    def fixed(tiles: int, span: int, early: bool) -> int:
        """Bytes whatever blocks are in a batch. Every thread has the columns of a set of its own, where there are several;
        and one may be read before its time."""
        groups = sum(g for _, g in parts[:span])
        columns = groups * packed * tiles * line * (min(threads, sets) + early)
        halves = TOGETHER * groups * tiles * line if cohort.shared else 0
        own = TOGETHER * max(sums, default=0) * tiles if span >= len(parts) else 0
        return int(columns + threads * (halves + own))

    tiles, span = max(least, min(ring.tiles, SLICE_TILES)), len(parts)
    while tiles > least and fixed(tiles, span, early=True) > limit // 2:
        tiles //= 2
    while span > 1 and fixed(tiles, span, early=True) > limit // 2:
        span = -(-span // 2)
    early = threads > 1 and fixed(tiles, span, early=True) <= limit // 2
    beside = fixed(tiles, span, early)
    kept = 0 if span >= len(parts) else tiles  # sums of blocks that wait for the next chunks
    batches, start, size, largest = [], 0, 0, 0
    for b, (out, own) in enumerate(zip(results, sums, strict=True)):
        need = out + own * kept
        if size and size + need > limit - beside:
            batches.append((start, b))
            start, size = b, 0
        size += need
        largest = max(largest, size)
    batches.append((start, len(sums)))
    groups = sum(g for _, g in parts[:span])
    read = max(strands, default=0) * (1 if cohort.shared else 2)
    mapped = groups * tiles * line * (threads * TOGETHER * read + stored * (min(threads, sets) + early))
    return PassMemory(tuple(batches), tiles, span, early, beside + largest, mapped)
