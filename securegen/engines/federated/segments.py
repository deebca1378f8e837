"""Segments of a study's variants, each of one stratum, and which of their rows a site lets be opened.

Who learns what: nobody, until the flags are summed over the sites (`association`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.strata import Stratum, in_order
from securegen.engines.federated.variant_sums import READ, SiteSums
from securegen.governance import openings
from securegen.governance.rows import RowRule, rows_at_once, taken_row
from securegen.model import GenotypeBlock, GenotypeReader, OpenedSums

MOST_VARIANTS = 65536  # of a segment
CELLS = 1 << 21  # integers of a segment in memory
TOGETHER = 4  # whole segments that are posted together


@dataclass(frozen=True)
class Segment:
    """Consecutive variants of one stratum. study: this site's side of its sums."""

    name: str
    start: int
    stop: int
    study: SiteSums

    @property
    def empty(self) -> bool:
        """Whether nobody is analysed there."""
        return not self.study.design.analyses


def batches(strata: Sequence[Stratum], sites: Sequence[SiteSums], name: str) -> Iterator[list[Segment]]:
    """Segments that are posted together: they take the memory of a few whole ones, of whatever strata they are."""
    site_of = {id(stratum): site for stratum, site in zip(strata, sites, strict=True)}
    batch: list[Segment] = []
    filled, number = 0.0, 0
    for first, last, stratum in in_order(strata):
        site = site_of[id(stratum)]
        width = len(site.set_bounds()) + len(site.column_bounds())
        size = min(MOST_VARIANTS, max(READ, CELLS // max(width, 1)))
        for start in range(first, last, size):
            segment = Segment(f"{name}-{number:05d}", start, min(start + size, last), site)
            share, number = (segment.stop - start) / size, number + 1
            if batch and filled + share > TOGETHER:
                yield batch
                batch, filled = [], 0.0
            batch.append(segment)
            filled += share
    if batch:
        yield batch


class OwnRows:
    """This site's rule of rows over all strata, in file order. genotypes: what people are told apart by; vetoed: (M,) bool,
    rows that this site withholds for another reason, None for none."""

    def __init__(self, rule: RowRule, genotypes: GenotypeReader, vetoed: np.ndarray | None = None) -> None:
        self._rule, self._genotypes, self._vetoed = rule, genotypes, vetoed
        self._before: list[GenotypeBlock] = []

    def flags(self, segments: Sequence[Segment]) -> dict[str, np.ndarray]:
        """(V, 1 + sets) of each: 1 where this site withholds a variant, and where few of a set lack its call."""
        kept, out = list(self._before), {}
        for s in segments:
            masks = s.study.masks
            out[s.name] = own = np.zeros((s.stop - s.start, 1 + len(masks)), np.int64)
            if s.empty:
                continue
            size = rows_at_once(len(self._genotypes.samples))
            for start in range(s.start, s.stop, size):
                block = self._genotypes.read(start, min(start + size, s.stop))
                at = slice(start - s.start, start - s.start + len(block))
                if block.missing is not None:
                    for k, people in enumerate(masks):
                        lack = block.missing[:, people].sum(axis=1, dtype=np.int64)
                        own[at, 1 + k] = openings.too_few(lack, s.study.fewest)
                own[at, 0] = self._rule.scan(block, kept, masks)
                if self._vetoed is not None:
                    own[at, 0] |= self._vetoed[block.start : block.start + len(block)]
            own[:, s.study.by_sex] = own[:, 1:].max(axis=1, initial=0, keepdims=True)
        return out

    def take(self, segments: Sequence[Segment], parts: Sequence[OpenedSums]) -> None:
        """Keep the opened rows of the last 500 variants, or of the rule's window, which the next ones are compared with."""
        stop, kept = segments[-1].stop, self._before
        for s, part in zip(segments, parts, strict=True):
            first = max(0, stop - self._rule.window - s.start)
            opened = [s.start + int(v) for v in np.flatnonzero(~part.withheld) if v >= first]
            kept += [taken_row(self._genotypes.read(r, r + 1), s.study.masks) for r in opened]
        self._before = [b for b in kept if stop - b.start <= self._rule.window]
