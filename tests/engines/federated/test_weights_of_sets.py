"""A null model's weights in products of two rows of a set: what they would tell of who carries both, or one of the two."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.federated import own_sets, set_totals, set_weights
from securegen.kernels.carrier_sums import carriers_of

from .set_sites import SetRun
from .test_masks_of_sites import named
from .test_sets_of_sites import small


def test_weights_of_who_carries_two_variants(tmp_path, monkeypatch):
    """Of a disease Σ w g g′ of two rare variants is the weight of the one person who carries both, so her age. Few people's
    weights are the average of all."""
    dosage, age, _ = small(range(300), range(299, 600), people=2400)
    disease = (np.random.default_rng(2).random(2400) < 0.4).astype(float)
    files = named(tmp_path, {"G": [0, 1]}, "a", "A a\n")
    asked = {"binary": True, "consent_openings": True}
    run = SetRun(dosage, age, disease, files, tmp_path / "on", **asked)
    weights = run.columns[:, 3]
    averaged, hers = int(run.opened["sets-products-00000-2"][1, 0]), int(weights[299])
    assert not run.results["G.A.all"].withheld and averaged == round(weights.sum() / 2400) != hers
    exact = set_totals.weighed_products
    monkeypatch.setattr(set_totals, "weighed_products", lambda *a: exact(*a[:-1], 0))
    free = SetRun(dosage, age, disease, files, tmp_path / "off", **asked)
    assert int(free.opened["sets-products-00000-2"][1, 0]) == hers
    for name, p in free.results["G.A.all"].log10p.items():
        assert run.results["G.A.all"].log10p[name] == pytest.approx(p, abs=2e-3)


def test_weights_of_who_carries_one_of_two_nearly_nested_variants(tmp_path, monkeypatch):
    """Σ w g − Σ w g g′ is the weight of the one carrier of g who does not carry g′: such a row is withheld."""
    dosage, age, _ = small(range(301), range(1, 700), people=2400)
    disease = (np.random.default_rng(2).random(2400) < 0.4).astype(float)
    files = named(tmp_path, {"G": [0, 1]}, "a", "A a\n")
    asked = {"binary": True, "consent_openings": True}
    assert SetRun(dosage, age, disease, files, tmp_path / "on", **asked).results["G.A.all"].withheld
    monkeypatch.setattr(own_sets, "withheld_products", lambda codes, fewest: np.zeros(len(codes), bool))
    free = SetRun(dosage, age, disease, files, tmp_path / "off", **asked)
    assert free.lines[0, 3] - free.opened["sets-products-00000-2"][1, 0] == free.columns[0, 3]


def test_products_of_three_rows_that_differ_by_a_person(tmp_path, monkeypatch):
    """Of the carriers of a variant one alone tells two others apart: Σ w g g′ − Σ w g g″ is her weight. No pair shows it."""
    dosage, age, _ = small(range(300), range(150, 450), [*range(151, 300), *range(600, 800)], people=2400)
    disease = (np.random.default_rng(2).random(2400) < 0.4).astype(float)
    files = named(tmp_path, {"G": [0, 1, 2]}, "a", "A a\n")
    asked = {"binary": True, "consent_openings": True}
    assert SetRun(dosage, age, disease, files, tmp_path / "on", **asked).results["G.A.all"].withheld
    monkeypatch.setattr(set_weights, "_alike", lambda codes, cells, out, fewest: out)
    free = SetRun(dosage, age, disease, files, tmp_path / "off", **asked)
    products = free.opened["sets-products-00000-3"][:, 0]  # of rows 0 0, 0 1, 0 2, …
    assert products[1] - products[2] == free.columns[150, 3]


def test_products_of_pairs_that_single_nobody_out():
    """Copies of two rows that are independent, and every genotype of many people: nothing is withheld or averaged."""
    rng = np.random.default_rng(8)
    codes = rng.binomial(2, 0.4, (4, 900))
    assert not set_weights.withheld_products(codes).any()
    g, w = carriers_of(codes.astype(np.int8), 4), rng.integers(1, 1000, 900)
    found = set_weights.weighed_products(g, w, np.ones(900, bool), 7, 1)
    assert found.tolist() == ((codes * w) @ codes.T).tolist()
    halves = carriers_of((2 * codes).astype(np.int8), 4)
    assert set_weights.weighed_products(halves, w, np.ones(900, bool), 7, 2).tolist() == (4 * found).tolist()
