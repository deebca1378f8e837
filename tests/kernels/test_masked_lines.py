"""Coins of the encryption's errors against Python's count of bits, in both widths of vectors."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from securegen.kernels import butterfly, masked_lines


@pytest.mark.parametrize("words", [4, 8])
def test_coins_are_counted(words, monkeypatch):
    """All of 32 bits and the lower 10 of 16: nothing else of a word counts."""
    monkeypatch.setattr(butterfly, "vector_words", lambda: words)

    @numba.njit
    def toss(wide, narrow, sums):
        masked_lines.toss(
            numba.uint64(wide.ctypes.data), numba.uint64(narrow.ctypes.data), numba.uint64(sums.ctypes.data),
            numba.uint64(len(sums)),
        )  # fmt: skip

    rng, n = np.random.default_rng(words), 256
    wide, narrow = rng.integers(0, 1 << 32, n, np.uint32), rng.integers(0, 1 << 16, n, np.uint16)
    wide[:48] = [0] * 8 + [1 << i for i in range(32)] + [0xFFFFFFFF] * 8
    narrow[:48] = [0xFC00] * 8 + [1 << i for i in range(16)] * 2 + [0xFFFF] * 8
    sums = np.full(n + 2, 7, np.uint32)
    toss(wide, narrow, sums[1:-1])
    want = [int(w).bit_count() + (int(s) & 0x3FF).bit_count() for w, s in zip(wide, narrow, strict=True)]
    assert sums.tolist() == [7, *want, 7]
    assert max(want) == 42 and min(want) == 0
