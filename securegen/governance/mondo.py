"""Which disease is within which group: a shipped slice of Mondo, or a user's table. What is unknown is within nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from securegen.errors import InputError
from securegen.governance.mondo_slice import SLICE
from securegen.io.text import fields_of, iterate_lines

_ID = re.compile(r"MONDO:[0-9]{7}")


@dataclass(frozen=True)
class Diseases:
    """Groups of diseases. parents: id -> ids of the groups that it is directly in, () at the top."""

    parents: Mapping[str, tuple[str, ...]] = field(repr=False)

    def __contains__(self, disease: object) -> bool:
        return disease in self.parents

    def within(self, disease: str, group: str) -> bool:
        """Whether a disease is a group, or in it by any number of links; False where either is unknown.

        >>> shipped().within("MONDO:0005148", "MONDO:0005015"), shipped().within("MONDO:0005015", "MONDO:0005148")
        (True, False)
        """
        if disease not in self.parents or group not in self.parents:
            return False
        seen, left = {disease}, [disease]
        while left:
            for parent in self.parents.get(left.pop(), ()):
                if parent not in seen:
                    seen.add(parent)
                    left.append(parent)
        return group in seen


def shipped() -> Diseases:
    """The slice that comes with the package."""
    return Diseases({disease: groups for disease, (_, groups) in SLICE.items()})


def diseases(path: str | Path | None = None) -> Diseases:
    """The shipped slice, or in its place a table with two columns, child and parent, as any release of Mondo gives them.

    A header line is allowed and names no id. Raises InputError naming the line of a row that is not a pair of ids.
    """
    if not path:
        return shipped()
    parents: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(iterate_lines(path), 1):
        cells = fields_of(line.replace(",", "\t")) if line.strip() else []
        if not cells or (number == 1 and not any(_ID.fullmatch(cell) for cell in cells)):
            continue
        if len(cells) != 2 or not all(_ID.fullmatch(cell) for cell in cells):
            raise InputError(f"{path}, line {number}: two ids are expected, as MONDO:0005148 MONDO:0005015")
        child, parent = cells
        parents[child] = (*parents.get(child, ()), parent)
        parents.setdefault(parent, ())
    if not parents:
        raise InputError(f"{path} has no pair of ids, as MONDO:0005148 MONDO:0005015")
    return Diseases(parents)
