"""Products of residues against Python integers: no wrong integer, also where every residue is the largest."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.kernels.message_tiles import message_tiles
from securegen.kernels.ntt import forward, ntt_tables
from securegen.kernels.plain_mac import mac_plain
from securegen.kernels.residue_mac import mac, reduce_wide, wide_constants
from securegen.rlwe.ring import ntt_primes

from . import reference

PRIMES = np.array(ntt_primes(4096, 30, 3), np.uint64)
ODD_PRIMES = np.array([(1 << 30) - 35, 786433, 97], np.uint64)  # the largest below 2^30, and small ones

shapes = st.tuples(
    st.integers(1, 3), st.integers(1, 2), st.integers(0, 40), st.integers(1, 9), st.sampled_from([16, 32, 64])
)


def residues(rng, primes, *shape, largest=False):
    columns = [np.full(shape, q - 1) if largest else rng.integers(0, int(q), shape) for q in primes]
    return np.stack(columns).astype(np.uint32)


def of_whole(g, c, primes, out):
    """`mac` of ciphertexts that are stored whole: g (k, T, G, 2, L), c (k, T, G, J, 2, L)."""
    mac(g[:, :, :, 0], g[:, :, :, 1], c[:, :, :, :, 0], c[:, :, :, :, 1], primes, out)


@settings(deadline=None, max_examples=40)
@given(shapes, st.booleans(), st.integers(0, 2**32), st.booleans())
def test_products_are_exact(shape, largest, seed, odd):
    k, tiles, groups, columns, lanes = shape
    rng = np.random.default_rng(seed)
    primes = (ODD_PRIMES if odd else PRIMES)[:k]
    g = residues(rng, primes, tiles, groups, 2, lanes, largest=largest)
    c = residues(rng, primes, tiles, groups, columns, 2, lanes, largest=largest)
    start = residues(rng, primes, tiles, columns, 3, lanes, largest=largest).astype(np.uint64)
    got, want = start.copy(), start.copy()
    of_whole(g, c, primes, got)
    reference.mac(g, c, primes, want)
    np.testing.assert_array_equal(got, want)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(1, 4), st.booleans(), st.integers(0, 2**32), st.booleans())
def test_products_with_plaintexts_are_exact(shape, people, largest, seed, odd):
    k, tiles, ciphertexts, columns, lanes = shape
    rng = np.random.default_rng(seed)
    primes = (ODD_PRIMES if odd else PRIMES)[:k]
    g = residues(rng, primes, tiles, 2, ciphertexts, people, lanes, largest=largest)
    p = residues(rng, primes, tiles, ciphertexts, columns, lanes, largest=largest)
    got = residues(rng, primes, tiles, people, columns + 2, 2, lanes, largest=largest)
    want, into = got.copy(), rng.permutation(columns + 2)[:columns]
    mac_plain(g[:, :, 0], g[:, :, 1], p, primes, got, columns=into)
    for x in range(people):
        some = want[:, :, x][:, :, into]
        reference.mac_plain(np.moveaxis(g[:, :, :, :, x], 2, 3), p, primes, some)
        want[:, :, x, into] = some
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("groups", [1, 7, 8, 9, 16, 17, 250, 4096])
def test_largest_residues_at_every_length(groups):
    primes = np.array([(1 << 30) - 35], np.uint64)
    q = int(primes[0])
    g = np.full((1, 1, groups, 2, 16), q - 1, np.uint32)
    c = np.full((1, 1, groups, 5, 2, 16), q - 1, np.uint32)
    out = np.full((1, 1, 5, 3, 16), q - 1, np.uint64)
    of_whole(g, c, primes, out)
    # (q−1)² = 1 modulo q
    for term, times in enumerate((1, 2, 1)):
        assert (out[:, :, :, term] == (q - 1 + times * groups) % q).all()


def test_millions_of_random_products_without_one_wrong():
    """Against 128-bit sums in two halves: 3 · 4096 · 96 · 7 · 4 = 33 million products."""
    rng = np.random.default_rng(11)
    k, tiles, groups, columns, lanes = 3, 64, 96, 7, 64
    g, c = residues(rng, PRIMES, tiles, groups, 2, lanes), residues(rng, PRIMES, tiles, groups, columns, 2, lanes)
    out = np.zeros((k, tiles, columns, 3, lanes), np.uint64)
    of_whole(g, c, PRIMES, out)
    q = PRIMES[:, None, None, None]
    want = np.zeros_like(out)
    for i in range(groups):  # every product below 2^60, reduced at once
        x0, x1 = (g[:, :, i, h][:, :, None].astype(np.uint64) for h in (0, 1))
        y0, y1 = (c[:, :, i, :, h].astype(np.uint64) for h in (0, 1))
        for term, value in enumerate((x0 * y0, x0 * y1 + x1 * y0, x1 * y1)):
            want[:, :, :, term] += value % q
    np.testing.assert_array_equal(out, want % q[..., None])


def test_stored_halves_agree_with_one_array():
    rng = np.random.default_rng(3)
    tiles, groups, columns, lanes = 2, 21, 6, 64
    g, c = residues(rng, PRIMES, tiles, groups, 2, lanes), residues(rng, PRIMES, tiles, groups, columns, 2, lanes)
    whole, apart = (np.zeros((3, tiles, columns, 3, lanes), np.uint64) for _ in range(2))
    of_whole(g, c, PRIMES, whole)
    g0, g1 = (np.ascontiguousarray(g[:, :, :, h]) for h in (0, 1))
    c0, c1 = (np.ascontiguousarray(c[:, :, :, :, h]) for h in (0, 1))
    mac(g0, g1, c0, c1, PRIMES, apart)
    np.testing.assert_array_equal(apart, whole)


def test_two_words_are_reduced_whatever_they_are():
    """Also modulo primes far below a power of two, where every part of the quotient counts."""
    rng = np.random.default_rng(9)
    primes = np.array([*PRIMES, *ODD_PRIMES, 805306457, 536870909], np.uint64)
    high = np.concatenate(
        [rng.integers(0, 1 << 64, 200, np.uint64), np.array([0, 1, (1 << 32) - 1, 1 << 32, (1 << 64) - 1], np.uint64)]
    )
    low = np.concatenate([rng.integers(0, 1 << 32, len(high) - 1, np.uint64), np.array([(1 << 32) - 1], np.uint64)])
    for q, constants in zip(primes, wide_constants(primes), strict=True):
        found = [int(reduce_wide(h, w, q, *constants)) for h, w in zip(high, low, strict=True)]
        assert found == [((int(h) << 32) + int(w)) % int(q) for h, w in zip(high, low, strict=True)]


def test_accumulating_in_two_calls_is_the_same():
    rng = np.random.default_rng(4)
    g, c = residues(rng, PRIMES, 2, 30, 2, 32), residues(rng, PRIMES, 2, 30, 3, 2, 32)
    once, twice = np.zeros((3, 2, 3, 3, 32), np.uint64), np.zeros((3, 2, 3, 3, 32), np.uint64)
    of_whole(g, c, PRIMES, once)
    of_whole(g[:, :, :13], c[:, :, :13], PRIMES, twice)
    of_whole(g[:, :, 13:], c[:, :, 13:], PRIMES, twice)
    np.testing.assert_array_equal(once, twice)


def test_refuses_what_could_overflow():
    g, c = np.zeros((1, 1, 1, 2, 16), np.uint32), np.zeros((1, 1, 1, 1, 2, 16), np.uint32)
    out = np.zeros((1, 1, 1, 3, 16), np.uint64)
    with pytest.raises(ValueError):
        of_whole(g, c, np.array([(1 << 30) + 3], np.uint64), out)
    with pytest.raises(ValueError, match="lanes"):
        of_whole(g[..., :8], c[..., :8], np.array([97], np.uint64), out[..., :8])


@pytest.mark.parametrize("features", ["+avx2,+avx,+sse4.2,+bmi,+bmi2,+fma", "+sse2"])
def test_machines_without_avx512_compute_the_same(features):
    """The same tests in a process that compiles for a machine without AVX-512, or with nothing but SSE2."""
    environment = dict(os.environ, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES=features)
    program = (
        "import tests.kernels.test_residue_mac as m, tests.kernels.test_ntt as n, securegen.kernels.emit as e\n"
        "assert e.vector_words() == 4\n"
        "m.test_stored_halves_agree_with_one_array()\n"
        "m.test_largest_residues_at_every_length(17)\n"
        "n.test_pointwise_product_is_the_negacyclic_product()\n"
        "n.test_is_evaluation_at_odd_powers_in_bit_reversed_order(16, 30)\n"
    )
    if os.uname().machine != "x86_64":
        pytest.skip("names features of x86-64")
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=600)


def test_tiles_of_messages_are_their_residues():
    n, lanes = 64, 16
    primes = ntt_primes(n, 30, 2)
    tables = tuple(ntt_tables(n, q) for q in primes)
    messages = np.random.default_rng(3).integers(-(2**63), 2**63, (5, n))
    messages[0, :3] = -(2**63), 2**63 - 1, 0
    want = np.stack([messages % q for q in primes], axis=1).astype(np.uint64)
    forward(want, tables)
    got = message_tiles(messages, tables, lanes)
    assert got.shape == (2, n // lanes, 5, lanes)
    np.testing.assert_array_equal(np.moveaxis(got, 2, 0).reshape(5, 2, n), want)
