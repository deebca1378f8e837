"""What bounds the products: the same kernel with its operands in the caches and in memory, and memory alone."""

from __future__ import annotations

from dataclasses import replace

import numba
import numpy as np
import pytest

from securegen.kernels.residue_matmul import LANES, matmul_residues, pack_columns
from securegen.rlwe.ring import Ring

RING = replace(Ring.standard(4096, 3), lanes=LANES)
PRIMES = np.array(RING.primes, np.uint64)
GROUPS, STRANDS, COLUMNS = 64, 8, 13


def residues(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, int(PRIMES.min()), shape, dtype=np.uint32)


CASES = [("cache", 1, 64, 1), *((f"B{b}", RING.tiles, b, t) for b in (1, 4) for t in (1, 2))]


@pytest.mark.parametrize(
    ("tiles", "blocks", "threads"), [c[1:] for c in CASES], ids=[f"securegen-{c[0]}-t{c[3]}" for c in CASES]
)
def test_residue_matmul_reach(benchmark, tiles, blocks, threads):
    """cache: one tile modulo three primes, one block taken 64 times. B1, B4: so many blocks of whole polynomials.

    extra_info["work"] counts as for whole ciphertexts: a lane modulo every prime is a genotype × a column.
    """
    k, lanes = len(PRIMES), RING.lanes
    rows = [residues(k, tiles, GROUPS, STRANDS + 1, lanes)] * blocks
    columns = residues(k, tiles, GROUPS, COLUMNS + 1, lanes)
    packed, out = (
        pack_columns([[columns]], PRIMES),
        np.zeros((blocks, k, tiles, STRANDS + 1, COLUMNS + 1, lanes), np.uint32),
    )
    benchmark.extra_info["work"] = blocks * tiles * GROUPS * STRANDS * COLUMNS * lanes
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    benchmark.pedantic(matmul_residues, ([[[r]] for r in rows], packed, PRIMES, out), rounds=15, warmup_rounds=1)
    numba.set_num_threads(before)
    out[:] = 0
    matmul_residues([[[r]] for r in rows], packed, PRIMES, out)
    exact = np.einsum("ktgrl,ktgql->ktrql", rows[-1][:, :1].astype(object), columns[:, :1].astype(object))
    np.testing.assert_array_equal(out[-1, :, :1], exact % PRIMES.astype(object)[:, None, None, None, None])


def test_memory_read(benchmark):
    """Sum of 512 MB of words on one thread; extra_info["work"] counts bytes."""
    words = np.ones(1 << 26, np.uint64)
    benchmark.extra_info["work"] = words.nbytes
    total = numba.njit(lambda a: a.sum())
    assert benchmark.pedantic(total, (words,), rounds=10, warmup_rounds=1) == len(words)
