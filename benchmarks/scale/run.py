"""Proof of scale: large simulated studies in blocks, each measured, within a budget of minutes; JSON of what was measured.

    python benchmarks/scale/run.py chromosomes --minutes 12 --out scale.json   # 5,000 people × 1,000,000 variants
    python benchmarks/scale/run.py sites --minutes 6 --out scale.json          # 3 sites × 400,000 people
    python benchmarks/scale/run.py grid --minutes 2 --out scale.json           # small sizes, for the formulas
    python benchmarks/scale/page.py scale.json docs/explanation/scaling-up.md

`chromosomes` makes one block of variants after another, analyses it in the clear and under CKKS with all roles, compares both
tables to the byte and deletes everything: disk stays that of a block. The first blocks are of one, two and four times
`--block` variants, all others of four times: memory is flat and time linear in variants. Where the budget ends first, the
blocks that were done are what is recorded. Results of a name replace earlier ones in the file.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cohort import COVARIATES
from measure import Measured, bytes_of, commands, make_cohort, pass_file, securegen, together

STEPS = ("plan", "keygen", "encrypt", "server", "decrypt", "gwas")
WRITTEN = {"encrypt": ("study.cohort", "study.design", "study.owner"), "server": ("sums.results",)}


def study(folder: Path, samples: int, variants: int, threads: int, number: int = 1) -> dict[str, Any]:
    """All steps of one block of variants; the encrypted table must be that of the plain engine."""
    make_cohort(folder / "c", samples, variants, number, 0, number)
    pass_file(folder)
    out: dict[str, Any] = {"samples": samples, "variants": variants, "steps": {}}
    for name, words in commands("c", threads).items():
        if name in STEPS:
            found = securegen(*words, folder=folder, threads=threads).to_json()
            found["disk_bytes"] = bytes_of(*(folder / path for path in WRITTEN.get(name, ())))
            out["steps"][name] = found
    if not filecmp.cmp(folder / "result.QT.glm.linear", folder / "plain.QT.glm.linear", shallow=False):
        raise SystemExit("the encrypted table is not that of the plain engine")
    planned = json.loads((folder / "plan.run.json").read_text())["steps"]
    out["planned"] = {name: planned[name] for name in ("gwas", "encrypt", "server", "decrypt")}
    return out


def chromosomes(options: argparse.Namespace, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Blocks until the variants or the minutes end."""
    done, number, longest = 0, 0, 0.0
    while done < options.variants:
        size = min(options.block * (1, 2, 4)[min(number, 2)], options.variants - done)
        if clock() < 1.2 * longest:
            return
        begin = time.monotonic()
        number += 1
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            yield study(Path(folder), options.samples, size, options.threads, number)
        done += size
        longest = max(longest, time.monotonic() - begin)


SITES = ("uppsala", "tartu", "leiden")


def sites(options: argparse.Namespace, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """A study of three sites, each with its own files and process, at three numbers of people a site: the largest process."""
    for people in (options.people // 4, options.people // 2, options.people):
        if clock() < 30:
            return
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            folder = Path(name)
            for s, site in enumerate(SITES):
                make_cohort(folder / site, people, options.site_variants, s + 1, s * people)
                one("site", "keygen", "--state", f"{site}.state", "--out", f"{site}.public", folder=folder)
                one("site", "variants", "--bfile", site, "--out", f"{site}.variants.tsv", folder=folder)
            named = [w for s in SITES for w in ("--site", f"{s}={s}.public", "--variants", f"{s}.variants.tsv")]
            covariates = [w for k in range(COVARIATES) for w in ("--covariate", f"C{k + 1}")]
            one(
                "study", "init", "--dir", "shared", "--key", "coordinator.secret", "--name", "scale", *named, *covariates,
                "--phenotype", "QT=quantitative", "--purpose", "scale", "--contact", "x@example.org", "--expires", "2099-12-31",
                folder=folder,
            )  # fmt: skip
            for site in SITES:
                one("study", "join", "--dir", "shared", "--state", f"{site}.state", "--trust-study-file", folder=folder)
            runs = [
                ["site", "run", "--dir", "shared", "--state", f"{s}.state", "--bfile", s, "--pheno", f"{s}.pheno.tsv", "--covar",
                 f"{s}.covar.tsv", "--wait", 3600, "--out", f"{s}.out"] for s in SITES
            ]  # fmt: skip
            found = together(runs, folder=folder, threads=1)
            whole = Measured(
                max(m.seconds for m in found), sum(m.cpu_seconds for m in found), max(m.peak_bytes for m in found),
                bytes_of(folder / "shared"),
            )  # fmt: skip
            yield {
                "sites": len(SITES),
                "samples": people,
                "variants": options.site_variants,
                "steps": {"site": whole.to_json()},
            }


def one(*words: object, folder: Path) -> None:
    """A step of the deployment that takes no time worth a number."""
    securegen(*words, folder=folder, threads=1)


def grid(options: argparse.Namespace, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Small sizes: formulas are fitted to these and to the blocks."""
    for samples, variants in ((1_000, 10_000), (1_000, 40_000), (4_000, 10_000), (16_000, 5_000), (4_000, 40_000)):
        if clock() < 20:
            return
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            yield study(Path(folder), samples, variants, options.threads)


KINDS = {"chromosomes": chromosomes, "sites": sites, "grid": grid}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no further block begins")
    parser.add_argument("--out", type=Path, default=Path("scale.json"))
    parser.add_argument("--samples", type=int, default=5_000, help="of chromosomes")
    parser.add_argument("--variants", type=int, default=1_000_000, help="of chromosomes")
    parser.add_argument("--block", type=int, default=50_000, help="variants of the first block")
    parser.add_argument("--people", type=int, default=400_000, help="of each site")
    parser.add_argument("--site-variants", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where blocks are written and deleted")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    found: list[dict[str, Any]] = []
    for block in KINDS[options.kind](options, lambda: end - time.monotonic()):
        found.append(block)
        seconds = {name: step["seconds"] for name, step in block["steps"].items()}
        print(f"{options.kind} {len(found)}: {block['samples']} × {block['variants']}, {seconds}", flush=True)
        _keep(options, found)


def _keep(options: argparse.Namespace, found: list[dict[str, Any]]) -> None:
    """Put what is there so far into the file: a run that is stopped leaves its blocks."""
    told = json.loads(options.out.read_text()) if options.out.exists() else {}
    told["machine"] = {"cores": options.threads, "processor": platform.processor() or platform.machine()}
    told[options.kind] = found
    part = options.out.with_suffix(".part")
    part.write_text(json.dumps(told, indent=1) + "\n")
    shutil.move(part, options.out)


if __name__ == "__main__":
    main()
