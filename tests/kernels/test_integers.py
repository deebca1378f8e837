"""Integer sums, matrix products, arithmetic modulo 2^61 − 1 and Chinese remaindering against Python integers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.kernels import integer_matmul, integer_sums, modmath61
from securegen.kernels.crt import round_residues, unpack_sums
from securegen.rlwe.ring import ntt_primes

from . import reference

sizes = st.tuples(st.integers(1, 40), st.integers(1, 70), st.integers(1, 9))
seeds = st.integers(0, 2**32)
P61 = (1 << 61) - 1


@settings(deadline=None, max_examples=40)
@given(sizes, seeds, st.sampled_from([np.int8, np.int16, bool]), st.sampled_from([8, 31, 32, 40]))
def test_sums(size, seed, dtype, bits):
    variants, samples, columns = size
    rng = np.random.default_rng(seed)
    top = {np.int8: 127, np.int16: 181, bool: 1}[dtype]
    g = rng.integers(0, top + 1, (variants, samples)).astype(dtype)
    x = rng.integers(-(2**bits), 2**bits, (samples, columns))
    wide = g.astype(np.int64)
    np.testing.assert_array_equal(integer_sums.integer_sums(g, x), reference.integer_sums(wide, x).astype(np.int64))
    squares = reference.integer_sums(wide * wide, x).astype(np.int64)
    np.testing.assert_array_equal(integer_sums.squared_sums(g, x), squares)


@settings(deadline=None, max_examples=40)
@given(sizes, seeds, st.sampled_from([0.0, 0.02, 1.0]))
def test_pair_sums(size, seed, share):
    variants, samples, columns = size
    rng = np.random.default_rng(seed)
    m, x = rng.random((variants, samples)) < share, rng.integers(-(2**20), 2**20, (samples, columns))
    np.testing.assert_array_equal(integer_sums.pair_sums(m, x), reference.pair_sums(m, x).astype(np.int64))


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 700), st.integers(1, 9), seeds, st.booleans(), st.integers(1, 2))
def test_matmul(samples, variants, columns, seed, small, threads):
    rng = np.random.default_rng(seed)
    for bits, dtype, kernel in (
        (64, np.uint64, integer_matmul.matmul_mod64),
        (32, np.uint32, integer_matmul.matmul_mod32),
    ):
        top = np.iinfo(dtype).max
        y = rng.integers(0, top, (samples, columns), dtype=dtype, endpoint=True)
        if small:
            g = rng.integers(-128, 128, (samples, variants)).astype(np.int8)
        else:
            g = rng.integers(0, top, (samples, variants), dtype=dtype, endpoint=True)
        got = kernel(g, y, threads=threads)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, reference.matmul(g, y, bits).astype(dtype))


@settings(deadline=None, max_examples=40)
@given(sizes, seeds, st.booleans())
def test_weighted_sums_and_dot(size, seed, largest):
    variants, samples, columns = size
    rng = np.random.default_rng(seed)
    r = np.full(variants, P61 - 1, np.uint64) if largest else rng.integers(0, P61, variants, dtype=np.uint64)
    for dtype in (np.int8, np.int16, np.int32):
        limits = np.iinfo(dtype)
        g = rng.integers(limits.min, limits.max, (variants, samples), dtype=dtype, endpoint=True)
        want = reference.dot61(r, g).astype(np.uint64)
        np.testing.assert_array_equal(modmath61.weighted_sums(g, r), want)
    s = rng.integers(-(2**63), 2**63 - 1, (variants, columns), endpoint=True)
    s[0, 0] = -(2**63)
    np.testing.assert_array_equal(modmath61.dot(r, s), reference.dot61(r, s).astype(np.uint64))


def test_weighted_sums_do_not_overflow_in_a_large_block():
    r = np.full(200_000, P61 - 1, np.uint64)  # −1
    for dtype, largest in ((np.int16, 2**15), (np.int32, 2**31)):
        g = np.full((200_000, 3), -largest, dtype)
        assert modmath61.weighted_sums(g, r).tolist() == [200_000 * largest] * 3


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 6), st.integers(1, 60), seeds)
def test_chinese_remaindering(count, scale, seed):
    primes = ntt_primes(4096, 30, count)
    q = math.prod(primes)
    rng = np.random.default_rng(seed)
    limit = min(q // 2, (1 << (scale + 62)) - 1)
    values = [int.from_bytes(rng.bytes(30), "little") % (2 * limit + 1) - limit for _ in range(20)]
    values += [0, 1, -1, limit, -limit, 1 << scale - 1, -(1 << scale - 1), 3 << scale - 1, -(3 << scale - 1)]
    values = [v for v in values if abs(v) <= limit]
    residues = np.array([[v % p for v in values] for p in primes], np.uint64)
    got, distance = round_residues(residues, primes, scale)
    assert got.tolist() == reference.round_residues(residues, primes, scale)
    exact = [abs(v - (r << scale)) / 2**scale for v, r in zip(values, got.tolist(), strict=True)]
    np.testing.assert_allclose(distance, exact, atol=2.0**-scale + 2.0**-50)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 14), st.integers(1, 100), st.lists(st.integers(1, 62), min_size=1, max_size=12), seeds)
def test_sums_in_digits(count, scale, widths, seed):
    primes = ntt_primes(16384, 30, count)
    q, below = math.prod(primes), scale + sum(widths[:-1])
    rng = np.random.default_rng(seed)
    values = [int.from_bytes(rng.bytes(60), "little") % q for _ in range(20)]
    edges = (
        0,
        1,
        1 << scale - 1,
        1 << below,
        -(1 << below),
        -(1 << below + 63),
        (1 << below + 63) - 1,
        1 << below + 63,
    )
    values += [(v + w) % q for v in edges for w in (-1, 0, 1)]
    residues = np.array([[v % p for v in values] for p in primes], np.uint64)
    got, distance = unpack_sums(residues, primes, scale, widths)
    for value, digits, far in zip(values, got.tolist(), distance, strict=True):
        signed = value - q if value > q // 2 else value
        rest, remainder = divmod(signed + (1 << scale - 1), 1 << scale)
        want = []
        for width in widths[:-1]:
            want.append((rest + (1 << width - 1)) % (1 << width) - (1 << width - 1))
            rest = (rest - want[-1]) >> width
        fits = -(1 << 63) < rest < 1 << 63
        assert digits == [*want, rest if fits else -(1 << 63)]
        assert far == pytest.approx(abs(remainder / 2**scale - 0.5) if fits else 1.0, abs=2.0**-50)
    with pytest.raises(ValueError):
        unpack_sums(residues, primes, scale, [*widths, 63])


def test_quotients_beyond_64_bits_are_marked():
    primes = ntt_primes(4096, 30, 4)
    x = 1 << 100
    residues = np.array([[x % p] for p in primes], np.uint64)
    value, distance = round_residues(residues, primes, 20)
    assert value[0] == np.iinfo(np.int64).min and distance[0] == 1.0


def test_shapes_are_checked():
    with pytest.raises(ValueError):
        integer_sums.integer_sums(np.zeros((2, 3), np.int8), np.zeros((4, 1), np.int64))
    with pytest.raises(ValueError):
        integer_matmul.matmul_mod64(np.zeros((2, 3), np.float64), np.zeros((2, 1), np.uint64))
    with pytest.raises(ValueError):
        modmath61.dot(np.zeros(3, np.uint64), np.zeros((2, 1), np.int64))
