"""Parties of a run on this machine: a folder each, and commands as processes of their own in it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from securegen.errors import SecuregenError
from securegen.io.output import PRIVATE_FOLDER, make_folder
from securegen.io.strict_json import read_json
from securegen.local.folders import PARTIES, working_folder
from securegen.local.processes import run_together
from securegen.record.run_log import RunLog


@contextlib.contextmanager
def parties(out: str, *names: str, keep: bool, log: RunLog) -> Iterator[dict[str, Path]]:
    """A folder for each party beside OUT, removed at the end; secret keys are removed in any case."""
    with working_folder(out, PARTIES, keep=keep, log=log) as work:
        folders = {name: work / name for name in names}
        for folder in folders.values():
            make_folder(folder, PRIVATE_FOLDER)
        yield folders


def run_party(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a command as its own process in a party's folder, with nothing of this process's environment but the path.

    Returns what it wrote to its run.json (--out party). Raises SecuregenError with its message and exit code.
    """
    call = [sys.executable, "-m", "securegen", *words, "--quiet"]
    try:
        run_together({folder.name: call}, folder=folder, more=environment, alone=True)
    except SecuregenError as error:
        error.args = (f"the {folder.name} process: {error}",)
        raise
    out = words[words.index("--out") + 1]
    return read_json(folder / f"{out}.run.json", "the record of a run")
