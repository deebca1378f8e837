"""The linear design: the same integers pooled and split over sites, and designs that cannot be analysed, by name."""

from __future__ import annotations

import numpy as np
import pytest
from support import Sites

from securegen.design import fixedpoint as fp
from securegen.design.columns import combine
from securegen.design.exact import exact_gram, share_left
from securegen.design.linear import linear_design
from securegen.errors import DesignError


def people(n: int = 120, seed: int = 4):
    """Covariates (n, 3), phenotypes (n, 2) and an analysed mask over n + 11 stored samples."""
    rng = np.random.default_rng(seed)
    covariates = np.column_stack([rng.normal(50, 9, n).round(1), rng.integers(1, 3, n), rng.normal(0, 2e-4, n)])
    phenotypes = np.column_stack([rng.normal(100, 15, n), 1e-3 * rng.exponential(size=n)])
    phenotypes[:, 0] += covariates @ [2.0, 5.0, 1e4]
    analysed = np.zeros(n + 11, bool)
    analysed[np.sort(rng.permutation(n + 11)[:n])] = True
    return analysed, covariates, phenotypes


NAMES, TRAITS = ("AGE", "SEX", "PC1"), ("HEIGHT", "CRP")


@pytest.mark.parametrize("dealt", ["round-robin", "sorted by phenotype"])
def test_three_sites_get_the_integers_of_the_pooled_design(dealt):
    analysed, covariates, phenotypes = people()
    pooled = linear_design(analysed, covariates, NAMES, phenotypes, TRAITS)
    rows = np.flatnonzero(analysed)
    order = np.arange(len(rows)) if dealt == "round-robin" else np.argsort(phenotypes[:, 0])
    # sites see different people, even different ranges of values
    members = [np.sort(order[i::3]) for i in range(3)] if dealt == "round-robin" else np.array_split(order, 3)
    members = [np.sort(m) for m in members]

    def site(mine):
        return lambda total: linear_design(
            np.ones(len(mine), bool), covariates[mine], NAMES, phenotypes[mine], TRAITS, total=total
        )

    sites = Sites(3)
    for mine, design in zip(members, sites.run([site(m) for m in members]), strict=True):
        np.testing.assert_array_equal(design.columns.values, pooled.columns.values[rows[mine]])
        assert [a.model for a in design.analyses] == [a.model for a in pooled.analyses]
    assert sites.opened and sum(len(m) for m in members) == len(rows)


def test_columns_hold_what_the_model_says():
    analysed, covariates, phenotypes = people()
    design = linear_design(analysed, covariates, NAMES, phenotypes, TRAITS, bits=16)
    values = design.columns.values
    assert design.columns.names == ("INTERCEPT", *NAMES, *TRAITS) and design.columns.squared == (True,) + (False,) * 5
    assert not values[~analysed].any() and (values[analysed, 0] == 1).all()
    c, y = values[analysed][:, :4], values[analysed][:, 4:]
    for i, analysis in enumerate(design.analyses):
        m = analysis.model
        np.testing.assert_array_equal(m.gram, c.T @ c)
        np.testing.assert_array_equal(m.cty, c.T @ y[:, i])
        assert m.yty == int(y[:, i] @ y[:, i]) and m.samples == 120 and analysis.columns == (0, 1, 2, 3, 4 + i)
        # a residual has one standard deviation in (1/2, 1] of its scale, 2^16/5 units
        assert 0.5 < y[:, i].std() * 5 / 2**16 <= 1
        fit = np.linalg.lstsq(np.column_stack([np.ones(120), covariates]), phenotypes[:, i], rcond=None)[0]
        residual = phenotypes[:, i] - np.column_stack([np.ones(120), covariates]) @ fit
        # covariates enter at 2^-30 and coefficients at 2^-24 of their scales: far below a unit
        assert np.abs((y[:, i] - y[:, i].mean()) * m.unit - residual).max() <= (m.y_rounding + 0.5) * m.unit


