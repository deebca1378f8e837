"""securegen step1"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses
from securegen.cli.structure_options import run_structure


@click.command()
@opt.genotype_options()
@opt.trait_options
@click.option(
    "--block",
    type=click.IntRange(2),
    default=1000,
    show_default=True,
    metavar="B",
    help="Number of variants fitted together.",
)
@click.option(
    "--write-score",
    is_flag=True,
    help="Also write the model as a polygenic score for other people, OUT.<PHENO>.score.txt.",
)
@opt.run_options
@rehearses
def command(
    block: int, write_score: bool, out: str, threads: int | None, memory: int | None, quiet: bool, **options: Any
) -> None:
    """The whole-genome model of your own phenotypes, in the clear: stacked ridge regression, as regenie's step 1 --loocv.

    Writes OUT_pred.list and a .loco file for each phenotype, which --pred reads (and regenie). Autosomes; choose common
    variants, directly genotyped, by --extract.
    """
    from securegen.structure.step1 import write_step1

    opt.use_threads(threads)
    planned = [f"{out}_pred.list", f"{out}_1.loco"]
    then = f"next: securegen gwas … --pred {out}_pred.list"
    run_structure(
        write_step1, opt.inputs_from(options), out, "step1", planned, then, quiet=quiet, unit="blocks", block=block,
        write_score=write_score,
    )  # fmt: skip
