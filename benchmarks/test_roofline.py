"""What bounds the products: the same kernel with its operands in the second cache and in memory, and memory alone."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from securegen.ckks.parameters import Ring
from securegen.kernels import reference
from securegen.kernels.residue_mac import mac_blocks

RING = Ring.standard(4096, 3)
PRIMES = np.array(RING.primes, np.uint64)
GROUPS, COLUMNS = 64, 4


def residues(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, int(PRIMES.min()), shape, dtype=np.uint32)


CASES = [("cache", 1, 64, 1), *(("B1", 64, 1, t) for t in (1, 2)), *(("B8", 64, 8, t) for t in (1, 2))]


@pytest.mark.parametrize(
    ("tiles", "blocks", "threads"), [c[1:] for c in CASES], ids=[f"securegen-{c[0]}-t{c[3]}" for c in CASES]
)
def test_residue_mac_reach(benchmark, tiles, blocks, threads):
    """cache: one tile modulo three primes, one block taken 64 times. B1, B8: so many blocks of whole ciphertexts.

    extra_info["work"] counts as for whole ciphertexts: a lane modulo every prime is a genotype × a column.
    """
    k, lanes = len(PRIMES), RING.lanes
    g = residues(1 if tiles == 1 else blocks, k, tiles, GROUPS, lanes)
    g = np.broadcast_to(g, (blocks, *g.shape[1:]))
    c0, c1 = residues(2, k, tiles, GROUPS, COLUMNS, lanes)
    out = np.zeros((blocks, k, tiles, COLUMNS, 3, lanes), np.uint64)
    benchmark.extra_info["work"] = blocks * tiles * GROUPS * COLUMNS * lanes
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, before))
    benchmark.pedantic(mac_blocks, (g, g, c0, c1, PRIMES, out), rounds=30, warmup_rounds=1)
    numba.set_num_threads(before)
    out[:] = 0
    mac_blocks(g, g, c0, c1, PRIMES, out)
    want = np.zeros((k, 1, COLUMNS, 3, lanes), np.uint64)
    whole = np.stack([g[-1, :, :1], g[-1, :, :1]], axis=3), np.stack([c0[:, :1], c1[:, :1]], axis=4)
    reference.mac(*whole, PRIMES, want)
    np.testing.assert_array_equal(out[-1, :, :1], want)


def test_memory_read(benchmark):
    """Sum of 512 MB of words on one thread; extra_info["work"] counts bytes."""
    words = np.ones(1 << 26, np.uint64)
    benchmark.extra_info["work"] = words.nbytes
    total = numba.njit(lambda a: a.sum())
    assert benchmark.pedantic(total, (words,), rounds=10, warmup_rounds=1) == len(words)
