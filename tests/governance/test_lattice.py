"""Combinations of variants that single few people out: read from a Gram matrix without the rule, found and left out with it."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.errors import DesignError
from securegen.governance.lattice import withheld_for_lattice
from securegen.kernels.lattice import SHORT, TAKEN, UNDECIDED, take_columns

GRID = 1024


def block(n, size, seed=1, haplotypes=40):
    """(n, size) copies in linkage disequilibrium: mosaics of 40 haplotypes, switched every few variants."""
    rng = np.random.default_rng(seed)
    pool = rng.random((haplotypes, size)) < rng.uniform(0.1, 0.9, size)
    copies = np.zeros((n, size), np.int64)
    for _ in range(2):
        at = np.empty((n, size), np.int64)
        at[:, 0] = rng.integers(0, haplotypes, n)
        switch = rng.random((n, size)) < 0.15
        for j in range(1, size):
            at[:, j] = np.where(switch[:, j], rng.integers(0, haplotypes, n), at[:, j - 1])
        copies += pool[at, np.arange(size)]
    return copies


def with_ones(x, unit=1):
    return np.column_stack([np.full(len(x), unit, np.int64), x])


def gram_of(x, unit=1):
    x = with_ones(x, unit).astype(np.float64)
    return (x.T @ x).astype(np.int64)


def singled_out(gram, least=10):
    """Columns of the first combination whose squared norm is from 1 to least − 1, but for that of the constant."""
    state, found = take_columns(gram, least, swaps=20_000, nodes=20_000)
    assert (state != UNDECIDED).all()
    return (np.flatnonzero(found[(state != TAKEN).argmax(), 1:]) + 1).tolist()


def planted(x, variants, people, seed):
    """Change the last of these variants so that a combination of them is 0 but for `people`, and other people keep 0 to 2."""
    rng = np.random.default_rng(seed)
    at = np.sort(rng.choice(x.shape[1], variants, replace=False))
    x, rest = x.copy(), at[:-1]
    # haplotypes carry one of the alleles of `rest` or none: their sum is the last variant's copies
    carried = rng.integers(0, variants, (len(x), 2))
    for i, v in enumerate(rest):
        x[:, v] = (carried == i).sum(axis=1)
    total = x[:, rest].sum(axis=1)
    who = rng.choice(len(x), people, replace=False)
    x[:, at[-1]] = total
    x[who, at[-1]] += np.where(total[who] < 2, 1, -1)
    return x, at, who


@pytest.mark.parametrize(
    "variants, size, n", [(2, 100, 1000), (3, 100, 1000), (4, 100, 1000), (5, 100, 1000), (4, 160, 2000)]
)
def test_a_planted_combination_is_found(variants, size, n):
    honest = block(n, size, seed=variants)
    assert not withheld_for_lattice(gram_of(honest)).any()
    x, at, who = planted(honest, variants, 3, seed=size)
    state, found = take_columns(gram_of(x), 10, swaps=1000, nodes=1000)
    ((last,),) = np.nonzero(state == SHORT) if (state == SHORT).sum() == 1 else ((at[-1:] + 1),)
    alone = with_ones(x) @ found[last]
    assert 0 < (alone != 0).sum() < 10 and set(np.flatnonzero(alone)) <= set(who.tolist())
    held = withheld_for_lattice(gram_of(x))
    assert held.sum() == 1 and held[at].any()
    assert not withheld_for_lattice(gram_of(x[:, ~held])).any()


def test_the_people_of_a_combination_are_read_from_the_products_of_others(n=400, size=40):
    """A total of all sites is opened; who has the others' parts has this site's Gram matrix, without a row of it."""
    x, _, who = planted(block(n, size, seed=8), 4, 1, seed=9)
    gram = gram_of(x)
    state, found = take_columns(gram, 10, swaps=1000, nodes=1000)
    c = found[int((state == SHORT).argmax())]
    read = gram @ c  # the combination's products with every variant
    assert np.array_equal(np.abs(read[1:]), x[who[0]]) and abs(read[0]) == 1
    held = withheld_for_lattice(gram)
    left = gram_of(x[:, ~held])
    state, found = take_columns(left, 10, swaps=1000, nodes=1000)
    assert (state == TAKEN).all() and not found.any() and not withheld_for_lattice(left).any()


def test_few_carriers_and_near_duplicates_are_combinations():
    x = block(500, 20)
    rare = np.zeros(500, np.int64)
    rare[:9] = 1
    assert singled_out(gram_of(np.column_stack([x, rare]))) == [21]
    assert singled_out(gram_of(np.column_stack([x, x[:, 4] ^ rare]))) == [5, 21]
    turned = 2 - np.where(x[:, 4] == 1, 1, x[:, 4])  # the same variant, its alleles turned round
    assert not withheld_for_lattice(gram_of(np.column_stack([x, turned]))).any()
    assert withheld_for_lattice(gram_of(np.column_stack([x, turned ^ rare]))).any()
    rare[9] = 1
    assert not withheld_for_lattice(gram_of(np.column_stack([x, rare]))).any()
    assert withheld_for_lattice(gram_of(np.column_stack([x, rare])), 11).any()


def test_columns_that_depend_on_others_add_nothing():
    x = block(300, 12)
    depends = np.column_stack([x, x[:, 0], np.full(300, 2), np.zeros(300, np.int64), 2 - x[:, 3], x[:, 1] + x[:, 2]])
    assert not withheld_for_lattice(gram_of(depends)).any()
    halves = np.column_stack([x, 2 * (np.arange(300) < 8)])  # half of a sum of others, of 8 people
    assert not withheld_for_lattice(gram_of(halves), 8).any() and withheld_for_lattice(gram_of(halves), 33).any()


def test_as_many_variants_as_people_single_everybody_out():
    x = np.random.default_rng(3).binomial(2, 0.4, (60, 80))
    held = withheld_for_lattice(gram_of(x))
    assert 20 < held.sum() < 70 and not withheld_for_lattice(gram_of(x[:, ~held])).any()


def test_a_missing_call_that_tells_two_variants_apart():
    """Equal calls, one of them missing at one person, whose mean is filled in on a grid."""
    x = block(400, 10) * GRID
    filled = x[:, 3].copy()
    filled[7] = 700
    assert not withheld_for_lattice(gram_of(x, GRID), divisor=GRID).any()
    both = np.column_stack([x, filled])
    assert singled_out(gram_of(both, GRID), 10 * GRID * GRID) == [4, 11]
    assert withheld_for_lattice(gram_of(both, GRID), divisor=GRID).nonzero()[0].tolist() == [10]


def test_short_vectors_are_those_of_a_search_of_all_combinations():
    """All combinations with coefficients up to 3 of small lattices, over many of them."""
    rng = np.random.default_rng(5)
    coefficients = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 5, indexing="ij"), -1).reshape(-1, 5)
    outcomes = []
    for _ in range(60):
        x = with_ones(rng.binomial(2, rng.uniform(0.2, 0.5), (int(rng.integers(8, 40)), 4)))
        norms = ((coefficients @ x.T) ** 2).sum(axis=1)
        expected = bool(((norms > 0) & (norms < 10)).any())
        outcomes.append(expected)
        state, _ = take_columns(x.T @ x, 10, swaps=20_000, nodes=20_000)
        assert (state == SHORT).any() == expected and (state != UNDECIDED).all()
    assert 10 < sum(outcomes) < 50


def test_a_search_that_would_take_too_long_does_not_pass():
    x = with_ones(np.random.default_rng(4).binomial(2, 0.4, (60, 50)))
    for swaps, nodes in ((0, 1000), (1000, 0)):
        state, found = take_columns(x.T @ x, 10, swaps=swaps, nodes=nodes)
        assert (state == UNDECIDED).any() and not found[state == UNDECIDED].any()
        left = x[:, state == TAKEN]
        assert not withheld_for_lattice(left.T @ left).any()


def test_a_gram_matrix_is_one():
    for bad in (
        np.zeros((2, 3), np.int64),
        np.eye(2),
        np.zeros((0, 0), np.int64),
        np.diag([1, -1]),
        np.diag([1, 1 << 52]),
    ):
        with pytest.raises(DesignError):
            withheld_for_lattice(bad)
