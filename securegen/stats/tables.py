"""From sums to result tables: one dispatch for every test, and the streamed writing of a run's tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from securegen import vocabulary as voc
from securegen.design import Analysis, LinearModel
from securegen.io.output import atomic
from securegen.io.sumstats import FULL_DIGITS, table_rows
from securegen.model import Sums, Variants
from securegen.stats.linear import expected_t_error, linear


def result_columns(analysis: Analysis, sums: Sums, *, grid: int = 1) -> dict[str, np.ndarray]:
    """Result columns of one analysis for one block. sums: of the whole design; pairs only where one analysis is run."""
    part = Sums(
        sums.start, sums.g[:, analysis.columns], sums.m[:, analysis.columns], sums.q[:, analysis.squares], sums.mm
    )
    assert isinstance(analysis.model, LinearModel)
    return linear(part, analysis.model, grid=grid)


@dataclass
class Summary:
    """What a finished table says of itself. promise: printed error bounds; top: rows of the smallest p-values."""

    analysis: Analysis
    path: str
    variants: int
    codes: dict[str, int]
    promise: dict[str, float]
    top: list[dict[str, object]]


class _Collector:
    """Running summary of one table, in constant memory."""

    TOP = 10

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis
        self.codes: dict[str, int] = {}
        self.certain, self.variants = 0.0, 0
        self.top: list[tuple[float, dict[str, object]]] = []

    def add(self, variants: Variants, columns: dict[str, np.ndarray]) -> None:
        self.variants += len(variants)
        for code, count in zip(*np.unique(columns["ERRCODE"].astype(str), return_counts=True), strict=True):
            self.codes[str(code)] = self.codes.get(str(code), 0) + int(count)
        if "DT_BOUND" in columns:
            model = self.analysis.model
            df = np.maximum(columns["OBS_CT"] - len(model.gram) - 1, 1)
            scaled = columns["DT_BOUND"] / (1 + columns["T_STAT"] ** 2 / df)
            self.certain = max(self.certain, float(np.nanmax(scaled, initial=0.0)))
        score = np.nan_to_num(columns["LOG10_P"], nan=-1.0)
        for j in np.argsort(-score, kind="stable")[: self.TOP]:
            if score[j] >= 0:
                row = {"ID": variants.id[j], "#CHROM": variants.chromosome[j], "POS": int(variants.position[j])}
                row |= {"A1": variants.effect_allele[j], **{n: columns[n][j] for n in columns if n != "DT_BOUND"}}
                self.top.append((float(score[j]), row))
        self.top = sorted(self.top, key=lambda t: -t[0])[: self.TOP]

    def summary(self, path: str) -> Summary:
        promise = {}
        if isinstance(self.analysis.model, LinearModel):
            promise = {
                "dt_promised": 1e-3, "dt_certain": self.certain, "dt_expected": expected_t_error(self.analysis.model),
            }  # fmt: skip
        return Summary(self.analysis, path, self.variants, self.codes, promise, [row for _, row in self.top])


def table_path(prefix: str, analysis: Analysis) -> str:
    return f"{prefix}.{analysis.phenotype}.{voc.TABLE_SUFFIX[analysis.test]}"


def write_tables(
    prefix: str,
    variants: Variants,
    blocks: Iterable[Sums],
    analyses: Sequence[Analysis],
    *,
    grid: int = 1,
    digits: int = FULL_DIGITS,
) -> list[Summary]:
    """Write one table an analysis while the blocks stream by; no table appears before the last block was read."""
    collectors = [_Collector(a) for a in analyses]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(atomic(table_path(prefix, a))) for a in analyses]
        for stream, a in zip(streams, analyses, strict=True):
            stream.write(("\t".join(voc.TABLE_COLUMNS[a.test]) + "\n").encode())
        seen = 0
        for sums in blocks:
            here = variants.take(slice(sums.start, sums.start + len(sums)))
            assert sums.start == seen
            seen += len(sums)
            for stream, collector in zip(streams, collectors, strict=True):
                columns = result_columns(collector.analysis, sums, grid=grid)
                collector.add(here, columns)
                names = voc.TABLE_COLUMNS[collector.analysis.test]
                stream.write("".join(table_rows(here, columns, names, digits)).encode())
        assert seen == len(variants)
    return [c.summary(table_path(prefix, c.analysis)) for c in collectors]


def complete_case_blocks(reader, analysis: Analysis, columns) -> Iterable[Sums]:
    """Sums with pairs for one analysis alone, from genotypes in the clear (complete cases)."""
    from securegen.engines import plain
    from securegen.model import Columns

    own = Columns(
        tuple(columns.names[j] for j in analysis.columns), np.ascontiguousarray(columns.values[:, analysis.columns]),
        tuple(columns.squared[j] for j in analysis.columns),
    )  # fmt: skip
    return plain.sums(reader, own, pairs=True)
