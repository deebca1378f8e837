"""What a value that a user gives may be: from Python as from the command line, refused before anything is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

from securegen.errors import DesignError, UsageError
from securegen.governance.label_noise import number_within

LONGEST_NAME: Final = 128  # bytes of a phenotype's name: it becomes a part of a file's name


def names(what: str, value: Any) -> tuple[str, ...] | None:
    """A name or several as a tuple, each once; None stays None. Raises UsageError for anything but text."""
    if value is None:
        return None
    given = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Sequence) else (value,)
    if not all(isinstance(name, str) and name for name in given):
        raise UsageError(f"`{what}` takes names as text, not {value!r}")
    return tuple(dict.fromkeys(given)) or None


def name(what: str, value: Any) -> None:
    """None or one name. Raises UsageError for anything else."""
    if value is not None and (not isinstance(value, str) or not value):
        raise UsageError(f"{what} is a name as text, not {value!r}")


def path(what: str, value: Any) -> str | None:
    """A path as text; None and "" stay. Raises UsageError for anything else."""
    if value is None or isinstance(value, str):
        if value and "\0" in value:
            raise UsageError(f"`{what}`: a path holds no NUL byte")
        return value
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise UsageError(f"`{what}` takes a path, not {value!r}")


def paths(what: str, value: Any) -> str | tuple[str, ...]:
    """A path as text, or a list of paths as a tuple; a list of one is that one. Raises UsageError for anything else."""
    if isinstance(value, str | os.PathLike) or value is None:
        return path(what, value) or ""
    several = tuple(path(what, v) for v in value) if isinstance(value, Sequence) else ()
    if not several or not all(several):
        raise UsageError(f"`{what}` takes a path or a list of paths, not {value!r}")
    return several if len(several) > 1 else str(several[0])  # type: ignore[return-value]


def flag(what: str, value: Any) -> None:
    """Raise UsageError for anything but True and False."""
    if not isinstance(value, bool):
        raise UsageError(f"`{what}` is True or False, not {value!r}")


def choice(what: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise UsageError for a value that is not allowed."""
    if value not in allowed:
        raise UsageError(f"`{what}` is {value!r}: choose one of {', '.join(str(a) for a in allowed if a is not None)}")


def whole(what: str, value: Any, least: int, most: int | None) -> None:
    """None, or a whole number in a range."""
    if value is None:
        return
    good = not isinstance(value, bool) and hasattr(value, "__index__") and value >= least
    if not good or (most is not None and value > most):
        raise UsageError(
            f"`{what}` is {value!r}: a whole number from {least} {'up' if most is None else f'to {most}'} is expected"
        )


def number(what: str, value: Any, least: float, most: float) -> None:
    """A number in a range; NaN is in none."""
    number_within(what, value, least, most)


def file_name(name: str, where: str) -> None:
    """Raise DesignError for a phenotype whose name cannot be a part of a file's name."""
    bad = next((c for c in name if c in "/\\" or not c.isprintable()), None)
    if bad is not None:
        raise DesignError(
            f"{where}: phenotype {name!r} holds {bad!r}, but its name becomes a part of a file's name: rename it"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise DesignError(
            f"{where}: the name of phenotype {name[:20]}… has {len(name.encode())} bytes, but it becomes a part of a file's "
            f"name: at most {LONGEST_NAME}"
        )
