"""The page about governance is what the code does: its tables are the settings."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import click
import pytest
from support import securegen

from securegen.cli.main import main
from securegen.governance.policy import IDENTITY, ISSUER, SETTINGS, VISA
from securegen.governance.policy_draft import toml_value

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "howto" / "governance.md").read_text()


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
