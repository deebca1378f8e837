"""securegen meta"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.asking import asking_from, asking_options
from securegen.cli.command import rehearses, stop_rehearsal
from securegen.cli.form_options import gzip_option
from securegen.cli.runlog import CommandLog
from securegen.record.run_log import print_end


@click.command()
@click.argument("tables", nargs=-1, required=True, metavar="A B …")
@click.option(
    "--genomic-control", is_flag=True, help="Multiply a study's standard errors by √λ where its λ is above 1."
)
@click.option(
    "--match-by", type=click.Choice(["auto", "id", "position"]), default="auto", show_default=True,
    help="Variants by id, by position and alleles, or by id first.",
)  # fmt: skip
@click.option(
    "--keep-ambiguous",
    is_flag=True,
    help="Use A/T and C/G variants matched by position alone, with alleles as labelled.",
)
@click.option("--digits", type=click.IntRange(3, 17), default=17, show_default=True, help="Significant digits.")
@gzip_option
@asking_options
@opt.run_options
@rehearses
def command(
    tables: tuple[str, ...], genomic_control: bool, match_by: str, keep_ambiguous: bool, digits: int, gzip: bool, out: str,
    threads: int | None, memory: int | None, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Meta-analysis of finished tables: OUT.meta, one row per variant that any study has.

    Tables of this program, plink2, regenie or GWAS-SSF, with effects and their errors. Fixed effects, random effects
    (DerSimonian and Laird), Stouffer's Z, Cochran's Q and I². A1 is that of the first table that has the variant; swapped
    alleles and other strands are turned round; variants that cannot be told apart are left out and counted.
    """
    from securegen.python.meta import meta, planned

    asking = asking_from(options)
    log = CommandLog(out, "meta", quiet=quiet)
    stop_rehearsal([*planned(out, gzip=gzip), *log.files])
    with log.stage("meta"):
        found = meta(
            tables, out, genomic_control=genomic_control, match_by=match_by, keep_ambiguous=keep_ambiguous, digits=digits,
            gzip=gzip, asking=asking, log=log,
        )  # fmt: skip
    for line in found.decisions:
        log(line)
    log(f"{found.variants} variants of {len(found.studies)} studies")
    log.write(**found.facts)
    print_end(log, [found.path])
