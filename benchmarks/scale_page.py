"""docs/explanation/scaling-up.md from what `scale/run.py` measured.

Tables of what was measured, formulas fitted to it, and what they say of 500,000 people × 10 million variants. What is measured
and what is computed stand apart, in tables and in pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from record import Made, source
from scale_bytes import STORED, hours_at, largest_error, plan_at
from scale_curves import pictures
from scale_formulas import (
    CORE_HOUR,
    DISK_MONTH,
    PEOPLE,
    SITES,
    STEPS,
    VARIANTS,
    by,
    costs,
    fitted,
    rows_of,
    studies,
)


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


BYTES = """Written bytes are computed, not fitted: they change by steps where the plan chooses another ring, pack or number of
digits. With N people, M variants, J ciphertexts of columns, ring degree n, k primes, b people and d variants a coefficient
there are G = ⌈N/b⌉ groups, S strands of n·d/b variants in B blocks, Q = Σ ⌈variants of a block / n⌉ polynomials of Σ g², each
of P = 4·n·k bytes:

    encrypt: (S·G + J·G + Q) · P + N·(80 + 24·B) + 60·M
    server:  (S·((J + 1)/b + 1) + B·(J + 2) + Q + B) · P
"""


def formulas(told: dict[str, Any]) -> list[str]:
    rows = rows_of(told)
    out = [
        f"Processor seconds, fitted to {len(rows)} measured studies: value = base + a·N + b·M + c·N·M, of N people and M "
        "variants; no term is below 0.", "",
        "| step | base | a | b | c | largest error of the fit |", "|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for step in STEPS:
        terms, error = fitted(rows, step, "cpu_seconds")
        out.append(f"| {step} | " + " | ".join(f"{t:.3g}" for t in terms) + f" | {error:.0%} |")
    every = [*rows, *studies(told, "columns")]
    errors = " and ".join(f"{largest_error(every, step):.2%} ({step})" for step in STORED)
    return [*out, "", *BYTES.split("\n"), f"The largest error against {len(every)} measured studies is {errors}."]


def lines_of(told: dict[str, Any], kind: str, along: str, each: str, steps: Sequence[str]) -> list[str]:
    """The formulas of one size, where studies differ in nothing else."""
    rows = studies(told, kind)
    if len(rows) < 2:
        return []
    out = [
        f"| step | value | base | {each} | largest error of the fit |",
        "|---|---|---:|---:|---:|",
    ]
    for step in steps:
        values = [
            "cpu_seconds",
            *(["disk_bytes", "peak_bytes"] if step == "site" else []),
        ]
        for value in values:
            (base, slope), error = fitted(rows, step, value, by(along))
            out.append(f"| {step} | {value} | {base:.3g} | {slope:.3g} | {error:.0%} |")
    return [*out, ""]


def computed(told: dict[str, Any]) -> list[str]:
    largest = max(r["samples"] * r["variants"] for r in rows_of(told))
    p = plan_at(PEOPLE, VARIANTS).parameters
    out = [
        f"Core-hours by the fitted formulas, bytes by the plan of this shape, at {CORE_HOUR:.2f} dollars for an hour of a core "
        f"and {DISK_MONTH:.0f} dollars for a terabyte a month; {PEOPLE * VARIANTS / largest:,.0f} times the genotypes of the "
        f"largest study measured. The plan takes n = {p.ring.n:,} and {len(p.ring.primes)} primes for so many people. The "
        "formulas were fitted to smaller rings; the last column has the hours that the plan expects.", "",
        "| step | core-hours | dollars | written, TB | dollars a month | core-hours by the plan |",
        "|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    planned = {step: hours_at(step, PEOPLE, VARIANTS) for step in STEPS}
    planned["together"] = sum(planned.values())
    every = costs(told)
    for step, hours, disk in [*every, ("together", sum(c[1] for c in every), sum(c[2] for c in every))]:
        money = f"{hours * CORE_HOUR:,.0f} | {disk:,.2f} | {disk * DISK_MONTH:,.0f}"
        out.append(f"| {step} | {hours:,.0f} | {money} | {planned[step]:,.0f} |")
    if found := studies(told, "people"):
        last = found[-1]
        genotypes = last["sites"] * last["samples"] * last["variants"]
        own = last["steps"]["site"]["cpu_seconds"] / genotypes * PEOPLE * VARIANTS / 3600
        out += [
            "",
            f"In the clear at {SITES} sites with as many people together: at most {own:,.0f} core-hours, by genotypes alone.",
        ]
    return out


def made(told: dict[str, Any]) -> Made:
    shown = pictures(told)

    def of(mark: str, lines: list[str]) -> str:
        links = [p.link for p in shown.get(mark, ())]
        return "\n".join([*links, "", *lines]).strip()

    sections = {
        "blocks": of("blocks", blocks(told)),
        "sites": of(
            "sites",
            [
                *lines_of(told, "people", "samples", "a person of each site", ("site",)),
                *lines_of(told, "sites", "sites", "a site", ("site",)),
                *(federations(told) if "people" in told or "sites" in told else []),
            ],
        ),
        "curves": of("curves", [*shapes(told), *formulas(told)]),
        "columns": of("columns", lines_of(told, "columns", "columns", "a column", STEPS)),
        "projection": of("projection", computed(told)),
    }
    return Made("explanation/scaling-up", sections, {p.name: p for some in shown.values() for p in some})
