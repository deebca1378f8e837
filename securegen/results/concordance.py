"""Concordance of two result tables: rows matched by position and alleles or by id, differences, ranks of the top hits.

A variant is the same when chromosome, position and the two alleles are; if its tested alleles differ between the
tables, the second one's effect is turned round first (β → −β, frequency → 1 − frequency).

Differences are in units in which one tolerance serves every column: Δβ over max(SE, |β|), ΔSE over SE, ΔT over max(1,
|T|), Δlog10 p over max(1, −log10 p), frequencies as they are. The default is the promised precision of T
(docs/explanation/precision.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from securegen.errors import InputError
from securegen.model import FloatArray
from securegen.results.matching import match_rows, tested_alleles
from securegen.results.rows import INTERACTS, JOINT
from securegen.vocabulary import ADD, CODINGS

TOLERANCE = 1e-3
TOP = 20
_STATISTICS = ("T_STAT", "Z_STAT", "Z_OR_F_STAT", "T_OR_F_STAT")


@dataclass(frozen=True)
class Difference:
    """One quantity over the rows where both tables have it. largest, median: of |a − b|; scaled: largest in the units of
    the tolerance; worst: rows of the matched tables, largest scaled difference first; a, b: (R,) values."""

    name: str
    rows: int
    largest: float
    median: float
    scaled: float
    worst: tuple[int, ...]
    a: FloatArray
    b: FloatArray


@dataclass(frozen=True)
class Concordance:
    """Two tables side by side. names: (R,) ids of matched rows; only_a, only_b: rows without a partner; flipped: matched
    rows with the other tested allele; one_sided: quantity -> rows where one table has a number and the other NA; top:
    hits compared; shared: of them in both tables; spearman: rank correlation of −log10 p; causes: in words, why the tables
    may differ."""

    names: np.ndarray
    only_a: int
    only_b: int
    flipped: int
    differences: tuple[Difference, ...]
    one_sided: dict[str, int]
    top: int
    shared: int
    spearman: float
    causes: tuple[str, ...] = ()

    def reasons(self, tolerance: float, *, common: bool = False) -> list[str]:
        """Why the tables differ beyond the tolerance; empty when they do not. common: only rows of both tables count."""
        if not any(d.rows for d in self.differences):
            return ["not one number was compared: no variant has a statistic in both tables"]
        out = [f"{d.name} by {d.scaled:.2g}" for d in self.differences if not d.scaled <= tolerance]
        out += [f"{name} is NA in one table only for {n} variants" for name, n in self.one_sided.items() if n]
        if (self.only_a or self.only_b) and not common:
            out.append(f"{self.only_a} variants are in the first table only, {self.only_b} in the second")
        return out

    def to_json(self) -> dict[str, Any]:
        """For machines: everything but the values themselves."""
        return {
            "matched": len(self.names), "only_a": self.only_a, "only_b": self.only_b,
            "flipped": self.flipped, "one_sided": self.one_sided, "top": self.top, "top_shared": self.shared,
            "spearman": None if np.isnan(self.spearman) else self.spearman, "causes": list(self.causes),
            "differences": {
                d.name: {"rows": d.rows, "max": d.largest, "median": d.median, "scaled_max": d.scaled,
                         "worst": [str(self.names[i]) for i in d.worst]}
                for d in self.differences
            },
        }  # fmt: skip


def statistic(frame: pd.DataFrame) -> FloatArray | None:
    """(M,) signed statistic T or z of a table; from β and SE, or √χ² with the sign of β, where it has no such column."""
    name = next((name for name in _STATISTICS if name in frame), None)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name is not None:
            out = frame[name]
        elif {"BETA", "SE"} <= set(frame.columns):
            out = frame["BETA"] / frame["SE"]
        elif {"BETA", "CHISQ"} <= set(frame.columns):
            out = np.sign(frame["BETA"]) * np.sqrt(frame["CHISQ"])
        else:
            return None
    return np.asarray(out, np.float64)


def _quantities(frame: pd.DataFrame, turned: np.ndarray) -> dict[str, FloatArray]:
    """What can be compared, by name; turned: (R,) bool of rows whose effect is of the other allele."""
    sign = np.where(turned, -1.0, 1.0)
    out: dict[str, FloatArray] = {}
    if "A1_FREQ" in frame:
        freq = frame["A1_FREQ"].to_numpy(np.float64)
        out["A1_FREQ"] = np.where(turned, 1 - freq, freq)
    effect = frame["BETA"].to_numpy(np.float64) if "BETA" in frame else None
    if effect is None and "OR" in frame:
        with np.errstate(divide="ignore"):
            effect = np.log(frame["OR"].to_numpy(np.float64))
    if effect is not None:
        out["BETA"] = sign * effect
    for name in ("SE", "LOG(OR)_SE"):
        if name in frame:
            out["SE"] = frame[name].to_numpy(np.float64)
    t = statistic(frame)
    if t is not None:
        joint = frame["TEST"].astype(str).str.endswith(JOINT).to_numpy() if "TEST" in frame else np.zeros(len(t), bool)
        out["STATISTIC"] = np.where(joint, 1.0, sign) * t  # F has no sign
    elif "CHISQ" in frame:
        out["CHISQ"] = frame["CHISQ"].to_numpy(np.float64)
    out["LOG10_P"] = frame["LOG10_P"].to_numpy(np.float64)
    return out


def _unit(name: str, a: dict[str, FloatArray], b: dict[str, FloatArray]) -> FloatArray:
    """(R,) what one of the tolerance is worth."""
    largest = np.fmax(np.abs(a[name]), np.abs(b[name]))
    if name in ("BETA", "SE") and "SE" in a and "SE" in b:
        largest = np.fmax(largest, np.fmax(a["SE"], b["SE"]))
    elif name == "A1_FREQ":
        largest = np.ones_like(largest)
    else:
        largest = np.fmax(1.0, largest)
    return np.asarray(largest, np.float64)


def compare(a: pd.DataFrame, b: pd.DataFrame, *, by: str = "auto", top: int = TOP, worst: int = 5) -> Concordance:
    """Match and compare two tables as `results.read.read_results` reads them; of several rows per variant, each test with its
    own, where both have it.

    by: auto, position or id; top: hits whose membership is compared; worst: rows named for each quantity. Raises
    InputError when no row matches or no quantity is in both, and for tables of two genetic models.
    """
    a, b = _common_tests(a, b)
    rows_a, rows_b = match_rows(a, b, by)
    left, right = a.iloc[rows_a].reset_index(drop=True), b.iloc[rows_b].reset_index(drop=True)
    turned = np.zeros(len(left), bool)
    if "A1" in left and "A1" in right:
        turned = (tested_alleles(left) != tested_alleles(right)).to_numpy()
    _refuse_models(left, right, int(turned.sum()))
    first, second = _quantities(left, np.zeros(len(left), bool)), _quantities(right, turned)
    found: list[Difference] = []
    one_sided: dict[str, int] = {}
    for name in (n for n in first if n in second):
        x, y = first[name], second[name]
        both = np.isfinite(x) & np.isfinite(y)
        one_sided[name] = int((np.isnan(x) != np.isnan(y)).sum())
        same = (x == y) | both  # infinities of one sign are equal
        gap = np.where(both, np.abs(x - y), np.where(same | np.isnan(x) | np.isnan(y), 0.0, np.inf))
        with np.errstate(divide="ignore", invalid="ignore"):
            scaled = np.where(gap == 0, 0.0, gap / _unit(name, first, second))
        order = np.argsort(-scaled, kind="stable")[:worst]
        rows = int(both.sum())
        found.append(
            Difference(
                name, rows, float(gap.max(initial=0)), float(np.median(gap[both])) if rows else float("nan"),
                float(scaled.max(initial=0)), tuple(int(i) for i in order if scaled[i] > 0), x, y,
            )
        )  # fmt: skip
    names = left["ID"].astype(str)
    if "TEST" in left and left["TEST"].nunique() > 1:
        names = names + " " + left["TEST"].astype(str)
    names = names.to_numpy()
    ranks = (first["LOG10_P"], second["LOG10_P"])
    count = min(top, len(names))
    heads = [set(np.argsort(-np.nan_to_num(r, nan=-1.0), kind="stable")[:count].tolist()) for r in ranks]
    both = np.isfinite(ranks[0]) & np.isfinite(ranks[1])
    varies = both.sum() > 2 and all(np.ptp(r[both]) > 0 for r in ranks)
    from scipy.stats import spearmanr  # slow to import: not at the start of every command

    return Concordance(
        names, len(a) - len(left), len(b) - len(right), int(turned.sum()), tuple(found), one_sided, count,
        len(heads[0] & heads[1]), float(spearmanr(ranks[0][both], ranks[1][both]).statistic) if varies else float("nan"),
        tuple(_causes(left, right)),
    )  # fmt: skip


def _common_tests(a: pd.DataFrame, b: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Of tables with several rows per variant, those of tests that both have. Raises InputError where they have none in common,
    and for products with two covariates."""
    tests = [list(dict.fromkeys(f["TEST"])) if "TEST" in f else [ADD] for f in (a, b)]
    products = [{test for test in found if test.startswith(INTERACTS)} for found in tests]
    if all(products) and not products[0] & products[1]:
        raise InputError(f"the tables have two interactions, TEST {' and '.join(map(', '.join, products))}")
    if len(tests[0]) == len(tests[1]) == 1:
        return a, b
    shared = [test for test in tests[0] if test in tests[1]]
    if not shared:
        raise InputError("the tables have no test in common: TEST is " + ", and ".join(map(", ".join, tests)))
    left, right = (f[f["TEST"].isin(shared)].reset_index(drop=True) if "TEST" in f else f for f in (a, b))
    return left, right


