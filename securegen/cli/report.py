"""securegen report"""

from __future__ import annotations

import click

from securegen.cli.command import Function, common_options, rehearses, report, stop_rehearsal
from securegen.cli.options import apply_options, names_of


def outcome_options(command: Function) -> Function:
    """What the pictures of scores are drawn against."""
    return apply_options(
        [
            click.option("--pheno", metavar="FILE", help="Scores: phenotypes, for cases and controls and calibration."),
            click.option(
                "--pheno-name", multiple=True, callback=names_of, metavar="Y", help="Scores: the phenotype to use."
            ),
            click.option("--reference", metavar="FILE", help="Scores: a .sscore file of a reference panel."),
        ]
    )(command)


@click.command()
@click.argument("prefix", metavar="PREFIX")
@outcome_options
@click.option(
    "--annotate", metavar="FILE", help="Columns to show beside hits: a table whose first column is the variant id."
)
@click.option("--out", metavar="FILE", help="The file to write [PREFIX.report.html].")
@click.option("--overwrite", is_flag=True, help="Also replace a file that is not an earlier report of this run.")
@common_options
@rehearses
def command(
    prefix: str, pheno: str | None, pheno_name: tuple[str, ...] | None, reference: str | None, annotate: str | None,
    out: str | None, overwrite: bool,
) -> None:  # fmt: skip
    """A report of a finished run as one HTML file that loads nothing.

    PREFIX is what the run was given as --out, or one of its tables: the report is then of that table alone. The page has
    results, precision, cost, parameters, and who learned what. It needs the extra securegen[plot].
    """
    from securegen.plot.canvas import require_matplotlib
    from securegen.report.build import check_path, write_report
    from securegen.report.gather import open_run

    require_matplotlib()
    run = open_run(prefix, pheno=pheno, pheno_name=pheno_name, reference=reference)
    path = out or f"{run.name}.report.html"
    if not overwrite:
        check_path(path, run)
    stop_rehearsal([path])
    write_report(path, run, annotations=annotate, overwrite=overwrite)
    report(path, outputs=[path])
