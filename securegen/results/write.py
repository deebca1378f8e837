"""From sums to result tables: one dispatch for every test, and the streamed writing of a run's tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from securegen import vocabulary as voc
from securegen.catalogue import record_of
from securegen.design.columns import QUALITY, Analysis
from securegen.design.strata import Stratum, with_strata
from securegen.errors import UsageError
from securegen.governance.gate import Gate
from securegen.io.output import atomic
from securegen.model import OpenedSums, Sums, Variants
from securegen.results import outputs
from securegen.results.block_columns import few_uncalled, fewest_carriers, refused_columns, result_columns, without
from securegen.results.corrections import Corrections
from securegen.results.rows import FULL_DIGITS, table_text
from securegen.stats.qc import Filters, lambda_gc, no_quality, qc_tables

QC = (QUALITY, "QC")


@dataclass
class Summary:
    """What a finished table says of itself. dropped: rows that filters left out; promise: printed error bounds;
    lambda_gc: genomic inflation; top: rows of the smallest p-values; filtered: how many of `dropped` each filter left out,
    by flag, of those that the filters before it had let pass; tested: of how many variants these are the opened ones."""

    analysis: Analysis
    path: str
    variants: int
    dropped: int
    codes: dict[str, int]
    promise: dict[str, float]
    lambda_gc: float
    top: list[dict[str, object]]
    filtered: dict[str, int] = field(default_factory=dict)
    tested: int | None = None


class _Collector:
    """Running summary of one table, in constant memory."""

    TOP = 10

    def __init__(self, analysis: Analysis, correct: Corrections | None) -> None:
        self.analysis, self.record, self.correct = analysis, record_of(analysis), correct
        self.rows = self.record.rows(analysis.model)
        self.codes: dict[str, int] = {}
        self.certain, self.expected, self.variants = 0.0, 0.0, 0
        self.filtered: dict[str, int] = {}
        self.log10p: list[np.ndarray] = []
        self.top: list[tuple[float, dict[str, object]]] = []

    def leave_out(self, counts: dict[str, int]) -> None:
        for flag, count in counts.items():
            self.filtered[flag] = self.filtered.get(flag, 0) + count

    def columns(
        self, stratum: Stratum, sums: Sums | OpenedSums, grid: int, gate: Gate, rare: np.ndarray | None
    ) -> dict[str, np.ndarray] | None:  # fmt: skip
        """Columns of the block in this stratum; None where the test is not done there. gate: what is not shown; rare: by filters
        neither. No such row is corrected, since it is told how many rows are."""
        name = self.analysis.test, self.analysis.phenotype
        here = stratum.analysis(*name)
        if here is not None:
            told = {"grid": grid * stratum.unit, "copies": stratum.copies}
            found = result_columns(here, sums, **told)
            if floor := gate.minor_alleles:
                hidden = gate.hidden(name[1], stratum.place, sums.start, sums.start + len(sums))
                hidden |= few_uncalled(here, sums, floor) | (fewest_carriers(here, sums, **told) < floor)
                found = without(found, hidden if rare is None else hidden | rare)
            return found if self.correct is None else self.correct.columns(stratum, name, sums, found)
        refused = stratum.refusal(*name)
        if refused is None:
            return None
        return refused_columns(refused, self.record.columns, len(sums), self.rows)

    def add(self, stratum: Stratum, variants: Variants, columns: dict[str, np.ndarray]) -> None:
        """The rows of these variants; of several a variant, the main one is ranked."""
        here = stratum.analysis(self.analysis.test, self.analysis.phenotype)
        whole = columns
        if len(self.rows) > 1:
            columns = {name: values[self.record.main :: len(self.rows)] for name, values in columns.items()}
        self.variants += len(variants)
        self.log10p.append(columns["LOG10_P"].astype(np.float32))
        for code, count in zip(*np.unique(columns["ERRCODE"].astype(str), return_counts=True), strict=True):
            self.codes[str(code)] = self.codes.get(str(code), 0) + int(count)
        promise = self.record.promise
        if promise is not None and here is not None:
            scaled = promise.scaled(whole, here.model)
            self.expected = max(self.expected, promise.expected(here.model))
            self.certain = max(self.certain, float(np.nanmax(scaled, initial=0.0)))
        score = np.nan_to_num(columns["LOG10_P"], nan=-1.0)
        for j in np.argsort(-score, kind="stable")[: self.TOP]:
            if score[j] >= 0:
                row = {"ID": variants.id[j], "#CHROM": variants.chromosome[j], "POS": int(variants.position[j])}
                row |= {
                    "A1": variants.effect_allele[j],
                    **{n: columns[n][j] for n in columns if n in self.record.columns},
                }
                self.top.append((float(score[j]), row))
        self.top = sorted(self.top, key=lambda t: -t[0])[: self.TOP]

    def summary(self, path: str) -> Summary:
        promise: dict[str, float] = {}
        if (made := self.record.promise) is not None:
            promise = {
                f"{made.name}_promised": made.promised, f"{made.name}_certain": self.certain,
                f"{made.name}_expected": self.expected or made.expected(self.analysis.model),
            }  # fmt: skip
        inflation = lambda_gc(np.concatenate(self.log10p).astype(np.float64)) if self.log10p else float("nan")
        top = [row for _, row in self.top]
        dropped = sum(self.filtered.values())
        return Summary(self.analysis, path, self.variants, dropped, self.codes, promise, inflation, top, self.filtered)


def table_path(prefix: str, analysis: Analysis) -> str:
    """The file of an analysis, in plink2's columns."""
    return f"{prefix}.{analysis.phenotype}.{record_of(analysis).suffix}"


