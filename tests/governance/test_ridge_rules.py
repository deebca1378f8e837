"""Totals of a whole-genome model: what others may have added, and own people's leverages, predictors and linear predictors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securegen.governance import ridge_rules as rules
from securegen.governance.openings import column_fault
from securegen.structure.ridge import rotation
from securegen.structure.ridge_people import rotated


def sites(n=400, size=30, seed=1):
    """Own and the others' (n, size) dosages on a grid of 1/1024, some columns of the others the same or 0."""
    rng = np.random.default_rng(seed)
    x = rng.binomial(2, rng.uniform(0.05, 0.5, size), (2, n, size)) * 1024
    x[1][:, 5], x[1][:, 6] = x[1][:, 4], 0
    return x[0], x[1]


def gram(x):
    return x.T @ x


def test_what_people_give_passes_also_where_it_is_singular():
    own, others = sites()
    for few in (1, 2, 29, 400):
        part = others[:few]
        assert rules.others_fault(gram(own), gram(own) + gram(part), few, 2048) is None
    assert rules.others_fault(gram(own), gram(own), 0, 2048) is None
    wide = np.random.default_rng(2).integers(-1000, 1000, (7, 600))
    assert rules.others_fault(0 * gram(wide), gram(wide), 7, np.full(600, 1000)) is None


@pytest.mark.parametrize("what", ["steered", "lower", "more", "asymmetric", "beyond", "too large", "hidden"])
def test_what_people_cannot_give(what):
    own, others = sites()
    opened, people = gram(own) + gram(others), 400
    if what == "steered":  # a multiple of the identity taken away moves every solution
        opened -= np.eye(30, dtype=np.int64) << 24
    elif what == "lower":
        opened[3, 3] = gram(own)[3, 3] - 1
    elif what == "more":
        people = 10
    elif what == "asymmetric":
        opened[3, 4] += 1
    elif what == "beyond":  # two columns closer than their squares allow
        opened[1, 2] = opened[2, 1] = gram(own)[1, 2] + 2 * int(np.sqrt(float(gram(others)[1, 1] * gram(others)[2, 2])))
    elif what == "too large":
        opened[3, 4] = opened[4, 3] = -(1 << 63)
    else:  # in a column that the others do not have
        opened[6, 2] += 1
        opened[2, 6] += 1
    assert rules.others_fault(gram(own), opened, people, 2048) is not None


def test_the_margin_is_of_rounding():
    """One part in 10⁹ below 0 is seen in 300 columns, none of what people give is refused."""
    rng = np.random.default_rng(3)
    x = rng.integers(-(1 << 20), 1 << 20, (100, 300))
    exact = gram(x)
    assert rules.others_fault(0 * exact, exact, 100, 1 << 20) is None
    away = int(exact.diagonal().min() * 1e-9)
    assert rules.others_fault(0 * exact, exact - away * np.eye(300, dtype=np.int64), 100, 1 << 20) is not None


