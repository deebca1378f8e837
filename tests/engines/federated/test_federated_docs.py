"""The guide shows every command of a deployment."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "howto" / "federated.md").read_text()
COMMANDS = [
    line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in map(str.strip, block.splitlines())
]


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
