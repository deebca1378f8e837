"""Per-variant sums of the pooled cohort, segment by segment: each site sums its own people, the totals are opened.

First Σ g x, Σ g² x and how many calls are missing; then, only for variants where a call is missing somewhere, Σ m x and,
for complete cases, Σ m x x. The totals are the integers of the plain engine on the pooled cohort, whatever the order of
the people. Segments do not depend on each other: the first sums of several are posted together, then the second. Cost: the
bytes depend on variants and columns, and on how many people there are only by its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from securegen import fixedpoint as fp
from securegen.engines.plain import block_sums
from securegen.errors import PolicyError
from securegen.federated.fields import field_bits
from securegen.federated.rounds import OUT_OF_BOUNDS, SecureSum, Step, SumCheck
from securegen.model import Columns, GenotypeReader, Sums

READ = 512  # variants read at a time
MOST_VARIANTS = 65536  # of a segment
CELLS = 1 << 21  # integers of a segment in memory
TOGETHER = 4  # segments that are posted together


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
    width = len(columns.names)
    diagonal = [fp.exact_gram(columns.values[:, [j]], columns.values[:, [j]])[0][0] for j in range(width)]
    own = [int((columns.values != 0).any(axis=1).sum()), *diagonal]
    samples, *norms = totals = secure.total(own)
    if any(t < o for t, o in zip(totals, own, strict=True)):
        secure.refuse(OUT_OF_BOUNDS)
    copies = 2 * reader.dosage_grid
    # Cauchy–Schwarz over the pooled samples; a part of them cannot exceed it
    largest = lambda g, x2: math.isqrt(g * g * samples * x2) + 1  # noqa: E731
    first = [largest(copies, n) for n in norms] + [largest(copies**2, norms[j]) for j in columns.squared_index]
    first.append(samples)
    products = [norms[k] * norms[m] for k in range(width) for m in range(k, width)] if pairs else []
    second = [*(largest(1, n) for n in norms), *(math.isqrt(p) + 1 for p in products)]
    size = min(MOST_VARIANTS, max(READ, CELLS // (len(first) + len(second))))
    starts = range(0, len(reader.variants), size)
    for at in range(0, len(starts), TOGETHER):
        segments = [
            _Segment(f"{name}-{at + i:05d}", start, min(start + size, len(reader.variants)))
            for i, start in enumerate(starts[at : at + TOGETHER])
        ]
        parts = {s.name: cache(lambda s=s: _local(reader, columns, s.start, s.stop, pairs)) for s in segments}
        opened = list(secure.together([s.first(parts[s.name], first) for s in segments]))
        touched = [np.flatnonzero(o[:, -1]) for o in opened]
        again = secure.together([s.second(parts[s.name], t, second) for s, t in zip(segments, touched, strict=True)])
        for s, sums, rows, found in zip(segments, opened, touched, again, strict=True):
            missing = np.zeros((s.stop - s.start, len(second)), np.int64)
            missing[rows] = found
            yield Sums(
                s.start, sums[:, :width], missing[:, :width], sums[:, width:-1], missing[:, width:] if pairs else None
            )


@dataclass(frozen=True)
class _Segment:
    """Variants start to stop of a study, and the two sums that are opened of them."""

    name: str
    start: int
    stop: int

    def first(self, local: Callable[[], tuple[Sums, np.ndarray]], bounds: list[int]) -> Step:
        def own() -> np.ndarray:
            part, missing = local()
            return np.concatenate([part.g, part.q, missing[:, None]], axis=1)

        return _step(self.name, self.stop - self.start, bounds, own, _missing_counts)

    def second(self, local: Callable[[], tuple[Sums, np.ndarray]], rows: np.ndarray, bounds: list[int]) -> Step:
        def own() -> np.ndarray:
            part, _ = local()
            return (part.m if part.mm is None else np.concatenate([part.m, part.mm], axis=1))[rows]

        return _step(f"{self.name}-missing", len(rows), bounds, own)


def _step(
    name: str, count: int, bounds: list[int], own: Callable[[], np.ndarray], check: SumCheck | None = None
) -> Step:
    return Step(name, count, tuple(map(field_bits, bounds)), own, tuple(bounds), check)


def _missing_counts(own: np.ndarray, total: np.ndarray) -> None:
    """Raise PolicyError where fewer calls are missing at all sites together than here."""
    if (total[:, -1] < own[:, -1]).any():
        raise PolicyError(OUT_OF_BOUNDS)