def test_weighted_products_are_between_0_and_a_quarter():
    own, others = sites()
    rng, unit = np.random.default_rng(4), 1 << 20
    weight = rng.integers(0, unit // 4 + 1, 400)
    weighted = lambda x, w: x.T @ (x * w[:, None])
    grams = gram(own), gram(own) + gram(others)
    mine, honest = weighted(own, weight), weighted(own, weight) + weighted(others, weight[::-1])
    assert rules.others_weighted_fault(mine, honest, *grams, unit) is None
    most = mine + weighted(others, np.full(400, unit // 4))
    assert rules.others_weighted_fault(mine, most, *grams, unit) is None
    more = mine + weighted(others, np.full(400, unit // 4 + 1))
    assert rules.others_weighted_fault(mine, more, *grams, unit) is not None
    assert rules.others_weighted_fault(mine, mine - weighted(others, weight), *grams, unit) is not None
    turned = honest.copy()
    turned[0, 1] = turned[1, 0] = mine[0, 1] - (honest - mine)[0, 1] - (1 << 38)
    assert rules.others_weighted_fault(mine, turned, *grams, unit) is not None


def test_leverages_and_linear_predictors():
    assert (
        rules.ridge_leverage_fault(np.array([0.0, 0.5])) is None
        and rules.ridge_leverage_fault(np.zeros((0, 5))) is None
    )
    for bad in (0.51, -1e-9, np.nan, np.inf):
        assert rules.ridge_leverage_fault(np.array([[0.1, 0.2], [0.3, bad]])) is not None
    assert rules.eta_fault(np.array([-10.0, 10.0])) is None and rules.eta_fault(np.zeros(0)) is None
    for bad in (10.01, -11, np.nan, np.inf):
        assert rules.eta_fault(np.array([0.0, bad])) is not None


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_predictors_are_columns(dtype):
    rng = np.random.default_rng(6)
    w = np.rint(rng.normal(size=(200, 40)) * 4096).astype(dtype)
    assert rules.predictors_fault(w) is None
    for make in (
        lambda i: 8 * 4096 * (i == 7),
        lambda i: 1 * (i < 9),
        lambda i: 5 - (i >= 191),
        lambda i: 0 * i + 3 * (i < 2),
    ):
        x = w.copy()
        x[:, 17] = make(np.arange(200)) + (w[:, 17] // 8 if make(np.arange(200)).max() > 100 else 0)
        fault = rules.predictors_fault(x)
        assert fault is not None and fault == f"predictor 17: {column_fault(x[:, 17])}"
    x = w.copy()
    x[:, 3], x[:, 4] = 2, np.arange(200) < 10
    assert rules.predictors_fault(x) is None


def test_predictors_agree_with_the_rule_of_a_column():
    rng = np.random.default_rng(7)
    w = rng.integers(-3, 4, (30, 300)) * rng.integers(0, 2, (30, 300)) * rng.integers(0, 2, 300)
    w[0] *= rng.integers(1, 6, 300)
    one_by_one = [column_fault(w[:, j]) is not None for j in range(300)]
    assert 30 < sum(one_by_one) < 270
    assert [rules.predictors_fault(w[:, j : j + 1]) is not None for j in range(300)] == one_by_one


def test_a_steered_total_makes_a_predictor_of_one_person():
    """Who posts last takes one person's x x' from X'X often enough: her leverage is nearly 1, her prediction by the others as
    large as they want, and products of the predictor are her phenotype."""
    own, others = sites(300, 12, seed=8)
    own, others = own // 1024, others // 1024
    rng, who, penalty = np.random.default_rng(9), 17, 4.0
    y, total = rng.integers(-999, 999, 300), gram(own) + gram(others)

    def predictor(opened):
        inverse = np.linalg.inv(opened / 4.0**20 + penalty * np.eye(12))
        leverage = np.einsum("ij,jk,ik->i", own, inverse, own)
        fitted = own @ inverse @ (own.T @ y)
        return leverage, (fitted - leverage * y) / (1 - leverage)

    fine = gram(own << 20), gram(own << 20) + gram(others << 20)
    honest, w = predictor(fine[1])
    assert rules.others_fault(*fine, 300, 2 << 20) is None
    assert (
        rules.ridge_leverage_fault(honest) is None
        and rules.predictors_fault(np.rint(w * 64)[:, None].astype(int)) is None
    )
    h = float(own[who] @ np.linalg.solve(total + penalty * np.eye(12), own[who]))
    away = 1 / h - 1 / (1 - 1e-5)  # Sherman and Morrison: h/(1 − away h) is 1 − 10⁻⁵
    steered = fine[1] - np.rint(away * np.outer(own[who], own[who]) * 4.0**20).astype(np.int64)
    leverage, w = predictor(steered)
    integers = np.rint(w * 64).astype(np.int64)
    read = (integers @ y) / np.abs(integers).max() * np.sign(integers[who])
    assert np.abs(integers).argmax() == who and abs(read - y[who]) < 0.02 * 999
    assert rules.others_fault(fine[0], steered, 300, 2 << 20) is not None
    assert rules.ridge_leverage_fault(leverage) is not None and rules.predictors_fault(integers[:, None]) is not None


def test_a_step_made_again_in_another_order_is_the_same_integers():
    """A projection in float32 flips where it is rounded; the totals of two tries then differ by one person's genotypes."""
    rng = np.random.default_rng(1)
    g = rng.binomial(2, rng.uniform(0.05, 0.5, 1500), (500, 1500)).astype(np.int64)
    turn = np.linalg.qr(rng.normal(size=(1500, 40)))[0]
    orders = np.arange(1500), rng.permutation(1500)

    def in_floats(order):
        z = np.zeros((500, 40), np.float32)
        for part in np.array_split(order, 5):
            z += g[:, part].astype(np.float32) @ turn[part].astype(np.float32)
        return np.rint(z * np.float32(4096)).astype(np.int64)

    first, again = map(in_floats, orders)
    alone = np.flatnonzero((first != again).sum(axis=0) == 1)
    assert len(alone), "some column differs in one person"
    for j in alone[:3]:
        who = int((first != again)[:, j].argmax())
        assert np.array_equal(np.abs(g.T @ first[:, j] - g.T @ again[:, j]), g[who])

    def in_integers(order):
        turned = rotation(turn, np.zeros((0, 40)), np.zeros(40), (2.0, 0.0))
        turned = replace(turned, turn=turned.turn[order])
        return rotated(g[:, order], np.zeros((500, 0), np.int64), turned)

    assert np.array_equal(*map(in_integers, orders))
    assert np.array_equal(in_integers(orders[0])[::-1], rotated(g[::-1], np.zeros((500, 0), np.int64), rotation(
        turn, np.zeros((0, 40)), np.zeros(40), (2.0, 0.0))))  # fmt: skip
