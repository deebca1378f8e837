"""The plain engine: exact integer sums on genotypes in the clear. It is the oracle of every other engine.

Who learns what: whoever runs it sees everything. Use it on your own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from securegen.catalogue import record_of
from securegen.design.columns import Analysis
from securegen.kernels.integer_sums import integer_sums, pair_sums, squared_sums
from securegen.model import Columns, GenotypeBlock, GenotypeReader, Sums, iterate_blocks

BLOCK = 512


def block_sums(block: GenotypeBlock, columns: Columns, *, pairs: bool = False) -> Sums:
    """Sums of one block (see model.Sums). pairs: also Σ m x_k x_l, for complete cases."""
    x, squares = columns.values, columns.squared_index
    g = integer_sums(block.dosage, x)
    q = squared_sums(block.dosage, x[:, squares]) if squares else np.zeros((len(block), 0), np.int64)
    width = x.shape[1]
    if block.missing is None:
        m = np.zeros_like(g)
        mm = np.zeros((len(block), width * (width + 1) // 2), np.int64) if pairs else None
    else:
        m = integer_sums(block.missing, x)
        mm = pair_sums(block.missing, x) if pairs else None
    return Sums(block.start, g, m, q, mm)


def sums(reader: GenotypeReader, columns: Columns, *, block: int = BLOCK, pairs: bool = False) -> Iterator[Sums]:
    """Yield the sums of a cohort block by block, in file order. Memory: one block.

    columns.values must have a row for every sample of the reader.
    """
    if len(columns.values) != len(reader.samples):
        raise ValueError(f"columns of {len(columns.values)} people for genotypes of {len(reader.samples)}")
    for part in iterate_blocks(reader, block):
        yield block_sums(part, columns, pairs=pairs)


def complete_case_sums(reader: GenotypeReader, columns: Columns, analysis: Analysis) -> tuple[Analysis, Iterator[Sums]]:
    """One analysis alone, with the sums that complete cases of linear regression need."""
    index = list(analysis.columns)
    squared = {columns.squared_index[i] for i in analysis.squares}
    part = Columns(
        tuple(columns.names[j] for j in index), np.ascontiguousarray(columns.values[:, index]),
        tuple(j in squared for j in index),
    )  # fmt: skip
    alone = replace(analysis, columns=tuple(range(len(index))), squares=tuple(range(len(part.squared_index))))
    return alone, sums(reader, part, pairs="complete" in record_of(analysis).missing)
