"""Kinship, components and the whole-genome model of one owner beside plink2 and NumPy, on the same genotypes in the clear.

2,000 samples × 20,000 variants on four chromosomes, half a percent of calls absent, two threads, files in the page cache. Ids:
implementation and threads; a process of plink2 writes its files. extra_info["work"] counts pairs × variants, samples ×
variants × columns of a round, or samples × variants × block.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed, to_bed

import securegen as sg
from securegen.structure.run import write_components, write_kinship
from securegen.structure.step1 import write_step1

SAMPLES, VARIANTS, PCS, BLOCK, THREADS = 2_000, 20_000, 10, 500, 2


@pytest.fixture
def two_threads():
    before = numba.get_num_threads()
    numba.set_num_threads(THREADS)
    yield
    numba.set_num_threads(before)


@pytest.fixture(scope="module")
def prefix(tmp_path_factory) -> str:
    """Three populations, a phenotype with a heritability, two covariates."""
    rng = np.random.default_rng(3)
    f = np.clip(rng.uniform(0.05, 0.5, VARIANTS)[:, None] + rng.normal(0, 0.05, (VARIANTS, 3)), 0.01, 0.99)
    g = rng.binomial(2, f[:, np.arange(SAMPLES) % 3].T).astype(np.int8)
    effects = rng.normal(size=VARIANTS) / VARIANTS**0.5
    y = g @ effects + rng.normal(size=SAMPLES)
    g[rng.random(g.shape, np.float32) < 0.005] = -127
    ids = [f"I{i}" for i in range(SAMPLES)]
    out = str(tmp_path_factory.mktemp("structure") / "cohort")
    properties = {
        "fid": ids, "iid": ids, "chromosome": np.repeat(["1", "2", "3", "4"], VARIANTS // 4).tolist(),
        "bp_position": list(range(1, VARIANTS + 1)), "sid": [f"v{j}" for j in range(VARIANTS)],
        "allele_1": ["A"] * VARIANTS, "allele_2": ["G"] * VARIANTS,
    }  # fmt: skip
    to_bed(f"{out}.bed", g, properties=properties)
    table = pd.DataFrame({"#FID": ids, "IID": ids, "QT": y.round(6)})
    table.to_csv(f"{out}.pheno.tsv", sep="\t", index=False)
    return out


def plink2(prefix: str, *arguments: str) -> None:
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed (Debian and Ubuntu: apt-get install plink2)")
    call = ["plink2", "--bfile", prefix, *arguments, "--threads", str(THREADS), "--out", f"{prefix}.plink2"]
    subprocess.run(call, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}, check=True, stdout=subprocess.DEVNULL)


def standardised(prefix: str) -> np.ndarray:
    with open_bed(f"{prefix}.bed", num_threads=THREADS) as bed:
        g = bed.read(dtype="float64")
    p = np.nanmean(g, axis=0) / 2
    return np.nan_to_num((g - 2 * p) / np.sqrt(2 * p * (1 - p)))


@pytest.mark.parametrize("implementation", ["plink2", "securegen"])
def test_kinship(benchmark, implementation, prefix, two_threads):
    benchmark.extra_info["work"] = SAMPLES * (SAMPLES - 1) // 2 * VARIANTS
    ours = partial(write_kinship, sg.Inputs(bfile=prefix), f"{prefix}.ours", king_table_filter=0.02)
    theirs = partial(plink2, prefix, "--make-king-table", "--king-table-filter", "0.02")
    benchmark.pedantic(ours if implementation == "securegen" else theirs, rounds=3, warmup_rounds=1)
    assert Path(f"{prefix}.{'ours' if implementation == 'securegen' else 'plink2'}.kin0").exists()


@pytest.mark.parametrize("implementation", ["plink2", "numpy", "securegen"])
def test_components(benchmark, implementation, prefix, two_threads):
    """plink2 and NumPy decompose the matrix of all pairs; ours rounds what sites would total."""
    benchmark.extra_info["work"] = 2 * SAMPLES * VARIANTS * (PCS + 4)
    found: dict[str, np.ndarray] = {}

    def numpy() -> None:
        x = standardised(prefix)
        found["numpy"] = np.linalg.eigh(x @ x.T)[1][:, ::-1][:, :2]

    ours = partial(write_components, sg.Inputs(bfile=prefix), f"{prefix}.ours", pcs=PCS)
    run = {"numpy": numpy, "securegen": ours, "plink2": partial(plink2, prefix, "--pca", str(PCS))}[implementation]
    benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    if implementation == "securegen":
        numpy()
        vectors = pd.read_csv(f"{prefix}.ours.eigenvec", sep="\t").iloc[:, 2:4].to_numpy()
        r = np.linalg.svd(np.linalg.qr(vectors)[0].T @ found["numpy"])[1]
        assert r.min() > 0.99999


@pytest.mark.parametrize("implementation", ["securegen"])
def test_whole_genome_model(benchmark, implementation, prefix, two_threads):
    """regenie is not in a distribution's packages; its step 1 on this cohort is for a machine that has it."""
    benchmark.extra_info["work"] = SAMPLES * VARIANTS * BLOCK
    inputs = sg.Inputs(bfile=prefix, pheno=f"{prefix}.pheno.tsv")
    benchmark.pedantic(write_step1, (inputs, f"{prefix}.model"), {"block": BLOCK}, rounds=3, warmup_rounds=1)
    assert Path(f"{prefix}.model_1.loco").exists()
