"""The runnable scenario: every setting, every party in its own folder, only the listed messages between them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from securegen.cli.main import main

ROOT = Path(__file__).resolve().parents[4]
SCRIPT = ROOT / "protocols" / "encrypted_prs.py"


@pytest.fixture(scope="module")
def protocol():
    spec = importlib.util.spec_from_file_location("encrypted_prs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def without_named_dosage(path: Path) -> list[list[str]]:
    """The table without the dosage of named alleles: it tells the directions of the weights."""
    return [[c for i, c in enumerate(line.split("\t")) if i != 3] for line in path.read_text().splitlines()]


@pytest.mark.parametrize("setting", ["public", "private", "encrypted", "vendor"])
def test_every_setting_gives_the_plain_table(protocol, additive, tmp_path, monkeypatch, setting):
    monkeypatch.setenv("SECUREGEN_PASSPHRASE", "correct horse")

    def execute(folder, words):
        monkeypatch.chdir(folder)
        done = CliRunner().invoke(main, [*words, "--quiet"])
        assert done.exit_code == 0, done.exception

    messages = protocol.rehearse(
        setting, tmp_path, execute, bfile=additive.bfile, score=additive.score, out=str(tmp_path / "r")
    )
    assert all(size > 0 for *_, size in messages) and messages[-1][0] in ("results", "replies", "rounded")
    execute(tmp_path, ["prs", "--bfile", additive.bfile, "--score", additive.score, "--out", "plain"])
    assert without_named_dosage(tmp_path / "r.sscore") == without_named_dosage(tmp_path / "plain.sscore")
    if setting == "public":
        assert (tmp_path / "r.sscore").read_bytes() == (tmp_path / "plain.sscore").read_bytes()
    learners = {p.party for p in protocol.SETTINGS[setting]} - {"owner", "hospital"}
    for party in learners:
        assert not list((tmp_path / party).rglob("*.box")), f"{party} has nothing of the owner's state"
    if setting == "vendor":
        assert not list((tmp_path / "vendor").rglob("*.secret")), "a key answers once"
    else:
        assert not [p for name in learners for p in (tmp_path / name).rglob("*.secret")]


def test_the_script_runs_its_parties_as_processes(additive, tmp_path):
    run = subprocess.run(
        [sys.executable, SCRIPT, "--setting", "public", "--bfile", additive.bfile, "--score", additive.score, "--out",
         tmp_path / "r"], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert [row.split("|")[1].strip() for row in run.stdout.splitlines()[2:]] == ["cohort", "model", "results"]