def test_phenotypes_with_other_samples_bring_their_own_columns():
    analysed, covariates, phenotypes = people()
    fewer = analysed.copy()
    fewer[np.flatnonzero(analysed)[:7]] = False
    one = linear_design(analysed, covariates, NAMES, phenotypes[:, :1], TRAITS[:1])
    two = linear_design(fewer, covariates[7:], NAMES, phenotypes[7:, 1:], TRAITS[1:])
    both = combine([one, two])
    assert both.sample_sets == 2 and [a.columns for a in both.analyses] == [(0, 1, 2, 3, 4), (5, 6, 7, 8, 9)]
    assert [a.squares for a in both.analyses] == [(0,), (1,)]
    np.testing.assert_array_equal(both.columns.values, np.hstack([one.columns.values, two.columns.values]))


def design_of(covariates, phenotype, names=NAMES):
    return linear_design(np.ones(len(covariates), bool), covariates, names, phenotype[:, None], ("QT",))


def test_designs_that_cannot_be_analysed_are_refused_by_name():
    _, covariates, phenotypes = people()
    y = phenotypes[:, 0]
    constant = covariates.copy()
    constant[:, 1] = 2
    with pytest.raises(DesignError, match="covariate SEX is constant"):
        design_of(constant, y)
    twin = covariates.copy()
    twin[:, 2] = 3 - 2 * twin[:, 1]
    with pytest.raises(DesignError, match="covariates SEX, PC1 are collinear"):
        design_of(twin, y)
    with pytest.raises(DesignError, match="phenotype QT is constant"):
        design_of(covariates, np.full(len(y), 7.5))
    with pytest.raises(DesignError, match="phenotype QT is determined by the covariates"):
        design_of(covariates, covariates @ [1.0, 10.0, 0.0] + 3)
    with pytest.raises(DesignError, match="too few samples have QT and every covariate: at least 6 are needed for 3"):
        design_of(covariates[:5], y[:5])
    outlier = covariates.copy()
    outlier[0, 0] = 1e9  # sits √n standard deviations away whatever its size: read, not refused
    assert design_of(outlier, y).analyses[0].model.samples == len(y)


def test_covariates_that_explain_nearly_everything_are_kept():
    _, covariates, _ = people()
    noise = np.random.default_rng(0).normal(size=len(covariates)) * 1e-3
    model = design_of(covariates, covariates @ [1.0, 10.0, 0.0] + noise).analyses[0].model
    assert model.samples == len(covariates) and 0 < model.unit < 1e-6


def test_an_entry_is_read_to_half_of_its_last_digit_and_30_bits_of_its_scale():
    _, covariates, phenotypes = people()
    model = design_of(covariates, phenotypes[:, 0]).analyses[0].model
    for values, unread in zip(covariates.T, model.unread, strict=True):
        scaling, _ = fp.fit_scaling(values, "x")
        unit = scaling.scale * 5 / 2.0**model.covariate_bits
        assert unread * unit >= 0.5 / scaling.grid + scaling.scale * 2.0**-31


@pytest.mark.parametrize(
    ("values", "same"),
    [([2.0, 2.0, 2.0], True), ([0.0, 0.0], True), ([2e7] * 3, True), ([1e-9, 2e-9, 1e-9], False), ([1, 1, 2], False)],
)
def test_what_varies_is_decided_by_the_digits_that_are_read(values, same):
    assert fp.varies(np.array(values, float), "x") is not same
    if same:
        with pytest.raises(DesignError, match="is constant"):
            fp.fit_scaling(np.array(values, float), "x")


def test_the_share_of_a_column_that_others_leave():
    rng = np.random.default_rng(5)
    x = rng.integers(-9, 9, (40, 3))
    for last, left in ((x @ [1, 2, -1] + 4, 0.0), (rng.integers(0, 2, 40), None)):
        table = np.column_stack([np.ones(40, np.int64), x, x[:, :1], last])
        found = float(share_left(exact_gram(table, table)))
        y = last - last.mean()
        residual = (
            y
            - np.linalg.lstsq(np.column_stack([np.ones(40), x]), y, rcond=None)[0] @ np.column_stack([np.ones(40), x]).T
        )
        assert found == pytest.approx(residual @ residual / (y @ y), abs=1e-12)
        assert left is None or found == left
