"""What `published.py` measured, as a table: `published_page.py RESULTS.json [PAGE.md]` prints it, or puts it into a page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- published -->", "<!-- end of published -->"


def amount(size: float) -> str:
    """Bytes to three digits.

    >>> amount(1529e6), amount(64.0e6), amount(4.2e9)
    ('1.53 GB', '64 MB', '4.2 GB')
    """
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def flat(record: dict[str, Any]) -> float:
    """The sum of the numbers of a record, however it is nested."""
    return sum(flat(v) if isinstance(v, dict) else v for v in record.values() if isinstance(v, dict | int | float))


def row(setting: dict[str, Any]) -> str:
    stages = {k: v for k, v in (setting["seconds"] or {}).items() if k != "total" and isinstance(v, int | float)}
    spent = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items())
    cells = (
        setting["what"], f"{setting['wall']:.0f} s", spent, amount(flat(setting["bytes"] or {})),
        amount(setting["peak_rss_bytes"]), setting["published"], setting["source"],
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def table(results: dict[str, Any]) -> str:
    machine = results["machine"]
    return "\n".join([
        "| setting | here, whole command | of it, seconds | bytes sent and stored | peak of a process | published | source |",
        "|---|---|---|---|---|---|---|",
        *map(row, results["settings"]),
        "",
        f"({machine['processor']}, {machine['cores']} cores, Python {machine['python']}, commit {results['commit']}.)",
    ])  # fmt: skip


def written(page: str, results: dict[str, Any]) -> str:
    """The page with the table between its two marks."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{table(results)}\n\n{END}", page, flags=re.DOTALL)


def main(results: str, page: str | None = None) -> None:
    found = json.loads(Path(results).read_text())
    if page is None:
        print(table(found))
    else:
        Path(page).write_text(written(Path(page).read_text(), found))


if __name__ == "__main__":
    main(*sys.argv[1:])
