"""Integer matrix products mod 2^64 and random words, beside what CrypTen uses for them."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.mpc.shares.prg import words
from securegen.engines.mpc.shares.ring import matmul_mod64
from securegen.randomness import fresh_key

SAMPLES, VARIANTS = 2_000, 10_000
WORDS = 5_000_000


@pytest.mark.parametrize("threads", [1, 2], ids=["t1", "t2"])
@pytest.mark.parametrize("columns", [1, 8, 32], ids=["K1", "K8", "K32"])
@pytest.mark.parametrize("implementation", ["crypten", "securegen"])
def test_integer_matmul(benchmark, implementation, columns, threads):
    generator = np.random.default_rng(1)
    g = generator.integers(0, 3, (SAMPLES, VARIANTS), dtype=np.int8)
    y = generator.integers(-(1 << 62), 1 << 62, (SAMPLES, columns))
    benchmark.extra_info["work"] = g.size * columns
    if implementation == "crypten":
        torch = pytest.importorskip("torch", reason="the extra [mpc] is not installed")
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        left, right = torch.from_numpy(g.astype(np.int64)), torch.from_numpy(y)
        out = benchmark.pedantic(lambda: (left.t() @ right).numpy(), rounds=3, warmup_rounds=1)
        torch.set_num_threads(before)
    else:
        ring = y.view(np.uint64)
        out = benchmark(lambda: matmul_mod64(g, ring, threads=threads)).view(np.int64)
    np.testing.assert_array_equal(out[-5:], g[:, -5:].T.astype(np.int64) @ y)


@pytest.mark.parametrize("implementation", ["crypten", "securegen"], ids=["crypten-t1", "securegen-t1"])
def test_randomness(benchmark, implementation):
    benchmark.extra_info["work"] = WORDS
    if implementation == "crypten":
        torch = pytest.importorskip("torch", reason="the extra [mpc] is not installed")
        generator = torch.Generator().manual_seed(1)
        benchmark(lambda: torch.randint(-(2**63), 2**63 - 1, (WORDS,), generator=generator))
        return
    key = fresh_key()
    numbers = iter(range(1 << 62))
    benchmark(lambda: words(key, "benchmark", number=next(numbers), shape=(WORDS,)))
