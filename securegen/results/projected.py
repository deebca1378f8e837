"""Tables of regressions from two numbers a variant, or from χ² alone (stats.projection), whoever summed them."""

from __future__ import annotations

import numpy as np

from securegen import vocabulary as voc
from securegen.design.columns import Design
from securegen.model import GenotypeReader, Variants, iterate_blocks
from securegen.results.rows import table_text, write_table
from securegen.results.write import Summary
from securegen.stats import projection
from securegen.stats.projected_statistics import (
    CHISQ_COLUMNS,
    RATIO_LIMIT,
    TARGET,
    Noise,
    from_ratio,
    planned_error,
    ratio_error,
    statistics,
    uv_columns,
)
from securegen.stats.projection import Projection, Scales
from securegen.stats.qc import lambda_gc

PLAIN = ("uv", "chi2")  # what the plain engine writes as an oracle


def uv_statistics(
    u: np.ndarray, v: np.ndarray, p: Projection, number: int, scales: Scales, grid: int
) -> dict[str, np.ndarray]:  # fmt: skip
    """Statistics from the exact integers u and v, (V,) Python integers."""
    unit = 2.0 ** (scales.basis_bits + scales.mean_bits) * grid
    return statistics(
        u.astype(np.float64) / unit, v.astype(np.float64) / unit / unit, p, number, Noise.of(scales, grid)
    )  # fmt: skip


def write_projected(
    out: str, variants: Variants, p: Projection, number: int, which: np.ndarray, columns: dict[str, np.ndarray], *,
    reveal: str, scales: Scales, grid: int = 1, digits: int = 17,
) -> Summary:  # fmt: skip
    """Write OUT.<PHENO>.REVEAL, the statistics of the variants in `which` ((M,) bool) for analysis `number` of p."""
    a = p.analyses[number]
    here = variants.take(np.flatnonzero(which))
    names = CHISQ_COLUMNS if reveal == "chi2" else uv_columns(p.test)
    path = f"{out}.{a.phenotype}.{reveal}"
    write_table(path, names, [table_text(here, columns, names, digits)])
    scale = np.maximum(columns["CHISQ"], 1)
    promise = {
        "dchisq_promised": max(TARGET, planned_error(p.samples, scales, grid)),
        "dchisq_certain": float(np.nanmax(columns["DCHISQ_BOUND"] / scale, initial=0.0)),
        "dchisq_expected": float(np.nanmax(columns["DCHISQ_EXPECTED"] / scale, initial=0.0)),
    }
    codes = {
        str(c): int(n) for c, n in zip(*np.unique(columns["ERRCODE"].astype(str), return_counts=True), strict=True)
    }
    top: list[dict[str, object]] = []
    shown = [n for n in ("BETA", "SE", "CHISQ", "P", "LOG10_P") if n in names]
    for j in np.argsort(-np.nan_to_num(columns["LOG10_P"], nan=-1.0), kind="stable")[:10]:
        if columns["ERRCODE"][j] == voc.OK:
            row: dict[str, object] = {"ID": here.id[j], "#CHROM": here.chromosome[j], "POS": int(here.position[j])}
            row["A1"] = here.effect_allele[j]
            row.update((n, columns[n][j]) for n in shown)
            top.append(row)
    inflation = lambda_gc(columns["LOG10_P"]) if reveal in PLAIN else float("nan")
    tested = None if reveal in PLAIN else len(which)
    return Summary(a, path, len(here), 0, codes, promise, inflation, top, tested=tested)


def plain_projected(
    reader: GenotypeReader, design: Design, out: str, *, reveal: str = "uv", digits: int = 17
) -> list[Summary]:  # fmt: skip
    """The oracle in the clear: OUT.<PHENO>.uv or .chi2 for every phenotype. Raises UsageError for tests that are no
    regressions."""
    assert reveal in PLAIN
    scales = projection.choose_scales(len(reader.samples), reader.dosage_grid)
    made = []
    for p in projection.project(design):
        parts = list(projection.sums(reader, p, scales))
        u, v = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
        everything = np.ones(len(v), bool)
        limit = _above_limit(reader, p, v, scales) if reveal == "chi2" else everything
        for number in range(len(p.analyses)):
            if reveal == "uv":
                columns = uv_statistics(u[:, number], v, p, number, scales, reader.dosage_grid)
            else:
                with np.errstate(divide="ignore", invalid="ignore"):
                    ratio = np.where(limit, u[:, number].astype(np.float64) ** 2 / v.astype(np.float64), 0.0)
                error = ratio_error(ratio, p, number, Noise.of(scales, reader.dosage_grid), RATIO_LIMIT[p.test])
                columns = from_ratio(ratio, limit, p, number, error)
            made.append(
                write_projected(
                    out, reader.variants, p, number, everything, columns, reveal=reveal, scales=scales,
                    grid=reader.dosage_grid, digits=digits,
                )
            )  # fmt: skip
    order = {a.phenotype: i for i, a in enumerate(design.analyses)}
    return sorted(made, key=lambda s: order[s.analysis.phenotype])


def _above_limit(reader: GenotypeReader, p: Projection, v: np.ndarray, scales: Scales) -> np.ndarray:
    """Whether v is at least RATIO_LIMIT of the variation, which it never is for a constant variant."""
    bits = 2 * (scales.mean_bits + scales.basis_bits)
    total = np.concatenate([
        projection.variant_counts(block, p.analysed).variation(bits)
        for block in iterate_blocks(reader, 256)
    ])  # fmt: skip
    limit = round(RATIO_LIMIT[p.test] * (1 << 60))
    return (total > 0) & (v * (1 << 60) >= limit * total)
