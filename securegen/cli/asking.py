"""Options of every command that releases: who asks, for what, and under which policy."""

from __future__ import annotations

from typing import Any

import click

from securegen.cli.command import Function
from securegen.governance.gate import Asking


def asking_options(command: Function) -> Function:
    """Who asks, and under which policy."""
    for option in reversed(
        [
            click.option(
                "--policy", metavar="FILE", help="The signed policy that governs the data [the policy.toml beside them]."
            ),
            click.option("--purpose", metavar="DUO", help="What the data are used for: GRU, HMB, POA, DS:MONDO:0005148 …"),
            click.option("--identity", metavar="FILE", help="Signing key of who asks, whom the policy names."),
            click.option(
                "--second-signature", multiple=True, metavar="FILE", help="Of another person, where the policy asks for it."
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


def asking_from(options: dict[str, Any]) -> Asking:
    """Take who asks out of the options of a command."""
    return Asking(
        options.pop("policy"), options.pop("identity"), options.pop("purpose"), options.pop("second_signature") or ()
    )
