"""What nobody foresaw, and standard streams that take nothing: one line, an exit code, no traceback and no data."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from support import securegen

from securegen.cli import crash, doctor
from securegen.errors import StorageError
from securegen.kernels import threads
from securegen.rlwe import seal


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """A command that ends in an error of somebody's data; crash reports go to `tmp_path`."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def examine() -> None:
        genotype = "genotype-0/1"
        try:
            {}[genotype]
        except KeyError as error:
            raise ValueError(f"phenotype 171.25 of {genotype}\n\x1b[2J") from error

    monkeypatch.setattr(doctor.command, "callback", lambda **options: examine())
    return tmp_path


def test_an_error_that_nobody_foresaw_is_one_line_and_a_report_without_data(broken):
    done = securegen("doctor")
    assert done.code == 1 and done.out == "" and len(done.err.splitlines()) == 1
    report = Path(re.search(r"ValueError at \S+; (\S+) says where, without data", done.err)[1])
    assert report.parent == broken and report.stat().st_mode & 0o777 == 0o600
    text = report.read_text()
    assert "builtins.ValueError" in text and "builtins.KeyError" in text and "test_last_net.py" in text
    assert "command: securegen doctor" in text
    for secret in ("171.25", "genotype", "\x1b"):  # drawn names of files have no dot
        assert secret not in text.replace("genotypes", "") and secret not in done.err
    done = securegen("doctor", "--json")
    assert done.code == 1 and json.loads(done.out)["error"]["class"] == "SecuregenError" and "171.25" not in done.out


def test_without_the_net_there_is_a_traceback(broken, monkeypatch):
    import contextlib

    monkeypatch.setattr(crash, "no_traceback", contextlib.nullcontext)
    with pytest.raises(ValueError, match="phenotype 171.25"):
        securegen("doctor")


def test_no_report_where_none_can_be_written(broken, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(broken / "absent"))
    done = securegen("doctor")
    assert done.code == 1 and done.err.endswith("; please report it\n") and len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (PermissionError(13, "Permission denied", "/some/where"), 9, "/some/where: Permission denied"),
        (RuntimeError("can't start new thread"), 1, "allows no more threads"),
        (MemoryError(), 1, "out of memory"), (RecursionError(), 1, "does not know, RecursionError"),
    ],
)  # fmt: skip
def test_what_the_system_refuses(error, code, words, broken, monkeypatch):
    def fails(**options: object) -> None:
        raise error

    monkeypatch.setattr(doctor.command, "callback", fails)
    done = securegen("doctor")
    assert done.code == code and words in done.err and len(done.err.splitlines()) == 1


def shell(command: str, **options) -> subprocess.CompletedProcess:
    line = command.replace("securegen", f"{sys.executable} -m securegen", 1)
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=300, **options)


def test_streams_that_are_closed_or_full(small, tmp_path):
    inspect = f"securegen inspect {small.pheno} {small.bfile}.bed"
    plan = f"securegen plan --bfile {small.bfile} --pheno {small.pheno} --pheno-name QT --out {tmp_path}/p"
    for streams in ("2>&-", "2>/dev/full", ">&- 2>&- <&-"):
        done = shell(f"{plan} {streams}")
        assert done.returncode == 0 and done.stderr == ""
        assert json.loads((tmp_path / "p.plan.json").read_text())["workload"]["samples"] == 90
        (tmp_path / "p.plan.json").unlink()
    done = shell("securegen doctor --json >/dev/full")
    assert (
        done.returncode == 9 and done.stderr == "Error: standard output or a temporary file: No space left on device\n"
    )
    done = shell(f"{inspect} | true; exit ${{PIPESTATUS[0]}}")
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_closed_stream_is_no_place_for_a_file():
    """What is opened next would otherwise get the number of standard error, and our messages."""
    code = (
        "import os; from securegen.cli import crash; crash.open_streams(); "
        "n = os.open('/dev/zero', os.O_RDONLY); print(n); raise SystemExit(n < 3)"
    )
    assert subprocess.run([sys.executable, "-c", code], close_fds=True).returncode == 0
    done = subprocess.run(["bash", "-c", f'{sys.executable} -c "{code}" 2>&- <&-'], capture_output=True, text=True)
    assert done.returncode == 0 and int(done.stdout) > 2


def test_work_is_done_where_the_system_allows_no_thread(monkeypatch):
    def refuse(self) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threads.in_threads(lambda x: x + 1, range(9), threads=4) == list(range(1, 10))


def test_text_of_others_moves_no_cursor(small_encrypted, steps, tmp_path):
    """Through the command line: role, version, key and fields of a manifest, the name of a file in it."""
    folder = tmp_path / "x.cohort"
    folder.mkdir()
    honest = json.loads((small_encrypted.cohort / "manifest.json").read_text())
    escape = "a\x1b[2J\x9b2J\u202e\nError: forged"
    for change in (
        {"role": escape}, {"version": escape}, {"key": escape}, {"encryptor": escape}, {escape: 1},
        {"blocks": [{"name": escape, "size": 1, "blake3": escape}]}, {"public": {escape: escape}}, {"cohort_id": escape},
    ):  # fmt: skip
        (folder / "manifest.json").write_text(json.dumps({"body": honest["body"] | change, "signature": ""}))
        for arguments in (
            ["inspect", folder], ["inspect", folder, "--json"],
            ["gwas", "--cohort", folder, "--design", small_encrypted.design, "--out", tmp_path / "o", "--quiet"],
            ["decrypt", *steps.key, "--owner", small_encrypted.owner, "--results", folder, "--out", tmp_path / "d", "--quiet"],
        ):  # fmt: skip
            done = securegen(*arguments)
            shown = (done.out + done.err).replace("\n", "")
            assert done.code and shown.isprintable(), (change, arguments, shown)
            assert not [line for line in done.err.splitlines() if line.startswith("Error: forged")]
            assert len(done.err.splitlines()) == 1


def test_a_reader_that_goes_is_no_difference_between_tables(small, tmp_path):
    """Exit code 1 of `check` says that tables differ."""
    assert securegen("gwas", *small.options(), "--out", tmp_path / "t").code == 0
    table = str(tmp_path / "t.QT.glm.linear")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        call = [sys.executable, "-m", "securegen", "check", table, table]
        done = subprocess.run(call, stdout=stdout, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (9, "")


def test_a_limit_of_file_sizes_is_named_where_seal_meets_it():
    class Full:
        def save(self, path):
            raise RuntimeError("I/O error")

    with pytest.raises(StorageError, match="is the size of files limited"):
        seal.dump(Full())


@pytest.mark.parametrize("words", [["run-local"], ["site"]])
def test_a_command_without_words_prints_its_help(words):
    done = securegen(*words)
    assert (
        done.code == 2 and done.err.startswith("Usage: ") and "\\n" not in done.err and len(done.err.splitlines()) > 5
    )
