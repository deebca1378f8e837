"""Verifying an audit log of 10,000 entries: read, parsed, hashed, compared with its tiles and its signed root. A second is too
much. Files are in the page cache."""

from __future__ import annotations

import os
import time

import pytest

from securegen.governance import audit_steps as audit
from securegen.governance.signing import generate

ENTRIES = 10_000


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    made = audit.make_log(tmp_path_factory.mktemp("log") / "audit", generate())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        made.append_all(
            [("release", {"what": "table", "rows": i, "samples": 491, "outputs": f"{i:064x}", "rules": ["policy.purpose"]})
             for i in range(ENTRIES)]
        )  # fmt: skip
    return made


def test_verify_log(benchmark, log):
    witness = log.witness()
    state = benchmark(lambda: audit.verify(log.folder, seen=[witness]))
    assert len(state.entries) == ENTRIES and state.witnesses == 1
    benchmark.extra_info["work"] = ENTRIES
    begin = time.process_time()
    audit.verify(log.folder)
    assert time.process_time() - begin < 1, "seconds of one processor"


def test_append_to_log(benchmark, log):
    """One entry, on the disk."""
    benchmark(lambda: log.append("key", {"action": "unlocked", "key": "ab" * 32}))
