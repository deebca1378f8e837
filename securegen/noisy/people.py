"""Who is counted, and with which values: each person by their own rows alone.

Other commands ask the whole cohort: does a list name anybody, has the file family ids, is a phenotype 0 and 1 in everybody. Noise
for one person's share cannot cover such an answer, which one person more can turn for all. Here a value is a function of one
person's ids and of the tables, what cannot be read is missing, and nothing that depends on people is an error or a line of a log.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Final

import numpy as np

from securegen.errors import InputError
from securegen.governance import consent_steps
from securegen.io.tables import SEXES, Table, all_of, read_ids, read_table
from securegen.model import Samples
from securegen.study.inputs import Inputs
from securegen.vocabulary import is_missing

MINUS_NINE: Final = -9.0
NO_FAMILY: Final = "0"


def counted_people(inputs: Inputs, samples: Samples) -> np.ndarray:
    """(N,) bool: whom `keep` names, `remove` does not, and whose consent covers the purpose."""
    out = np.ones(len(samples), bool)
    if inputs.keep:
        out &= named(samples, read_ids(inputs.keep))
    if inputs.remove:
        out &= ~named(samples, read_ids(inputs.remove))
    if inputs.purpose is not None and inputs.consent is not None:
        out &= consenting(inputs, samples)
    return out


def named(samples: Samples, ids: Collection[tuple[str, ...]]) -> np.ndarray:
    """(N,) bool: who is named by FID and IID or by IID; without a family id also by the IID of any row, or by FID_IID."""
    wanted = set(ids)
    loose = {key[-1] for key in wanted} | {"_".join(key) for key in wanted}
    return np.array(
        [(f, i) in wanted or (i,) in wanted or (f == NO_FAMILY and i in loose)
         for f, i in zip(samples.fid, samples.iid, strict=True)],
        bool,
    )  # fmt: skip


def consenting(inputs: Inputs, samples: Samples) -> np.ndarray:
    """(N,) bool: whose consent covers the purpose. A register leaves out two people of one IID, because of each other: they are
    asked for apart."""
    if inputs.purpose is None or inputs.consent is None:
        return np.ones(len(samples), bool)
    turns: dict[str, list[int]] = {}
    for row, iid in enumerate(samples.iid):
        turns.setdefault(iid, []).append(row)
    out = np.zeros(len(samples), bool)
    for turn in itertools.zip_longest(*turns.values()):
        rows = np.array([row for row in turn if row is not None], np.int64)
        out[rows] = consent_steps.check(inputs.consent, samples.take(rows), inputs.purpose, mondo=inputs.mondo).people
    return out


def cells(samples: Samples, table: Table, column: str) -> list[str | None]:
    """Each person's cell, None without a row: by FID and IID, or by IID where the table has no FID. A person without a family id
    has the row of IID where its FID is 0 or the IID again, or that of FID_IID. Raises InputError where two rows are one person's.
    """
    by_pair, alone = dict[tuple[str, str], str](), dict[str, str]()
    fids = table.fid if table.fid is not None else np.full(len(table.iid), NO_FAMILY, object)
    for fid, iid, cell, line in zip(fids, table.iid, table.columns[column], table.line, strict=True):
        by_pair[fid, iid] = cell
        for name in {f"{fid}_{iid}", *([iid] if fid in (NO_FAMILY, iid) else [])}:
            if name in alone:
                raise InputError(
                    f"{table.path}, line {line}: without a family id this is the person of an earlier line, too"
                )
            alone[name] = cell
    loose = table.fid is None
    return [
        alone.get(i) if loose or f == NO_FAMILY else by_pair.get((f, i))
        for f, i in zip(samples.fid, samples.iid, strict=True)
    ]


def numbers_of(inputs: Inputs, samples: Samples, path: str, column: str) -> np.ndarray:
    """(N,) float64 of a column, NaN where a person has no finite number in it. Raises UsageError where there is no column."""
    table = read_table(path, all_of(path, [column]))
    return np.array([_number(c, inputs.no_input_missing_phenotype) for c in cells(samples, table, column)], np.float64)


def _number(cell: str | None, minus_nine: bool) -> float:
    if cell is None or is_missing(cell):
        return math.nan
    try:
        found = float(cell)
    except ValueError:
        return math.nan
    return math.nan if not math.isfinite(found) or (found == MINUS_NINE and not minus_nine) else found


def sexes(inputs: Inputs, samples: Samples) -> np.ndarray:
    """(N,) int8: 1 male, 2 female, 0 unknown, by the column `sex_name` of the phenotypes where a person has a sex there."""
    if inputs.sex_name is None or inputs.pheno is None:
        return samples.sex
    table = read_table(inputs.pheno, all_of(inputs.pheno, [inputs.sex_name]))
    told = [SEXES.get((c or "").lower(), 0) for c in cells(samples, table, inputs.sex_name)]
    return np.where(np.array(told, np.int8) > 0, np.array(told, np.int8), samples.sex).astype(np.int8)


def coded(values: np.ndarray, *, zero_one: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool: cases and controls, coded 2 and 1, or 1 and 0. Whoever has another value is neither."""
    case, control = (1.0, 0.0) if zero_one else (2.0, 1.0)
    return values == case, values == control
