"""securegen dp"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import Function, Group, dry_run, rehearses, stop_rehearsal
from securegen.cli.runlog import CommandLog

_PHENO = click.option(
    "--pheno", metavar="FILE", help="A table with one row per person: phenotypes, covariates or scores."
)
_PHENO_NAME = click.option(
    "--pheno-name", multiple=True, callback=opt.names_of, metavar="A,B", help="Columns of that table to use."
)
_ZERO_ONE = click.option("--1", "force_01", is_flag=True, help="Cases and controls are 1 and 0, not 2 and 1.")
_NOISE = [
    click.option(
        "--dp-epsilon",
        "epsilon",
        type=float,
        required=True,
        metavar="E",
        help="ε for each person, for everything they contribute.",
    ),
    click.option(
        "--dp-delta", "delta", type=float, metavar="D", help="δ for each person: Gaussian noise [without it: Laplace]."
    ),
]


def _options(*own: Function) -> Function:
    """Options of every summary: genotypes, filters, noise, and what the command has of its own."""

    def decorate(command: Function) -> Function:
        made = opt.run_options(rehearses(command))
        out: Function = opt.genotype_options()(opt.apply_options([*own, *_NOISE])(made))
        return out

    return decorate


@click.group(cls=Group)
def command() -> None:
    """Summaries with noise that protects whole people, by differential privacy.

    Each is charged to everybody's budget, and refused when nothing is left of it. The same question gets the same answer.
    """


@command.command()
@_options(
    _PHENO, _PHENO_NAME, _ZERO_ONE, opt.sex_option, opt.minus_nine_option,
    click.option("--sexes", is_flag=True, help="Count by sex, too."),
    click.option("--called", is_flag=True, help="Also count the called genotypes of all variants."),
)  # fmt: skip
def counts(sexes: bool, called: bool, **options: Any) -> None:
    """How many people; cases, controls and others of each phenotype.

    Writes OUT.noisy.counts.tsv. People with another value than 2 (case) or 1 (control) count as others.
    """
    _run("counts", options, sexes=sexes, called=called)


@command.command()
@_options(_PHENO, opt.sex_option)
def frequencies(**options: Any) -> None:
    """Allele frequencies of the variants that --extract and --chr leave.

    Writes OUT.noisy.afreq. The fewer variants, the less noise. The list of variants in the file is treated as public.
    """
    _run("frequencies", options)


@command.command()
@_options(
    _PHENO, _PHENO_NAME, _ZERO_ONE, opt.minus_nine_option,
    click.option("--k", type=click.IntRange(1), default=10, show_default=True, metavar="K",
                 help="Number of variants to name."),
    click.option("--dp-bounds", "bounds", metavar="LO,HI",
                 help="Range of a quantitative phenotype, known without the data [cases/controls]."),
)  # fmt: skip
def hits(k: int, bounds: str | None, **options: Any) -> None:
    """The variants most associated with one phenotype: their names, without numbers.

    Writes OUT.noisy.hits.tsv. Autosomes only. There are no covariates, so nothing corrects for ancestry.
    """
    _run("hits", options, k=k, bounds=bounds)


@command.command()
@_options(
    _PHENO, _PHENO_NAME, opt.minus_nine_option,
    click.option("--edges", required=True, metavar="A,B,C", help="Edges of the bins in rising order, known without the data."),
)  # fmt: skip
def histogram(edges: str, **options: Any) -> None:
    """How many people lie between public edges, for one column of any table.

    Writes OUT.noisy.histogram.tsv: also below the first edge, from the last one on, and without a number.
    """
    _run("histogram", options, edges=edges)


def _run(kind: str, options: dict[str, Any], **more: Any) -> None:
    from securegen.governance.people_noise import people_noise_of
    from securegen.noisy.release import asked_of, write_summary
    from securegen.noisy.summary import ENDINGS
    from securegen.record.run_log import print_end, refuse_other_commands

    opt.use_threads(options.pop("threads"))
    options.pop("memory")
    out, quiet = options.pop("out"), options.pop("quiet")
    noise = people_noise_of(options.pop("epsilon"), options.pop("delta"))
    inputs = opt.inputs_from(options)
    refuse_other_commands(out, "dp")
    log = CommandLog(out, f"dp {kind}", quiet=quiet, digests=False)
    if dry_run():
        asked_of(inputs, kind, log, **more)
        stop_rehearsal([f"{out}.noisy.{ENDINGS[kind]}", *log.files])
    with log.stage(kind):
        made = write_summary(inputs, out, kind, noise, log, **more)
    log.write(**made.facts)
    print_end(log, [made.path], "")
