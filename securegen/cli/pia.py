"""securegen pia"""

from __future__ import annotations

import click

from securegen.cli.command import common_options, rehearses, report, stop_rehearsal


@click.command()
@click.argument("prefix", metavar="PREFIX")
@click.option("--out", metavar="FILE", help="The page to write [PREFIX.pia.html].")
@click.option("--overwrite", is_flag=True, help="Also replace a file that is not an earlier assessment of this run.")
@common_options
@rehearses
def command(prefix: str, out: str | None, overwrite: bool) -> None:
    """An impact assessment of a finished run, as one HTML file that loads nothing.

    The parts of Article 35(7) GDPR: description, necessity and proportionality, risks, measures, from PREFIX.run.json, the
    receipt and PREFIX.risk.json. What no record can know is left open, by name.
    """
    from securegen.report import pia as pages

    path = pages.planned(prefix, out)
    pages.assessment(prefix)
    if not overwrite:
        pages.check_path(path, prefix)
    stop_rehearsal([path])
    report(f"wrote {path}", **pages.pia(prefix, path, overwrite=overwrite), outputs=[path])
