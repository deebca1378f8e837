"""The tables of docs/explanation/benchmarks.md from measured results, which are committed beside this file.

`python benchmarks/page.py bench-out/benchmarks.json` keeps what a run of `make bench` measured as results/benchmarks.json
(processor, commit and versions with it) and writes the tables; without a file it writes them again from what is kept.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from table import Row, rows_of, show, table

HERE = Path(__file__).resolve().parent
KEPT, PAGE = HERE / "results" / "benchmarks.json", HERE.parent / "docs" / "explanation" / "benchmarks.md"
KERNELS = ("residue_mac", "encrypt_block", "ntt", "residue_matmul_reach", "memory_read")
PASS = "server_pass"
SIZES = {"": "2,000 × 20,000, complete", "missing": "2,000 × 20,000, half a percent of the calls missing",
         "large": "10,000 × 50,000, complete"}  # fmt: skip
PACKAGES = ("numpy", "numba", "blake3", "tenseal", "openfhe", "torch", "crypten")


def kept(report: dict[str, Any]) -> dict[str, Any]:
    """What is kept of pytest-benchmark's report: nothing of the machine but its kind, nothing of a benchmark but its figures."""
    cpu = report["machine_info"].get("cpu", {})
    commit = report.get("commit_info", {})
    return {
        "processor": cpu.get("brand_raw") or report["machine_info"].get("machine", "unknown"),
        "cores": cpu.get("count"),
        "system": report["machine_info"].get("system", "unknown"),
        "python": report["machine_info"].get("python_version", "unknown"),
        "date": report.get("datetime", "")[:10],
        "commit": (commit.get("id") or "unknown")[:12] + (" and changes" if commit.get("dirty") else ""),
        "versions": versions(),
        "benchmarks": [
            {
                "name": b["name"], "min": b["stats"]["min"], "median": b["stats"]["median"], "rounds": b["stats"]["rounds"],
                "extra_info": {"work": b["extra_info"]["work"]} if "work" in b["extra_info"] else {},
            }
            for b in report["benchmarks"]
        ],
    }  # fmt: skip


def versions() -> dict[str, str]:
    """Of the peers that are installed here."""
    out = {}
    for name in PACKAGES:
        try:
            out[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if shutil.which("plink2"):
        said = subprocess.run(["plink2", "--version"], capture_output=True, text=True, check=True).stdout
        out["plink2"] = said.split()[1].removeprefix("v")
    return out


def source(results: dict[str, Any]) -> str:
    """A line under a table: where and with what it was measured."""
    named = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    system = f"{results['processor']}, {results['cores']} cores, {results['system']}, Python {results['python']}"
    return f"({system}{', ' if named else ''}{named}; commit {results['commit']}, {results['date']}.)"


def of_pass(results: dict[str, Any]) -> list[str]:
    """Median seconds of a pass of every implementation, a line a cohort, and ratios to plink2's."""
    seconds: dict[str, dict[str, float]] = {}
    for row, one in zip(rows_of(results), results["benchmarks"], strict=True):
        name, _, data = row.task.partition(" ")
        if name == PASS:
            seconds.setdefault(data, {})[row.implementation] = one["median"]
    if not seconds:
        return []
    lines = [
        "| genotypes (12 covariates) | plink2 | NumPy | securegen, encrypted | of plink2's |",
        "|---|---:|---:|---:|---:|",
    ]
    for data, found in seconds.items():
        cells = [show(found[name]) if name in found else "" for name in ("plink2", "numpy", "securegen")]
        both = "plink2" in found and "securegen" in found
        ratio = f"{found['securegen'] / found['plink2']:.2g} ×" if both else ""
        lines.append(f"| {' | '.join([SIZES.get(data, data), *cells, ratio])} |")
    return lines


def sections(results: dict[str, Any]) -> dict[str, str]:
    """Mark -> what stands between it and its end."""

    def of(wanted: Any) -> list[str]:
        rows: list[Row] = [r for r in rows_of(results) if wanted(r.task.split()[0])]
        return table(rows).splitlines() if rows else []

    made = {
        "results": of(lambda task: task in KERNELS),
        "pass": of_pass(results),
        "others": of(lambda task: task not in (*KERNELS, PASS)),
    }
    nothing = ["The run that is kept has none of these."]
    return {mark: "\n".join([*(lines or nothing), "", source(results)]) for mark, lines in made.items()}


def written(page: str, results: dict[str, Any]) -> str:
    """The page with its tables. Raises ValueError where a mark is absent."""
    for mark, text in sections(results).items():
        begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the page has not one {begin} with its end")
        page = re.sub(f"{begin}.*{end}", lambda _, b=begin, t=text, e=end: f"{b}\n\n{t}\n\n{e}", page, flags=re.DOTALL)
    return page


def main(report: str | None = None) -> None:
    if report is not None:
        KEPT.parent.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps(kept(json.loads(Path(report).read_text())), indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(written(PAGE.read_text(), json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main(*sys.argv[1:])
