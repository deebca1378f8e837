"""Matrix products of residues against Python integers: no wrong integer, at every shape and on every machine."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from securegen.kernels import product_tile
from securegen.kernels.product_tile import GROUPS
from securegen.kernels.residue_matmul import LANES, matmul_residues, pack_columns
from securegen.rlwe.ring import ntt_primes

from . import reference

PRIMES = np.array(ntt_primes(4096, 30, 3), np.uint64)
ODD_PRIMES = np.array([(1 << 30) - 35, 786433, 97], np.uint64)  # the largest below 2^30, and small ones
LARGEST = ODD_PRIMES[:1]


def residues(rng, primes, *shape, largest=False):
    columns = [np.full(shape, q - 1) if largest else rng.integers(0, int(q), shape) for q in primes]
    return np.stack(columns).astype(np.uint32)


def product(rows, columns, primes, out, **options):
    """One block of one array each, in place."""
    matmul_residues([[[rows]]], pack_columns([[columns]], primes, **options), primes, out[None], **options)


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(0, 40), st.integers(1, 12), st.integers(1, 17)),
    st.booleans(),
    st.integers(0, 2**32),
    st.booleans(),
)
@example((1, 1, GROUPS, 3, 3), True, 0, True)
@example((2, 1, GROUPS + 1, 5, 5), True, 0, True)
@example((1, 1, 200, 9, 14), False, 1, False)
def test_products_are_exact(shape, largest, seed, odd):
    k, tiles, groups, rows, columns = shape
    rng = np.random.default_rng(seed)
    primes = (ODD_PRIMES if odd else PRIMES)[:k]
    x = residues(rng, primes, tiles, groups, rows, LANES, largest=largest)
    y = residues(rng, primes, tiles, groups, columns, LANES, largest=largest)
    got = residues(rng, primes, tiles, rows, columns, LANES, largest=largest)
    want = got.copy()
    product(x, y, primes, got)
    reference.matmul_residues(x, y, primes, want)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("prime", [int(LARGEST[0]), 97])
def test_largest_residues_at_every_number_of_groups(prime):
    """(q − 1)² is 1 modulo q, so that each group adds one; 1 … 200 groups pass every reduction."""
    primes = np.array([prime], np.uint64)
    for groups in range(1, 201):
        x = np.full((1, 1, groups, 4, LANES), prime - 1, np.uint32)
        y = np.full((1, 1, groups, 7, LANES), prime - 1, np.uint32)
        out = np.full((1, 1, 4, 7, LANES), prime - 1, np.uint32)
        product(x, y, primes, out, threads=1)
        assert (out == (prime - 1 + groups) % prime).all(), groups


def test_every_lane_and_group_is_on_its_own():
    """One residue that is not zero at a time: it reaches its own lane of its row and column, and nothing else."""
    groups, rows, columns = 2 * GROUPS + 3, 4, 6
    for group in range(groups):
        lane, r, c = group % LANES, group % rows, group % columns
        x, y = np.zeros((1, 1, groups, rows, LANES), np.uint32), np.zeros((1, 1, groups, columns, LANES), np.uint32)
        x[0, 0, group, r, lane] = y[0, 0, group, c, lane] = LARGEST[0] - 1
        want = np.zeros((1, 1, rows, columns, LANES), np.uint32)
        got = want.copy()
        want[0, 0, r, c, lane] = 1
        product(x, y, LARGEST, got, threads=1)
        np.testing.assert_array_equal(got, want)


def slow_sums(x, y, primes):
    """In NumPy, every product reduced at once: they are below 2^60."""
    q = primes[:, None, None, None, None]
    out = np.zeros((*x.shape[:2], x.shape[3], y.shape[3], LANES), np.uint64)
    for g in range(x.shape[2]):
        out += x[:, :, g, :, None].astype(np.uint64) * y[:, :, g, None].astype(np.uint64) % q
    return out % q


def test_millions_of_random_products_without_one_wrong():
    """3 · 16 · 96 · 9 · 14 · 16 = 9 million products."""
    rng = np.random.default_rng(11)
    x, y = residues(rng, PRIMES, 16, 96, 9, LANES), residues(rng, PRIMES, 16, 96, 14, LANES)
    out = np.zeros((3, 16, 9, 14, LANES), np.uint32)
    product(x, y, PRIMES, out)
    np.testing.assert_array_equal(out, slow_sums(x, y, PRIMES))


@pytest.mark.parametrize("threads", [1, 2, None])
def test_several_blocks_of_several_arrays(threads):
    """Rows and columns in pieces, as a block has public halves and strands; tiles that do not divide among threads."""
    rng = np.random.default_rng(3)
    tiles, groups = 7, 70
    blocks = [[residues(rng, PRIMES, tiles, groups, r, LANES) for r in (1, 8)] for _ in range(4)]
    columns = [residues(rng, PRIMES, tiles, groups, c, LANES) for c in (1, 0, 10, 1)]
    start = np.stack([residues(rng, PRIMES, tiles, 9, 12, LANES) for _ in blocks])
    got = start.copy()
    matmul_residues(
        [[b] for b in blocks], pack_columns([columns], PRIMES, threads=threads), PRIMES, got, threads=threads
    )
    y = np.concatenate(columns, axis=3)
    q = PRIMES[:, None, None, None, None]
    for b, rows in enumerate(blocks):
        want = (slow_sums(np.concatenate(rows, axis=3), y, PRIMES) + start[b]) % q
        np.testing.assert_array_equal(got[b], want)


@pytest.mark.parametrize("groups", [0, 1, GROUPS, 3 * GROUPS + 1])
def test_fresh_sums_do_not_depend_on_what_was_there(groups):
    rng = np.random.default_rng(groups)
    x, y = residues(rng, PRIMES, 2, groups, 10, LANES), residues(rng, PRIMES, 2, groups, 4, LANES)
    out = np.full((1, 3, 2, 10, 4, LANES), 0xFFFFFFFF, np.uint32)
    matmul_residues([[[x]]], pack_columns([[y]], PRIMES), PRIMES, out, fresh=True)
    np.testing.assert_array_equal(out[0], slow_sums(x, y, PRIMES))


def test_views_and_broadcast_groups():
    """Strided groups, tiles and rows, primes of a larger array, and one column for all groups (a stride of zero)."""
    rng = np.random.default_rng(5)
    wide = residues(rng, PRIMES, 6, 40, 8, LANES)
    x = wide[:, ::2, 3:33, ::3]
    one = residues(rng, PRIMES, 3, 1, 2, LANES)
    y = np.broadcast_to(one, (3, 3, 30, 2, LANES))
    assert y.strides[2] == 0 and not x.flags.c_contiguous
    for rows, columns in ((x, y), (y, x), (y, y)):
        out = np.zeros((3, 3, rows.shape[3], columns.shape[3], LANES), np.uint32)
        product(rows, columns, PRIMES, out)
        np.testing.assert_array_equal(out, slow_sums(rows, columns, PRIMES))


def test_accumulating_in_calls_is_the_same():
    rng = np.random.default_rng(4)
    x, y = residues(rng, PRIMES, 2, 150, 5, LANES), residues(rng, PRIMES, 2, 150, 4, LANES)
    once, often = np.zeros((3, 2, 5, 4, LANES), np.uint32), np.zeros((3, 2, 5, 4, LANES), np.uint32)
    product(x, y, PRIMES, once)
    for first, last in ((0, 1), (1, 14), (14, 78), (78, 78), (78, 150)):
        product(x[:, :, first:last], y[:, :, first:last], PRIMES, often)
    np.testing.assert_array_equal(often, once)


def test_nothing_is_written_beside_the_products():
    """A square that hangs over the edge of `out` leaves what lies there."""
    rng = np.random.default_rng(6)
    x, y = residues(rng, LARGEST, 1, 20, 4, LANES), residues(rng, LARGEST, 1, 20, 4, LANES)
    guarded = np.full(2 + 16, 7, np.uint32).repeat(LANES)
    out = guarded[LANES:-LANES].reshape(1, 1, 4, 4, LANES)
    out[:] = 0
    product(x, y, LARGEST, out)
    np.testing.assert_array_equal(out, slow_sums(x, y, LARGEST))
    assert (guarded[:LANES] == 7).all() and (guarded[-LANES:] == 7).all()


def test_refuses_what_could_overflow_or_does_not_fit():
    x, out = np.zeros((1, 1, 1, 1, LANES), np.uint32), np.zeros((1, 1, 1, 1, LANES), np.uint32)
    with pytest.raises(ValueError):
        product(x, x, np.array([(1 << 30) + 3], np.uint64), out)
    with pytest.raises(ValueError, match="odd"):
        product(x, x, np.array([96], np.uint64), out)
    with pytest.raises(ValueError, match="lanes"):
        product(x[..., :8], x[..., :8], LARGEST, out)
    with pytest.raises(ValueError):
        product(x.astype(np.uint64), x, LARGEST, out)
    with pytest.raises(ValueError):
        product(x, x, LARGEST, out.astype(np.uint64))
    with pytest.raises(ValueError):
        product(x, np.zeros((1, 1, 2, 1, LANES), np.uint32), LARGEST, out)


@pytest.mark.parametrize("words", [4, 8])
@pytest.mark.parametrize("shape", [(3, 3), (9, 3)])
def test_both_rectangles_and_vector_widths_on_any_machine(shape, words, monkeypatch):
    """LLVM splits vectors that the machine does not have, so that AVX-512's 9 × 3 rectangle runs everywhere."""
    monkeypatch.setattr(product_tile, "vector_words", lambda: words)
    (height, width), (q,) = shape, (int(q) for q in LARGEST)
    rectangle = product_tile.product_tile(height, width, LANES)
    inverse, away = pow(q, -1, 1 << 32), pow(1 << 32, -1, q)

    @numba.njit
    def run(x, y, out, rows, columns, q, inverse, keep):
        here, line = numba.uint64(x.ctypes.data), numba.uint64(4 * x.shape[2])
        rectangle(
            here, numba.uint64(y.ctypes.data), numba.uint64(out.ctypes.data), numba.uint64(out.strides[0]),
            numba.uint64(out.strides[1]), numba.uint64(rows), numba.uint64(columns), numba.uint64(len(x)), q, inverse, keep,
            numba.uint64(y.ctypes.data), here, line, here, line,
        )  # fmt: skip

    def balanced(*shape, largest):
        """±(q − 1)/2 of one sign a factor at the largest, so that no two products cancel."""
        half = q // 2
        some = np.full(shape, half) if largest else rng.integers(-half, half + 1, shape)
        return some.astype(np.int32)

    rng = np.random.default_rng(width)
    for groups, largest in [(1, False), (1, True), (15, False), (16, True), (31, False), (32, False), (GROUPS, True)]:
        x, y = balanced(groups, height, LANES, largest=largest), balanced(groups, width, LANES, largest=largest)
        start = residues(rng, LARGEST, height, width, LANES, largest=True)[0]
        for sign in (1, -1):
            terms = (x.astype(object)[:, :, None] * (sign * y).astype(object)[:, None]).sum(0)
            sums = ((terms * away + start) % q).astype(np.uint32)
            for rows, columns in ((height, width), (height - 1, 1), (1, width - 1), (height + 4, width + 9)):
                for keep in (0xFFFFFFFF, 0):
                    got, want = start.copy(), start.copy()
                    run(x, sign * y, got, rows, columns, *(numba.uint64(v) for v in (q, inverse, keep)))
                    whole = sums if keep else (terms * away % q).astype(np.uint32)
                    want[:rows, :columns] = whole[:rows, :columns]
                    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("words", [4, 8])
