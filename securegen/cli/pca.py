"""securegen pca"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses
from securegen.cli.structure_options import run_structure


@click.command()
@opt.genotype_options()
@click.option("--pcs", type=click.IntRange(1, 100), default=10, show_default=True, metavar="K", help="Components.")
@click.option(
    "--unrelated",
    is_flag=True,
    help="Compute components from samples without second-degree relatives; project the relatives on them.",
)
@click.option(
    "--king-cutoff",
    type=click.FloatRange(0, 0.5),
    default=0.0884,
    show_default=True,
    metavar="F",
    help="Largest kinship among the samples of --unrelated.",
)
@opt.run_options
@rehearses
def command(
    pcs: int, unrelated: bool, king_cutoff: float, out: str, threads: int | None, memory: int | None, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Principal components of your own genotypes, in the clear.

    Writes OUT.eigenvec, which --covar reads, OUT.eigenval in plink2's form, and OUT.loadings.tsv, on which other people can
    be projected (study init --loadings). Autosomes; choose variants in low linkage disequilibrium by --extract.
    """
    from securegen.structure.run import write_components

    opt.use_threads(threads)
    planned = [f"{out}.{name}" for name in ("eigenvec", "eigenval", "loadings.tsv")]
    then = f"next: --covar {out}.eigenvec, or join it with your table of covariates by IID"
    run_structure(
        write_components, opt.inputs_from(options), out, "pca", planned, then, quiet=quiet, unit="steps", pcs=pcs,
        unrelated=unrelated, king_cutoff=king_cutoff,
    )  # fmt: skip
