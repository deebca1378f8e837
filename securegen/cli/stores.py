"""Object stores on the command line: which options may name a folder in one; all else stays on a local disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from securegen.cli.config import store_options
from securegen.errors import UsageError
from securegen.io.store_urls import checked_url, is_url, shown_url

Command = TypeVar("Command", bound=Callable[..., Any])


def stores(*names: str) -> Callable[[Command], Command]:
    """These options of a command, by the names of their parameters, may be URLs of folders in an object store."""

    def decorate(function: Command) -> Command:
        function.__stores__ = names  # type: ignore[attr-defined]
        return function

    return decorate


def check_store(ctx: click.Context, name: str, place: str) -> None:
    """Raise UsageError unless an option may name a store, and the URL is a plain one."""
    if name not in getattr(ctx.command.callback, "__stores__", ()):
        option = next(p for p in ctx.command.params if p.name == name)
        raise UsageError(
            f"{option.opts[0]} {shown_url(place)!r}: only encrypted cohorts, designs, models, results "
            "may lie in a store; genotypes, tables, keys, owner's folders, ledgers, policies and logs stay on a local disk"
        )
    if checked_url(place)[0] == "memory":
        raise UsageError(f"{place}: memory:// is gone when this command ends: name a store that stays, or a folder")


def refuse_stores(command: click.Command) -> None:
    """Have `check_store` asked of every option of a command before it runs."""
    run: Callable[..., Any] = command.invoke
    if getattr(run, "asks", False):
        return

    def invoke(ctx: click.Context) -> Any:
        for name, place in store_options(ctx):
            check_store(ctx, name, place)
        return run(ctx)

    invoke.asks = True  # type: ignore[attr-defined]
    command.invoke = invoke  # type: ignore[method-assign]


def refuse_store(out: str) -> None:
    """Raise UsageError where tables, which are in the clear, would be written into a store."""
    if is_url(out):
        raise UsageError(f"--out {out!r}: tables are in the clear and stay on a local disk")
