"""What the package says of an argument, in backquotes, speaks of a command's flag at the command line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import fields

import click

from securegen.errors import SecuregenError


@contextlib.contextmanager
def speaks_of_flags(command: click.Command) -> Iterator[None]:
    """An error of the package names arguments in backquotes: here they become the flags of a command."""
    try:
        yield
    except SecuregenError as error:
        if len(error.args) == 1:
            error.args = (with_flags(command, str(error)),)
        raise


def with_flags(command: click.Command, text: str) -> str:
    """Text of the package with the flags of a command in place of the arguments in backquotes."""
    if "`" not in text:
        return text
    from securegen.study.inputs import Inputs

    flags: dict[str | None, str] = {f.name: f"--{f.name.replace('_', '-')}" for f in fields(Inputs)}
    flags |= {p.name: p.opts[0] for p in command.params if p.param_type_name == "option"}
    return re.sub("`([a-z_]+)`", lambda m: flags.get(m[1], m[0]), text)
