"""Counting columns of 500,000 people in the ledger: ids to HMACs, the file read and written, leverage beside what was counted.
Two seconds are wanted; a BLAS whose threads wait for busy processors takes longer. The same request again only reads."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.governance.ledger_file import open_ledger
from securegen.model import Samples

PEOPLE, COLUMNS = 500_000, 10


@pytest.fixture(scope="module")
def samples() -> Samples:
    ids = np.array([f"ID{i:07d}" for i in range(PEOPLE)], object)
    return Samples(ids, ids, np.ones(PEOPLE, bool))


@pytest.mark.parametrize("what", ["new", "again", "more"])
def test_charge(benchmark, samples, tmp_path, what):
    path, rng = tmp_path / "ledger", np.random.default_rng(1)
    first, second = (rng.integers(-(1 << 20), 1 << 20, (PEOPLE, COLUMNS)) for _ in range(2))

    def charge(columns: np.ndarray) -> None:
        with open_ledger(path) as ledger:
            assert ledger.charge(ledger.rows(samples), columns) is None

    if what != "new":
        charge(first)
    benchmark.pedantic(charge, (second if what == "more" else first,), rounds=1)
    benchmark.extra_info |= {"work": PEOPLE, "bytes": path.stat().st_size}
    assert path.stat().st_size < PEOPLE * (20 + (1 + what.count("more")) * (4 * COLUMNS + 1)) + 10_000
