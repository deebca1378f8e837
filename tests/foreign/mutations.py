"""Every leaf of a JSON value replaced by every hostile one, deterministically, and what may come of it."""

from __future__ import annotations

import copy
import itertools
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from securegen.errors import SecuregenError

HOSTILE: tuple[object, ...] = (
    None, True, [], {}, -1, 0, 1, 7, 10**12, 1 << 63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "1",
    "aa" * 16, "0" * 64, "\x1b[2J\n", "\ud800", "\u202e" * 9, "../x", "..", "y" * 5000, [[[]]], {"a": {"b": None}}, ["g"], [-1],
)  # fmt: skip
BOUND = 48 << 20  # bytes that a refusal may take


def leaves(value: object, path: tuple = ()) -> Iterator[tuple]:
    """Paths of everything in a JSON value, containers too; of a long list the first two and the last."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif isinstance(value, list):
        for i in sorted({0, 1, len(value) - 1} & set(range(len(value)))):
            yield from leaves(value[i], (*path, i))


def at(value: Any, path: tuple) -> Any:
    for step in path:
        value = value[step]
    return value


def mutations(value: Any) -> Iterator[tuple[str, Any]]:
    """(what was done, the changed value) for every seventh of all mutations; for all where SECUREGEN_FUZZ is set."""
    return itertools.islice(_all(value), 0, None, 1 if os.environ.get("SECUREGEN_FUZZ") else 7)


def _all(value: Any) -> Iterator[tuple[str, Any]]:
    """Replaced, removed, doubled, one more field."""
    for path in list(leaves(value)):
        *above, last = path
        for hostile in HOSTILE:
            changed = copy.deepcopy(value)
            at(changed, tuple(above))[last] = copy.deepcopy(hostile)
            yield f"{path} = {str(hostile)[:20]!r}", changed
        removed = copy.deepcopy(value)
        del at(removed, tuple(above))[last]
        yield f"{path} removed", removed
        found = at(value, path)
        if isinstance(found, list) and found:
            changed = copy.deepcopy(value)
            at(changed, path).append(copy.deepcopy(found[-1]))
            yield f"{path} longer", changed
        elif isinstance(found, dict):
            changed = copy.deepcopy(value)
            at(changed, path)["surplus"] = 1
            yield f"{path} with a field", changed


@dataclass
class Outcome:
    """Cases by how they ended. bad: what is neither one of our errors nor the right result, or took memory first."""

    refused: int = 0
    same: int = 0
    bad: list[str] = field(default_factory=list)

    def take(self, what: str, attempt: Callable[[], bool]) -> None:
        """attempt: returns whether what came out is right."""
        tracemalloc.start()
        try:
            right = attempt()
        except SecuregenError as error:
            self.refused += 1
            if not str(error).isprintable():
                self.bad.append(f"{what}: unprintable text {str(error)!r}")
            if tracemalloc.get_traced_memory()[1] > BOUND:
                self.bad.append(f"{what}: {tracemalloc.get_traced_memory()[1] >> 20} MiB before {error}")
        except BaseException as error:
            self.bad.append(f"{what}: {type(error).__name__}: {str(error)[:200]}")
        else:
            self.same += right
            if not right:
                self.bad.append(f"{what}: accepted, and the result is another one")
        finally:
            tracemalloc.stop()
