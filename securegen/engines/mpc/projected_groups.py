"""What is public of the phenotypes of a run that opens less than all sums, as its parties tell each other."""

from __future__ import annotations

from typing import Any

from securegen.engines.mpc.projected import PhenotypeGroup
from securegen.engines.mpc.runs import VariantRun
from securegen.errors import ProtocolError
from securegen.stats.projection import Projection

LARGEST = 10_000  # columns of a run
_PUBLIC = ("test", "phenotypes", "basis", "samples", "lead_bits")


def public_group(p: Projection, lead_bits: tuple[int, ...]) -> PhenotypeGroup:
    """What the genotype party is told of a projection."""
    return PhenotypeGroup(p.test, tuple(a.phenotype for a in p.analyses), p.basis.shape[1], p.samples, lead_bits)


def write_groups(groups: tuple[PhenotypeGroup, ...]) -> list[dict[str, Any]]:
    """Groups as JSON, their public fields alone; `read_groups` reads them."""
    return [{n: list(v) if isinstance(v := getattr(g, n), tuple) else v for n in _PUBLIC} for g in groups]


def read_groups(value: object, sender: str) -> tuple[PhenotypeGroup, ...]:
    """Groups that a party announced; ProtocolError when they are malformed."""
    out = []
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict) or set(item) != set(_PUBLIC) or item["test"] not in ("linear", "logistic"):
            break
        names, leads = item["phenotypes"], item["lead_bits"]
        numbers = all(type(item[n]) is int and 0 <= item[n] < 1 << 31 for n in ("basis", "samples"))
        texts = isinstance(names, list) and names and all(isinstance(n, str) and len(n) < 1000 for n in names)
        if not (
            numbers and texts and item["samples"] and isinstance(leads, list) and all(type(b) is int for b in leads)
        ):
            break
        if leads and len(leads) != len(names):
            break
        out.append(PhenotypeGroup(item["test"], tuple(names), item["basis"], item["samples"], tuple(leads)))
    if not out or len(out) != len(value) or sum(g.columns for g in out) > LARGEST:  # type: ignore[arg-type]
        raise ProtocolError(f"party {sender!r} announced malformed phenotypes")
    return tuple(out)


def read_design(value: object, runs: list[VariantRun], sender: str) -> tuple[tuple[PhenotypeGroup, ...], int]:
    """Groups and unit of a stratum that a party announced; ProtocolError when they are malformed."""
    if runs[0].whole:
        return read_groups(value, sender), 1
    if not isinstance(value, dict) or set(value) != {"groups", "unit"}:
        raise ProtocolError(f"party {sender!r} announced a malformed design")
    if type(value["unit"]) is not int or value["unit"] not in (1, 2):
        raise ProtocolError(f"party {sender!r} announced a malformed design")
    if runs[0].doubled and value["unit"] != 2:
        raise ProtocolError(f"party {sender!r} announced one copy of X in units of two")
    return read_groups(value["groups"], sender), int(value["unit"])
