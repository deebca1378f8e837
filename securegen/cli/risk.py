"""securegen risk"""

from __future__ import annotations

from typing import Any

import click

from securegen.cli import options as opt
from securegen.cli.command import common_options, rehearses, report, stop_rehearsal
from securegen.errors import UsageError


def _rates(_: click.Context, __: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in value.split(",") if part)
    except ValueError:
        raise UsageError(f"--fpr {value}: numbers are expected, as 0.05,0.001") from None


@click.command()
@click.argument("prefix", metavar="PREFIX")
@click.option(
    "--fpr", default="0.05,0.001", show_default=True, callback=_rates, metavar="A,B",
    help="False-positive rates: of people who are not members, the share that a test takes for members.",
)  # fmt: skip
@click.option(
    "--power", type=click.FloatRange(0, 1), metavar="P",
    help="Choose rows whose release finds at most this share of the members [--max-power, or 0.5].",
)  # fmt: skip
@click.option(
    "--max-power", type=click.FloatRange(0, 1), metavar="P",
    help="Refuse (exit code 12) where a test finds more than this share of the members.",
)  # fmt: skip
@click.option(
    "--independent", type=click.IntRange(1), metavar="M",
    help="How many independent variants each table is worth [all of them: an upper bound].",
)  # fmt: skip
@opt.site_genotypes
@click.option("--out", metavar="PREFIX", help="Prefix of what is written [the run's].")
@common_options
@rehearses
def command(
    prefix: str, fpr: tuple[float, ...], power: float | None, max_power: float | None, independent: int | None,
    out: str | None, **options: Any,
) -> None:  # fmt: skip
    """What a finished run would give away: look before you release it.

    PREFIX is what the run was given as --out, or one of its tables. Says which share of the members likelihood-ratio tests of
    membership find, how many columns per sample are opened, and how many genotypes print one score. Genotypes (your own or a
    reference panel's) count independent variants. Writes OUT.risk.json and, of each table, OUT.TABLE.risk.in: ids of rows for
    --extract that stay below the power. No number is of a person.
    """
    from securegen.io.genotypes import genotypes_given
    from securegen.python.risk import planned, risk

    where = out or prefix.removesuffix(".run.json")
    genotypes = opt.inputs_from(options) if genotypes_given(options) else None
    files = planned(where, prefix)
    stop_rehearsal(files)
    found = risk(
        prefix, fpr=fpr, power=max_power if power is None else power, independent=independent, genotypes=genotypes, out=where,
        log=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    report([*found.lines(), f"wrote {', '.join(files)}"], **found.to_json(), outputs=files)
    if max_power is not None:
        found.refuse_beyond(max_power)
