"""Files that a study was opened from, as they were then. Tables of people and variants are read when it is opened, genotypes
when it runs: of files that changed between, a run would join the two, and its record would name what it did not read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from securegen.errors import InputError
from securegen.governance.releases import GROWING
from securegen.study.inputs import Inputs

Marks = Mapping[str, tuple[int, ...]]


def marks_of(inputs: Inputs) -> Marks:
    """Size, time and place of every file that is there, by path."""
    files = (path for name, path in inputs.files().items() if name not in GROWING)
    return {os.fspath(path): _mark(path) for path in files if os.path.isfile(path)}


def refuse_changed(marks: Marks) -> None:
    """Raise InputError for a file that is not as it was."""
    for path, mark in marks.items():
        if not os.path.isfile(path) or _mark(path) != mark:
            raise InputError(f"{path} changed since the study was opened: open it again")


def _mark(path: str | os.PathLike[str]) -> tuple[int, ...]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino
