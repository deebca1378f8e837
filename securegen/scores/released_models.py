"""The scores of a .sscore file as sums of few genotypes: which weights, which variants, how many digits."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from securegen.errors import InputError
from securegen.governance.small_models import SmallModel, bounded_model, small_model
from securegen.io.digests import sha256
from securegen.io.tables import read_table
from securegen.io.text import lines_of, read_text
from securegen.scores.files import read_scorings
from securegen.scores.release import DIGITS


def released_models(
    sscore: str, records: Sequence[Mapping[str, Any]], log: Callable[[str], None]
) -> tuple[SmallModel, ...]:
    """Every score of a file. Weights are read from the scoring files that the run's record names, where they are still the
    same and PREFIX.match.tsv says which of their lines were used; else numbers of variants are taken from the record.

    Raises InputError where neither is there.
    """
    record = next((r for r in records if r.get("scores")), {})
    table = read_table(sscore)
    names = [c.removesuffix("_SUM") for c in table.columns if c.endswith("_SUM") and c != "NAMED_ALLELE_DOSAGE_SUM"]
    counts = record.get("scores") or {}
    digits = int((record.get("parameters") or {}).get("digits") or DIGITS)
    named = "NAMED_ALLELE_DOSAGE_SUM" in table.columns and any(
        v not in ("NA", "") for v in table.columns["NAMED_ALLELE_DOSAGE_SUM"][:1]
    )
    weights = _weights(sscore, record, log)
    out = []
    for name in names:
        if name in weights:
            out.append(small_model(name, weights[name], digits, named=named))
        elif isinstance(counts.get(name), int):
            out.append(bounded_model(name, counts[name], digits, named=named))
        else:
            raise InputError(f"{sscore}: no run.json beside it says how many variants {name} sums")
    return tuple(out)


def _weights(sscore: str, record: Mapping[str, Any], log: Callable[[str], None]) -> dict[str, list[str]]:
    """Weights by score, as text, of the variants that were used; {} where they are not at hand."""
    call = record.get("call") or {}
    options, digests = call.get("options") or {}, call.get("digests") or {}
    given = options.get("score") or []
    paths = [given] if isinstance(given, str) else [str(p) for p in given]
    match = Path(f"{sscore.removesuffix('.gz').removesuffix('.sscore')}.match.tsv")
    if not paths or not match.is_file():
        return {}
    for path in paths:
        if not os.path.isfile(path) or sha256(path) != digests.get(path):
            log(
                f"{path} is not the scoring file of this run any more: numbers of variants are counted, not its weights"
            )
            return {}
    used: dict[str, set[int]] = {}
    head, *rows = [line.split("\t") for line in lines_of(read_text(match))]
    for row in rows:
        cell = dict(zip(head, row, strict=True))
        if cell["USED"] == "1":
            used.setdefault(cell["FILE"], set()).add(int(cell["LINE"]))
    columns = options.get("score-col-nums")
    numbers = [int(n) for n in str(columns).split(",")] if columns else None
    out: dict[str, list[str]] = {}
    for file in read_scorings(paths, numbers):
        if file.dosage_weight is not None or set(file.effect_type.tolist()) != {"additive"}:
            continue
        for s, name in enumerate(file.names):
            out[name] = [
                str(w) for w, n in zip(file.weight[:, s], file.line, strict=True) if int(n) in used.get(file.path, ())
            ]
    return out