def test_lines_are_balanced_and_scaled(words, monkeypatch):
    monkeypatch.setattr(product_tile, "vector_words", lambda: words)
    copies = [product_tile.balanced_line(LANES, scaled=scaled) for scaled in (False, True)]
    plain, times = copies

    @numba.njit
    def run(out, x, q, factor):
        plain(numba.uint64(out[0].ctypes.data), numba.uint64(x.ctypes.data), q, factor)
        times(numba.uint64(out[1].ctypes.data), numba.uint64(x.ctypes.data), q, factor)

    for q in map(int, (*ODD_PRIMES, *PRIMES)):
        edge = [0, 1, 2, q // 2 - 1, q // 2, q // 2 + 1, q - 2, q - 1]
        x = np.array([*edge, *np.random.default_rng(q).integers(0, q, LANES - len(edge))], np.uint32)
        out, r = np.empty((2, LANES), np.int32), (1 << 32) % q
        run(out, x, numba.uint64(q), numba.uint64(r | (r << 32) // q << 32))
        assert (abs(out.astype(np.int64)) <= q // 2).all()
        np.testing.assert_array_equal(out.astype(object) % q, [x.astype(object), x.astype(object) * 2**32 % q])


@pytest.mark.parametrize("features", ["+avx2,+avx,+sse4.2,+bmi,+bmi2,+fma", "+sse2"])
def test_machines_without_avx512_compute_the_same(features):
    """The same tests in a process that compiles for a machine without AVX-512, or with nothing but SSE2."""
    if os.uname().machine != "x86_64":
        pytest.skip("names features of x86-64")
    environment = dict(os.environ, NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES=features)
    program = (
        "import tests.kernels.test_residue_matmul as m, tests.kernels.test_fold as f\n"
        "from securegen.kernels.product_tile import rectangle\n"
        "assert rectangle() == (3, 3)\n"
        "m.test_several_blocks_of_several_arrays(2)\n"
        "m.test_largest_residues_at_every_number_of_groups(97)\n"
        "m.test_views_and_broadcast_groups()\n"
        "f.test_the_key_holders_half_is_the_product_of_phases(True, True, 8)\n"
    )
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=600)
