"""Pictures of what `scale/run.py` measured, with the formulas fitted to it, and bytes as the plan computes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pictures import Curve, Picture, computed_bars, curves
from scale_bytes import STORED, bytes_at
from scale_formulas import (
    CORE_HOUR,
    DISK_MONTH,
    PEOPLE,
    STEPS,
    VARIANTS,
    Rows,
    by,
    costs,
    fitted,
    rows_of,
    studies,
    value_at,
)

CALLED = {"encrypt": "encrypt", "server": "server", "decrypt": "decrypt", "gwas": "in the clear"}


def against(
    rows: Rows, along: str, value: str, steps: Sequence[str], formula: Callable[[str], Callable[[float], float]]
) -> list[Curve]:
    """A curve a step: what was measured and the formula."""
    return [
        Curve(CALLED.get(step, step), tuple(sorted({(r[along], r["steps"][step][value]) for r in rows})), formula(step))
        for step in steps
    ]


def of_genotypes(told: dict[str, Any]) -> list[Picture]:
    """Against variants and against people, with the formula of both."""
    rows, out = rows_of(told), []
    cuts = (
        ("variants", "samples", "people", 5_000, VARIANTS),
        ("samples", "variants", "variants", 10_000, PEOPLE),
    )
    for along, fixed, of, number, until in cuts:
        cut = [r for r in rows if r[fixed] == number]
        name = "people" if along == "samples" else "variants"
        for what, value, unit, steps in (
            ("Processor time", "cpu_seconds", "seconds", STEPS),
            ("Files written", "disk_bytes", "bytes", STORED),
        ):

            def formula(
                step: str, value: str = value, along: str = along, number: int = number
            ) -> Callable[[float], float]:
                def shape(x: float) -> tuple[float, float]:
                    return (number, x) if along == "variants" else (x, number)

                if value == "disk_bytes":
                    return lambda x: bytes_at(step, *shape(x))
                terms = fitted(rows, step, value)[0]
                return lambda x: value_at(terms, *shape(x))

            members = against(cut, along, value, steps, formula)
            out.append(curves(f"{unit}-{name}", f"{what} by {name}", f"{number:,} {of}, 14 columns", name, unit, members,
                              until=until))  # fmt: skip
    found = studies(told, "chromosomes")
    members = [
        Curve(
            CALLED[step],
            tuple(sorted({(b["variants"], b["steps"][step]["peak_bytes"]) for b in found})),
            planned=tuple(sorted({(b["variants"], b["planned"][step]["memory_bytes"]) for b in found})),
        )
        for step in STEPS
    ]
    below = f"{found[0]['samples']:,} people; hollow: what the plan said"
    return [*out, curves("memory-variants", "Peak memory by variants", below, "variants", "bytes", members)]


def of_one_size(
    told: dict[str, Any], kind: str, along: str, name: str, below: str, steps: Sequence[str]
) -> list[Picture]:
    """Against one size, with a line of its own."""
    rows, out = studies(told, kind), []
    federated = steps == ("site",)
    values = [("Processor time", "cpu_seconds"), ("Messages" if federated else "Files written", "disk_bytes")]
    for what, value in [*values, ("Peak memory", "peak_bytes")][: 3 if federated else 2]:
        unit = "seconds" if value == "cpu_seconds" else "bytes"
        some = [s for s in steps if value != "disk_bytes" or s in (*STORED, "site")]

        def formula(step: str, value: str = value) -> Callable[[float], float]:
            if step in STORED and value == "disk_bytes":
                return lambda x: bytes_at(step, rows[0]["samples"], rows[0]["variants"], x)
            terms = fitted(rows, step, value, by(along))[0]
            return lambda x: float(terms @ [1, x])

        members = against(rows, along, value, some, formula)
        if federated:
            whose = "largest process" if value == "peak_bytes" else "all sites"
            members = [Curve(whose, m.measured, m.formula) for m in members]
        start = {"cpu_seconds": "seconds", "disk_bytes": "bytes", "peak_bytes": "memory"}[value]
        out.append(curves(f"{start}-{name.replace(' ', '-')}", f"{what} by {name}", below, name, unit, members))
    return out


def bars(told: dict[str, Any]) -> Picture:
    every = costs(told)
    named = [(CALLED[step], hours, disk) for step, hours, disk in every]
    money = [
        ("cores, once", sum(c[1] for c in every) * CORE_HOUR),
        ("disk, a month", sum(c[2] for c in every) * DISK_MONTH),
    ]
    return computed_bars("projection", f"Computed: {PEOPLE // 1000:,}k people × {VARIANTS // 10**6}M variants", [
        ("core-hours", [(step, hours, f"{hours:,.0f}") for step, hours, _ in named]),
        ("terabytes written", [(step, disk, f"{disk:,.3g}") for step, _, disk in named if disk]),
        ("dollars", [(what, dollars, f"{dollars:,.0f}") for what, dollars in money]),
    ])  # fmt: skip


def pictures(told: dict[str, Any]) -> dict[str, list[Picture]]:
    """By the mark that they stand under."""
    out: dict[str, list[Picture]] = {}
    if len(rows_of(told)) >= 4 and studies(told, "chromosomes"):
        out |= {"curves": of_genotypes(told), "projection": [bars(told)]}
    if len(found := studies(told, "columns")) > 1:
        below = f"{found[0]['samples']:,} people × {found[0]['variants']:,} variants"
        out["columns"] = of_one_size(told, "columns", "columns", "columns", below, STEPS)
    for kind, along, name in (("people", "samples", "people per site"), ("sites", "sites", "sites")):
        if len(found := studies(told, kind)) > 1:
            fixed = f"{found[0]['sites']} sites" if kind == "people" else f"{found[0]['samples']:,} people each"
            below = f"{fixed}, {found[0]['variants']:,} variants, in the clear"
            out["sites"] = out.get("sites", []) + of_one_size(told, kind, along, name, below, ("site",))
    return out
