"""From sums to the columns of a block: one dispatch for every test, and the rows whose numbers are not shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from securegen import vocabulary as voc
from securegen.catalogue import record_of
from securegen.design.columns import Analysis
from securegen.design.strata import Unanalysed
from securegen.model import ImputedSums, OpenedSums, Sums
from securegen.results.people_behind import who_differ, who_differ_in_groups
from securegen.stats.imputed import alleles, score_sums
from securegen.stats.qc import homozygous
from securegen.vocabulary import ADDITIVE


def result_columns(
    analysis: Analysis, sums: Sums | OpenedSums, *, grid: int = 1, copies: int = 2
) -> dict[str, np.ndarray]:
    """Result columns of one analysis for one block. sums: of the whole design; pairs only where one analysis is run.

    grid: steps of a dosage in a copy; copies: the most that a person has.
    """
    statistics = record_of(analysis).statistics
    if isinstance(sums, OpenedSums):
        opened, withheld = sums.parts[analysis.test, analysis.phenotype]
        told: dict[str, Any] = {} if copies == 2 else {"copies": copies}
        if isinstance(opened, ImputedSums) and opened.single is not None:
            told["single"] = (opened.single,)
        return without(statistics(opened, analysis.model, grid=grid, **told), withheld)
    part = part_of(analysis, sums)
    more: dict[str, Any] = {} if copies == 2 else {"copies": copies}
    if analysis.single:
        more["single"] = tuple(people - sums.m[:, column] for column, people in analysis.single)
    columns = statistics(part, analysis.model, grid=grid, **more)
    return columns if sums.withheld is None else without(columns, sums.withheld)


def score_part(
    analysis: Analysis, sums: Sums | OpenedSums, rows: np.ndarray, *, grid: int = 1, copies: int = 2
) -> ImputedSums:
    """What a score test reads of some rows of a block; arguments as of `result_columns`."""
    part = part_of(analysis, sums)
    if isinstance(part, Sums):
        chosen = Sums(part.start, part.g[rows], part.m[rows], part.q[rows])
        model, coded = analysis.model, analysis.coding != ADDITIVE
        single = tuple(people - sums.m[rows, column] for column, people in analysis.single)  # type: ignore[union-attr]
        return score_sums(chosen, model.samples, model.cases, grid, copies, single, coded=coded)
    return ImputedSums(part.start, part.called[rows], part.dosage[rows], part.cross[rows], part.square[rows])


@overload
def part_of(analysis: Analysis, sums: Sums) -> Sums: ...
@overload
def part_of(analysis: Analysis, sums: OpenedSums) -> Sums | ImputedSums: ...
def part_of(analysis: Analysis, sums: Sums | OpenedSums) -> Sums | ImputedSums:
    """What the statistics of an analysis read."""
    if isinstance(sums, OpenedSums):
        return sums.parts[analysis.test, analysis.phenotype][0]
    columns, squares = list(analysis.columns), list(analysis.squares)
    return Sums(sums.start, sums.g[:, columns], sums.m[:, columns], sums.q[:, squares], sums.mm)


def refused_columns(
    refused: Unanalysed, names: Sequence[str], count: int, rows: Sequence[str] = (voc.ADD,)
) -> dict[str, np.ndarray]:
    """Result columns of `count` variants for a phenotype that has no design in their stratum. rows: TEST of each variant's."""
    known = {"ERRCODE": refused.code, "OBS_CT": refused.samples, "CASE_CT": refused.cases}
    out = {}
    for name in {*names, "LOG10_P"} - set(voc.VARIANT_COLUMNS):
        told = known.get(name)
        value: float | int | str = np.nan if told is None else told
        out[name] = np.full(count * len(rows), value, object if isinstance(value, str) else None)
    out["TEST"] = np.tile(np.array(rows, dtype=object), count)
    return out


