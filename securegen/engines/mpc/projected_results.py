"""What the phenotype party makes of opened numbers: tables of u and v, of hits, or of χ² alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from securegen.engines.mpc.opened_statistics import ratio_bits, variation_bits
from securegen.engines.mpc.projected import CHI2, UV, ProjectedPlan
from securegen.model import Variants
from securegen.results.projected import uv_statistics, write_projected
from securegen.results.write import Summary
from securegen.stats.projected_statistics import RATIO_LIMIT, SHARE_BITS, Noise, from_ratio, ratio_error, statistics
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

    def write(self, out: str, variants: Variants, threshold: float | None, digits: int) -> list[Summary]:
        """One table a phenotype."""
        joined = {n: np.concatenate([part[n] for part in self.parts]) for n in self.parts[0]}
        summaries = []
        for number in range(len(self.projection.analyses)):
            which, columns = self._columns(joined, number)
            summaries.append(
                write_projected(
                    out, variants, self.projection, number, which, columns, reveal=self.plan.reveal, digits=digits,
                    scales=self.plan.scales, grid=self.plan.grid,
                )
            )  # fmt: skip
        return summaries

    def _columns(self, joined: dict[str, np.ndarray], number: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        p, plan = self.projection, self.plan
        if plan.reveal == UV:
            u, v = joined["u"][:, number], joined["v"]
            return np.ones(len(v), bool), uv_statistics(u, v, p, number, plan.scales, plan.grid)
        noise = Noise.of(plan.scales, plan.grid, normalised=True)
        opened = joined["opened"][:, number]
        if plan.reveal == CHI2:
            ratio = joined["ratio"][:, number] / 2.0 ** ratio_bits(p.samples)
            error = ratio_error(ratio, p, number, noise, RATIO_LIMIT[p.test]) + 2.0 ** (1 - ratio_bits(p.samples))
            return np.ones(len(ratio), bool), from_ratio(ratio, opened, p, number, error)
        rows = np.flatnonzero(opened)
        variation = joined["variation"][rows] / 2.0 ** variation_bits(p.samples, plan.grid) / plan.grid**2
        u = joined["u"][rows, number] / 2.0**SHARE_BITS * 2.0 ** self.lead_bits[number] / p.leads[number]
        v = joined["v"][rows] / 2.0**SHARE_BITS
        return opened, statistics(u * np.sqrt(variation), v * variation, replace(p), number, noise, variation)
