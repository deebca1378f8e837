"""Passphrases of keys: from a file, the environment or the terminal."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

import click

from securegen.cli.command import Function
from securegen.cli.options import apply_options
from securegen.errors import UsageError

WEAK = "securegen.weak_passphrase"


def passphrase_options(command: Function) -> Function:
    """--passphrase-file, and the name under which a weak passphrase is accepted."""

    @functools.wraps(command)
    def remembers(*args: Any, weak_passphrase: bool, **options: Any) -> Any:
        click.get_current_context().meta[WEAK] = weak_passphrase
        return command(*args, **options)

    return apply_options(
        [
            click.option(
                "--passphrase-file", metavar="FILE",
                help="File whose first line is the passphrase [else SECUREGEN_PASSPHRASE, else asked for].",
            ),
            click.option(
                "--weak-passphrase", is_flag=True,
                help="Accept a passphrase that is short, or whose file others can read.",
            ),
        ]
    )(remembers)  # fmt: skip


def passphrase(
    passphrase_file: str | None,
    *,
    confirm: bool = False,
    what: str = "of the key",
    variable: str = "SECUREGEN_PASSPHRASE",
) -> bytes:
    """The passphrase from a file, the environment or the terminal. confirm: a new one, which must not be weak.

    Raises UsageError where none can be asked, KeyFileError when it is weak or its file can be read by others.
    """
    from securegen.io.envelope import WeakPassphrase, check_passphrase, passphrase_in

    weak = bool(click.get_current_context().meta.get(WEAK))
    if passphrase_file:
        found = passphrase_in(passphrase_file, weak=weak)
    elif os.environ.get(variable):
        found = os.environ[variable].encode()
    elif sys.stdin.isatty():
        found = click.prompt(f"Passphrase {what}", hide_input=True, confirmation_prompt=confirm).encode()
    else:
        raise UsageError(f"no passphrase: give --passphrase-file, set {variable}, or run in a terminal")
    found = WeakPassphrase(found) if weak else found
    if confirm:
        check_passphrase(found)
    return found


def given_passphrase(passphrase_file: str | None) -> bytes | None:
    """A new passphrase where one is given by file or environment; never asked for."""
    given = passphrase_file or os.environ.get("SECUREGEN_PASSPHRASE")
    return passphrase(passphrase_file, confirm=True) if given else None


def passphrase_for(path: str | os.PathLike[str], passphrase_file: str | None) -> bytes | None:
    """The passphrase of a key file, asked for only when the file is protected."""
    from securegen.io.envelope import is_protected

    return passphrase(passphrase_file) if is_protected(path) else None
