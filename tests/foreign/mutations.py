"""Every leaf of a JSON value replaced by every hostile one, deterministically, and what may come of it."""

from __future__ import annotations

import copy
import itertools
import operator
import os
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from securegen.errors import SecuregenError

HOSTILE: tuple[object, ...] = (
    None, True, [], {}, -1, 0, 1, 7, 10**12, 1 << 63, 10**400, 0.5, 1e308, float("nan"), float("inf"), "", "x", "1",
    "aa" * 16, "0" * 64, "\x1b[2J\n", "\ud800", "\u202e" * 9, "../x", "..", "y" * 5000, [[[]]], {"a": {"b": None}}, ["g"], [-1],
)  # fmt: skip
EVERY = 7 if __debug__ else 29  # a second run, under -O, asks whether the checks are there, not about each value
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


def at(value: Any, path: Sequence) -> Any:
    for step in path:
        value = value[step]
    return value


def mutations(value: Any) -> Iterator[tuple[str, Any]]:
    """(what was done, the changed value) for every `EVERY`th of all mutations; for all where SECUREGEN_FUZZ is set."""
    for what, change in itertools.islice(_all(value), 0, None, 1 if os.environ.get("SECUREGEN_FUZZ") else EVERY):
        changed = copy.deepcopy(value)
        change(changed)
        yield what, changed


def _all(value: Any) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Replaced, removed, doubled, one more field: what is done, and the function that does it to a copy."""
    for path in leaves(value):
        *above, last = path
        for hostile in HOSTILE:
            yield (
                f"{path} = {str(hostile)[:20]!r}",
                lambda c, above=above, last=last, hostile=hostile: operator.setitem(
                    at(c, above), last, copy.deepcopy(hostile)
                ),
            )
        yield f"{path} removed", lambda c, above=above, last=last: operator.delitem(at(c, above), last)
        found = at(value, path)
        if isinstance(found, list) and found:
            yield f"{path} longer", lambda c, path=path: at(c, path).append(copy.deepcopy(at(c, path)[-1]))
        elif isinstance(found, dict):
            yield f"{path} with a field", lambda c, path=path: operator.setitem(at(c, path), "surplus", 1)


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
