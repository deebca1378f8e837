"""Published settings at their sizes, on this machine: `python benchmarks/published.py --out published.json [--only NAME]`.

Each setting is simulated at the size that its authors state, and run by the commands that a user would type, with all
processes, files and checks. The JSON has seconds and bytes as the commands record them, beside the figure that was
published and its source; `benchmarks/page.py` writes the page from it. Other people's figures are of their
machines: they say what order of magnitude it is, not who is faster by how much.
"""

from __future__ import annotations

import argparse
import json
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import record
from bed_reader import to_bed


@dataclass(frozen=True)
class Setting:
    """what: the work; published: their figure and machine; source: where it stands; make: writes the cohort; run: a command."""

    name: str
    what: str
    published: str
    source: str
    make: Callable[[Path], None]
    run: str


def write_cohort(
    folder: Path, samples: int, variants: int, covariates: int, prefix: str = "cohort", seed: int = 1
) -> None:
    """A simulated PLINK1 fileset with traits QT and CC and covariates C1, C2, …"""
    rng = np.random.default_rng(seed)
    frequencies = rng.uniform(0.05, 0.5, variants)
    g = np.empty((samples, variants), np.int8, order="F")
    for j in range(variants):
        g[:, j] = rng.binomial(2, frequencies[j], samples)
    ids = [f"{prefix}{i}" for i in range(samples)]
    chromosomes = 1 + np.arange(variants) * 22 // variants
    properties = {
        "fid": ids, "iid": ids, "chromosome": chromosomes.astype(str), "bp_position": 1 + np.arange(variants),
        "sid": [f"v{j}" for j in range(variants)], "allele_1": ["A"] * variants, "allele_2": ["G"] * variants,
    }  # fmt: skip
    to_bed(folder / f"{prefix}.bed", g, properties=properties)
    people = pd.DataFrame({"#FID": ids, "IID": ids})
    trait = rng.normal(size=samples) + 0.1 * g[:, 0]
    cases = np.where(trait > np.median(trait), 2, 1)
    people.assign(QT=trait.round(6), CC=cases).to_csv(folder / f"{prefix}.pheno.tsv", sep="\t", index=False)
    drawn = {f"C{k + 1}": rng.normal(size=samples).round(6) for k in range(covariates)}
    people.assign(**drawn).to_csv(folder / f"{prefix}.covar.tsv", sep="\t", index=False)


def write_score(folder: Path, variants: int) -> None:
    rng = np.random.default_rng(2)
    score = pd.DataFrame(
        {"ID": [f"v{j}" for j in range(variants)], "A1": "A", "BETA": rng.normal(0, 0.01, variants).round(6)}
    )
    score.to_csv(folder / "cohort.score.tsv", sep="\t", index=False)


def scored(folder: Path, samples: int, variants: int) -> None:
    write_cohort(folder, samples, variants, 0)
    write_score(folder, variants)


def two_sites(folder: Path) -> None:
    for site in (1, 2):
        write_cohort(folder, 1_000, 100_000, 10, f"site{site}", seed=site)
    for part in ("pheno", "covar"):
        tables = [pd.read_csv(folder / f"site{s}.{part}.tsv", sep="\t") for s in (1, 2)]
        pd.concat(tables).to_csv(folder / f"cohort.{part}.tsv", sep="\t", index=False)


COVAR = "--covar cohort.covar.tsv"
SETTINGS = (
    Setting(
        "idash-2018",
        "case/control association, 245 people × 10,643 variants × 3 covariates, encrypted",
        "43 s",
        "[Kim et al. 2020](https://doi.org/10.1186/s12920-020-0724-z)",
        lambda folder: write_cohort(folder, 245, 10_643, 3),
        f"run-local gwas --engine ckks --model logistic --bfile cohort --pheno cohort.pheno.tsv --pheno-name CC {COVAR}",
    ),
    Setting(
        "score-1000",
        "case/control association, 1,000 people × 131,071 variants × 3 covariates, encrypted",
        "about 10 minutes on 28 cores",
        "[Blatt et al. 2020](https://doi.org/10.1186/s12920-020-0719-9)",
        lambda folder: write_cohort(folder, 1_000, 131_071, 3),
        f"run-local gwas --engine ckks --model logistic --bfile cohort --pheno cohort.pheno.tsv --pheno-name CC {COVAR}",
    ),
    Setting(
        "allelic-200",
        "allelic χ², 200 people × 16,384 variants, encrypted",
        "encryption by 200 owners 3.7 s, server 0.23 to 0.28 s, one core of a laptop; each owner forms g·y in the clear",
        "[The Blind Machine](https://github.com/blindmachine/the-blind-machine-paper), after "
        "[Blatt et al. 2020](https://doi.org/10.1073/pnas.1918257117)",
        lambda folder: write_cohort(folder, 200, 16_384, 0),
        "run-local gwas --engine ckks --model allelic --bfile cohort --pheno cohort.pheno.tsv --pheno-name CC",
    ),
    Setting(
        "scores-1146",
        "scores, 110,258 variants × 1,146 people, public model, encrypted genotypes",
        "HEPRS (model encrypted too): 6 min, 65 GB; The Blind Machine (public model): 2.5 min, 0.44 GB",
        "[Knight et al. 2026](https://doi.org/10.1016/j.crmeth.2025.101271), "
        "[The Blind Machine](https://github.com/blindmachine/the-blind-machine-paper)",
        lambda folder: scored(folder, 1_146, 110_258),
        "run-local prs --engine ckks --bfile cohort --score cohort.score.tsv",
    ),
    Setting(
        "scores-1146-hidden",
        "the same with the model encrypted too",
        "HEPRS: 6 min, 65 GB",
        "[Knight et al. 2026](https://doi.org/10.1016/j.crmeth.2025.101271)",
        lambda folder: scored(folder, 1_146, 110_258),
        "run-local prs --engine ckks --encrypted-model --bfile cohort --score cohort.score.tsv",
    ),
    Setting(
        "sites-2",
        "two sites, 2 × 1,000 people × 100,000 variants, 5 covariates and 5 components given as covariates",
        "SF-GWAS's example: about 30 minutes and 4.7 GB, with quality control and components of all sites",
        "[SF-GWAS](https://github.com/hhcho/sfgwas)",
        two_sites,
        f"run-local gwas --engine federated --sites 2 --two-sites-learn-each-other --bfile site1 --bfile site2 "
        f"--pheno cohort.pheno.tsv --pheno-name QT {COVAR}",
    ),
)


def measured(setting: Setting, folder: Path) -> dict[str, object]:
    """What the command recorded, its wall time, and the largest resident set of its processes."""
    setting.make(folder)
    command = [sys.executable, "-m", "securegen", *shlex.split(setting.run), "--out", "result"]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{setting.name}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    told = json.loads((folder / "result.run.json").read_text())
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    kept = {key: told.get(key) for key in ("seconds", "bytes", "version")}
    about = {k: v for k, v in asdict(setting).items() if k != "make"}
    return about | kept | {"wall": round(wall, 2), "peak_rss_bytes": told.get("peak_rss_bytes") or peak}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--only", action="append", choices=[s.name for s in SETTINGS])
    options = parser.parse_args()
    results, about = [], record.measured()
    for setting in SETTINGS:
        if options.only and setting.name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            results.append(measured(setting, Path(folder)))
        print(f"{setting.name}: {results[-1]['wall']} s", file=sys.stderr, flush=True)
    record.keep(Path(options.out), {"measured": about, "settings": results})


if __name__ == "__main__":
    main()
