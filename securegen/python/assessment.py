"""Tests of membership on a table: which there are, how far apart members and others are, which rows stay below a power."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from securegen.governance import membership
from securegen.governance.linkage import linkage
from securegen.governance.opened_columns import ColumnShare
from securegen.model import FloatArray, IntArray, SelectableReader
from securegen.results.released import ReleasedTable

Linked = Callable[[int], IntArray] | None


@dataclass(frozen=True)
class Membership:
    """One test. table: name of its file; what: is released, and of whom; variants: with copies of both alleles; independent:
    what they are worth; distance: of members' and others' means in standard deviations; power: one a false-positive rate."""

    table: str
    what: str
    variants: int
    independent: float
    distance: float
    power: tuple[float, ...]

    def line(self) -> str:
        found = ", ".join(f"{p:.3g}" for p in self.power)
        return (
            f"{self.table}, {self.what}: {found} ({self.variants} variants, worth {self.independent:.0f} independent)"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table, "what": self.what, "variants": self.variants, "independent": self.independent,
            "distance": self.distance, "power": list(self.power),
        }  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """Rows of a table that stay at a power, alone. rows: of the table; places: (R,) of the chosen; linked: no two chosen ones
    are linked."""

    table: str
    rows: int
    places: tuple[int, ...]
    linked: bool

    def line(self, power: float, fpr: Sequence[float]) -> str:
        how = "no two of them linked" if self.linked else "counted as independent"
        return (
            f"{self.table}: {len(self.places)} of {self.rows} rows, the most significant first, {how}, stay at a power of "
            f"{power:g} or less at {max(fpr):g}"
        )

    def to_json(self) -> dict[str, Any]:
        return {"table": self.table, "rows": self.rows, "chosen": len(self.places), "unlinked": self.linked}


def share_of(
    table: ReleasedTable, reader: SelectableReader | None, independent: int | None, log: Callable[[str], None]
) -> tuple[float, Linked]:
    """Independent variants over all variants of a table, and which variants one stands for; 1 and None where nothing is said.

    Variants that the genotypes lack count as independent, aloud; so do ids that occur twice there.
    """
    seen = np.flatnonzero(_polymorphic(table))
    if reader is None or not len(seen):
        return (1.0 if independent is None else min(1.0, independent / max(len(seen), 1))), None
    place: dict[str, int] = {}
    twice: set[str] = set()
    for i, name in enumerate(reader.variants.id.tolist()):
        twice |= {name} if name in place else set()
        place[name] = i
    names = table.id.tolist()
    known = np.array([j for j in seen.tolist() if names[j] in place and names[j] not in twice], np.int64)
    there = np.array([place[names[j]] for j in known.tolist()], np.int64)
    there, first = np.unique(there, return_index=True)
    known = known[first]
    if len(known) < len(seen):
        log(
            f"{len(seen) - len(known)} of {len(seen)} variants of {table.path} are not in the genotypes: counted as independent"
        )
    found = linkage(reader.select(None, there))
    effective = (found.effective if len(known) else 0.0) + len(seen) - len(known)
    local = {int(j): i for i, j in enumerate(known.tolist())}
    nobody = np.zeros(0, np.int64)
    return effective / len(seen), lambda j: known[found.of(local[j])] if j in local else nobody


def assess(table: ReleasedTable, share: float, fpr: Sequence[float]) -> list[Membership]:
    """Every test of a table, at these false-positive rates. share: from `share_of`."""
    seen = _polymorphic(table)
    name, m = Path(table.path).name, int(seen.sum())

    def test(what: str, square: float, of: Callable[[float, float], float] = membership.power) -> Membership:
        distance = math.sqrt(share * square)
        return Membership(name, what, m, share * m, distance, tuple(of(distance, f) for f in fpr))

    out = []
    for group in table.groups:
        whose = "" if len(table.groups) == 1 else f" of {group.name}"
        square = float(membership.information(group.copies, group.people).sum())
        out.append(test("counts of genotypes", 2 * square) if table.genotypes else test(f"frequencies{whose}", square))
    if len(table.groups) > 1:
        fewer = "case" if table.cases <= 0.5 else "control"
        out.append(test(f"cases against controls, a {fewer}", float(_contrast(table)[seen].sum())))
    if not table.effects:
        return out
    effects = float((table.chisq / np.maximum(table.people, 1))[seen].sum())
    cases = table.cases
    for word, known in (("known", True), ("unknown", False)):

        def of(distance: float, f: float, known: bool = known) -> float:
            if math.isnan(cases):
                return membership.trait_power(distance, f, known=known)
            return membership.group_power(distance, f, cases, known=known)

        out.append(test(f"effects, trait {word}", effects, of))
    if table.groups:
        who = "member of mean leverage" if math.isnan(cases) else "case" if cases <= 0.5 else "control"
        out.append(test(f"frequencies and effects, a {who}", float(_worth(table)[seen].sum())))
    return out


def together(tables: Sequence[ReleasedTable], shares: Sequence[float], fpr: Sequence[float]) -> list[Membership]:
    """The test on all columns of several tables, of a member of mean leverage; none where one table has them all."""
    columns = released_columns(tables)
    if columns is None or columns.columns < 3:
        return []
    square, widest, share = 0.0, tables[0], 1.0
    effects = 0.0
    for table, s in zip(tables, shares, strict=True):
        seen, people = _polymorphic(table), np.maximum(table.people, 1)
        if (one := s * float((1 / people)[seen].sum())) > square:
            square, widest, share = one, table, s
        if table.effects or len(table.groups) > 1:
            effects += s * float((table.chisq / people)[seen].sum())
    frequencies = columns.columns - sum(t.effects or len(t.groups) > 1 for t in tables if len(t))
    distance, m = math.sqrt(frequencies * square + effects), int(_polymorphic(widest).sum())
    power = tuple(membership.power(distance, f) for f in fpr)
    return [Membership("all tables", "a member of mean leverage", m, share * m, distance, power)]


def rows_within(table: ReleasedTable, power: float, fpr: Sequence[float], linked: Linked) -> Chosen:
    """The rows that may be released so that no test of this table alone finds more than `power` at any of these rates."""
    most = min(membership.distance_at(power, f) for f in fpr) ** 2
    worth = np.where(_polymorphic(table), _worth(table), 0.0)
    places = membership.choose(table.order, worth, most, linked)
    return Chosen(Path(table.path).name, len(table), tuple(places.tolist()), linked is not None)


def released_columns(tables: Sequence[ReleasedTable]) -> ColumnShare | None:
    """Sums a variant of all tables together: frequencies once, effects of every table; over the fewest people of a table."""
    tables = [t for t in tables if len(t)]
    frequencies = 2 if any(t.genotypes for t in tables) else int(any(t.groups for t in tables))
    effects = sum(t.effects or len(t.groups) > 1 for t in tables)
    if not frequencies + effects:
        return None
    return ColumnShare("readers of the tables", frequencies + effects, min(int(np.median(t.people)) for t in tables))


def _polymorphic(table: ReleasedTable) -> np.ndarray:
    """(M,) bool: somebody has a copy of either allele; of tables without frequencies every row."""
    if not table.groups:
        return np.ones(len(table), bool)
    out: np.ndarray = np.logical_or.reduce([g.copies > 0 for g in table.groups])
    return out


def _worth(table: ReleasedTable) -> FloatArray:
    """(M,) what a row adds to the square of the distance in the strongest test of this table.

    A row with an effect says χ² times what one without association says: who releases the significant ones says more.
    """
    people = np.maximum(table.people, 1)
    out: FloatArray = (len(table.groups) + table.chisq) / people
    if len(table.groups) > 1:
        alone = [membership.information(g.copies, g.people) for g in table.groups]
        out = np.maximum.reduce([*alone, _contrast(table)])
    elif not math.isnan(table.cases):
        share = min(table.cases, 1 - table.cases)
        out = (len(table.groups) + (1 - share) / share * table.chisq) / people
    elif not table.effects:
        (group,) = table.groups
        out = (1 + table.genotypes) * membership.information(group.copies, group.people)
    return out


def _contrast(table: ReleasedTable) -> FloatArray:
    """(M,) of counts in cases and controls, for one of the fewer: both frequencies, 1/fewer where χ² is 1."""
    cases, controls = (np.maximum(g.people, 1) for g in table.groups)
    out: FloatArray = (1 + np.maximum(cases, controls) / np.minimum(cases, controls) * table.chisq) / (cases + controls)
    return out
