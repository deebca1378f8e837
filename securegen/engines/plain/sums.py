"""The plain engine: exact integer sums on genotypes in the clear. It is the oracle of every other engine.

Who learns what: whoever runs it sees everything. Use it on your own data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from securegen.catalogue import record_of
from securegen.design.columns import Analysis, Design
from securegen.design.strata import Stratum, blocks_of
from securegen.kernels.integer_sums import integer_sums, pair_sums, squared_sums
from securegen.model import Columns, GenotypeBlock, GenotypeReader, Sums, boundaries_of, iterate_blocks

BLOCK = 512


def block_sums(block: GenotypeBlock, columns: Columns, *, pairs: bool | int = False) -> Sums:
    """Sums of one block (see model.Sums). pairs: also Σ m x_k x_l, for complete cases; a number: of the first columns."""
    x, squares = columns.values, columns.squared_index
    g = integer_sums(block.dosage, x)
    q = squared_sums(block.dosage, x[:, squares], block.alleles) if squares else np.zeros((len(block), 0), np.int64)
    width = x.shape[1] if pairs is True else int(pairs)
    if block.missing is None:
        m = np.zeros_like(g)
        mm = np.zeros((len(block), width * (width + 1) // 2), np.int64) if pairs else None
    else:
        m = integer_sums(block.missing, x)
        mm = pair_sums(block.missing, np.ascontiguousarray(x[:, :width])) if pairs else None
    return Sums(block.start, g, m, q, mm)


def sums(reader: GenotypeReader, columns: Columns, *, block: int = BLOCK, pairs: bool | int = False) -> Iterator[Sums]:
    """Yield the sums of a cohort block by block, in file order. Memory: one block.

    columns.values must have a row for every sample of the reader.
    """
    _check(reader, columns)
    for part in iterate_blocks(reader, block):
        yield block_sums(part, columns, pairs=pairs)


def strata_sums(reader: GenotypeReader, strata: Sequence[Stratum], *, block: int = BLOCK) -> Iterator[Sums]:
    """As `sums`, every block with the columns of its stratum."""
    for stratum, start, stop in blocks_of(strata, block, boundaries_of(reader)):
        yield _stratum_sums(reader, stratum.design.columns, start, stop)


def _stratum_sums(reader: GenotypeReader, columns: Columns, start: int, stop: int, pairs: bool | int = False) -> Sums:
    if not columns.names:  # nobody is analysed there
        nothing = np.zeros((stop - start, 0), np.int64)
        return Sums(start, nothing, nothing, nothing)
    _check(reader, columns)
    return block_sums(reader.read(start, stop), columns, pairs=pairs)


def _check(reader: GenotypeReader, columns: Columns) -> None:
    if len(columns.values) != len(reader.samples):
        raise ValueError(f"columns of {len(columns.values)} people for genotypes of {len(reader.samples)}")


def complete_case_strata(
    reader: GenotypeReader, strata: Sequence[Stratum], test: str, phenotype: str
) -> tuple[tuple[Stratum, ...], Iterator[Sums]]:
    """The strata with that one analysis each, and the sums that complete cases of linear regression need."""
    own, pairs = [], {}
    for stratum in strata:
        analysis = stratum.analysis(test, phenotype)
        columns = Columns((), np.zeros((0, 0), np.int64), ())
        analyses: tuple[Analysis, ...] = ()
        if analysis is not None:
            alone, columns, pairs[stratum.name] = _alone(stratum.design.columns, analysis)
            analyses = (alone,)
        own.append(replace(stratum, design=Design(columns, analyses)))
    blocks = blocks_of(own, BLOCK, boundaries_of(reader))
    return tuple(own), (_stratum_sums(reader, s.design.columns, a, b, pairs.get(s.name, False)) for s, a, b in blocks)


def _alone(columns: Columns, analysis: Analysis) -> tuple[Analysis, Columns, bool | int]:
    """An analysis over columns that it alone reads, those of the model first, and of how many pairs are summed."""
    index = [*analysis.columns, *(j for j, _ in analysis.single)]
    squared = {columns.squared_index[i] for i in analysis.squares}
    part = Columns(
        tuple(columns.names[j] for j in index), np.ascontiguousarray(columns.values[:, index]),
        tuple(j in squared for j in index),
    )  # fmt: skip
    width = len(analysis.columns)
    single = tuple((width + i, people) for i, (_, people) in enumerate(analysis.single))
    alone = replace(analysis, columns=tuple(range(width)), squares=tuple(range(len(part.squared_index))), single=single)
    return alone, part, width if "complete" in record_of(analysis).missing else False
