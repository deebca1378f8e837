"""A Markdown table of ratios from pytest-benchmark's JSON: `python benchmarks/table.py benchmarks.json`.

A row is one implementation of one task, its time the shortest round. The ratios say how many times as long as securegen
it took for the same work, against securegen on one and on two threads.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import source

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


@dataclass(frozen=True)
class Row:
    """task: name and sizes; seconds: shortest round; work: units a round, or None where none were counted."""

    task: str
    implementation: str
    threads: int
    seconds: float
    work: float | None

    @property
    def cost(self) -> float:
        return self.seconds / self.work if self.work else self.seconds


def rows_of(report: dict[str, Any]) -> list[Row]:
    """Rows in order, of a report or of what is kept of one. Ids are test_TASK[IMPLEMENTATION-SIZE…-tTHREADS]."""
    rows = []
    for benchmark in report["benchmarks"]:
        name, _, inner = benchmark["name"].removesuffix("]").partition("[")
        implementation, *rest = inner.split("-")
        threads = next((int(p[1:]) for p in rest if re.fullmatch(r"t\d+", p)), 1)
        sizes = [p for p in rest if not re.fullmatch(r"t\d+", p)]
        task = " ".join([name.removeprefix("test_"), *sizes])
        seconds = benchmark.get("stats", benchmark)["min"]
        rows.append(Row(task, implementation, threads, seconds, benchmark["extra_info"].get("work")))
    return rows


def show(seconds: float) -> str:
    """Three digits and a unit.

    >>> show(0.00123), show(5e-10)
    ('1.23 ms', '0.5 ns')
    """
    scale, unit = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    return f"{seconds / scale:.3g} {unit}"


def table(rows: Iterable[Row]) -> str:
    """Markdown, one line an implementation."""
    tasks: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        tasks[row.task].append(row)
    lines = [
        "| task | implementation | threads | time | a unit of work | × securegen, 1 thread | × securegen, 2 threads |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for task, members in tasks.items():
        ours = {r.threads: r.cost for r in members if r.implementation == "securegen"}
        for r in members:
            ratios = [f"{r.cost / ours[t]:.3g}" if t in ours else "" for t in (1, 2)]
            cells = [task, r.implementation, str(r.threads), show(r.seconds), show(r.cost) if r.work else "", *ratios]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(path: str) -> None:
    report = json.loads(Path(path).read_text())
    print(source(report["measured"]), "", table(rows_of(report)), sep="\n")


if __name__ == "__main__":
    main(sys.argv[1])
