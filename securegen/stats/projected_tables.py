"""Tables of linear regression from two numbers a variant (stats.projection), whoever summed them."""

from __future__ import annotations

import numpy as np

from securegen import vocabulary as voc
from securegen.design import Analysis, Design
from securegen.errors import UsageError
from securegen.io.sumstats import table_rows, write_table
from securegen.model import GenotypeReader, Variants
from securegen.stats import projection
from securegen.stats.projection import Scales
from securegen.stats.qc import lambda_gc
from securegen.stats.tables import Summary

UV_SUFFIX, HITS_SUFFIX = "uv", "hits"


def check_linear(design: Design) -> None:
    """Raise UsageError, naming the phenotype, unless every analysis is a linear regression."""
    other = next((a for a in design.analyses if a.test != "linear"), None)
    if other is not None:
        raise UsageError(
            f"--reveal hits and uv are for linear regression; phenotype {other.phenotype} has the test {other.test}: "
            "use --model linear, or --reveal aggregates --consent-aggregates"
        )


def write_projected(
    out: str, variants: Variants, a: Analysis, scales: Scales, which: np.ndarray, u: np.ndarray, v: np.ndarray, *,
    suffix: str, digits: int = 17,
) -> Summary:  # fmt: skip
    """Write OUT.<PHENO>.SUFFIX from the exact integers u and v, (M,) Python integers, of the variants in `which` ((M,) bool)."""
    rows = np.flatnonzero(which)
    columns = projection.statistics(u[rows].astype(np.float64), v[rows].astype(np.float64), a.model, scales)
    here = variants.take(rows)
    path = f"{out}.{a.phenotype}.{suffix}"
    write_table(path, projection.UV_COLUMNS, table_rows(here, columns, projection.UV_COLUMNS, digits))
    scale = np.maximum(columns["CHISQ"], 1)
    worst = {f"dchisq_{n.lower()}": columns[f"DCHISQ_{n}"] / scale for n in ("BOUND", "EXPECTED")}
    promise = {
        "dchisq_promised": projection.planned_chisq_error(a.model.samples, scales),
        "dchisq_certain": float(np.nanmax(worst["dchisq_bound"], initial=0.0)),
        "dchisq_expected": float(np.nanmax(worst["dchisq_expected"], initial=0.0)),
    }
    codes = {
        str(c): int(n) for c, n in zip(*np.unique(columns["ERRCODE"].astype(str), return_counts=True), strict=True)
    }
    top: list[dict[str, object]] = []
    for j in np.argsort(-np.nan_to_num(columns["LOG10_P"], nan=-1.0), kind="stable")[:10]:
        if columns["ERRCODE"][j] == voc.OK:
            row = {"ID": here.id[j], "#CHROM": here.chromosome[j], "POS": int(here.position[j])}
            top.append(
                row | {"A1": here.effect_allele[j], **{n: columns[n][j] for n in ("BETA", "SE", "P", "LOG10_P")}}
            )
    inflation = lambda_gc(columns["LOG10_P"]) if suffix == UV_SUFFIX else float("nan")
    return Summary(a, path, len(here), 0, codes, promise, inflation, top)


def plain_uv(reader: GenotypeReader, design: Design, out: str, *, digits: int = 17) -> list[Summary]:
    """The oracle in the clear: OUT.<PHENO>.uv for every phenotype. Raises UsageError for tests that are not linear."""
    check_linear(design)
    summaries = []
    for a in design.analyses:
        scales = projection.choose_scales(len(reader.samples), a.model.samples - len(a.model.gram) - 1)
        u: list[int] = []
        v: list[int] = []
        for _, more_u, more_v in projection.sums(reader, design.columns, a, scales):
            u += more_u
            v += more_v
        numbers = np.ones(len(u), bool), np.array(u, object), np.array(v, object)
        summaries.append(write_projected(out, reader.variants, a, scales, *numbers, suffix=UV_SUFFIX, digits=digits))
    return summaries
