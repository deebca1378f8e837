"""securegen run-local prs: every role of a score run on this machine, through the files of a deployment."""

from __future__ import annotations

import click

from securegen.cli import options as opt
from securegen.cli.prs import run_plain
from securegen.cli.score_options import ScoreCommand, score_inputs, score_options
from securegen.provenance import RunLog


@click.command(
    cls=ScoreCommand,
    epilog="Example:  securegen run-local prs --engine plain --bfile cohort --score weights.tsv --out result",
)
@click.option("--engine", type=click.Choice(["plain"]), required=True, help="How sums are computed.")
@opt.genotype_options()
@score_options()
@opt.run_options
def prs(engine, out, threads, memory, quiet, **options) -> None:
    """Polygenic scores with every role as its own process, through the files of a deployment."""
    opt.use_threads(threads)
    inputs, genotypes = score_inputs(options), opt.inputs_from(options)
    run_plain(genotypes, inputs, out, RunLog(out, f"run-local prs --engine {engine}", quiet=quiet))
