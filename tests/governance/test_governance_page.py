"""The page about governance is what the code does: its walk runs, and its tables are the settings."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from datetime import date
from pathlib import Path

import click
import pytest
from support import securegen
from visa_tools import Signer

from securegen.cli.main import main
from securegen.governance.policy import IDENTITY, ISSUER, SETTINGS, VISA
from securegen.governance.policy_draft import toml_value

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "governance.md").read_text()


def test_its_shell_steps_run(tmp_path, monkeypatch):
    for file in (ROOT / "examples").glob("cohort.*"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "biobank").mkdir()
    for file in tmp_path.glob("cohort.*"):
        shutil.copy(file, tmp_path / "biobank")
    broker = Signer(iss="https://broker.example/")
    Path("broker.jwks").write_text(json.dumps({"keys": [broker.jwk]}))
    Path("anna.jwt").write_text(broker.visa())
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.S) for line in block.splitlines()]
    done = []
    for line in lines:
        words = shlex.split(line)
        if words[0] != "securegen":
            continue
        if "gwas" in words:
            words += ["--chr", "1", "--to-bp", "300000"]
        result = securegen(*words[1:])
        assert result.code == 0, result.err
        done.append(result.out)
    assert len(done) == 10 and "decision: allowed" in done[3]
    refused = securegen(*shlex.split(next(line for line in lines if " gwas " in line))[1:-4], "--out", "again")
    assert refused.code == 12 and "policy.purpose" in refused.err and not (tmp_path / "again.QT.glm.linear").exists()


@pytest.mark.parametrize("settings", [SETTINGS, IDENTITY, ISSUER, VISA], ids=["settings", "identity", "issuer", "visa"])
def test_every_key_stands_there_with_its_default(settings):
    for key, s in settings.items():
        default = "needed" if s.default is None else "none" if s.default == date.max else f"`{toml_value(s.default)}`"
        assert f"| `{key}` | {default} | {s.text} |" in PAGE
    table = PAGE[PAGE.index("## policy.toml") :]
    assert set(re.findall(r"^\| `([a-z_.]+)` \|", table, re.M)) == {*SETTINGS, *IDENTITY, *ISSUER, *VISA}


ASKED_FOR = (
    "transparency", "traceability", "accountability", "consent", "tiered access", "behavioural monitoring", "data minimisation",
    "pseudonymisation", "generalisation", "masking", "noise", "synthetic data", "impact assessment", "explainability",
)  # fmt: skip


def test_every_word_has_a_command_a_test_and_what_remains():
    page = (ROOT / "docs" / "explanation" / "governance-map.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", page, re.M)[2:]]
    assert tuple(row[0] for row in rows) == ASKED_FOR
    for word, done, command, tests, remains in rows:
        assert done and remains and "::test_" in tests, word
        for name in re.findall(r"`securegen ([a-z-]+(?: [a-z-]+)?)", command):
            assert securegen(*name.split(), "--help").code == 0, name
        for flag in re.findall(r"`(--[a-z-]+)`", command):
            assert any(flag in opts for c in commands(main) for opts in (p.opts for p in c.params)), flag


def commands(group):
    """Every command of the program, groups opened."""
    for name in group.list_commands(click.Context(group)):
        command = group.get_command(click.Context(group), name)
        yield from commands(command) if isinstance(command, click.Group) else (command,)
