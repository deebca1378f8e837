"""Parties of a run on this machine: a folder each, and commands as processes of their own in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from securegen.errors import SecuregenError
from securegen.io.output import make_working_folder
from securegen.io.strict_json import read_json
from securegen.provenance import RunLog


@contextlib.contextmanager
def parties(out: str, *names: str, keep: bool, log: RunLog) -> Iterator[dict[str, Path]]:
    """A folder for each party beside OUT, removed at the end; secret keys are removed in any case."""
    work = make_working_folder(f"{out}.parties")
    folders = {name: work / name for name in names}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    try:
        yield folders
    finally:
        if keep:
            log(f"kept {work}")
            for path in work.rglob("*.secret"):
                path.unlink()
        else:
            shutil.rmtree(work, ignore_errors=True)


def run_party(folder: Path, *words: str, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """Run a command as its own process in a party's folder, with nothing of this process's environment but the path.

    Returns what it wrote to its run.json (--out party). Raises SecuregenError with its message and exit code.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("SECUREGEN_")}
    inherited["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
    run = subprocess.run(
        [sys.executable, "-m", "securegen", *words, "--quiet"], cwd=folder, env=inherited | (environment or {}),
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    if run.returncode:
        message = run.stderr.strip().removeprefix("Error: ")
        error = SecuregenError(f"the {folder.name} process: {message}")
        error.exit_code = run.returncode if run.returncode > 0 else 1
        raise error
    out = words[words.index("--out") + 1]
    return read_json(folder / f"{out}.run.json", "the record of a run")
