"""The table of faults names tests that exist, one a row."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "reliability.md").read_text()
ROWS = [
    line
    for line in PAGE.splitlines()
    if line.startswith("| ") and line.count(" | ") == 3 and not line.startswith("| fault")
]


def test_each_row_names_a_test_that_exists():
    assert len(ROWS) > 35
    for row in ROWS:
        *_, last = row.strip("| ").split(" | ")
        file, _, name = re.match(r"`(tests/\S+\.py)(::)(test_\w+)`", last).groups()
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), row


def test_every_fault_that_was_promised_has_a_row():
    told = "\n".join(ROWS).lower()
    for word in (
        "kill -9", "full disk", "read-only", "eio", "truncated", "bit flipped", "swapped", "rolled back",
        "two runs on one prefix", "two servers on one cohort", "clock jumps", "cut, stalled, reordered", "slow",
        "few handles", "small /dev/shm", "one core", "more workers than cores", "no avx-512, no avx2", "python -o",
        "no home", "caches that cannot be written",
    ):  # fmt: skip
        assert word in told, word
