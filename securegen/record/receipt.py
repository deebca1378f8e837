"""The receipt of a run: who held what, who learned what, what had to be trusted, what was released.

It is written for the people whose data were used and for a reviewer, into PREFIX.run.json (`receipt`) and PREFIX.log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from securegen.vocabulary import ADDITIVE


@dataclass(frozen=True)
class Party:
    """One party of a run, in plain words."""

    name: str
    holds: str
    learns: str


@dataclass(frozen=True)
class Receipt:
    """parties; assumptions: what must hold for this to be true; released: what left, and to whom; warnings: what a
    reader could still reconstruct; design: what was computed, in one line; decisions: of the policy, a line a rule."""

    scenario: str
    parties: tuple[Party, ...]
    assumptions: tuple[str, ...]
    released: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    design: str = ""
    decisions: tuple[str, ...] = ()

    def with_decisions(self, lines: Sequence[str]) -> Receipt:
        """The same receipt, with what the policy decided."""
        return replace(self, decisions=tuple(lines))

    def of_model(self, coding: str) -> Receipt:
        """The same receipt, whose `design` also says the genetic model, where it is not additive."""
        if coding == ADDITIVE:
            return self
        model = f"genetic model: {coding}"
        return replace(self, design=f"{self.design}; {model}" if self.design else model)

    def corrected(self, line: str) -> Receipt:
        """The same receipt, whose `design` also says which rows were corrected."""
        return replace(self, design=f"{self.design}; {line}" if self.design else line)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """A receipt of run.json, which its reader has checked (`run_log.read_records`)."""
        words = {name: tuple(value.get(name) or ()) for name in ("assumptions", "released", "warnings", "decisions")}
        parties = tuple(
            Party(**{name: str(p.get(name, "")) for name in ("name", "holds", "learns")}) for p in value["parties"]
        )
        return cls(value["scenario"], parties, design=value.get("design") or "", **words)

    def lines(self) -> list[str]:
        """For the log."""
        out = [f"who learned what ({self.scenario}):", *([f"  {self.design}"] if self.design else [])]
        out += [f"  {p.name}: holds {p.holds}; learns {p.learns}" for p in self.parties]
        out += [f"  assumed: {a}" for a in self.assumptions]
        out += [f"  released: {r}" for r in self.released]
        out += [f"  WARNING: {w}" for w in self.warnings]
        return out + [f"  decided: {line.strip()}" for line in self.decisions]


FULL_TABLE = "whoever holds the genotypes can solve a full table of M >= N variants for the phenotypes"
