"""Options of every command that releases: who asks, for what, and under which policy."""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import Function
from securegen.governance.gate import Asking


def purpose_options(command: Function) -> Function:
    """What the data are used for, and who allows it."""
    for option in reversed(
        [
            click.option(
                "--purpose", metavar="DUO", help="What the data are used for: HMB, DS:MONDO:0005148,IRB …"
            ),
            click.option(
                "--consent", metavar="FILE", help="Register of consent (securegen consent): only people who allow the --purpose."
            ),
            click.option(
                "--mondo", metavar="FILE", help="Disease terms for --purpose: child and parent per line [a built-in table]."
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def policy_options(command: Function) -> Function:
    """Under which policy, and who asks."""
    for option in reversed(
        [
            click.option(
                "--policy", metavar="FILE", help="The signed policy that governs the data [the policy.toml beside them]."
            ),
            click.option("--identity", metavar="FILE", help="Signing key of the person who asks; the policy names them."),
            click.option(
                "--visa", multiple=True, metavar="FILE",
                help="GA4GH passport or visas (JWT) of the person who asks, which give a role."
            ),
            click.option(
                "--second-signature", multiple=True, metavar="FILE",
                help="Signature of a second person, where the policy asks for one."
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def asking_options(command: Function) -> Function:
    """The same, and for what, in commands that read no genotypes."""
    text = "What the results are used for: GRU, HMB, POA, DS:MONDO:0005148 …, for the policy."
    return click.option("--purpose", metavar="DUO", help=text)(policy_options(command))


def opening_options(command: Function) -> Function:
    """The same in commands that open results of people, whose consent is asked again."""
    return policy_options(purpose_options(command))


def asking_from(options: dict[str, Any]) -> Asking:
    """Take who asks out of the options of a command."""
    return Asking(
        options.pop("policy"), options.pop("identity"), options.pop("purpose"), options.pop("second_signature") or (),
        options.pop("consent", None), options.pop("mondo", None), tuple(options.pop("visa", None) or ()),
    )  # fmt: skip
