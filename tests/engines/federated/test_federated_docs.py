"""The documentation says what is true: its commands run or parse, the tests it names exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from securegen.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "howto" / "federated.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines()]


def test_the_guide_has_every_command_of_a_deployment():
    for wanted in (
        "site keygen",
        "site variants",
        "study init",
        "study join",
        "site run",
        "study status",
        "study leave",
        "study continue",
        "run-local gwas",
        "party --role site",
    ):
        assert any(line.startswith(f"securegen {wanted}") for line in COMMANDS), wanted


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_of_the_guide_parse(line):
    program, *words = shlex.split(line)
    assert program == "securegen"
    command, context = main, click.Context(main)
    while isinstance(command, click.Group):
        command = command.get_command(context, words.pop(0))
    command.make_context("securegen", words)  # raises on an unknown option or a bad value


def test_the_first_command_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(COMMANDS[0])[1:]
    words[words.index("--out") + 1] = str(tmp_path / "federated")
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert "identical to the plain engine: yes" in (tmp_path / "federated.log").read_text()
    assert not list(tmp_path.glob("federated.sites*"))
