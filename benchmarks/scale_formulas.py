"""Formulas of time, fitted to what `scale/run.py` measured; and what they and the plan's bytes say of 500,000 people × 10
million variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scale_bytes import STORED, bytes_at

PEOPLE, VARIANTS, SITES = 500_000, 10_000_000, 3
CORE_HOUR, DISK_MONTH = 0.04, 20.0  # dollars: of a virtual core, and of a terabyte of object storage for a month
STEPS = ("encrypt", "server", "decrypt", "gwas")
Rows = Sequence[dict[str, Any]]
Terms = Callable[[dict[str, Any]], Sequence[float]]


def studies(told: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    return [s for kind in kinds for s in told.get(kind, {}).get("studies", ())]


def rows_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Every study in the clear and under CKKS from which formulas of people and variants come."""
    return studies(told, "grid", "chromosomes")


def by_genotypes(row: dict[str, Any]) -> tuple[float, ...]:
    n, m = row["samples"], row["variants"]
    return 1, n, m, n * m


def by(size: str) -> Terms:
    return lambda row: (1, row[size])


def fitted(rows: Rows, step: str, value: str, terms: Terms = by_genotypes) -> tuple[np.ndarray, float]:
    """Least squares of relative errors, no coefficient below 0; and the largest relative error of the fit."""
    y = np.array([r["steps"][step][value] for r in rows], float)
    x = np.array([terms(r) for r in rows], float) / y[:, None]
    scale = x.max(axis=0)
    used = list(range(x.shape[1]))
    while True:  # a term that would be negative is left out, the most negative first
        found, *_ = np.linalg.lstsq(x[:, used] / scale[used], np.ones_like(y), rcond=None)
        if (found >= 0).all() or len(used) == 1:
            break
        del used[int(found.argmin())]
    out = np.zeros(x.shape[1])
    out[used] = np.maximum(found, 0) / scale[used]
    return out, float(np.abs(x @ out - 1).max())


def value_at(terms: np.ndarray, people: float, variants: float) -> float:
    return float(terms @ [1, people, variants, people * variants])


def costs(told: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Step, core-hours and terabytes of `PEOPLE` × `VARIANTS`."""
    rows, out = rows_of(told), []
    for step in STEPS:
        hours = value_at(fitted(rows, step, "cpu_seconds")[0], PEOPLE, VARIANTS) / 3600
        disk = bytes_at(step, PEOPLE, VARIANTS) / 1e12 if step in STORED else 0.0
        out.append((step, hours, disk))
    return out
