"""securegen pseudonyms"""

from __future__ import annotations

from pathlib import Path

import click

from securegen.cli import passphrases
from securegen.cli.command import Group, common_options, report, writes

KEY = click.option("--key", required=True, metavar="FILE", help="The study's pseudonym key; it stays with its keeper.")


@click.group(cls=Group)
def command() -> None:
    """Replace ids by keyed HMACs, with one key per study, and reverse it with the key."""


@command.command()
@KEY
@click.option("--rotate", is_flag=True, help="First add a new key; tables made with earlier keys can still be opened.")
@click.option("--out", required=True, metavar="FOLDER", help="Where the files go, under their own names.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@passphrases.passphrase_options
@common_options
@writes("{out}", makes=["key"])
def make(key: str, rotate: bool, out: str, files: tuple[str, ...], passphrase_file: str | None) -> None:
    """Write .fam, .psam, phenotypes and covariates with pseudonyms in place of ids; the key is made where there is none.

    Files join as before. The genotypes themselves (.bed, .pgen) hold no ids.
    """
    from securegen.governance import pseudonyms

    if Path(key).exists():
        secret = passphrases.passphrase_for(key, passphrase_file)
        made = (pseudonyms.rotate if rotate else pseudonyms.read_key)(key, passphrase=secret)
    else:
        made = pseudonyms.make_key(key, passphrase=passphrases.given_passphrase(passphrase_file))
    paths = pseudonyms.make(made, files, out)
    report([f"wrote {path}" for path in paths], files=[str(p) for p in paths], key=key, keys=len(made.keys))


@command.command("open")
@KEY
@click.option("--people", required=True, metavar="FILE", help="The ids as they were: a .fam, .psam, or a list.")
@click.option("--out", required=True, metavar="FILE", help="The table with ids; an existing file is not overwritten.")
@click.argument("table", metavar="TABLE")
@passphrases.passphrase_options
@common_options
@writes("{out}")
def open_command(key: str, people: str, out: str, table: str, passphrase_file: str | None) -> None:
    """Write a table of results (.sscore, .eigenvec, .kin0 …) with ids in place of pseudonyms."""
    from securegen.governance import pseudonyms

    opened = pseudonyms.open_table(
        pseudonyms.read_key(key, passphrase=passphrases.passphrase_for(key, passphrase_file)), people, table, out
    )
    report(f"wrote {out}: {opened} pseudonyms opened", file=out, opened=opened)
