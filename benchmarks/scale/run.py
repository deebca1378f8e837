"""Proof of scale: large simulated studies in blocks, each measured, within a budget of minutes; JSON of what was measured.

    python benchmarks/scale/run.py chromosomes --minutes 12   # 5,000 people × 1,000,000 variants
    python benchmarks/scale/run.py grid --minutes 5           # small sizes, for the formulas
    python benchmarks/scale/run.py columns --minutes 4        # from 4 to 64 columns of one study
    python benchmarks/scale/run.py people --minutes 6         # 3 sites × up to 400,000 people
    python benchmarks/scale/run.py sites --minutes 4          # from 3 to 12 sites
    python benchmarks/page.py

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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cohort import COVARIATES
from measure import Measured, bytes_of, commands, make_cohort, pass_file, securegen, together

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from record import RESULTS, keep, measured  # noqa: E402

STEPS = ("plan", "keygen", "encrypt", "server", "decrypt", "gwas")
WRITTEN = {"encrypt": ("study.cohort", "study.design", "study.owner"), "server": ("sums.results",)}
Clock = Callable[[], float]
Studies = Iterator[dict[str, Any]]


def study(
    options: argparse.Namespace, samples: int, variants: int, number: int = 1, covariates: int = COVARIATES
) -> dict[str, Any]:
    """All steps of one block of variants; the encrypted table must be that of the plain engine."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        make_cohort(
            folder / "c", samples=samples, variants=variants, seed=number, chromosome=number, covariates=covariates
        )
        pass_file(folder)
        out: dict[str, Any] = {"samples": samples, "variants": variants, "columns": covariates + 2, "steps": {}}
        for step, words in commands("c", options.threads).items():
            if step in STEPS:
                found = securegen(*words, folder=folder, threads=options.threads).to_json()
                found["disk_bytes"] = bytes_of(*(folder / path for path in WRITTEN.get(step, ())))
                out["steps"][step] = found
        if not filecmp.cmp(folder / "result.QT.glm.linear", folder / "plain.QT.glm.linear", shallow=False):
            raise SystemExit("the encrypted table is not that of the plain engine")
        planned = json.loads((folder / "plan.run.json").read_text())["steps"]
        out["planned"] = {step: planned[step] for step in ("gwas", "encrypt", "server", "decrypt")}
        return out


def chromosomes(options: argparse.Namespace, clock: Clock) -> Studies:
    """Blocks until the variants or the minutes end."""
    done, number, longest = 0, 0, 0.0
    while done < options.variants:
        size = min(options.block * (1, 2, 4)[min(number, 2)], options.variants - done)
        if clock() < 1.2 * longest:
            return
        begin = time.monotonic()
        number += 1
        yield study(options, options.samples, size, number)
        done += size
        longest = max(longest, time.monotonic() - begin)


GRID = ((1_000, 10_000), (2_000, 10_000), (4_000, 10_000), (8_000, 10_000), (16_000, 10_000), (1_000, 40_000), (4_000, 40_000),
        (5_000, 20_000))  # fmt: skip


def grid(options: argparse.Namespace, clock: Clock) -> Studies:
    """Small sizes: formulas are fitted to these and to the blocks."""
    for samples, variants in GRID:
        if clock() < 20:
            return
        yield study(options, samples, variants)


def columns(options: argparse.Namespace, clock: Clock) -> Studies:
    """Columns of the design: covariates, the intercept and the phenotype."""
    for number in (4, 8, 16, 32, 64):
        if clock() < 30:
            return
        yield study(options, 4_000, 20_000, covariates=number - 2)


def people(options: argparse.Namespace, clock: Clock) -> Studies:
    """A study of three sites, each with its own files and process, at three numbers of people a site."""
    for number in (options.people // 4, options.people // 2, options.people):
        if clock() < 30:
            return
        yield federation(options, 3, number)


def sites(options: argparse.Namespace, clock: Clock) -> Studies:
    """More and more sites, each of as many people."""
    for number in (3, 4, 6, 8, 12):
        if clock() < 30:
            return
        yield federation(options, number, options.people // 40)


def federation(options: argparse.Namespace, number: int, people: int) -> dict[str, Any]:
    """A study of sites as a deployment does it: seconds of the slowest, processor seconds of all, memory of the largest."""
    names, variants = [f"site{s + 1}" for s in range(number)], options.site_variants
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)

        def one(*words: object) -> None:
            securegen(*words, folder=folder, threads=1)

        for s, site in enumerate(names):
            make_cohort(folder / site, samples=people, variants=variants, seed=s + 1, people_from=s * people)
            one("site", "keygen", "--state", f"{site}.state", "--out", f"{site}.public")
            one("site", "variants", "--bfile", site, "--out", f"{site}.variants.tsv")
        named = [w for s in names for w in ("--site", f"{s}={s}.public", "--variants", f"{s}.variants.tsv")]
        covariates = [w for k in range(COVARIATES) for w in ("--covariate", f"C{k + 1}")]
        one(
            "study", "init", "--dir", "shared", "--key", "coordinator.secret", "--name", "scale", *named, *covariates,
            "--phenotype", "QT=quantitative", "--purpose", "scale", "--contact", "x@example.org", "--expires", "2099-12-31",
        )  # fmt: skip
        for site in names:
            one("study", "join", "--dir", "shared", "--state", f"{site}.state", "--trust-study-file")
        runs = [
            ["site", "run", "--dir", "shared", "--state", f"{s}.state", "--bfile", s, "--pheno", f"{s}.pheno.tsv", "--covar",
             f"{s}.covar.tsv", "--wait", 3600, "--out", f"{s}.out"] for s in names
        ]  # fmt: skip
        found = together(runs, folder=folder, threads=1)
        whole = Measured(
            max(m.seconds for m in found), sum(m.cpu_seconds for m in found), max(m.peak_bytes for m in found),
            bytes_of(folder / "shared"),
        )  # fmt: skip
    return {"sites": number, "samples": people, "variants": variants, "steps": {"site": whole.to_json()}}


KINDS = {kind.__name__: kind for kind in (chromosomes, grid, columns, people, sites)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--minutes", type=float, default=10.0, help="after which no further block begins")
    parser.add_argument("--out", type=Path, default=RESULTS / "scale.json")
    parser.add_argument("--samples", type=int, default=5_000, help="of chromosomes")
    parser.add_argument("--variants", type=int, default=1_000_000, help="of chromosomes")
    parser.add_argument("--block", type=int, default=50_000, help="variants of the first block")
    parser.add_argument("--people", type=int, default=400_000, help="of the largest site; of sites a fortieth each")
    parser.add_argument("--site-variants", type=int, default=3_000)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where blocks are written and deleted")
    options = parser.parse_args()
    about, end = measured(), time.monotonic() + 60 * options.minutes
    studies: list[dict[str, Any]] = []
    for found in KINDS[options.kind](options, lambda: end - time.monotonic()):
        studies.append(found)
        seconds = {name: step["seconds"] for name, step in found["steps"].items()}
        print(f"{options.kind} {len(studies)}: {found['samples']} × {found['variants']}, {seconds}", flush=True)
        told = json.loads(options.out.read_text()) if options.out.exists() else {}
        keep(options.out, told | {options.kind: {"measured": about, "studies": studies}})


if __name__ == "__main__":
    main()
