"""What the phenotype party makes of opened numbers: its part of tables of u and v, of hits, or of χ² alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from securegen.design.columns import Analysis
from securegen.engines.mpc.opened_statistics import ratio_bits, variation_bits
from securegen.engines.mpc.projected import CHI2, UV, ProjectedPlan
from securegen.results.projected import Piece, uv_statistics
from securegen.stats.projected_statistics import (
    RATIO_LIMIT,
    SHARE_BITS,
    Noise,
    from_ratio,
    planned_error,
    ratio_error,
    statistics,
)
from securegen.stats.projection import Projection


@dataclass
class Opened:
    """The opened numbers of one group, batch after batch."""

    plan: ProjectedPlan
    projection: Projection
    lead_bits: tuple[int, ...]
    parts: list[dict[str, np.ndarray]] = field(default_factory=list)

    def add(self, found: dict[str, np.ndarray]) -> None:
        self.parts.append(found)

    def pieces(self, rows: np.ndarray) -> Iterator[tuple[Analysis, Piece]]:
        """The part of each table. rows: places of the variants, in the order of the batches."""
        joined = {n: np.concatenate([part[n] for part in self.parts]) for n in self.parts[0]}
        planned = planned_error(self.projection.samples, self.plan.scales, self.plan.grid)
        for number, a in enumerate(self.projection.analyses):
            which, columns = self._columns(joined, number)
            yield a, Piece(rows[which], columns, planned)

    def _columns(self, joined: dict[str, np.ndarray], number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        p, plan = self.projection, self.plan
        if plan.reveal == UV:
            u, v = joined["u"][:, number], joined["v"]
            return np.ones(len(v), bool), uv_statistics(u, v, p, number, plan.scales, plan.grid)
        noise = Noise.of(plan.scales, plan.grid, normalised=True)
        opened = joined["opened"][:, number]
        if plan.reveal == CHI2:
            ratio = joined["ratio"][:, number] / 2.0 ** ratio_bits(p.samples)
            error = ratio_error(ratio, p, noise, RATIO_LIMIT[p.test]) + 2.0 ** (1 - ratio_bits(p.samples))
            return np.ones(len(ratio), bool), from_ratio(ratio, opened, p, number, error)
        rows = np.flatnonzero(opened)
        variation = joined["variation"][rows] / 2.0 ** variation_bits(p.samples, plan.grid) / plan.grid**2
        u = joined["u"][rows, number] / 2.0**SHARE_BITS * 2.0 ** self.lead_bits[number] / p.leads[number]
        v = joined["v"][rows] / 2.0**SHARE_BITS
        return opened, statistics(u * np.sqrt(variation), v * variation, replace(p), number, noise, variation)
