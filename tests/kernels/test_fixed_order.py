"""Products and eigenvectors to the bit: as Python adds numbers one by one, with any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from numba import get_num_threads, set_num_threads

from securegen.kernels import fixed_order


@pytest.fixture
def matrix():
    """Symmetric, with three equal eigenvalues: any basis of their space is as good as another."""
    rng = np.random.default_rng(1)
    turn = np.linalg.qr(rng.normal(size=(9, 9)))[0]
    a = (turn * [5, 5, 5, 2, 1, 1e-9, 0, -1, -3]) @ turn.T
    return (a + a.T) / 2


def test_products_add_from_the_first_to_the_last():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(700, 5)), rng.normal(size=(700, 3))
    expected = [[sum((a[r, i] * b[r, j] for r in range(700)), 0.0) for j in range(3)] for i in range(5)]
    np.testing.assert_array_equal(fixed_order.inner(a, b), expected)
    np.testing.assert_array_equal(fixed_order.inner(b, a), np.transpose(expected))
    np.testing.assert_array_equal(fixed_order.product(np.asfortranarray(a.T), b), expected)
    assert fixed_order.inner(np.zeros((4, 0)), a[:4]).shape == (0, 5)


def test_eigenvectors_are_those_of_operations_one_by_one(matrix, monkeypatch):
    """Python's own floats, without vector instructions and fused multiplications."""
    values, vectors = fixed_order.eigen(matrix)
    for kernel in ("_turn", "_rotate"):
        monkeypatch.setattr(fixed_order, kernel, getattr(fixed_order, kernel).py_func)
    slow = fixed_order.eigen(matrix)
    np.testing.assert_array_equal(values, slow[0])
    np.testing.assert_array_equal(vectors, slow[1])


def test_eigenvectors_are_within_rounding(matrix):
    values, vectors = fixed_order.eigen(matrix * 2.0**600)
    np.testing.assert_allclose(values / 2.0**600, np.linalg.eigvalsh(matrix)[::-1], atol=1e-14)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(9), atol=1e-14)
    np.testing.assert_allclose(matrix @ vectors, vectors * (values / 2.0**600), atol=1e-14)
    for zero in (np.zeros((0, 0)), np.zeros((3, 3))):
        assert (fixed_order.eigen(zero)[0] == 0).all()


def test_threads_change_no_bit():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(3000, 40)), rng.normal(size=(40, 40))
    before = get_num_threads()
    found = []
    try:
        for threads in (1, before):
            set_num_threads(threads)
            found.append((fixed_order.inner(a, a), fixed_order.product(a, b)))
    finally:
        set_num_threads(before)
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("wrong", [np.array([[1.0, 2.0], [2.0 + 1e-15, 1.0]]), np.full((2, 2), np.nan), np.ones(3)])
def test_what_is_not_symmetric_is_refused(wrong):
    with pytest.raises(ValueError, match="not finite and symmetric"):
        fixed_order.eigen(wrong)
