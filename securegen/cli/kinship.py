"""securegen kinship"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses
from securegen.cli.structure_options import run_structure


@click.command()
@opt.genotype_options()
@click.option(
    "--king-table-filter",
    type=click.FloatRange(-1, 0.5),
    metavar="F",
    help="Write only pairs with at least this kinship.",
)
@click.option(
    "--king-cutoff",
    type=click.FloatRange(0, 0.5),
    metavar="F",
    help="Also list samples of whom no two are closer than this: 0.0884 keeps third-degree relatives, 0.0442 does not.",
)
@opt.run_options
@rehearses
def command(
    king_table_filter: float | None, king_cutoff: float | None, out: str, threads: int | None, memory: int | None,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Kinship of all pairs of your own samples by KING-robust, in the clear.

    Writes OUT.kin0 in plink2's columns; with --king-cutoff also OUT.king.cutoff.in.id, for --keep, and
    OUT.king.cutoff.out.id. Autosomes and hard calls only.
    """
    from securegen.structure.run import write_kinship

    opt.use_threads(threads)
    planned = [f"{out}.kin0"]
    planned += [f"{out}.king.cutoff.{name}.id" for name in ("in", "out") if king_cutoff is not None]
    then = "next: --king-cutoff lists whom to keep"
    if king_cutoff is not None:
        then = f"next: --keep {out}.king.cutoff.in.id in any command"
    run_structure(
        write_kinship, opt.inputs_from(options), out, "kinship", planned, then, quiet=quiet, unit="variants",
        king_table_filter=king_table_filter, king_cutoff=king_cutoff,
    )  # fmt: skip
