"""Bytes that a study stores, from its plan: a formula of the public shape, with the rounding that a fit of sizes cannot have.

Rings, packs and digits change by steps as a study grows, so bytes do; `securegen plan` computes them before anything is
encrypted. Here the plan is made for a shape alone: one phenotype of the simulated studies, covariates and the intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from securegen.design.column_bits import COVARIATE_BITS, phenotype_bits
from securegen.engines.ckks.planner import Plan, choose
from securegen.engines.ckks.workload import Workload
from securegen.engines.costs import Shape, step_costs

COLUMNS = 14  # of every study but those of `columns`
LEAST_SHARE = 0.51  # of its scale, a power of two, that a phenotype fills: so it takes the most bits
STORED = ("encrypt", "server")


@lru_cache(1024)
def plan_at(people: int, variants: int, columns: int = COLUMNS) -> Plan:
    """The plan of a study in the clear of one chromosome, complete calls."""
    bits = phenotype_bits(people - columns, LEAST_SHARE)
    return choose(
        Workload(
            people, variants, columns - 1, max(bits, COVARIATE_BITS), 1, fine=1, owner_squares=1,
            coarse_bits=COVARIATE_BITS if bits > COVARIATE_BITS else 0,
        )
    )  # fmt: skip


def bytes_at(step: str, people: float, variants: float, columns: float = COLUMNS) -> int:
    """What `step` writes, in bytes."""
    n, m, j = round(people), round(variants), round(columns)
    return step_costs(plan_at(n, m, j), Shape(n, m, j, j - 1, 1), cores=1)[step].disk_bytes


def hours_at(step: str, people: int, variants: int) -> float:
    """Core-hours of `step` by the plan, on the machine that its seconds were fitted to."""
    return (
        step_costs(plan_at(people, variants), Shape(people, variants, COLUMNS, COLUMNS - 1, 1), cores=1)[step].seconds
        / 3600
    )


def largest_error(rows: Sequence[dict[str, Any]], step: str) -> float:
    """The largest relative error against what was measured."""
    return max(
        abs(bytes_at(step, r["samples"], r["variants"], r["columns"]) / r["steps"][step]["disk_bytes"] - 1)
        for r in rows
    )