def qc_analysis(analyses: Sequence[Analysis]) -> Analysis | None:
    """The analysis of quality control, None without one."""
    return next((a for a in analyses if not a.association), None)


def write_tables(
    prefix: str,
    variants: Variants,
    blocks: Iterable[Sums | OpenedSums],
    analyses: Sequence[Analysis],
    *,
    gate: Gate,
    strata: Sequence[Stratum],
    grid: int,
    digits: int = FULL_DIGITS,
    filters: Filters | None = None,
    mode: int | None = None,
    correct: Corrections | None = None,
) -> list[Summary]:
    """Write one table per analysis while the blocks stream by; no table appears before the last block was read.

    gate: the door, passed before the first block is read; rows below its floor are withheld. strata: the design of each
    block; analyses: one per table. filters: rows to leave out, by the sums of the design's quality
    control; correct: what is done to rows of small P.

    Raises UsageError when it has none, or for --hwe on fractional dosages, PolicyError where the policy refuses.
    """
    sifting = filters is not None and filters.active
    if filters:
        filters.check(grid)
    if sifting and any(qc_analysis(s.design.analyses) is None and s.refusal(*QC) is None for s in strata):
        raise UsageError("these filters need the sums of quality control: encrypt with `qc`")
    floor = gate.minor_alleles
    if sifting and gate.people is not None:
        gate = gate.of(gate.people.sifted())
    outputs.refuse_masks(variants, floor)
    gate.release(outputs.associations(analyses, strata, len(variants), floor=floor))
    collectors = [_Collector(a, correct) for a in analyses if a.association]
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(atomic(table_path(prefix, c.analysis), mode=mode)) for c in collectors]
        for stream, c in zip(streams, collectors, strict=True):
            stream.write(("\t".join(c.record.columns) + "\n").encode())
        for stratum, (sums, here) in _with_variants(blocks, variants, strata):
            keep, rare = None, None
            if sifting and filters is not None:
                quality = _quality(stratum, sums, grid)
                keep, left_out, rare = _sift(filters, quality, _rare(gate, stratum, sums, quality))
            for stream, collector in zip(streams, collectors, strict=True):
                columns, rows = collector.columns(stratum, sums, grid, gate, rare), here
                if columns is None:
                    continue
                each = len(collector.rows)
                if keep is not None:
                    collector.leave_out(left_out)
                    kept = (keep[:, None] * each + np.arange(each)).reshape(-1)
                    columns, rows = {n: c[kept] for n, c in columns.items()}, here.take(keep)
                collector.add(stratum, rows, columns)
                if each > 1:
                    rows = rows.take(np.repeat(np.arange(len(rows)), each))
                stream.write(table_text(rows, columns, collector.record.columns, digits))
    return [c.summary(table_path(prefix, c.analysis)) for c in collectors]


