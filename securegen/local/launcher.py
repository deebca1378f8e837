"""Roles started as a deployment starts them: `securegen WORDS`, each with its options as a file of its own.

A role reads the file by --config, so that the command's own declarations check what they are given; nothing here knows a
flag. A role learns its options and what lies in its folder, nothing of this environment.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securegen.errors import SecuregenError
from securegen.io.output import PRIVATE_FOLDER, make_folder, write_text
from securegen.local import processes
from securegen.local.answers import Answer, read_answer
from securegen.local.folders import PARTIES, working_folder

Value = str | int | float | bool | os.PathLike[str] | Sequence[str] | None


@dataclass(frozen=True)
class Role:
    """One process. command: words of securegen; options: by the name of a flag or of a field, None where there is none,
    a Path is made absolute; folder: its private one, where the options are written; inside: it works there, else where
    this process does; config: the flag that reads its options."""

    name: str
    command: tuple[str, ...]
    options: Mapping[str, Value]
    folder: Path
    inside: bool = False
    config: str = "--config"

    def __repr__(self) -> str:
        return f"Role({self.name!r}, {' '.join(self.command)})"

    def write(self) -> list[str]:
        """Write its options, for its owner alone, and return its command line."""
        path = self.folder.absolute() / f"{self.name.replace(' ', '-')}.options.toml"
        write_text(path, toml_text({"quiet": True} | dict(self.options)), mode=0o600)
        # -P: nothing is imported from the folder where it works, where data lie that somebody sent
        return [sys.executable, "-P", "-m", "securegen", *self.command, self.config, str(path)]

    def record(self) -> Answer:
        """Its run.json. Raises as `read_answer`."""
        place = Path(self.folder if self.inside else ".") / str(self.options["out"])
        return read_answer(place, self.name)


def launch(roles: Sequence[Role], *, more: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
    """Run roles side by side until all have ended; returns the run.json of each. more: variables for them.

    One role alone has every processor. Raises SecuregenError with the message and exit code of the role that failed.
    """
    calls = {role.name: role.write() for role in roles}
    alone = len(roles) == 1
    try:
        processes.run_together(calls, folder=roles[0].folder if roles[0].inside else None, more=more, alone=alone)
    except SecuregenError as error:
        if alone:
            error.args = (f"the {roles[0].name} process: {error}",)
        raise
    return {role.name: role.record() for role in roles}


def run_inside(
    folder: Path, *command: str, environment: Mapping[str, str] | None = None, **options: Value
) -> dict[str, Any]:
    """Run one command as a process of its own in a party's folder, whose name it has; returns its run.json."""
    role = Role(folder.name, command, options, folder, inside=True)
    return launch([role], more=environment)[role.name]


def given(record: Any, *names: str) -> dict[str, Any]:
    """The fields of a record of options that are not at their default, by name; names: only these."""
    out = {}
    for f in dataclasses.fields(record):
        value = getattr(record, f.name)
        if (not names or f.name in names) and value != f.default:
            out[f.name] = value
    return out


def toml_text(values: Mapping[str, Value]) -> str:
    """A file for --config: a line for each value that is not None."""
    lines = []
    for name, value in values.items():
        if value is None:
            continue
        text = json.dumps(value, ensure_ascii=False, default=lambda path: os.path.abspath(os.fspath(path)))
        lines.append(f"{name} = {text}".replace("\x7f", "\\u007f"))
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def party_folders(out: str, *names: str, keep: bool, log: Callable[[str], None]) -> Iterator[dict[str, Path]]:
    """A folder for each party beside OUT, removed at the end; secret keys are removed in any case."""
    with working_folder(out, PARTIES, keep=keep, log=log) as work:
        folders = {name: work / name for name in names}
        for folder in folders.values():
            make_folder(folder, PRIVATE_FOLDER)
        yield folders
