"""securegen example"""

from __future__ import annotations

import shlex

import click

from securegen.cli.command import common_options, rehearses, report, stop_rehearsal


@click.command()
@click.argument("folder", default="securegen-example", metavar="[FOLDER]")
@common_options
@rehearses
def command(folder: str) -> None:
    """Write the example cohort into FOLDER, and say what to do with it.

    500 simulated people, 5,000 variants, a quantitative trait QT and a case/control trait CC, covariates and a score.
    If another file has one of their names, it is kept and nothing is written.
    """
    from securegen.cli.examples import EXAMPLES
    from securegen.local.example_cohort import NAMES, write_example

    stop_rehearsal([f"{folder}/{name}" for name in NAMES])
    files = [str(path) for path in write_example(folder)]
    lines = [f"wrote {', '.join(files)}", "", f"cd {shlex.quote(folder)}", f"securegen {EXAMPLES['run-local']}"]
    report([*lines, "securegen report result"], outputs=files)
