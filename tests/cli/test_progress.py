"""Progress is on stderr, with rate and time left, when that is a terminal; and nowhere else."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def in_a_terminal(folder: Path, *arguments: object) -> tuple[str, str]:
    """Run a command whose stderr is a pseudo-terminal; what it wrote to stdout and to the terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen(
        [sys.executable, "-m", "securegen", *map(str, arguments)], cwd=folder, env=environment, stdout=subprocess.PIPE,
        stderr=theirs, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs)
    seen = bytearray()
    try:
        while part := os.read(ours, 1 << 16):
            seen += part
    except OSError:  # the terminal's other end was closed
        pass
    finally:
        os.close(ours)
    assert child.stdout is not None
    out = child.stdout.read().decode()
    assert child.wait() == 0, seen.decode()
    return out, re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())


@pytest.fixture
def calls(steps, small, tmp_path) -> dict[str, list[object]]:
    score = tmp_path / "score.tsv"
    rows = "".join(f"rs{j}\tA\t{(j % 7 - 3) / 10}\n" for j in range(100, 300))
    score.write_text("ID\tA1\tWEIGHT\n" + rows)
    scores = [*steps.key[2:], "--bfile", small.bfile, "--score", score]
    server, owner = steps.server, steps.owner
    return {
        "encrypting": ["encrypt", *steps.key, *small.options(), "--out", "e"],
        "associating": ["gwas", "--cohort", server / "study.cohort", "--design", server / "study.design", "--out", "g"],
        "decrypting": [
            "decrypt", *steps.key, "--owner", owner / "study.owner", "--results", server / "study.results", "--out", "d",
        ],
        "scoring": ["prs", "--cohort", "s.cohort", "--model", "s.model", "--out", "s"],
        "before scoring": ["prs-step", "encrypt", *scores, "--out", "s"],
    }  # fmt: skip


@pytest.mark.parametrize("label", ["encrypting", "associating", "decrypting", "scoring"])
def test_rate_and_time_left_are_shown_on_a_terminal(label, calls, tmp_path):
    if label == "scoring":
        in_a_terminal(tmp_path, *calls["before scoring"])
    out, seen = in_a_terminal(tmp_path, *calls[label])
    assert out == ""
    assert re.search(rf"{label} .*\d+/\d+ (blocks|chunks|variants) .*\d:\d\d:\d\d left \d:\d\d:\d\d", seen), seen
    assert re.search(r"\d/s", seen), seen


def test_json_and_quiet_in_a_terminal(calls, tmp_path):
    out, seen = in_a_terminal(tmp_path, *calls["associating"], "--json", "--quiet")
    assert out.startswith("{") and out.endswith("}\n") and seen == ""


def test_no_progress_without_a_terminal(calls, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "securegen", *map(str, calls["associating"])]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert "associating" not in done.stderr and "\x1b" not in done.stderr and done.stdout == ""
