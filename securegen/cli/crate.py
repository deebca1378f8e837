"""securegen crate"""

from __future__ import annotations

import click

from securegen.cli.command import common_options, rehearses, report, stop_rehearsal


@click.command()
@click.argument("prefix", metavar="PREFIX")
@click.option("--project", default="", help="On behalf of which project the data were used.")
@click.option("--person", "people", multiple=True, metavar="NAME", help="Who asked; several.")
@click.option("--organisation", default="", metavar="NAME", help="Where they work.")
@click.option("--licence", default="", help="Licence of the tables, a name or an address.")
@click.option("--out", metavar="FOLDER", help="The folder to write [PREFIX.crate].")
@common_options
@rehearses
def command(
    prefix: str, project: str, people: tuple[str, ...], organisation: str, licence: str, out: str | None
) -> None:
    """Package a finished run for others: a Five Safes RO-Crate.

    People, project, data (digests alone), settings with who learned what, and outputs with what was decided on them. Tables
    with a row per person, and the log, are named by digest and stay here. It needs the extra securegen[gov].
    """
    from securegen.python import crate as crates

    crates.require_rocrate()
    folder = crates.planned(prefix, out)
    stop_rehearsal([folder])
    crates.crate(prefix, folder, project=project, people=people, organisation=organisation, licence=licence)
    report(f"wrote {folder}", outputs=[folder])
