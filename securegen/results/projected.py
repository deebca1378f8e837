"""Tables of regressions from two numbers per variant, or from χ² alone (stats.projection), whoever summed them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from securegen import vocabulary as voc
from securegen.design.columns import Analysis
from securegen.design.strata import Stratum, analyses_of
from securegen.governance.gate import Gate
from securegen.model import GenotypeBlock, GenotypeReader, Variants
from securegen.results import outputs
from securegen.results.block_columns import refused_columns
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
BOUNDS = ("DCHISQ_BOUND", "DCHISQ_EXPECTED")


@dataclass(frozen=True)
class Piece:
    """The part of a table that one design has. rows: (V,) places of its variants; columns: (V,) each; planned: the certain
    error of χ² before a variant is seen."""

    rows: np.ndarray
    columns: Mapping[str, np.ndarray]
    planned: float = 0.0


def uv_statistics(
    u: np.ndarray, v: np.ndarray, p: Projection, number: int, scales: Scales, grid: int
) -> dict[str, np.ndarray]:
    """Statistics from the exact integers u and v, (V,) Python integers."""
    unit = 2.0 ** (scales.basis_bits + scales.mean_bits) * grid
    return statistics(
        u.astype(np.float64) / unit, v.astype(np.float64) / unit / unit, p, number, Noise.of(scales, grid)
    )


def places_in(stratum: Stratum) -> np.ndarray:
    """(V,) places of the variants of a stratum, in file order."""
    return np.concatenate([np.arange(start, stop) for start, stop in stratum.runs])


def centre(stratum: Stratum, projections: Sequence[Projection]) -> np.ndarray | None:
    """Over whom dosages are centred (`projection.centred`): where one copy is counted, who is analysed, since of the others
    some have none; else None, everybody."""
    return np.any([p.analysed for p in projections], axis=0) if stratum.copies == 1 and projections else None


def refused_pieces(strata: Sequence[Stratum], analysis: Analysis, reveal: str) -> list[Piece]:
    """Rows of NA where a phenotype has no design. Hits are of variants that were tested."""
    names = (*table_columns(analysis.test, reveal), *BOUNDS)
    out = []
    for stratum in strata:
        refused = stratum.refusal(analysis.test, analysis.phenotype)
        if refused is not None and reveal in PLAIN:
            rows = places_in(stratum)
            out.append(Piece(rows, refused_columns(refused, names, len(rows))))
    return out


def table_columns(test: str, reveal: str) -> tuple[str, ...]:
    """The columns of a table."""
    return CHISQ_COLUMNS if reveal == "chi2" else uv_columns(test)


def write_pieces(
    out: str, variants: Variants, analyses: Sequence[Analysis], strata: Sequence[Stratum],
    pieces: Mapping[tuple[str, str], Sequence[Piece]], *, gate: Gate, reveal: str, digits: int = 17,
) -> list[Summary]:  # fmt: skip
    """Write OUT.<PHENO>.REVEAL of every analysis from its pieces. gate: the door. Raises PolicyError where the policy refuses."""
    gate.release(outputs.associations(analyses, strata, len(variants), reveal))
    return [
        _write(
            out,
            variants,
            a,
            [*pieces[a.test, a.phenotype], *refused_pieces(strata, a, reveal)],
            reveal=reveal,
            digits=digits,
        )
        for a in analyses
    ]


def _write(out: str, variants: Variants, a: Analysis, pieces: Sequence[Piece], *, reveal: str, digits: int) -> Summary:
    """The statistics of an analysis for the variants of its pieces."""
    rows = np.concatenate([piece.rows for piece in pieces])
    order = np.argsort(rows, kind="stable")
    here = variants.take(rows[order])
    names = table_columns(a.test, reveal)
    wanted = [n for n in (*names, "CHISQ", *BOUNDS) if n not in voc.VARIANT_COLUMNS]
    columns = {n: np.concatenate([piece.columns[n] for piece in pieces])[order] for n in wanted}
    path = f"{out}.{a.phenotype}.{reveal}"
    write_table(path, names, [table_text(here, columns, names, digits)])
    scale = np.maximum(columns["CHISQ"], 1)
    promise = {
        "dchisq_promised": max(TARGET, *(piece.planned for piece in pieces)),
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
    tested = None if reveal in PLAIN else len(variants)
    return Summary(a, path, len(here), 0, codes, promise, inflation, top, tested=tested)


def plain_projected(
    reader: GenotypeReader, strata: Sequence[Stratum], out: str, *, gate: Gate, reveal: str = "uv", digits: int = 17
) -> list[Summary]:
    """The oracle in the clear: OUT.<PHENO>.uv or .chi2 for every phenotype. Raises UsageError for tests that are no
    regressions, PolicyError where the policy refuses."""
    assert reveal in PLAIN
    pieces: dict[tuple[str, str], list[Piece]] = {}
    for stratum in strata:
        grid = reader.dosage_grid * stratum.unit
        scales = projection.choose_scales(len(reader.samples), grid)
        projections = projection.project(stratum.design)
        among = centre(stratum, projections)
        for p in projections:
            parts = list(projection.sums(_blocks(reader, stratum), p, scales, grid, among))
            u, v = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
            everything = np.ones(len(v), bool)
            limit = _above_limit(_blocks(reader, stratum), p, v, scales) if reveal == "chi2" else everything
            for number, a in enumerate(p.analyses):
                if reveal == "uv":
                    columns = uv_statistics(u[:, number], v, p, number, scales, grid)
                else:
                    with np.errstate(divide="ignore", invalid="ignore"):
                        ratio = np.where(limit, u[:, number].astype(np.float64) ** 2 / v.astype(np.float64), 0.0)
                    error = ratio_error(ratio, p, Noise.of(scales, grid), RATIO_LIMIT[p.test])
                    columns = from_ratio(ratio, limit, p, number, error)
                piece = Piece(places_in(stratum), columns, planned_error(p.samples, scales, grid))
                pieces.setdefault((a.test, a.phenotype), []).append(piece)
    return write_pieces(
        out, reader.variants, analyses_of(strata), strata, pieces, gate=gate, reveal=reveal, digits=digits
    )


def _blocks(reader: GenotypeReader, stratum: Stratum) -> Iterator[GenotypeBlock]:
    for first, last in stratum.runs:
        for start in range(first, last, 256):
            yield reader.read(start, min(start + 256, last))


def _above_limit(blocks: Iterator[GenotypeBlock], p: Projection, v: np.ndarray, scales: Scales) -> np.ndarray:
    """Whether v is at least RATIO_LIMIT of the variation, which it never is for a constant variant."""
    bits = 2 * (scales.mean_bits + scales.basis_bits)
    total = np.concatenate([projection.variant_counts(block, p.analysed).variation(bits) for block in blocks])
    limit = round(RATIO_LIMIT[p.test] * (1 << 60))
    return (total > 0) & (v * (1 << 60) >= limit * total)
