"""What `published.py` measured, as the table of docs/explanation/other-systems.md."""

from __future__ import annotations

from typing import Any

from record import Made, source

from securegen.plot.run import human_bytes


def flat(record: dict[str, Any]) -> float:
    """The sum of the numbers of a record, however it is nested."""
    return sum(flat(v) if isinstance(v, dict) else v for v in record.values() if isinstance(v, dict | int | float))


def row(setting: dict[str, Any]) -> str:
    stages = {k: v for k, v in (setting["seconds"] or {}).items() if k != "total" and isinstance(v, int | float)}
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
    cells = (
        setting["what"], f"{setting['wall']:.0f} s", spent, human_bytes(flat(setting["bytes"] or {})),
        human_bytes(setting["peak_rss_bytes"]), setting["published"], setting["source"],
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def made(results: dict[str, Any]) -> Made:
    lines = [
        "| setting | here, whole command | of it, seconds | bytes sent and stored | peak of a process | published | source |",
        "|---|---|---|---|---|---|---|",
        *map(row, results["settings"]),
        "",
        source(results["measured"]),
    ]
    return Made("explanation/other-systems", {"published": "\n".join(lines)})