def _refuse_models(left: pd.DataFrame, right: pd.DataFrame, turned: int) -> None:
    """Raise InputError for two genetic models: a dominant one of an allele is a recessive one of the other."""
    if not ("TEST" in left and "TEST" in right and len(left)):
        return
    a, b = left["TEST"].iloc[0], right["TEST"].iloc[0]
    if a != b:
        raise InputError(f"the tables have two genetic models, TEST {a} and {b}: no number of them is the same")
    if a in CODINGS.values() and a != ADD and turned:
        raise InputError(
            f"{turned} variants have the other tested allele in the second table, and TEST {a} of one allele is another model "
            "of the other: make both tables with the same A1"
        )


def _causes(left: pd.DataFrame, right: pd.DataFrame) -> Iterator[str]:
    """What the columns of matched rows tell about why the numbers may differ."""
    if "OBS_CT" in left and "OBS_CT" in right:
        x, y = left["OBS_CT"].to_numpy(np.float64), right["OBS_CT"].to_numpy(np.float64)
        differ = np.flatnonzero((x != y) & ~(np.isnan(x) | np.isnan(y)))
        if len(differ):
            j = differ[0]
            fewer = ("B" if y[j] < x[j] else "A") if (np.sign(y - x)[differ] == np.sign(y[j] - x[j])).all() else ""
            why = (
                f"; {fewer} may leave out missing calls (plink2, --missing complete) where the other imputes the mean "
                "(regenie, --missing mean)" if fewer else ""
            )  # fmt: skip
            yield (
                f"OBS_CT differs for {len(differ)} of {len(x)} variants ({x[j]:g} and {y[j]:g} at {left['ID'].iloc[j]}): "
                f"other people were analysed, or other phenotypes and covariates{why}"
            )
    score = [{"U", "V"} <= set(f.columns) for f in (left, right)]
    wald = [
        not s and bool({"OR", "LOG(OR)_SE", "FIRTH?"} & set(f.columns))
        for s, f in zip(score, (left, right), strict=True)
    ]
    if score[0] and wald[1] or score[1] and wald[0]:
        yield (
            f"{'A' if score[0] else 'B'} is a score test, {'B' if wald[1] else 'A'} a Wald or Firth test: other statistics of "
            "the same model; compare ranks, or WALD_LIKE_Z"
        )


def first_difference(a: str, b: str) -> str | None:
    """Where two texts first differ, by line and column name; None when they are equal."""
    if a == b:
        return None
    lines_a, lines_b = a.splitlines(), b.splitlines()
    header = lines_a[0].split("\t") if lines_a else []
    for number, (x, y) in enumerate(zip(lines_a, lines_b, strict=False), 1):
        if x != y:
            cells = list(zip(x.split("\t"), y.split("\t"), strict=False))
            at = next((i for i, (u, v) in enumerate(cells) if u != v), len(cells))
            column = header[at] if number > 1 and at < len(header) else f"field {at + 1}"
            u, v = cells[at] if at < len(cells) else (x, y)
            return f"line {number}, {column}: {u!r} and {v!r}"
    if len(lines_a) != len(lines_b):
        return f"{len(lines_a)} lines and {len(lines_b)}"
    return "line endings"
