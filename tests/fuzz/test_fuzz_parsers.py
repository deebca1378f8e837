"""Every parser of foreign bytes, given the same changes of a sample each time: a success or an error of ours, soon and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import target
from target import Target, attempt, changes_of, findings

from securegen.errors import InputError, SecuregenError

HERE = Path(__file__).resolve().parent
CHANGES = 40


def ran(*words: object, timeout: int = 900) -> list[list]:
    """What `python tests/fuzz` printed."""
    done = subprocess.run(
        [sys.executable, str(HERE), *map(str, words)], capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode in (0, 1), done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_parser_refuses_cleanly():
    pytest.importorskip("torch", reason="needs securegen[mpc]")
    said = ran("--changes", CHANGES)
    found = [line for line in said if len(line) == 4]
    assert not found, found[:9]
    assert len(said) > 90 and all(tried >= CHANGES for _, tried, _ in said)


def refuse(data: bytes) -> None:
    if data != b"sample":
        raise InputError("no sample")


def places(run, sample: bytes = b"sample") -> set[str]:
    return {f.place.split(" at ")[0] for f in findings(Target("t", sample, run), lambda n: b"changed", range(1))}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_the_harness_sees_what_it_is_for(monkeypatch):
    """Each fault in a parser of its own: another exception, memory, a crash, a hang, a text that moves a cursor, a bad sample."""

    def once(fault):
        return lambda data: fault() if data != b"sample" else None

    assert places(refuse) == set()
    assert places(once(lambda: {}["x"])) == {"KeyError"}
    assert places(once(lambda: bytes(1 << 29))) == {"MemoryError"}
    assert places(once(os.abort)) == {"SIGABRT"}
    assert places(refuse, b"another") == {"sample"}
    monkeypatch.setattr(target, "SECONDS", 0.001)
    assert "more than" in attempt(Target("t", b"", lambda data: sum(range(10**6))), b"")[0]


def test_the_same_changes_each_time():
    one = Target("t", b'{"a": [1, 2, {"b": "text"}], "c": 0.5}', refuse, "json")
    made = [changes_of(one, 0)(n) for n in range(200)]
    assert made == [changes_of(one, 0)(n) for n in range(200)] and len(set(made)) > 150
    assert made != [changes_of(one, 1)(n) for n in range(200)]


def test_no_message_moves_a_cursor():
    """Foreign names stand in messages; with the escapes off they reach a terminal as they are."""
    text = "x\x1b[2J\ud800\nnext"
    assert str(InputError(text)) == "x\\x1b[2J\\ud800\nnext" and Exception.__str__(InputError(text)) == text
    assert str(SecuregenError()) == "" and str(InputError("é", 2)) == "('é', 2)"
