"""Sums with missing calls at their mean: one integer a column, and one conversion to float64 whatever holds it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from support import MemoryReader

from securegen.design.contingency import CountModel
from securegen.design.linear import linear_design
from securegen.engines.plain import sums as plain
from securegen.model import Sums
from securegen.stats.contingency import trend
from securegen.stats.imputed import as_float, exactly, linear_sums, score_sums
from securegen.stats.linear import linear


def test_exact_beyond_64_bits():
    n, g = np.array([3, 1 << 20]), np.array([[5, -7], [1 << 50, -(1 << 50)]])
    s, m = np.array([2, 1 << 21]), np.array([[1, 1], [1 << 43, -1]])
    wide = exactly(n, g, s, m)
    assert wide.dtype == object
    assert wide[1].tolist() == [(1 << 70) + (1 << 64), -(1 << 70) - (1 << 21)]
    narrow = exactly(n[:1], g[:1], s[:1], m[:1])
    assert narrow.dtype == np.int64 and narrow.tolist() == wide[:1].tolist() == [[17, -19]]


@pytest.mark.parametrize("bits", [40, 62])
def test_the_float_of_a_quotient_does_not_depend_on_what_holds_it(bits):
    rng = np.random.default_rng(bits)
    top, bottom = rng.integers(-(1 << bits), 1 << bits, 200), rng.integers(1, 1 << 20, 200)
    narrow, wide = as_float(top, bottom), as_float(top.astype(object), bottom)
    assert narrow.tobytes() == wide.tobytes()
    for value, a, b in zip(narrow, top, bottom, strict=True):
        assert abs(Fraction(value) - Fraction(int(a), int(b))) <= abs(Fraction(int(a), int(b))) * Fraction(
            3, 1 << 53
        ) + Fraction(1, 1 << 52)
    assert as_float(top * 0 + bottom * 12345, bottom).tolist() == [12345.0] * 200


def cohort(missing: np.ndarray):
    rng = np.random.default_rng(3)
    n = missing.shape[1]
    dosage = np.where(missing, 0, rng.binomial(2, 0.3, missing.shape)).astype(np.int8)
    x, y = rng.normal(size=(n, 2)), rng.normal(size=(n, 1))
    design = linear_design(np.ones(n, bool), x, ("A", "B"), y, ("Y",))
    reader = MemoryReader(np.where(missing, -1, dosage))
    return reader, design


def test_sums_of_imputed_rows_are_those_of_the_filled_matrix():
    missing = np.zeros((3, 90), bool)
    missing[1, 4], missing[2, 10:30] = True, True
    reader, design = cohort(missing)
    (block,) = plain.sums(reader, design.columns, block=3)
    sums = linear_sums(block, 90)
    g = reader.read(0, 3).dosage
    for v in range(3):
        n, s = int((~missing[v]).sum()), int(g[v].sum())
        filled = [Fraction(s, n) if missing[v, i] else Fraction(int(g[v, i])) for i in range(90)]
        for c in range(3):
            exact = sum(f * int(x) for f, x in zip(filled, design.columns.values[:, 1 + c], strict=True))
            assert Fraction(int(sums.cross[v, c]), n) == exact


def test_complete_rows_without_pairs_are_imputed_to_the_byte():
    missing = np.zeros((3, 90), bool)
    missing[1, 4], missing[2, 10:30] = True, True
    reader, design = cohort(missing)
    model = design.analyses[0].model
    (mean,) = plain.sums(reader, design.columns, block=3)
    (complete,) = plain.sums(reader, design.columns, block=3, pairs=True)
    complete.mm[1] = 0
    mixed, imputed, called = linear(complete, model), linear(mean, model), None
    (complete,) = plain.sums(reader, design.columns, block=3, pairs=True)
    called = linear(complete, model)
    for name, column in mixed.items():
        assert column[1] == imputed[name][1] or column[1] != column[1]
        assert column[2] == called[name][2]
    assert mixed["OBS_CT"].tolist() == [90, 90, 70]


def test_minor_alleles_in_cases_follow_the_pooled_orientation():
    from securegen.model import Sums

    g = np.array([[20, 8, 0, 0], [150, 60, 0, 0]])
    m = np.array([[2, 1, 0, 0], [0, 0, 0, 0]])
    sums = score_sums(Sums(0, g, m, np.zeros((2, 1), np.int64)), 100, 40, 1)
    assert sums.minor_in_cases is not None and sums.minor_in_cases.tolist() == [8, 20]


def test_half_a_million_people_at_the_finest_grid():
    """n·Σg² and (Σg)² are beyond 64 bits: a wrapped one made χ² of a trend several times what it is."""
    grid, n = 8192, 600_000
    rng = np.random.default_rng(1)
    g, case, y = rng.integers(0, 3, n) * grid, np.arange(n) < 240_000, rng.normal(size=n)
    g[:2000], missing = 2 * grid, np.arange(n) >= n - 5
    none = np.zeros((1, 2), np.int64)
    counted = Sums(0, np.array([[g.sum(), g[case].sum()]]), none, np.array([[(g * g).sum()]]))
    found = trend(counted, CountModel("CC", n, int(case.sum())), grid=grid)["CHISQ"][0]
    assert found == pytest.approx(n * np.corrcoef(g, case)[0, 1] ** 2, rel=1e-9)

    design = linear_design(np.ones(n, bool), np.zeros((n, 0)), (), y[:, None], ("Y",))
    block = MemoryReader(g[None].astype(np.int16), grid)
    (sums,) = plain.sums(block, design.columns, block=1)
    r = np.corrcoef(g, y)[0, 1]
    out = linear(sums, design.analyses[0].model, grid=grid)
    assert out["T_STAT"][0] == pytest.approx(r * np.sqrt((n - 2) / (1 - r * r)), abs=1e-3)

    w = 1000
    parts = np.array([[g[~missing].sum(), 0, 0, w * g[~missing].sum()]])
    lost = np.array([[5, 0, 0, 5 * w]])
    scored = score_sums(Sums(0, parts, lost, np.array([[w * (g[~missing] ** 2).sum()]])), n, 0, grid)
    called, total = n - 5, int(g[~missing].sum())
    assert scored.square[0] == called**2 * w * int((g[~missing] ** 2).sum()) + total**2 * 5 * w
