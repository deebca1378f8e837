"""Per-variant sums of the pooled cohort, segment by segment: each site sums its own people, the totals are opened.

First Σ g x, Σ g² x and how many calls are missing; then, only for variants where a call is missing somewhere, Σ m x and,
for complete cases, Σ m x x. The totals are the integers of the plain engine on the pooled cohort, whatever the order of
the people. Cost: the ciphertexts depend on variants and columns, never on how many people a site has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np

from securegen import fixedpoint as fp
from securegen.engines.plain import block_sums
from securegen.federated.packing import field_bits
from securegen.federated.rounds import SecureSum
from securegen.model import Columns, GenotypeReader, Sums

READ = 512  # variants read at a time
MOST_VARIANTS = 65536  # of a segment
CELLS = 1 << 21  # integers of a segment in memory


def _local(reader: GenotypeReader, columns: Columns, start: int, stop: int, pairs: bool) -> tuple[Sums, np.ndarray]:
    """This site's sums of one segment, and (V,) missing calls among the analysed samples."""
    analysed = (columns.values != 0).any(axis=1)
    parts, missing = [], []
    for at in range(start, stop, READ):
        block = reader.read(at, min(at + READ, stop))
        parts.append(block_sums(block, columns, pairs=pairs))
        none = block.missing is None
        missing.append(np.zeros(len(block), np.int64) if none else (block.missing & analysed).sum(1, dtype=np.int64))
    g, m, q = (np.concatenate([getattr(p, name) for p in parts]) for name in ("g", "m", "q"))
    mm = np.concatenate([p.mm for p in parts if p.mm is not None]) if pairs else None
    return Sums(start, g, m, q, mm), np.concatenate(missing)


def federated_sums(
    secure: SecureSum, reader: GenotypeReader, columns: Columns, *, name: str, pairs: bool = False
) -> Iterator[Sums]:
    """Yield the pooled sums of every segment, in the order of the study's variants. columns: this site's rows.

    name: of the rounds, different for every call in a study. pairs: also Σ m x x.
    """
    assert len(columns.values) == len(reader.samples)
    width = len(columns.names)
    diagonal = [fp.exact_gram(columns.values[:, [j]], columns.values[:, [j]])[0][0] for j in range(width)]
    samples, *norms = secure.total([int((columns.values != 0).any(axis=1).sum()), *diagonal])
    copies = 2 * reader.dosage_grid
    # Cauchy–Schwarz over the pooled samples; a part of them cannot exceed it
    bound = lambda g, x2: field_bits(math.isqrt(g * g * samples * x2) + 1)  # noqa: E731
    sums = [bound(copies, n) for n in norms] + [bound(copies**2, norms[j]) for j in columns.squared_index]
    first = (*sums, field_bits(samples))
    products = [norms[k] * norms[m] for k in range(width) for m in range(k, width)] if pairs else []
    second = (*(bound(1, n) for n in norms), *(field_bits(math.isqrt(p) + 1) for p in products))
    size = min(MOST_VARIANTS, max(READ, CELLS // (len(first) + len(second))))
    for segment, start in enumerate(range(0, len(reader.variants), size)):
        stop = min(start + size, len(reader.variants))
        local = cache(lambda start=start, stop=stop: _local(reader, columns, start, stop, pairs))

        def own_first(local=local) -> np.ndarray:
            part, missing = local()
            return np.concatenate([part.g, part.q, missing[:, None]], axis=1)

        opened = secure.rows(f"{name}-{segment:05d}", stop - start, first, own_first)
        touched = np.flatnonzero(opened[:, -1])

        def own_second(local=local, touched=touched) -> np.ndarray:
            part, _ = local()
            return np.concatenate([part.m, part.mm], axis=1)[touched] if part.mm is not None else part.m[touched]

        missing = np.zeros((stop - start, len(second)), np.int64)
        if len(touched):
            missing[touched] = secure.rows(f"{name}-{segment:05d}-missing", len(touched), second, own_second)
        yield Sums(
            start, opened[:, :width], missing[:, :width], opened[:, width:-1], missing[:, width:] if pairs else None
        )
