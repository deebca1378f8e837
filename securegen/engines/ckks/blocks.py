"""Which variants a stored cohort encrypts together: its blocks, as its record has them.

A block of an association's store lies in one file and in one run of a chromosome, so that a design by chromosome and a
chromosome that arrives later fit what is stored. Inside such a run blocks are as long as parameters allow; the last takes
the strands that it needs. Each block has a public half of its own, so short runs cost more: 500 people and 5,000 variants on
22 chromosomes take 1.2 times the bytes of one chromosome, and 2.5 times the server's time; 100,000 variants 1.05.

Who learns what: the server reads how long every block is, and so how many variants every file and chromosome has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from securegen.errors import PlanError
from securegen.model import GenotypeBlock, GenotypeReader, IntArray, boundaries_of
from securegen.vocabulary import canonical_chromosome

MOST_BLOCKS = 1 << 20


def runs_of(reader: GenotypeReader) -> tuple[int, ...]:
    """Lengths of the runs of variants that blocks do not cross: `runs` of a reader that has them, else those of one file
    and one chromosome, in file order."""
    if (own := getattr(reader, "runs", None)) is not None:
        return tuple(own)
    chromosome = reader.variants.chromosome
    number = {name: canonical_chromosome(name) for name in dict.fromkeys(chromosome)}
    place = {name: i for i, name in enumerate(dict.fromkeys(number.values()))}
    codes = np.array([place[number[c]] for c in chromosome], np.int64)
    edges = np.union1d(np.flatnonzero(np.diff(codes)) + 1, np.array(boundaries_of(reader), np.int64))
    return tuple(np.diff(edges).tolist())


def block_sizes(runs: Sequence[int], width: int) -> tuple[int, ...]:
    """Variants of every block: at most `width`, none across the end of a run. Raises PlanError for too many of them.

    >>> block_sizes((5, 2), 3)
    (3, 2, 2)
    """
    if (count := sum(-(-run // width) for run in runs)) > MOST_BLOCKS:
        raise PlanError(
            f"{sum(runs):,} variants lie in {len(runs):,} runs of one chromosome and file, which makes {count:,} blocks, more "
            f"than {MOST_BLOCKS:,}: sort the variants by chromosome"
        )
    return tuple(min(width, run - start) for run in runs for start in range(0, run, width))


def block_name(index: int) -> str:
    """What the files of a block are called by."""
    return f"{index:06d}"


def block_of(name: str) -> int | None:
    """The number of the block whose file this is, None where it is of none.

    >>> block_of("g-000012-0000.c0.npy"), block_of("manifest.json")
    (12, None)
    """
    number = name.removesuffix(".box").split("-")[1:2]
    return int(number[0]) if number and number[0].isdecimal() else None


def starts_of(sizes: Sequence[int]) -> IntArray:
    """(B + 1,) int64: first variant of every block, and how many there are.

    >>> starts_of((3, 2, 2))
    array([0, 3, 5, 7])
    """
    return np.concatenate([[0], np.cumsum(np.array(sizes, np.int64))]).astype(np.int64)


def read_blocks(reader: GenotypeReader, sizes: Sequence[int]) -> Iterator[GenotypeBlock]:
    """The genotypes in blocks of these sizes. Raises ValueError where they are others than the reader's variants."""
    starts = starts_of(sizes).tolist()
    if starts[-1] != len(reader.variants):
        raise ValueError(f"blocks of {starts[-1]} variants for a reader of {len(reader.variants)}")
    for start, size in zip(starts, sizes, strict=False):
        yield reader.read(start, start + size)
