"""Folding against the polynomials themselves: their coefficients b−1, 2b−1, … and nothing else."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from securegen.kernels import fold
from securegen.kernels.fold import copy_in_order, fold_factors, fold_tiles, open_products
from securegen.kernels.ntt import forward, inverse, ntt_tables
from securegen.rlwe.ring import Ring, ntt_primes

from . import reference

PACKS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
N = 4096
PRIMES = Ring.standard(N, 3).primes


def tiles_of(values: np.ndarray, lanes: int = 16) -> np.ndarray:
    """(k, R, Q, n) -> (k, T, R, Q, L) uint32."""
    k, rows, columns, n = values.shape
    return np.ascontiguousarray(np.moveaxis(values.reshape(k, rows, columns, n // lanes, lanes), 3, 1), np.uint32)


def residues(rng, primes, *shape) -> np.ndarray:
    """(k, …) uint64."""
    return np.stack([rng.integers(0, q, shape, dtype=np.uint64) for q in primes])


def transformed(function, values: np.ndarray, primes, n: int, pack: int = 1) -> np.ndarray:
    """An NTT along the last axis of (k, …, n)."""
    rows = np.ascontiguousarray(np.moveaxis(values.astype(np.uint64), 0, -2)).reshape(-1, len(primes), n)
    function(rows, tuple(ntt_tables(n, q, pack) for q in primes))
    return np.moveaxis(rows.reshape(*values.shape[1:-1], len(primes), n), -2, 0)


@pytest.mark.parametrize("pack", PACKS)
def test_a_fold_is_the_transform_of_the_coefficients_with_sums(pack):
    rng = np.random.default_rng(pack)
    polynomials = residues(rng, PRIMES, 3, 2, N)
    polynomials[:, 0, 0] = np.array(PRIMES, np.uint64)[:, None] - 1
    folded = fold_tiles(tiles_of(transformed(forward, polynomials, PRIMES, N)), pack, PRIMES)
    assert folded.shape == (3, 3, 2, N // pack) and folded.dtype == np.uint32
    got = transformed(inverse, folded, PRIMES, N // pack, pack)
    np.testing.assert_array_equal(got, polynomials[..., pack - 1 :: pack])


@given(st.sampled_from([(n, p) for n in (16, 32, 64, 256) for p in PACKS if p <= n]), st.integers(0, 2**32))
def test_a_fold_is_the_weighted_sum_of_neighbours(shape, seed):
    """The formula in Python integers, at primes of 14, 20 and 30 bits and at the largest residues."""
    n, pack = shape
    primes = tuple(ntt_primes(n, bits, 1)[0] for bits in (14, 20))
    rng = np.random.default_rng(seed)
    values = residues(rng, primes, 1, 2, n)
    values[:, 0, 1] = np.array(primes, np.uint64)[:, None] - 1
    folded = fold_tiles(tiles_of(values), pack, primes)
    for p, q in enumerate(primes):
        for j in range(2):
            np.testing.assert_array_equal(folded[p, 0, j], reference.fold(values[p, 0, j], pack, q))


@pytest.mark.parametrize(("pack", "step"), [(1, 3), (8, 1), (64, 4), (256, 16), (256, 64)])
def test_tiles_fold_on_their_own(pack, step):
    """A stretch of whole sums, wherever it lies, folds as it does in the polynomial."""
    rng = np.random.default_rng(pack)
    tiles = tiles_of(residues(rng, PRIMES, 2, 3, N))
    whole, count = fold_tiles(tiles, pack, PRIMES), tiles.shape[1]
    width, last = tiles.shape[-1], count - count % step
    parts = [fold_tiles(tiles[:, f : f + step], pack, PRIMES, first=f, n=N) for f in range(0, last, step)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=-1), whole[..., : last * width // pack])
    if pack > width:
        with pytest.raises(ValueError, match="whole sums"):
            fold_tiles(tiles[:, 1 : 1 + step], pack, PRIMES, first=1, n=N)


@pytest.mark.parametrize("shape", [(5, 2, 3, 16), (1, 1, 4, 16), (3, 0, 2, 16)])
def test_lanes_are_copied_in_order(shape):
    tiles = np.arange(np.prod(shape, dtype=int), dtype=np.uint32).reshape(shape)
    out = np.zeros((shape[1], shape[2] + 1, shape[0] * 16 + 1), np.uint32)[:, 1:, 1:]
    copy_in_order(tiles, out)
    np.testing.assert_array_equal(out, np.concatenate(list(tiles), axis=-1))


@pytest.mark.parametrize("pack", [p for p in PACKS if p > 1])
def test_the_transform_of_a_fold_is_evaluation_at_powers_of_the_larger_root(pack):
    n, q = 16, ntt_primes(N, 30, 1)[0]
    table, larger = ntt_tables(n, q, pack), ntt_tables(n * pack, q)
    psi = int(table.roots[n // 2]) & 0xFFFFFFFF
    assert psi == pow(int(larger.roots[n * pack // 2]) & 0xFFFFFFFF, pack, q) and pow(psi, n, q) == q - 1


def test_the_largest_sums_of_256_products_do_not_overflow():
    q = ntt_primes(N, 30, 1)[0]
    worst = np.full((1, 1, 1, N), q - 1, np.uint64)
    folded = fold_tiles(tiles_of(worst), 256, (q,))[0, 0, 0].tolist()
    factors = fold_factors(N, 256, (q,))[0].astype(object).reshape(-1, 256)
    assert folded == [int((q - 1) * row.sum() % q) for row in factors]


def test_no_rows_or_columns_give_none():
    for rows, columns in ((0, 3), (3, 0)):
        assert fold_tiles(np.zeros((3, 256, rows, columns, 16), np.uint32), 8, PRIMES).shape == (3, rows, columns, 512)


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("shared_genotypes", [True, False])
@pytest.mark.parametrize("shared_columns", [True, False])
def test_the_key_holders_half_is_the_product_of_phases(shared_genotypes, shared_columns, pack):
    """What the server keeps of (a_g, b_g) × (a_c, b_c), opened, are the coefficients of (b_g + a_g s)(b_c + a_c s'); the
    last column is public."""
    rng = np.random.default_rng(pack)
    strands, hidden = 3, 2
    q = np.array(PRIMES, np.uint64)[:, None, None, None]
    times = lambda x, y: x[:, :, None] * y[:, None] % q  # noqa: E731
    draw = lambda count: residues(rng, PRIMES, count, N)  # noqa: E731
    b_g, a_g, s = draw(strands), draw(1 if shared_genotypes else strands), draw(strands)
    b_c, a_c, s_c = draw(hidden + 1), draw(1 if shared_columns else hidden), draw(hidden)
    got = open_products(
        fold_tiles(tiles_of(times(b_g, b_c)), pack, PRIMES), *(times(x, y).astype(np.uint32) for x, y in
        ((b_g, a_c), (a_g, b_c), (a_g, a_c))), s.swapaxes(0, 1).copy(), s_c.swapaxes(0, 1).copy(), pack, PRIMES,
    )  # fmt: skip
    modulus = q[:, :, 0]
    strand_phase = (b_g + a_g * s % modulus) % modulus
    column_phase = b_c.copy()
    column_phase[:, :hidden] = (b_c[:, :hidden] + a_c * s_c % modulus) % modulus
    want = transformed(inverse, times(strand_phase, column_phase), PRIMES, N)[..., pack - 1 :: pack]
    np.testing.assert_array_equal(np.moveaxis(got, 2, 0), want)


def test_a_design_of_ones_alone_has_no_other_halves():
    rng = np.random.default_rng(9)
    q = np.array(PRIMES, np.uint64)[:, None, None]
    b_g, a_g, s, ones = (residues(rng, PRIMES, count, N) for count in (2, 1, 2, 1))
    sums = fold_tiles(tiles_of((b_g * ones % q)[:, :, None]), 4, PRIMES)
    nothing = np.zeros((3, 2, 0, N), np.uint32)
    left = (a_g * ones % q)[:, :, None].astype(np.uint32)
    keys = s.swapaxes(0, 1).copy()
    got = open_products(sums, nothing, left, nothing[:, :1], keys, np.zeros((0, 3, N), np.uint64), 4, PRIMES)
    want = transformed(inverse, (b_g + a_g * s % q) % q * ones % q, PRIMES, N)[..., 3::4]
    np.testing.assert_array_equal(np.moveaxis(got[:, 0], 1, 0), want)


@pytest.mark.parametrize("words", [4, 8])
def test_the_largest_residues_fit_the_words_of_both_vectors(words, monkeypatch):
    monkeypatch.setattr(fold, "vector_words", lambda: words)

    @numba.njit
    def weigh(values, weights, count):
        step = numba.uint64(values.strides[0])
        at = numba.uint64(values.ctypes.data), numba.uint64(weights.ctypes.data)
        return fold.weighted_lines(at[0], step, at[1], numba.uint64(count))

    largest = (1 << 30) - 36
    rng = np.random.default_rng(words)
    for values in (
        np.full((2 * fold.LINES, fold.LINE), largest),
        rng.integers(0, largest, (2 * fold.LINES, fold.LINE)),
    ):
        x, w = values.astype(np.uint32), values[::2].astype(np.uint32).copy()
        for count in range(1, fold.LINES + 1):
            low, high = weigh(x[::2], w, count)
            want = (x[::2][:count].astype(object) * w[:count].astype(object)).sum()
            assert (int(high) << 32) + int(low) == want and max(low, high) < 1 << 36


@pytest.mark.parametrize("pack", [16, 32, 64, 256, 1024])
def test_tiles_of_a_line_fold_as_rows_do(pack):
    """A view of a larger array, as the server has it, against a row at a time."""
    n, q = 1024, ntt_primes(4096, 30, 1)[0]
    whole = np.random.default_rng(pack).integers(0, q, (1, n // fold.LINE, 4, 3, fold.LINE)).astype(np.uint32)
    tiles = whole[:, :, 1:, 1:]
    got = fold.fold_tiles(tiles, pack, (q,))
    for r in range(3):
        for c in range(2):
            np.testing.assert_array_equal(got[0, r, c], reference.fold(tiles[0, :, r, c].reshape(n), pack, q))
