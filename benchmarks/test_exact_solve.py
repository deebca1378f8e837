"""Regression of phenotypes on covariates in exact integers: certain rounding beside two ways over the rationals.

Every way must give the same integers. `fractions` is Gauss–Jordan elimination on Python's fractions, `fraction_free` is
Bareiss's; both are left out where they would take minutes. extra_info has the ratio to certain rounding.
"""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from securegen.design import fixedpoint as fp
from securegen.design.exact import exact_gram, fraction_free, round_half_up
from securegen.design.solving import Solver

SAMPLES = 2_000
CASES = [
    ("securegen", 12, 1), ("fraction_free", 12, 1), ("fractions", 12, 1), ("securegen", 40, 1), ("fraction_free", 40, 1),
    ("fractions", 40, 1), ("securegen", 100, 1), ("fraction_free", 100, 1), ("securegen", 100, 50),
]  # fmt: skip


def systems(covariates: int, phenotypes: int) -> tuple[list[list[int]], list[list[int]]]:
    """Gram matrix with an intercept, and the products with every phenotype."""
    rng = np.random.default_rng(covariates)
    x = np.column_stack([np.ones(SAMPLES), rng.normal(size=(SAMPLES, covariates))])
    y = rng.normal(size=(SAMPLES, phenotypes)) + x[:, 1:2]
    integers = [np.rint(v * 2.0**fp.PRECISE_BITS).astype(np.int64) for v in (x, y)]
    return exact_gram(integers[0], integers[0]), exact_gram(integers[1], integers[0])


def by_fractions(gram: list[list[int]], cross: list[list[int]]) -> list[list[int]]:
    k = len(gram)
    rows = [[Fraction(v) for v in (*gram[i], *(c[i] for c in cross))] for i in range(k)]
    for i in range(k):
        rows[i] = [v / rows[i][i] for v in rows[i]]
        for r in range(k):
            if r != i:
                rows[r] = [v - rows[r][i] * w for v, w in zip(rows[r], rows[i], strict=True)]
    return [
        [round_half_up(row[k + p].numerator << fp.COEFFICIENT_BITS, row[k + p].denominator) for row in rows]
        for p in range(len(cross))
    ]


def by_fraction_free(gram: list[list[int]], cross: list[list[int]]) -> list[list[int]]:
    numerators, denominator = fraction_free(gram, [list(row) for row in zip(*cross, strict=True)])
    return [
        [round_half_up(row[p] << fp.COEFFICIENT_BITS, denominator) for row in numerators] for p in range(len(cross))
    ]


def certain(gram: list[list[int]], cross: list[list[int]]) -> list[list[int]]:
    solver = Solver(gram)
    return [solver.rounded(c, fp.COEFFICIENT_BITS) for c in cross]


WAYS = {"securegen": certain, "fraction_free": by_fraction_free, "fractions": by_fractions}


@pytest.mark.parametrize(("way", "covariates", "phenotypes"), CASES, ids=[f"{w}-K{k}-P{p}" for w, k, p in CASES])
def test_exact_solve(benchmark, way, covariates, phenotypes):
    gram, cross = systems(covariates, phenotypes)
    begin = time.perf_counter()
    expected = certain(gram, cross)
    ours = time.perf_counter() - begin
    found = benchmark.pedantic(WAYS[way], (gram, cross), rounds=1 if way != "securegen" else 5)
    assert found == expected
    if benchmark.disabled:
        return
    took = benchmark.stats.stats.min
    benchmark.extra_info["ratio"] = took / ours
    print(f"\n{way} K = {covariates}, P = {phenotypes}: {took:.4f} s, {took / ours:.1f} × certain rounding")
