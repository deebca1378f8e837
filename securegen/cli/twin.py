"""securegen twin"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import common_options, rehearses, report, stop_rehearsal


@click.command()
@click.option("--samples", type=click.IntRange(4), metavar="N", help="People.")
@click.option("--variants", type=click.IntRange(1), metavar="M", help="Variants.")
@click.option(
    "--chromosomes", type=click.IntRange(1, 22), default=22, show_default=True, metavar="C", help="Autosomes."
)
@click.option("--covariates", type=click.IntRange(0), metavar="K", help="Covariates C1, C2, … [0].")
@click.option("--binary/--quantitative", default=None, help="Whether the trait Y has cases (2) and controls (1) [no].")
@click.option(
    "--case-share", type=click.FloatRange(0, 1), default=0.5, show_default=True, metavar="P", help="Share of cases."
)
@click.option(
    "--missing-rate", type=click.FloatRange(0, 1), default=0.005, show_default=True, metavar="P",
    help="Share of calls, and of trait values, that are missing.",
)  # fmt: skip
@click.option("--like", metavar="PREFIX", help="A finished run: numbers and kind of trait from its run.json.")
@click.option("--frequencies", metavar="FILE", help="A released table: its variants, alleles and frequencies.")
@click.option(
    "--seed",
    type=click.IntRange(0, (1 << 63) - 1),
    default=0,
    show_default=True,
    help="Seed: the same seed gives the same bytes.",
)
@click.option("--out", required=True, metavar="PREFIX", help="Prefix of what is written.")
@common_options
@rehearses
def command(out: str, **options: Any) -> None:
    """A simulated cohort of a study's public shape, to rehearse on.

    Writes OUT.bed, .bim, .fam, OUT.pheno.tsv, OUT.covar.tsv and OUT.twin.json, by the coalescent (msprime, extra
    securegen[twin]). No genotype of anybody enters; frequencies do only where a released table is named.
    """
    from securegen.governance.twin import load_msprime
    from securegen.python.twin import twin, twin_files, twin_plan

    load_msprime()
    twin_plan(**{name: value for name, value in options.items() if name != "seed"})
    stop_rehearsal(twin_files(out))
    files = twin(out, log=lambda line: click.echo(line, err=True), **options)
    report(f"wrote {', '.join(files)}", outputs=files)
