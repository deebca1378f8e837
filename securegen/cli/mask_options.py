"""Options of masks of sets of variants, in regenie's words."""

from __future__ import annotations

import click

from securegen.cli.command import Function
from securegen.cli.options import apply_options, names_of
from securegen.study.mask_options import RULES
from securegen.vocabulary import SET_TESTS


def mask_options(command: Function) -> Function:
    """What names masks, and how they are made."""
    return apply_options(
        [
            click.option("--anno-file", metavar="FILE", help="Masks: variant, set and category per line (as regenie)."),
            click.option("--set-list", metavar="FILE", help="Masks: set, chromosome, position and variants per line."),
            click.option("--mask-def", metavar="FILE", help="Masks: a mask and its categories per line."),
            click.option(
                "--aaf-file", metavar="FILE", help="Masks: public frequencies [those of the analysed people]."
            ),
            click.option(
                "--aaf-bins",
                multiple=True,
                callback=names_of,
                metavar="F,F",
                help="Masks: use variants up to each of these frequencies, or all [0.01].",
            ),
            click.option("--build-mask", type=click.Choice(RULES), help="Masks: what a person counts [max]."),
            click.option(
                "--vc-tests",
                multiple=True,
                callback=names_of,
                metavar="A,B",
                help=f"Set tests of the variants of each mask: {', '.join(SET_TESTS)}.",
            ),
            click.option(
                "--vc-max-aaf", type=float, metavar="F", help="Set tests: use variants up to this frequency [1]."
            ),
        ]
    )(command)
