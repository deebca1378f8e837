"""Every command: no core dump, and no other process of the same user reads its memory."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import securegen
from securegen.cli.main import COMMANDS

PACKAGE = Path(securegen.__file__).parent
PROBE = """
import ctypes, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
from securegen.cli import main
if {off}:
    main.lock_down_process = lambda: None
def found(self, ctx):
    print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    raise SystemExit
import click
click.Group.invoke = found
sys.argv[1:] = sys.argv[1:]
main.entry()
"""


def probe(*arguments: str, off: bool = False) -> str:
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        prefix = "import resource; resource.setrlimit = (lambda f: lambda r, v: None if v[0] else f(r, v))(resource.setrlimit)\n"
    else:
        prefix = ""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    code = prefix + PROBE.format(off=off)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize("command", ["party", "dealer", "prs-step", "site", "certs", "decrypt"])
def test_a_role_with_keys_shares_or_genotypes_leaves_no_dump(command):
    assert probe(command) == "(0, 0) 0"


def test_the_probe_sees_a_process_that_is_not_locked_down():
    assert probe("party", off=True).endswith(" 1")


def test_it_is_done_in_one_place_for_all_commands():
    """Not command by command, where one is forgotten."""
    calls = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s+(\w+\.)?lock_down_process\(\)", path.read_text(), re.MULTILINE)
    }
    assert calls == {"cli/main.py"} and len(COMMANDS) > 15
