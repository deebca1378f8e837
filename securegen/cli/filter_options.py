"""Options of quality control: which variants go, and the sums that this needs."""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import Function
from securegen.cli.options import apply_options
from securegen.stats.qc import Filters


def filter_options(command: Function, *, needs: str = "") -> Function:
    """Filters by quality: applied where the sums may be seen, by whoever writes the table. needs: what they ask for."""
    more = f" ({needs})" if needs else ""
    share = click.FloatRange(0, 1)
    return apply_options(
        [
            click.option(
                "--maf", type=click.FloatRange(0, 0.5), metavar="F", help=f"Smallest minor allele frequency{more}."
            ),
            click.option("--mac", type=click.FloatRange(0), metavar="N", help=f"Smallest minor allele count{more}."),
            click.option("--geno", type=share, metavar="F", help=f"Largest share of missing calls{more}."),
            click.option("--hwe", type=share, metavar="P", help=f"Smallest Hardy–Weinberg p-value{more}."),
        ]
    )(command)


def filters_from(options: dict[str, Any]) -> Filters:
    """Take the filters out of the options of a command."""
    return Filters(*(options.pop(name) for name in ("maf", "mac", "geno", "hwe")))


def qc_options(command: Function) -> Function:
    return apply_options(
        [
            click.option("--qc", is_flag=True, help="Also compute the sums that quality control and its filters need."),
            click.option("--hwe-controls", is_flag=True, help="Test Hardy–Weinberg in controls only."),
        ]
    )(command)
