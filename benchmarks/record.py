"""Where and with what numbers were measured, and how they reach the pages: one way for every benchmark.

A file of results/ is JSON: what a benchmark says of itself, and beside it `measured`, the machine, commit and versions.
A page has a mark and its end around what is generated; `page.py` writes all pages and pictures from all files again.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pictures import Picture

HERE = Path(__file__).resolve().parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
PACKAGES = ("numpy", "numba", "blake3", "tenseal", "openfhe", "torch", "crypten")


@dataclass(frozen=True)
class Made:
    """What a page has of a file of results. page: below docs/; sections: mark and what stands between it and its end; pictures:
    by their names."""

    page: str
    sections: dict[str, str]
    pictures: dict[str, Picture] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return DOCS / f"{self.page}.md"

    def written(self, text: str) -> str:
        """The page with its sections. Raises ValueError where a mark is absent."""
        for mark, section in self.sections.items():
            begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
            if text.count(begin) != 1 or text.count(end) != 1:
                raise ValueError(f"{self.page}.md has not one {begin} with its end")
            text = re.sub(
                f"{begin}.*{end}", lambda _, b=begin, s=section, e=end: f"{b}\n\n{s}\n\n{e}", text, flags=re.DOTALL
            )
        return text


def measured() -> dict[str, Any]:
    """Of this moment. load: what else the machine did in the last minute, in processes; ask before work begins."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "load": round(os.getloadavg()[0], 1),
        "commit": _commit(),
        "versions": _versions(),
    }


def source(about: Mapping[str, Any]) -> str:
    """A line under a table: where and with what it was measured, of what is known."""
    system = [about["processor"], f"{about['cores']} cores", about.get("system", "")]
    python = f"Python {about['python']}" if "python" in about else ""
    named = [f"{name} {version}" for name, version in about.get("versions", {}).items()]
    load = f"load {about['load']} before it began" if "load" in about else ""
    facts = ", ".join(filter(None, [*system, python, *named]))
    return f"({facts}; {', '.join(filter(None, ['commit ' + about['commit'], about.get('date', ''), load]))}.)"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def keep(path: Path, results: Mapping[str, Any]) -> None:
    """Write a file of results, whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    part.replace(path)


def _processor() -> str:
    """Its model, and the widest vectors that it has."""
    lines = dict(line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line)
    facts = {key.strip(): value.strip() for key, value in lines.items()}
    flags = facts.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{facts.get('model name', platform.machine())}, {vectors}"


def _said(*words: str) -> str:
    return subprocess.run(words, cwd=HERE.parent, capture_output=True, text=True).stdout.strip()


def _commit() -> str:
    made = (":!benchmarks/results", ":!docs")  # what a run of benchmarks writes
    changes = " and changes" if _said("git", "status", "--porcelain", "--untracked-files=no", "--", ".", *made) else ""
    return (_said("git", "rev-parse", "--short=12", "HEAD") or "unknown") + changes


def _versions() -> dict[str, str]:
    """Of what is installed here."""
    out = {}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "OPENFHE_PYTHON" in os.environ:
        asked = "import importlib.metadata; print(importlib.metadata.version('openfhe'))"
        out["openfhe"] = _said(os.environ["OPENFHE_PYTHON"], "-c", asked)
    if shutil.which("plink2"):
        out["plink2"] = _said("plink2", "--version").split()[1].removeprefix("v")
    return out
