"""What the server's pass over a cohort takes in memory, and the batches of blocks that it may sum at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from securegen.engines.ckks.codec import chunks
from securegen.engines.ckks.cohort import EncryptedCohort

WORKING_BYTES = 512 << 20
TOGETHER = 2  # blocks that a thread sums together at most: more map more files at a time and are no faster


@dataclass(frozen=True)
class PassMemory:
    """batches: (first, last) blocks; early: the columns of the next chunk are read beside those in use.

    working: bytes of sums, packed columns and every thread's buffers; mapped: bytes of files that are mapped at a time
    beside these, which the system may drop and read again.
    """

    batches: tuple[tuple[int, int], ...]
    early: bool
    working: int
    mapped: int


def plan_pass(
    cohort: EncryptedCohort, counts: Sequence[Mapping[str, int]], stored: int, packed: int, limit: int, threads: int,
    *, sets: int = 1,
) -> PassMemory:  # fmt: skip
    """Everything that the pass takes, within `limit` bytes where a block at a time fits.

    counts: of every block, stream -> polynomials it is multiplied with; stored, packed: ciphertexts of the design's largest
    chunk a group, as files and as columns in memory, of the largest of so many sets.
    """
    p = cohort.parameters
    polynomial = len(p.ring.primes) * p.ring.n * 4
    parts, groups = chunks(p), chunks(p)[0][1]
    strands = [cohort.strands(b) for b in range(len(cohort.blocks))]
    rows = [s + (1 if cohort.shared else s) for s in strands]
    sums = [
        row * sum(own[s] for s in part["streams"]) * polynomial
        for row, part, own in zip(rows, cohort.blocks, counts, strict=True)
    ]
    # expanded public halves of the blocks that a thread sums together; a block's results, folded and in order, when it is written
    halves = TOGETHER * groups * polynomial if cohort.shared else 0
    written = max(
        (2 * (row + max(own.values())) * polynomial for row, own in zip(rows, counts, strict=True)), default=0
    )
    buffers = threads * max(halves, written)
    columns = groups * packed * polynomial
    early = threads > 1 and len(parts) > 1 and (min(threads, sets) + 1) * columns + buffers <= limit // 2
    # every thread has the columns of a set of its own, where there are several; and one may be read before its time
    fixed = buffers + columns * (min(threads, sets) + early)
    batches, start, size, largest = [], 0, 0, 0
    for b, need in enumerate(sums):
        if size and size + need > limit - fixed:
            batches.append((start, b))
            start, size = b, 0
        size += need
        largest = max(largest, size)
    batches.append((start, len(sums)))
    # the files of the design, then those of the blocks that threads sum together
    read = max(strands, default=0) * (1 if cohort.shared else 2)
    mapped = groups * polynomial * max(stored, threads * TOGETHER * read)
    return PassMemory(tuple(batches), early, fixed + largest, mapped)
