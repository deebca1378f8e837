"""docs/explanation/scaling-up.md from what `scale/run.py` measured.

Tables of what was measured, formulas fitted to it, and what they say of 500,000 people × 10 million variants. What is measured
and what is computed stand apart, in tables and in pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import numpy as np
from pictures import Curve, Picture, computed_bars, curves
from record import Made, source

PEOPLE, VARIANTS, SITES = 500_000, 10_000_000, 3
CORE_HOUR, DISK_MONTH = 0.04, 20.0  # dollars: of a virtual core, and of a terabyte of object storage for a month
STEPS = ("encrypt", "server", "decrypt", "gwas")
STORED = ("encrypt", "server")
CALLED = {"encrypt": "encrypt", "server": "server", "decrypt": "decrypt", "gwas": "in the clear"}
Rows = Sequence[dict[str, Any]]
Terms = Callable[[dict[str, Any]], Sequence[float]]


def studies(told: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    return [s for kind in kinds for s in told.get(kind, {}).get("studies", ())]


def rows_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    """Every study in the clear and under CKKS from which formulas of people and variants come."""
    return studies(told, "grid", "chromosomes")


def by_genotypes(row: dict[str, Any]) -> tuple[float, ...]:
    n, m = row["samples"], row["variants"]
    return 1, n, m, n * m


def by(size: str) -> Terms:
    return lambda row: (1, row[size])


def fitted(rows: Rows, step: str, value: str, terms: Terms = by_genotypes) -> tuple[np.ndarray, float]:
    """Least squares of relative errors, no coefficient below 0; and the largest relative error of the fit."""
    y = np.array([r["steps"][step][value] for r in rows], float)
    x = np.array([terms(r) for r in rows], float) / y[:, None]
    scale = x.max(axis=0)
    used = list(range(x.shape[1]))
    while True:  # a term that would be negative is left out, the most negative first
        found, *_ = np.linalg.lstsq(x[:, used] / scale[used], np.ones_like(y), rcond=None)
        if (found >= 0).all() or len(used) == 1:
            break
        del used[int(found.argmin())]
    out = np.zeros(x.shape[1])
    out[used] = np.maximum(found, 0) / scale[used]
    return out, float(np.abs(x @ out - 1).max())


def value_at(terms: np.ndarray, people: float, variants: float) -> float:
    return float(terms @ [1, people, variants, people * variants])


def blocks(told: dict[str, Any]) -> list[str]:
    found = studies(told, "chromosomes")
    total = sum(b["variants"] for b in found)
    out = [
        f"{found[0]['samples']:,} people × {total:,} variants, in {len(found)} blocks, deleted one after the other; "
        "in every block the table under CKKS is that of the plain engine, byte for byte. "
        "Medians of blocks of a size.",
        "",
        "| blocks | variants of each | step | seconds | processor seconds | peak memory, MB | written, MB | planned memory, MB |",
        "|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for size in dict.fromkeys(b["variants"] for b in found):
        same = [b for b in found if b["variants"] == size]
        for step in STEPS:
            seconds, cpu, peak, disk = (
                median(b["steps"][step][value] for b in same)
                for value in ("seconds", "cpu_seconds", "peak_bytes", "disk_bytes")
            )
            planned = max(b["planned"][step]["memory_bytes"] for b in same)
            out.append(
                f"| {len(same)} | {size:,} | {step} | {seconds:.1f} | {cpu:.1f} | {peak / 1e6:.0f} | {disk / 1e6:.0f} "
                f"| {planned / 1e6:.0f} |"
            )
    return [*out, "", source(told["chromosomes"]["measured"])]


def shapes(told: dict[str, Any]) -> list[str]:
    """Small studies: bytes stored of a genotype, and processor seconds."""
    out = [
        "| people | variants | columns | stored, bytes per genotype | results, bytes per genotype | encrypt, processor seconds "
        "| server | decrypt | in the clear |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in studies(told, "grid", "columns"):
        stored, returned = (r["steps"][s]["disk_bytes"] / r["samples"] / r["variants"] for s in STORED)
        spent = " | ".join(f"{r['steps'][s]['cpu_seconds']:.1f}" for s in STEPS)
        columns = r["columns"]
        out.append(f"| {r['samples']:,} | {r['variants']:,} | {columns} | {stored:.2f} | {returned:.2f} | {spent} |")
    sources = dict.fromkeys(source(told[kind]["measured"]) for kind in ("grid", "columns") if kind in told)
    return [*out, "", *"\n\n".join(sources).split("\n"), ""]


def federations(told: dict[str, Any]) -> list[str]:
    out = [
        "| sites × people | variants | seconds, all on one machine | processor seconds, all sites | peak memory of a process, MB "
        "| messages of all, MB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for s in studies(told, "people", "sites"):
        found = s["steps"]["site"]
        out.append(
            f"| {s['sites']} × {s['samples']:,} | {s['variants']:,} | {found['seconds']:.1f} | {found['cpu_seconds']:.1f} "
            f"| {found['peak_bytes'] / 1e6:.0f} | {found['disk_bytes'] / 1e6:.2f} |"
        )
    sources = dict.fromkeys(source(told[kind]["measured"]) for kind in ("people", "sites") if kind in told)
    return [*out, "", *"\n\n".join(sources).split("\n")]


def formulas(told: dict[str, Any]) -> list[str]:
    rows = rows_of(told)
    out = [
        f"Fitted to {len(rows)} measured studies: value = base + a·N + b·M + c·N·M, of N people and M variants; no term is "
        "below 0.", "",
        "| step | value | base | a | b | c | largest error of the fit |", "|---|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for step in STEPS:
        for value in ("cpu_seconds", *(["disk_bytes"] if step in STORED else [])):
            terms, error = fitted(rows, step, value)
            out.append(f"| {step} | {value} | " + " | ".join(f"{t:.3g}" for t in terms) + f" | {error:.0%} |")
    return out


def costs(told: dict[str, Any]) -> list[tuple[str, float, float]]:
    """Step, core-hours and terabytes of `PEOPLE` × `VARIANTS`."""
    rows, out = rows_of(told), []
    for step in STEPS:
        hours = value_at(fitted(rows, step, "cpu_seconds")[0], PEOPLE, VARIANTS) / 3600
        disk = value_at(fitted(rows, step, "disk_bytes")[0], PEOPLE, VARIANTS) / 1e12 if step in STORED else 0.0
        out.append((step, hours, disk))
    return out


def computed(told: dict[str, Any]) -> list[str]:
    largest = max(r["samples"] * r["variants"] for r in rows_of(told))
    out = [
        f"By these formulas, at {CORE_HOUR:.2f} dollars for an hour of a core and {DISK_MONTH:.0f} dollars for a terabyte a "
        f"month; {PEOPLE * VARIANTS / largest:,.0f} times the genotypes of the largest study measured. A larger ring, which sums "
        "over more people may need, is not in it: `securegen plan` on the real shape says so.", "",
        "| step | core-hours | dollars | written, TB | dollars a month |", "|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    every = costs(told)
    for step, hours, disk in [*every, ("together", sum(c[1] for c in every), sum(c[2] for c in every))]:
        out.append(f"| {step} | {hours:,.0f} | {hours * CORE_HOUR:,.0f} | {disk:,.2f} | {disk * DISK_MONTH:,.0f} |")
    if found := studies(told, "people"):
        last = found[-1]
        genotypes = last["sites"] * last["samples"] * last["variants"]
        own = last["steps"]["site"]["cpu_seconds"] / genotypes * PEOPLE * VARIANTS / 3600
        out += [
            "",
            f"In the clear at {SITES} sites with as many people together: at most {own:,.0f} core-hours, by genotypes alone.",
        ]
    return out


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
                terms = fitted(rows, step, value)[0]
                return lambda x: value_at(terms, *((number, x) if along == "variants" else (x, number)))

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


def made(told: dict[str, Any]) -> Made:
    shown = pictures(told)

    def of(mark: str, lines: list[str]) -> str:
        links = [p.link for p in shown.get(mark, ())]
        return "\n".join([*links, *([""] if links and lines else []), *lines])

    sections = {
        "blocks": of("blocks", blocks(told)),
        "sites": of("sites", federations(told) if "people" in told or "sites" in told else []),
        "curves": of("curves", [*shapes(told), *formulas(told)]),
        "columns": of("columns", []),
        "projection": of("projection", computed(told)),
    }
    return Made("explanation/scaling-up", sections, {p.name: p for some in shown.values() for p in some})
