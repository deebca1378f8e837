"""Cochran–Armitage trend test and the allelic test, from sums over called cases and controls.

With n called people, n₁ of them cases, S = Σg, S₁ = Σ_cases g, Q = Σg²:
trend χ² = n(nS₁ − n₁S)²/(n₁(n−n₁)(nQ−S²)) (Armitage 1955); allelic: a = S₁, b = 2n₁−S₁, c = S−S₁, d = 2(n−n₁)−c,
χ² = (ad−bc)²·2n/((a+b)(c+d)(a+c)(b+d)), odds ratio ad/bc with Woolf's interval.
"""

from __future__ import annotations

import numpy as np

from securegen import vocabulary as voc
from securegen.design.contingency import CountModel
from securegen.model import Sums
from securegen.stats.imputed import spread
from securegen.stats.pvalue import chisq_1


def _counts(sums: Sums, model: CountModel) -> tuple[np.ndarray, ...]:
    """n called, cases called, S, S₁ (integers, S in dosage units) and the shared error codes."""
    n = model.samples - sums.m[:, 0]
    n1 = model.cases - sums.m[:, 1]
    code = np.full(len(n), voc.OK, dtype=object)
    code[(n1 == 0) | (n1 == n)] = voc.ZERO_CELL
    return n, n1, sums.g[:, 0], sums.g[:, 1], code


def _copies(value: np.ndarray, grid: int) -> np.ndarray:
    return value if grid == 1 else value / grid


def trend(sums: Sums, model: CountModel, *, grid: int = 1) -> dict[str, np.ndarray]:
    """Columns of vocabulary.TREND_COLUMNS. sums.g, sums.m: (V, 2) over indicator and case; sums.q: (V, 1), Σg²."""
    assert sums.g.shape[1] == 2 and sums.q.shape[1] == 1
    n, n1, s, s1, code = _counts(sums, model)
    apart = spread(n, sums.q[:, 0], s)
    code[apart == 0] = voc.CONST_OMITTED_ALLELE
    code[n == 0] = voc.ALL_MISSING
    ok = code == voc.OK
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = (n * s1 - n1 * s).astype(np.float64)
        chisq = difference * difference * n / (n1.astype(np.float64) * (n - n1) * apart.astype(np.float64))
    return _columns(n, n1, _copies(s1, grid), _copies(s - s1, grid), np.where(ok, chisq, np.nan), code)


def allelic(sums: Sums, model: CountModel, *, grid: int = 1) -> dict[str, np.ndarray]:
    """Columns of vocabulary.ALLELIC_COLUMNS. A zero cell: odds ratio 0 or inf, no interval, ZERO_CELL."""
    assert sums.g.shape[1] == sums.m.shape[1] == 2
    n, n1, s, s1, code = _counts(sums, model)
    a, c = s1.astype(np.float64) / grid, (s - s1).astype(np.float64) / grid
    b, d = 2.0 * n1 - a, 2.0 * (n - n1) - c
    code[(a == 0) | (b == 0) | (c == 0) | (d == 0)] = voc.ZERO_CELL
    code[(s == 0) | (s == 2 * grid * n)] = voc.CONST_OMITTED_ALLELE
    code[n == 0] = voc.ALL_MISSING
    with np.errstate(divide="ignore", invalid="ignore"):
        cross = a * d - b * c
        chisq = cross * cross * (a + b + c + d) / ((a + b) * (c + d) * (a + c) * (b + d))
        ratio = (a * d) / (b * c)
        log_se = np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
        low, high = np.exp(np.log(ratio) - voc.Z95 * log_se), np.exp(np.log(ratio) + voc.Z95 * log_se)
    tested = ((code == voc.OK) | (code == voc.ZERO_CELL)) & np.isfinite(chisq)
    ok = code == voc.OK
    out = _columns(n, n1, _copies(s1, grid), _copies(s - s1, grid), np.where(tested, chisq, np.nan), code)
    out["OR"] = np.where(tested, ratio, np.nan)
    out["L95"], out["U95"] = np.where(ok, low, np.nan), np.where(ok, high, np.nan)
    return out


def _columns(
    n: np.ndarray, n1: np.ndarray, in_cases: np.ndarray, in_controls: np.ndarray, chisq: np.ndarray, code: np.ndarray
) -> dict[str, np.ndarray]:
    p, log10p = chisq_1(np.nan_to_num(chisq, nan=0.0))
    tested = ~np.isnan(chisq)
    return {
        "A1_CASE_CT": in_cases,
        "A1_CTRL_CT": in_controls,
        "CASE_CT": n1,
        "CTRL_CT": n - n1,
        "CHISQ": chisq,
        "P": np.where(tested, p, np.nan),
        "LOG10_P": np.where(tested, log10p, np.nan),
        "ERRCODE": code,
    }
