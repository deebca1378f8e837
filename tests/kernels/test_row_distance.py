"""Bit planes and the rule of rows against loops over every pair."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.governance.rows import RowRule, code_counts, genotype_codes
from securegen.kernels.row_distance import MISSING, planes, take_rows
from securegen.model import GenotypeBlock


def distances(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    turned = np.where(b == MISSING, MISSING, 2 - b.astype(int))
    return int((a != b).sum()), int((a != turned).sum())


def oracle(codes, at, allowed, window, least) -> list[bool]:
    taken: list[int] = []
    for r in range(len(codes)):
        near = [t for t in taken if at[r] - at[t] <= window]
        good = allowed[r] and all(d == 0 or d >= least for t in near for d in distances(codes[r], codes[t]))
        if good:
            taken.append(r)
    return [r in taken for r in range(len(codes))]


@pytest.mark.parametrize("samples", [5, 63, 64, 65, 130])
@pytest.mark.parametrize("least", [2, 6])
def test_against_every_pair(samples, least):
    rng = np.random.default_rng(samples)
    codes = rng.integers(0, 4, (80, samples)).astype(np.uint8)
    for r in range(1, 80):  # near-copies, mirrors and copies of earlier rows
        kind, source = rng.integers(0, 4), codes[rng.integers(0, r)]
        if kind:
            codes[r] = np.where(source == MISSING, MISSING, 2 - source) if kind == 2 else source
        if kind != 3:
            codes[r, rng.permutation(samples)[: rng.integers(0, 4)]] = rng.integers(0, 4)
    at, allowed = np.cumsum(rng.integers(1, 3, 80)), rng.random(80) < 0.9
    odd, high = planes(codes)
    for window in (1, 7, 1000):
        got = take_rows(odd, high, samples, at, allowed, window=window, least=least)
        assert got.tolist() == oracle(codes, at, allowed, window, least)
        assert 0 < got.sum() < 80


def test_chunks_do_not_change_what_is_taken(monkeypatch):
    from securegen.governance import rows

    rng = np.random.default_rng(2)
    dosage = rng.binomial(2, 0.4, (300, 70)).astype(np.int8)
    for r in range(5, 300, 3):
        dosage[r] = dosage[r - rng.integers(1, 5)]
        dosage[r, rng.integers(0, 70)] = 1
    people = rng.random(70) < 0.9
    blocks = [GenotypeBlock(s, dosage[s : s + 40], None) for s in range(0, 300, 40)]
    rule = RowRule([people], 1, strict=True, fewest=4)
    whole = rule.vetoed(blocks)
    monkeypatch.setattr(rows, "CHUNK", 7)
    assert rule.vetoed(blocks).tolist() == whole.tolist() and 0 < whole.sum() < 300


def test_fractional_dosages():
    """Rows that are one to the nearest copy: close when one person makes the difference."""
    rng = np.random.default_rng(4)
    grid, n = 256, 80
    base = np.clip(rng.binomial(2, 0.5, n) * grid + rng.integers(-9, 9, n), 0, 2 * grid)
    one, many = base.copy(), np.clip(base + rng.integers(-9, 9, n), 0, 2 * grid)
    one[3] += 40 if one[3] < grid else -40
    low = np.zeros(n, int)
    low[5] = 100  # nearest to none, and alone
    spread = rng.integers(0, 20, n)
    dosage = np.stack([base, one, many, 2 * grid - base, 2 * grid - one, low, spread]).astype(np.int16)
    rule = RowRule([np.ones(n, bool)], grid, strict=True, fewest=10)
    assert rule.vetoed([GenotypeBlock(0, dosage, None)]).tolist() == [False, True, False, False, True, True, False]


def test_codes_count_people():
    dosage = np.array([[0, 1, 2, 0, 2]], np.int8)
    block = GenotypeBlock(0, dosage, np.array([[0, 0, 0, 1, 0]], bool))
    codes = genotype_codes(block, np.array([1, 1, 1, 1, 0], bool), 1)
    assert codes.tolist() == [[0, 1, 2, 3]] and code_counts(codes).tolist() == [[1, 1, 1, 1]]


def _recoded(copies, model):
    coded = {"dominant": copies >= 1, "recessive": copies == 2, "hetonly": copies == 1}[model]
    return GenotypeBlock(0, coded.astype(np.int8), None, copies)


def test_a_row_of_a_genetic_model_passes_by_its_numbers_and_by_its_copies():
    """Of two people with two copies the sums of a dominant and of a hetonly run differ: what each opens tells these two."""
    rng = np.random.default_rng(6)
    copies = rng.permutation(np.repeat([0, 1, 2], [40, 38, 2])).astype(np.int8)[None, :]
    x = rng.normal(size=80)
    dominant, hetonly = _recoded(copies, "dominant"), _recoded(copies, "hetonly")
    assert np.isclose((dominant.dosage - hetonly.dosage) @ x, x[copies[0] == 2].sum()).all()
    rule = RowRule([np.ones(80, bool)], 1, strict=True, fewest=10)
    for block in (dominant, hetonly):
        alone = GenotypeBlock(0, block.dosage, None)
        assert rule.vetoed([alone]).tolist() == [False] and rule.vetoed([block]).tolist() == [True]
    many = rng.permutation(np.repeat([0, 1, 2], [30, 30, 20])).astype(np.int8)[None, :]
    assert rule.vetoed([_recoded(many, "dominant")]).tolist() == [False]


def test_two_rows_of_a_genetic_model_differ_by_many_in_their_numbers_too():
    """Their copies differ in 22 people, their numbers in one, whose column is the difference of the sums."""
    rng = np.random.default_rng(7)
    first = rng.permutation(np.repeat([0, 1, 2], [40, 40, 40])).astype(np.int8)
    second = first.copy()
    second[np.flatnonzero(first == 1)[:21]] = 2
    second[np.flatnonzero(first == 0)[0]] = 1
    copies = np.stack([first, second])
    rule = RowRule([np.ones(120, bool)], 1, strict=True, fewest=10)
    assert rule.vetoed([GenotypeBlock(0, copies, None)]).tolist() == [False, False]
    assert rule.vetoed([_recoded(copies, "dominant")]).tolist() == [False, True]
