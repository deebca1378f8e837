"""securegen plot"""

from __future__ import annotations

import click

from securegen.cli.command import common_options, rehearses, report, stop_rehearsal
from securegen.cli.report import outcome_options

KINDS = ("manhattan", "qq", "density", "calibration", "cost", "noise")  # report.pictures has them, and pandas


@click.command()
@click.argument("prefix", metavar="PREFIX")
@click.option("--only", type=click.Choice(KINDS), multiple=True, help="Draw only these pictures [all that apply].")
@click.option(
    "--width", type=click.IntRange(300, 6000), metavar="PIXELS", help="Width in pixels; type and layout follow it."
)
@click.option("--format", "formats", default="png", show_default=True, metavar="A,B", help="png, svg, pdf.")
@outcome_options
@click.option("--out", metavar="PREFIX", help="Prefix of the pictures [PREFIX].")
@common_options
@rehearses
def command(
    prefix: str, only: tuple[str, ...], width: int | None, formats: str, pheno: str | None,
    pheno_name: tuple[str, ...] | None, reference: str | None, out: str | None,
) -> None:  # fmt: skip
    """Pictures of a finished run: Manhattan, QQ, scores, cost, planned noise.

    PREFIX is what the run was given as --out, or one table of results or scores. It needs the extra securegen[plot].
    """
    from securegen.report.gather import open_run
    from securegen.report.pictures import paths_of, planned, write_pictures

    run = open_run(prefix, pheno=pheno, pheno_name=pheno_name, reference=reference)
    todo = planned(run, out or run.prefix, chosen=only or KINDS, width=width, formats=formats.split(","))
    stop_rehearsal(paths_of(todo))
    paths = write_pictures(todo)
    report(paths, outputs=paths)
