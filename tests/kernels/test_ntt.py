"""The transform against evaluation at the roots, and against SEAL's own order."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.kernels.ntt import forward, inverse, ntt_tables
from securegen.rlwe import seal
from securegen.rlwe.ring import Ring, ntt_primes

from . import reference


@pytest.mark.parametrize("n", [16, 32, 64])
@pytest.mark.parametrize("bits", [13, 30])
def test_is_evaluation_at_odd_powers_in_bit_reversed_order(n, bits):
    primes = ntt_primes(n, bits, 2)
    tables = tuple(ntt_tables(n, q) for q in primes)
    rng = np.random.default_rng(n + bits)
    a = np.stack([rng.integers(0, q, n, dtype=np.uint64) for q in primes])[None].copy()
    worst = np.stack([np.full(n, q - 1, np.uint64) for q in primes])[None].copy()
    for values in (a, worst):
        got = values.copy()
        forward(got, tables)
        for i, table in enumerate(tables):
            psi = int(table.roots[n // 2]) & 0xFFFFFFFF  # exponent 1, bit-reversed; its being smallest: next test
            assert pow(psi, n, table.q) == table.q - 1
            order = [reference.bit_reverse(j, n.bit_length() - 1) for j in range(n)]
            points = [pow(psi, 2 * e + 1, table.q) for e in order]
            want = [sum(int(c) * pow(x, e, table.q) for e, c in enumerate(values[0, i])) % table.q for x in points]
            assert got[0, i].tolist() == want
        inverse(got, tables)
        np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(("n", "q"), [(16, 97), (64, 7681), (256, 7681), (1024, 12289)])
def test_root_is_the_smallest(n, q):
    table = ntt_tables(n, q)
    assert int(table.roots[n // 2]) & 0xFFFFFFFF == reference.smallest_root(n, q)
    a = np.random.default_rng(q).integers(0, q, n, dtype=np.uint64)
    got = a.reshape(1, 1, n).copy()
    forward(got, (table,))
    if n <= 64:
        np.testing.assert_array_equal(got.ravel(), reference.ntt(a, q))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([64, 256, 4096, 8192]))
def test_round_trip_and_linearity(seed, n):
    ring = tuple(ntt_tables(n, q) for q in ntt_primes(n, 30, 3))
    q = np.array([t.q for t in ring], np.uint64)[:, None]
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 2**40, (2, 3, n), dtype=np.uint64) % q for _ in range(2))
    x, y, s = a.copy(), b.copy(), (a + b) % q
    for rows in (x, y, s):
        forward(rows, ring)
        assert (rows < q).all()
    np.testing.assert_array_equal((x + y) % q, s)
    inverse(x, ring)
    np.testing.assert_array_equal(x, a)


def test_pointwise_product_is_the_negacyclic_product():
    n, q = 64, 7681
    table = (ntt_tables(n, q),)
    rng = np.random.default_rng(5)
    a, b = (rng.integers(0, q, n, dtype=np.uint64) for _ in range(2))
    x, y = a.reshape(1, 1, n).copy(), b.reshape(1, 1, n).copy()
    forward(x, table)
    forward(y, table)
    product = x * y % q
    inverse(product, table)
    np.testing.assert_array_equal(product.ravel(), reference.negacyclic_product(a, b, q))


@pytest.mark.parametrize("n", [4096, 8192])
def test_order_is_seals(n):
    """SEAL's secret key is ternary: its residues, transformed back with our tables, must be in {−1, 0, 1}."""
    ring = Ring.standard(n, 3)
    _, residues = seal.new_secret_key(ring)
    assert residues.max() > 1000  # in NTT form
    rows = residues[None].copy()
    tables = tuple(ntt_tables(n, q) for q in ring.primes)
    inverse(rows, tables)
    signed = rows[0].astype(np.int64)
    q = np.array(ring.primes)[:, None]
    signed = np.where(signed > q // 2, signed - q, signed)
    assert set(np.unique(signed)) == {-1, 0, 1}
    assert (signed == signed[0]).all()  # one polynomial modulo every prime
    forward(rows, tables)
    np.testing.assert_array_equal(rows[0], residues)


WIDE = """
import sys
import numpy as np
from securegen.kernels import emit
emit.vector_words = lambda: 8
from securegen.kernels import ntt
for n, q in ((16, 97), (32, 193), (64, 1153)):
    tables, a = ntt.ntt_tables(n, q), (np.arange(n, dtype=np.uint64) % q).reshape(1, 1, n)
    ntt.forward(a, (tables,))
    print(*a.ravel())
    ntt.inverse(a, (tables,))
    assert (a.ravel() == np.arange(n) % q).all()
"""


def test_vectors_of_avx512_compute_the_same_on_any_machine(tmp_path):
    """LLVM makes two instructions of one where the machine has narrower vectors."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", WIDE], capture_output=True, text=True, env=environment, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    for line, (n, q) in zip(done.stdout.splitlines(), ((16, 97), (32, 193), (64, 1153)), strict=True):
        a = (np.arange(n, dtype=np.uint64) % q).reshape(1, 1, n)
        forward(a, (ntt_tables(n, q),))
        assert line.split() == [str(x) for x in a.ravel()]
