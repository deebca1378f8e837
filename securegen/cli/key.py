"""securegen key"""

from __future__ import annotations

import os
from pathlib import Path

import click

from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, report, writes

FILE = click.argument("file", metavar="FILE")
NEW = click.option(
    "--new-passphrase-file", metavar="FILE",
    help="File whose first line is the new passphrase [else SECUREGEN_NEW_PASSPHRASE, else asked for].",
)  # fmt: skip


@click.group(cls=Group)
def command() -> None:
    """Passphrases and backups of key files, whatever they are for."""


def _rewrap(file: str, passphrase_file: str | None, new_passphrase_file: str | None, copy: Path | None) -> None:
    from securegen.engines.key_files import rewrap

    old = passphrases.passphrase_for(file, passphrase_file)
    new = passphrases.passphrase(
        new_passphrase_file, confirm=True, what="that is to protect it", variable="SECUREGEN_NEW_PASSPHRASE"
    )
    rewrap(file, old=old, new=new, copy=copy)


@command.command()
@FILE
@passphrases.passphrase_options
@NEW
@common_options
@writes("FILE, under the new passphrase")
def passphrase(file: str, passphrase_file: str | None, new_passphrase_file: str | None) -> None:
    """Put a key file under another passphrase, or under a first one.

    Copies and backups of the file keep the passphrase that they have.
    """
    _rewrap(file, passphrase_file, new_passphrase_file, None)
    report(f"{file} has the new passphrase; copies of it keep theirs", file=file)


@command.command()
@FILE
@click.option("--out", required=True, metavar="COPY", help="The backup; an existing file is not overwritten.")
@passphrases.passphrase_options
@NEW
@common_options
@writes("{out}")
def backup(file: str, out: str, passphrase_file: str | None, new_passphrase_file: str | None) -> None:
    """Write a copy of a key file under a passphrase of its own, for another place.

    The key of an encrypted cohort needs OUT.owner besides, which is a folder of files that are encrypted under the key:
    copy it as it is.
    """
    _rewrap(file, passphrase_file, new_passphrase_file, Path(out))
    report(f"wrote {out}: the same key as {os.path.basename(file)}, under the new passphrase", file=file, backup=out)
