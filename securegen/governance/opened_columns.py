"""How many sums per variant are released or opened, over the people in them: what linear algebra can read.

A column is a sum Σ_i g_i x_i of every variant. With N columns that are independent N people's genotypes are solved for. Of
phenotypes that are known to the reader, published experiments identified people above 0.16 effective columns per sample
and recovered genotypes above 0.85 (Genomic privacy risks in GWAS summary statistics, 2025, doi:10.1101/2025.09.09.25335252,
eLife reviewed preprint 108844). Effective columns are fewer than columns where these go together: columns are the upper bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IDENTIFIES, RECOVERS = 0.16, 0.85
_STEP = re.compile(r"(?P<what>[a-z]+)-(?P<number>\d+)-(?P<kind>.+)")
_MODEL = re.compile(r"step1-(?P<what>block|predictors)-(?P<number>[^-]+)-(?P<kind>gram|beside)")
_SETS = re.compile(r"sets-products-\d+-(?P<most>\d+)|sets-(?P<what>rows)-\d+")
_NO_COLUMNS = frozenset({"flags", "counts", "squares"})


@dataclass(frozen=True)
class ColumnShare:
    """who: sees them; columns: sums per variant; samples: people in them."""

    who: str
    columns: int
    samples: int

    @property
    def ratio(self) -> float:
        return self.columns / max(self.samples, 1)

    def line(self) -> str:
        meaning = (
            f"above {RECOVERS}, at which published attacks recovered genotypes"
            if self.ratio > RECOVERS
            else f"above {IDENTIFIES}, at which published attacks identified people"
            if self.ratio > IDENTIFIES
            else f"below {IDENTIFIES}, at which published attacks identified people"
        )
        sums = "1 sum" if self.columns == 1 else f"{self.columns} sums"
        return f"{self.who}: {sums} per variant over {self.samples} people, ratio {self.ratio:.4f}: {meaning}"

    def to_json(self) -> dict[str, Any]:
        return {"who": self.who, "columns": self.columns, "samples": self.samples, "ratio": self.ratio}


def opened_columns(record: Mapping[str, Any]) -> Iterator[ColumnShare]:
    """What the parties of a run see beside its tables, by its run.json; nothing of runs at one owner."""
    samples = int(record.get("samples") or 0)
    phenotypes, covariates = len(record.get("phenotypes") or []), int(record.get("covariates") or 0)
    if not samples:
        return
    if record.get("engine") == "federated":
        yield ColumnShare("every site", _pooled(record, phenotypes + covariates), samples)
    elif record.get("engine") == "mpc" and phenotypes:
        more = covariates + 1 if record.get("reveal") == "aggregates" else 0
        yield ColumnShare("the phenotype owner", phenotypes + more, samples)


def _pooled(record: Mapping[str, Any], least: int) -> int:
    """Columns that sites opened: of association, of every round of components, of a whole-genome model, and Σg."""
    opened = record.get("opened")
    found_rounds = opened.get("rounds") if isinstance(opened, Mapping) else None
    rounds = found_rounds if isinstance(found_rounds, list) else []
    widest: dict[str, int] = {}
    for step in rounds:
        if of_sets := _SETS.fullmatch(
            str(step.get("name"))
        ):  # the other rows of its set, and the columns of the design
            each = int(step.get("numbers") or 0) // max(int(step.get("rows") or 0), 1)
            key, value = (str(of_sets["what"]), each) if of_sets["what"] else ("partners", int(of_sets["most"]))
            widest[key] = max(widest.get(key, 0), value)
            continue
        found = _STEP.fullmatch(str(step.get("name")))
        rows, numbers = int(step.get("rows") or 0), int(step.get("numbers") or 0)
        if not found or found["what"] == "design" or found["kind"] in _NO_COLUMNS or not rows:
            continue
        # blocks of variants open the same columns, rounds of components new ones
        key = found["kind"] if found["what"] == "variants" else f"{found['what']}-{found['number']}-{found['kind']}"
        widest[key] = max(widest.get(key, 0), -(-numbers // rows))
    return 1 + (sum(widest.values()) or least) + _of_model(rounds)


def _of_model(rounds: Iterable[Mapping[str, Any]]) -> int:
    """Each variant's products with those of its block, B of them, and the predictors of all phenotypes."""
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for step in rounds:
        if found := _MODEL.fullmatch(str(step.get("name"))):
            rows.setdefault((found["what"], found["number"]), {})[found["kind"]] = int(step.get("rows") or 0)
    # blocks of a variants each have a·(a + 1)/2 products and a rows beside them
    block = max(
        (-(-2 * r.get("gram", 0) // r["beside"]) - 1 for (w, _), r in rows.items() if w == "block" and r.get("beside")),
        default=0,
    )
    return block + sum(r.get("beside", 0) for (w, _), r in rows.items() if w == "predictors")
