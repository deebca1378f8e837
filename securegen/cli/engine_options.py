"""--engine and the options of the engines, as their own fields declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import click

from securegen.cli.command import Function
from securegen.cli.options import apply_options
from securegen.engines import ENGINES
from securegen.engines.choosing import engine_of, names
from securegen.engines.protocol import Engine


def declared(*, quality: bool = False) -> dict[str, list[tuple[type[Engine], Field[Any]]]]:
    """The fields that users choose, by name, with the engines that have them. quality: of those with tables of QC."""
    found: dict[str, list[tuple[type[Engine], Field[Any]]]] = {}
    for engine in ENGINES.values():
        for f in fields(engine):  # type: ignore[arg-type]
            if f.metadata and (engine.quality or not quality):
                found.setdefault(f.name, []).append((engine, f))
    return found


def engine_options(*, quality: bool = False) -> Function:
    """--engine, and every option of an engine. quality: of engines that compute tables of quality control alone."""
    chosen = [name for name, engine in names().items() if engine.quality or not quality]
    choice = click.option("--engine", type=click.Choice(chosen), required=True, help="How the sums are computed.")
    return apply_options([choice, *(_option(name, of) for name, of in declared(quality=quality).items())])


def _option(name: str, of: list[tuple[type[Engine], Field[Any]]]) -> Function:
    """One option of one or several engines, which say the same of it; choices are those of all."""
    first = of[0][1]
    flag, told = f"--{name.replace('_', '-')}", first.metadata
    owners = ", ".join(engine.name for engine, _ in of)
    default = f" [{first.default}]" if first.default not in (None, False) else ""
    text = f"{told['help'].removesuffix('.')}{default} ({owners})."
    if isinstance(first.default, bool):
        return click.option(flag, name, is_flag=True, help=text)
    kind: Any = float if "float" in str(first.type) else str
    if told["choices"]:
        kind = click.Choice(list(dict.fromkeys(c for _, f in of for c in f.metadata["choices"])))
    elif told["least"] is not None:
        kind = click.IntRange(told["least"])
    return click.option(flag, name, type=kind, metavar=told["metavar"], help=text)


def engine_from(options: dict[str, Any], *, threads: int | None, memory: int | None) -> Engine:
    """Take the engine out of the options of a command. Raises UsageError for an option of another engine."""
    own = {name: options.pop(name) for name in declared() if name in options}
    given = {name: value for name, value in own.items() if value not in (None, False)}
    engine = engine_of(options.pop("engine"), given, threads=threads, memory=memory)
    ctx = click.get_current_context()  # what was left at its default is recorded too
    ctx.params.update({name: value for name in own if (value := getattr(engine, name, None)) is not None})
    return engine


def given_engine(options: Mapping[str, Any]) -> str:
    """What was typed for --engine."""
    return str(options["engine"])
