"""From the name of an engine and the options that a user gave to the engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from securegen.engines import ENGINES
from securegen.engines.protocol import Engine
from securegen.errors import UsageError


def names() -> dict[str, type[Engine]]:
    """Every engine by its name, and by older ones."""
    return {name: engine for engine in ENGINES.values() for name in (engine.name, *engine.aliases)}


def engine_of(chosen: str | Engine, given: Mapping[str, Any], **resources: Any) -> Engine:
    """The engine with the options that were given; resources: threads and memory, for the engine that takes them.

    Raises UsageError for an unknown name, and for an option of another engine.
    """
    if isinstance(chosen, Engine):
        return chosen
    known = names()
    if chosen not in known:
        raise UsageError(f"`engine` {chosen!r}: choose one of {', '.join(ENGINES)}")
    kind, options = known[chosen], dict(given)
    for (name, value), other in kind.elsewhere.items():
        if options.get(name) == value:
            kind = known[other]
            del options[name]
    own = {f.name for f in fields(kind)}  # type: ignore[arg-type]
    for name in options:
        if name not in own:
            owners = [e.name for e in ENGINES.values() if name in {f.name for f in fields(e)}]  # type: ignore[arg-type]
            raise UsageError(f"`{name}` is an option of engine {' and '.join(owners)}, not of {kind.name}")
    return kind(**options, **{name: value for name, value in resources.items() if name in own})
