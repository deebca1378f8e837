"""securegen ld"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import rehearses
from securegen.cli.structure_options import run_structure

_SHARE = click.FloatRange(0, 1)


@click.command()
@opt.genotype_options()
@click.option("--clump", "table", metavar="TABLE", help="Clump this table of results: writes OUT.clumps.")
@click.option(
    "--clump-p1", "p1", type=_SHARE, default=1e-4, show_default=True, metavar="P", help="Largest P of an index variant."
)
@click.option(
    "--clump-p2", "p2", type=_SHARE, default=0.01, show_default=True, metavar="P",
    help="Clumps list their variants with P below this.",
)  # fmt: skip
@click.option(
    "--clump-r2",
    "r2",
    type=_SHARE,
    default=0.5,
    show_default=True,
    metavar="R",
    help="Smallest r² with the index variant.",
)
@click.option(
    "--clump-kb", "kb", type=click.FloatRange(0), default=250.0, show_default=True, metavar="KB",
    help="Largest distance from the index variant.",
)  # fmt: skip
@click.option(
    "--ld-window", "window", type=click.FloatRange(0), metavar="KB",
    help="With --clump: also matrices and credible sets of a window of KB on either side of each index variant.",
)  # fmt: skip
@click.option(
    "--coverage", type=_SHARE, default=0.95, show_default=True, metavar="C", help="Coverage of the credible sets."
)
@click.option(
    "--prior-variance", type=click.FloatRange(0, min_open=True), metavar="W",
    help="Prior variance of effects, in squared units of the table [0.04; linear: 0.0225 × the trait's variance].",
)  # fmt: skip
@click.option("--r2", "squares", is_flag=True, help="Also write OUT.r2, the squares of OUT.ld.")
@click.option(
    "--digits", type=click.IntRange(3, 17), default=6, show_default=True, help="Significant digits of .ld and .z."
)
@opt.run_options
@rehearses
def command(
    table: str | None, window: float | None, out: str, threads: int | None, memory: int | None, quiet: bool, p1: float,
    p2: float, r2: float, kb: float, coverage: float, prior_variance: float | None, digits: int, squares: bool, **options: Any,
) -> None:  # fmt: skip
    """Linkage disequilibrium of your own genotypes, in the clear: r for fine-mapping, clumps, credible sets.

    Without --clump, OUT.ld and OUT.npz have r of every pair of variants that --chr, --from-bp, --to-bp and --extract leave, over
    the people who have both calls; OUT.z and OUT.gz list the variants. With --clump and --ld-window there are such files of each
    region, OUT.1.ld and so on, and OUT.credible. Autosomes only.
    """
    from securegen.python.ld import write

    opt.use_threads(threads)
    planned = [f"{out}.clumps"] if table else [f"{out}.{suffix}" for suffix in ("ld", "npz", "z", "gz")]
    planned += [f"{out}.r2"] if squares and not table else []
    planned += [f"{out}.credible"] if table and window is not None else []
    run_structure(
        write, opt.inputs_from(options), out, "ld", planned, "", quiet=quiet, unit="variants", table=table, p1=p1, p2=p2, r2=r2,
        kb=kb, window=window, coverage=coverage, prior_variance=prior_variance, digits=digits, squares=squares,
    )  # fmt: skip
