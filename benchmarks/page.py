"""Pages and pictures of what was measured: `python benchmarks/page.py` writes all of docs/ that comes from results/.

`python benchmarks/page.py bench-out/benchmarks.json` keeps a new run as results/benchmarks.json first; so for the others, by
their names.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import messages
import peers_page
import published_page
import record
import scale_page
from record import Made

PAGES: dict[str, tuple[Callable[[dict[str, Any]], Made], ...]] = {
    "benchmarks": (peers_page.made, peers_page.made_of_mpc),
    "published": (published_page.made,),
    "scale": (scale_page.made,),
    "messages": (messages.made,),
}
PICTURES = record.DOCS / "explanation" / "pictures"


def all_made() -> dict[str, Made]:
    """By their pages."""
    every = [make(record.read(name)) for name, makers in PAGES.items() for make in makers]
    return {made.page: made for made in every}


def keep(report: Path) -> None:
    told = json.loads(report.read_text())
    if report.stem not in PAGES:
        raise SystemExit(f"{report}: results are named {', '.join(PAGES)}")
    record.keep(record.RESULTS / report.name, peers_page.kept(told) if report.stem == "benchmarks" else told)


def main(*reports: str) -> None:
    for report in map(Path, reports):
        keep(report)
    PICTURES.mkdir(exist_ok=True)
    files = {}
    for made in all_made().values():
        made.path.write_text(made.written(made.path.read_text()))
        files |= {f"{name}.svg": picture.svg() for name, picture in made.pictures.items()}
    for name, text in files.items():
        (PICTURES / name).write_text(text)
    for old in PICTURES.glob("*.svg"):
        if old.name not in files:
            old.unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
