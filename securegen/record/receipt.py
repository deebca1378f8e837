"""The receipt of a run: who held what, who learned what, what had to be trusted, what was released.

It is written for the people whose data were used and for a reviewer, into PREFIX.run.json (`receipt`) and PREFIX.log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Party:
    """One party of a run, in plain words."""

    name: str
    holds: str
    learns: str


@dataclass(frozen=True)
class Receipt:
    """parties; assumptions: what must hold for this to be true; released: what left, and to whom; warnings: what a
    reader could still reconstruct; design: what was computed, in one line."""

    scenario: str
    parties: tuple[Party, ...]
    assumptions: tuple[str, ...]
    released: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    design: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """For the log."""
        out = [f"who learned what ({self.scenario}):", *([f"  {self.design}"] if self.design else [])]
        out += [f"  {p.name}: holds {p.holds}; learns {p.learns}" for p in self.parties]
        out += [f"  assumed: {a}" for a in self.assumptions]
        out += [f"  released: {r}" for r in self.released]
        return out + [f"  WARNING: {w}" for w in self.warnings]


FULL_TABLE = "whoever holds the genotypes can solve a full table of M >= N variants for the phenotypes"


def plain_receipt(tables: list[str], warnings: Sequence[str] = ()) -> Receipt:
    """Everything in the clear at one owner. warnings: what its tables give away together."""
    owner = Party("owner", "genotypes, phenotypes, covariates", "everything")
    return Receipt("in the clear", (owner,), (), tuple(tables), (FULL_TABLE, *warnings))


def outsourced_receipt(tables: list[str], encryptor: str, design: str = "", warnings: Sequence[str] = ()) -> Receipt:
    """CKKS: the owner holds the key, a server computes. design: what was opened, in one line; warnings: what the tables
    give away together."""
    return Receipt(
        "outsourced, CKKS",
        (
            Party("owner", "the secret key and its own data", "the results, after verification"),
            Party(
                "server", "ciphertexts",
                "numbers of samples, variants and columns, which columns are 1 for everybody, which blocks have missing "
                "calls; no genotype, phenotype or result",
            ),
        ),
        ("ring learning with errors at 128 bits; nothing of the server but availability", f"encryption by {encryptor}"),
        tuple(tables),
        (FULL_TABLE, *warnings),
        design,
    )  # fmt: skip
