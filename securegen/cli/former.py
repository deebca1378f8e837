"""Names that options had in the last version: they still work, are in no help text, and say what they are called now."""

from __future__ import annotations

import copy
from typing import Any

import click

_USED = "securegen.former"  # in a context's meta: old and new name of each that was given


class Option(click.Option):
    """An option that version 0.1 called something else, `former`: `click.option(…, cls=former.Option, former="--old")`."""

    def __init__(self, *args: Any, former: str, **more: Any) -> None:
        super().__init__(*args, **more)
        self.former = former

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        super().add_to_parser(parser, ctx)
        old = copy.copy(parser._long_opt[self.opts[0]])
        process = old.process

        def tell(value: Any, state: Any) -> None:
            note_former(ctx, self.former, self.opts[0])
            process(value, state)

        old.process = tell
        parser._long_opt[self.former] = old


def former_flags(command: click.Command) -> dict[str, str]:
    """Old flag, without dashes -> new one, of a command."""
    return {p.former.lstrip("-"): p.opts[0].lstrip("-") for p in command.params if isinstance(p, Option)}


def note_former(ctx: click.Context, old: str, new: str) -> None:
    """Remember that an option was given by its old name."""
    ctx.meta.setdefault(_USED, {})[old] = new


def tell_renamed(ctx: click.Context) -> None:
    """Say the new name of every option that was given by its old one."""
    for old, new in ctx.meta.pop(_USED, {}).items():
        click.echo(f"{old} is called {new} now", err=True)
