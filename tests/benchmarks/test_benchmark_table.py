"""The table of ratios that `make bench` prints."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "table.py"


def test_ratios_compare_costs_of_a_unit_of_work(tmp_path):
    made = [
        ("test_mac[securegen-K4-t1]", 0.002, 1000), ("test_mac[securegen-K4-t2]", 0.001, 1000),
        ("test_mac[seal-K4-t1]", 0.1, 2000), ("test_mac[seal-K13-t1]", 3.0, 2000), ("test_alone", 0.5, None),
    ]  # fmt: skip
    report = {
        "measured": {"processor": "A processor", "cores": 2, "python": "3.11.7", "commit": "0123456789ab"},
        "benchmarks": [
            {"name": name, "stats": {"min": seconds}, "extra_info": {"work": work} if work else {}}
            for name, seconds, work in made
        ],
    }
    (tmp_path / "b.json").write_text(json.dumps(report))
    command = [sys.executable, SCRIPT, tmp_path / "b.json"]
    head, _, *lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert head == "(A processor, 2 cores, Python 3.11.7; commit 0123456789ab.)"
    assert lines[2:] == [
        "| mac K4 | securegen | 1 | 2 ms | 2 µs | 1 | 2 |",
        "| mac K4 | securegen | 2 | 1 ms | 1 µs | 0.5 | 1 |",
        "| mac K4 | seal | 1 | 100 ms | 50 µs | 25 | 50 |",
        "| mac K13 | seal | 1 | 3 s | 1.5 ms |  |  |",
        "| alone |  | 1 | 500 ms |  |  |  |",
    ]
