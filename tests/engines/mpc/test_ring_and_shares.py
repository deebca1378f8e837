"""Ring products against Python integers, shares, keystream words."""

from __future__ import annotations

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.engines.mpc.shares.additive import combine, from_ring, split, to_ring
from securegen.engines.mpc.shares.prg import Stream, derive_key, words
from securegen.engines.mpc.shares.ring import matmul_mod32, matmul_mod64, matmul_ring
from securegen.errors import PlanError, ProtocolError
from securegen.randomness import fresh_key

DATA = np.random.default_rng(7)  # test data only


def product(g, y, bits):
    """The oracle: Python integers."""
    total = g.T.astype(object) @ y.astype(object)
    return (total % (1 << bits)).astype(f"u{bits // 8}")


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(0, 9),
    m=st.sampled_from([0, 1, 5, 127, 128, 129, 300]),
    k=st.integers(1, 3),
    threads=st.integers(1, 2),
)
def test_products_wrap_as_python_integers_do(n, m, k, threads):
    for bits, function in ((64, matmul_mod64), (32, matmul_mod32)):
        ring = np.dtype(f"u{bits // 8}")
        y = DATA.integers(0, 1 << bits, (n, k), dtype=ring, endpoint=False)
        small = DATA.integers(-128, 128, (n, m)).astype(np.int8)
        full = DATA.integers(0, 1 << bits, (n, m), dtype=ring, endpoint=False)
        for g in (small, small.astype(np.int16) * 100, full):
            np.testing.assert_array_equal(function(g, y, threads=threads), product(g, y, bits))
        np.testing.assert_array_equal(matmul_ring(small.astype(np.int32), y), product(small, y, bits))


def test_a_million_products_at_half_a_million_samples_are_exact():
    """N = 500,000 magnitudes: |y| up to 2^40, sums up to 2^60; every one of 2 × 500,000 products counts."""
    g = DATA.integers(0, 3, (500_000, 2)).astype(np.int8)
    y = DATA.integers(-(1 << 40), 1 << 40, (500_000, 1))
    key = fresh_key()
    mask = words(key, "t", number=1, shape=y.shape)
    exact = [sum(map(int, y[g[:, j] == 1, 0])) + 2 * sum(map(int, y[g[:, j] == 2, 0])) for j in range(2)]
    shares = [matmul_mod64(g, to_ring(y) - mask, threads=2), matmul_mod64(g, mask, threads=2)]
    assert combine(shares)[:, 0].tolist() == exact


def test_kernel_refuses_shapes_and_dtypes_that_do_not_multiply():
    with pytest.raises(ValueError, match="no product"):
        matmul_mod64(np.zeros((3, 2), np.int8), np.zeros((4, 1), np.uint64))
    with pytest.raises(ValueError, match="expected int8"):
        matmul_mod64(np.zeros((3, 2), np.float64), np.zeros((3, 1), np.uint64))


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=20), st.integers(1, 4))
def test_shares_of_any_int64_add_up(values, parties):
    x = np.array(values, np.int64)
    keys = [fresh_key() for _ in range(parties)]
    shares = [split(x, keys, domain="t"), *(words(k, "t", number=0, shape=x.shape) for k in keys)]
    np.testing.assert_array_equal(combine(shares), x)


def test_a_share_is_uniform_whatever_the_secret():
    """A constant secret: the share's bytes pass a χ² test at 255 degrees of freedom (9 σ: wrong once in 10^13)."""
    share = split(np.zeros(1 << 16, np.int64), [fresh_key()], domain="t")
    counts = np.bincount(share.view(np.uint8), minlength=256)
    expected = share.nbytes / 256
    chi2 = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi2 - 255) < 9 * np.sqrt(2 * 255)


def test_32_bit_ring_refuses_what_does_not_fit():
    assert from_ring(to_ring(np.array([-(1 << 31)]), 32))[0] == -(1 << 31)
    with pytest.raises(PlanError, match="32-bit"):
        to_ring(np.array([1 << 31]), 32)
    with pytest.raises(PlanError, match="no ring"):
        to_ring(np.array([1]), 48)
    with pytest.raises(TypeError, match="integers"):
        to_ring(np.array([0.5]))


def test_words_are_aes_ctr_of_the_derived_key():
    """NIST SP 800-38A CTR, through an independent call of the cipher."""
    key = bytes(range(16))
    cipher = Cipher(algorithms.AES(derive_key(key, "d")), modes.CTR((5).to_bytes(8, "big") + bytes(8))).encryptor()
    expected = np.frombuffer(cipher.update(bytes(800)), np.uint64)
    np.testing.assert_array_equal(words(key, "d", number=5, shape=(100,)), expected)


def test_domains_numbers_and_keys_never_share_words():
    key = fresh_key()
    arrays = [words(k, d, number=n, shape=(64,)) for k in (key, fresh_key()) for d in ("a", "b") for n in (0, 1)]
    assert len({w for a in arrays for w in a.tolist()}) == 64 * 8  # a collision has probability below 2^-46


def test_a_stream_draws_each_word_once_and_two_holders_agree():
    key = fresh_key()
    mine, theirs = Stream(key, "d"), Stream(key, "d")
    drawn = [mine.draw((8,)) for _ in range(5)]
    np.testing.assert_array_equal(drawn, [theirs.draw((8,)) for _ in range(5)])
    assert len({w for a in drawn for w in a.tolist()}) == 40


def test_key_of_wrong_length_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        derive_key(bytes(8), "d")


@pytest.mark.parametrize("shape", [(1 << 32, 1 << 32), (1 << 31, 1 << 31), (1 << 20, 1 << 20), (1 << 30,), (-1, 3)])
def test_no_words_are_drawn_for_sizes_that_no_frame_holds(shape):
    """A dealer is told sizes, each below 2^32: their product wraps in 64 bits, or takes the machine's memory."""
    with pytest.raises(ProtocolError, match="announced sizes"):
        words(bytes(16), "t", number=0, shape=shape)
    assert int(np.prod((1 << 32, 1 << 32), dtype=np.int64)) == 0