def without(columns: dict[str, np.ndarray], withheld: np.ndarray) -> dict[str, np.ndarray]:
    """Columns without the numbers of withheld variants, whose ERRCODE says FEW_CARRIERS."""
    if not withheld.any():
        return columns
    withheld = np.repeat(withheld, len(next(iter(columns.values()))) // len(withheld))
    out = {}
    for name, values in columns.items():
        if name == "ERRCODE":
            out[name] = np.where(withheld, voc.FEW_CARRIERS, values)
        elif values.dtype == object:
            out[name] = values
        else:
            out[name] = np.where(withheld, np.nan, values)
    return out


def few_uncalled(analysis: Analysis, sums: Sums | OpenedSums, fewest: int) -> np.ndarray:
    """(V,) bool: rows over called people alone whose call 1 to fewest − 1 lack: other rows less these are sums over those few.
    Where several parties opened the sums, their rules have looked."""
    if isinstance(sums, OpenedSums) or not (record_of(analysis).reads.counted or sums.mm is not None):
        return np.zeros(len(sums), bool)
    lacking = sums.m[:, analysis.columns[0]]
    out: np.ndarray = (lacking > 0) & (lacking < fewest)
    return out


def fewest_carriers(analysis: Analysis, sums: Sums | OpenedSums, *, grid: int = 1, copies: int = 2) -> np.ndarray:
    """(V,) float64: of the called people of one analysis, the fewest who can differ from all the others at a variant, whichever
    genotype these have. Exact where Σg² of hard calls is at hand; where it is not, half the minor alleles, since nobody carries
    more than two; of a genetic model also at most the people who have its 1, or its 0, of an interaction those who differ among
    the exposed, or among the others. Arguments as of `result_columns`."""
    single: tuple[np.ndarray, ...] = ()
    found: np.ndarray
    if isinstance(sums, OpenedSums):
        opened = sums.parts[analysis.test, analysis.phenotype][0]
        if isinstance(opened, ImputedSums):
            n, count, recoded = opened.called, opened.alleles, opened.dosage
            single = () if opened.single is None else (opened.single,)
        else:
            n, count, recoded = analysis.model.samples - opened.m[:, 0], opened.q[:, 0], opened.g[:, 0]
    else:
        first = analysis.columns[0]
        n, recoded = analysis.model.samples - sums.m[:, first], sums.g[:, first]
        count = sums.q[:, analysis.squares[0]] if analysis.squares else None
        single = tuple(people - sums.m[:, column] for column, people in analysis.single[:1])
    if analysis.coding == ADDITIVE or count is None:
        square = _squares(analysis, sums)
        found = _rarer(recoded / grid, alleles(n, copies, single)) / copies
        if square is not None:
            differ = who_differ(n, recoded, square, grid=grid, copies=copies)
            found = np.minimum(found, differ) if single else differ
        if record_of(analysis).interacts:
            found = np.minimum(
                found, who_differ_in_groups(analysis.model, part_of(analysis, sums), grid=grid, copies=copies)
            )
        return found
    # Σg and the people of a model's 1 are of one genotype each, so that all three follow
    two = homozygous(analysis.coding, count / grid, recoded / grid)
    one = count / grid - 2 * two
    commonest = np.maximum(np.maximum(one, two), n - one - two)
    found = np.minimum(n - commonest, _rarer(recoded / grid, n))
    return found


def _squares(analysis: Analysis, sums: Sums | OpenedSums) -> np.ndarray | None:
    """(V,) Σg² over the called people of an analysis, None where it is not summed or has weights."""
    reads = record_of(analysis).reads
    if reads.weight is not None or not reads.squared:
        return None
    part = part_of(analysis, sums)
    square: np.ndarray = part.q[:, 0] if isinstance(part, Sums) else part.square
    return square


def _rarer(count: np.ndarray, of: np.ndarray) -> np.ndarray:
    """(V,) float64: the smaller of a count and the rest."""
    count = np.asarray(count, np.float64)
    found: np.ndarray = np.minimum(count, of - count)
    return found