def _quality(stratum: Stratum, sums: Sums | OpenedSums, grid: int) -> dict[str, np.ndarray]:
    analysis = qc_analysis(stratum.design.analyses)
    if analysis is None:
        if stratum.refusal(*QC) is None:
            raise ValueError(f"stratum {stratum.name} has no quality control")
        return no_quality(len(sums))
    return result_columns(analysis, sums, grid=grid * stratum.unit, copies=stratum.copies)


def _sift(
    filters: Filters, quality: dict[str, np.ndarray], withheld: np.ndarray
) -> tuple[np.ndarray, dict[str, int], np.ndarray]:
    """Indices of the variants that pass every filter, how many each filter leaves out, one after the other, and the rows,
    (V,) bool, that are withheld: these stay, since to leave one out would tell its numbers."""
    left = np.ones(len(quality["OBS_CT"]), bool)
    counts = {}
    for flag, passes in filters.passing(quality).items():
        counts[flag] = int((left & ~passes & ~withheld).sum())
        left &= passes | withheld
    return np.flatnonzero(left), counts, withheld


def _rare(gate: Gate, stratum: Stratum, sums: Sums | OpenedSums, quality: dict[str, np.ndarray]) -> np.ndarray:
    """(V,) bool: rows of quality control that are not shown."""
    hidden = gate.hidden(QC[1], stratum.place, sums.start, sums.start + len(sums))
    out: np.ndarray = hidden | (quality["CARRIERS"] < gate.minor_alleles)
    return out


def write_qc(
    prefix: str,
    variants: Variants,
    blocks: Iterable[Sums | OpenedSums],
    *,
    gate: Gate,
    strata: Sequence[Stratum],
    grid: int,
    digits: int = FULL_DIGITS,
    mode: int | None = None,
) -> list[str]:
    """Write PREFIX.afreq, .vmiss and, for hard calls, .hardy, and .hardy.x of variants on X; returns their paths.

    gate: the door; strata: the design of each block. Raises PolicyError where the policy refuses.
    """
    floor = gate.minor_alleles
    outputs.refuse_masks(variants, floor)
    gate.release(outputs.quality(strata, len(variants), floor))
    paths = {name: f"{prefix}.{name}" for name in qc_files(strata, grid)}
    with contextlib.ExitStack() as stack:
        streams = {name: stack.enter_context(atomic(path, mode=mode)) for name, path in paths.items()}
        for name, stream in streams.items():
            stream.write(("\t".join(voc.QC_COLUMNS[name]) + "\n").encode())
        for stratum, (sums, here) in _with_variants(blocks, variants, strata):
            quality = _quality(stratum, sums, grid)
            rare = _rare(gate, stratum, sums, quality)
            for name, columns in qc_tables(here, quality).items():
                if name in streams:
                    streams[name].write(table_text(here, without(columns, rare), voc.QC_COLUMNS[name], digits))
    return list(paths.values())


def qc_files(strata: Sequence[Stratum], grid: int) -> list[str]:
    """The tables of quality control that these strata have rows for, by suffix."""
    names = ["afreq", "vmiss"]
    models = [a.model for s in strata for a in s.design.analyses if not a.association and s.copies == 2]
    if grid == 1 and (not all(m.males for m in models) or not models):
        names.append("hardy")
    if grid == 1 and any(m.males for m in models):
        names.append("hardy.x")
    return names


def _with_variants(
    blocks: Iterable[Sums | OpenedSums], variants: Variants, strata: Sequence[Stratum]
) -> Iterator[tuple[Stratum, tuple[Sums | OpenedSums, Variants]]]:
    found = with_strata(_consecutive(blocks, len(variants)), strata)
    return ((stratum, (sums, variants.take(slice(sums.start, sums.start + len(sums))))) for stratum, sums in found)


def _consecutive(blocks: Iterable[Sums | OpenedSums], count: int) -> Iterator[Sums | OpenedSums]:
    """The same blocks. Raises ValueError unless they are `count` variants, one after the other."""
    seen = 0
    for sums in blocks:
        if sums.start != seen:
            raise ValueError(f"the sums of variant {sums.start} came where those of {seen} were expected")
        seen += len(sums)
        yield sums
    if seen != count:
        raise ValueError(f"sums of {seen} variants came, {count} expected: the table would be incomplete")
