"""The server's whole pass of an encrypted linear GWAS beside plink2 --glm and NumPy on the same genotypes in the clear.

2,000 samples × 20,000 variants × 12 covariates and an intercept, two threads (NumPy: as many as its BLAS takes), files in
the page cache. `complete` has every call; `missing` has half a percent absent: plink2 then solves a system of equations a
variant; `large` is complete and of 10,000 × 50,000, too much for NumPy in double precision, and is held against the plain
engine. Ids: implementation, data unless complete, threads. extra_info["work"] counts genotypes × columns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numba
import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed, to_bed
from scipy import stats

import securegen as sg
from securegen.engines.ckks.owner.secret_key import SecretKey
from securegen.engines.plain.engine import write_plain

COVARIATES, THREADS = 12, 2


@dataclass(frozen=True)
class Task:
    """A simulated cohort in a folder, encrypted on first use."""

    folder: Path
    absent: float = 0
    samples: int = 2_000
    variants: int = 20_000

    @cached_property
    def prefix(self) -> str:
        rng = np.random.default_rng(1)
        g = np.empty((self.variants, self.samples), np.int8).T
        for column, f in zip(
            g.T, rng.uniform(0.05, 0.5, self.variants), strict=True
        ):  # to 2^-16, twenty times binomial's pace
            column[:] = (rng.integers(0, 1 << 16, (2, self.samples), np.uint16) < f * 65536).sum(0, np.int8)
            if self.absent:
                column[rng.random(self.samples, np.float32) < self.absent] = -127
        y = rng.normal(size=self.samples) + 0.1 * g[:, 0]
        ids = [f"I{i}" for i in range(self.samples)]
        prefix = str(self.folder / "cohort")
        properties = {
            "fid": ids, "iid": ids, "chromosome": ["1"] * self.variants, "bp_position": list(range(1, self.variants + 1)),
            "sid": [f"v{j}" for j in range(self.variants)], "allele_1": ["A"] * self.variants, "allele_2": ["G"] * self.variants,
        }  # fmt: skip
        to_bed(f"{prefix}.bed", g, properties=properties)
        names = [f"C{k}" for k in range(COVARIATES)]
        for part, values in (("pheno", {"QT": y}), ("covar", dict.fromkeys(names, None))):
            table = pd.DataFrame({"#FID": ids, "IID": ids})
            for name, column in values.items():
                table[name] = np.round(rng.normal(size=self.samples) if column is None else column, 6)
            table.to_csv(f"{prefix}.{part}.tsv", sep="\t", index=False)
        return prefix

    @cached_property
    def study(self) -> sg.Study:
        return sg.open_study(
            self.prefix, pheno=f"{self.prefix}.pheno.tsv", pheno_name=("QT",), covar=f"{self.prefix}.covar.tsv"
        )

    @cached_property
    def encrypted(self) -> tuple[SecretKey, sg.ckks.Encrypted]:
        key = sg.ckks.generate_key(sg.ckks.plan(self.study))
        return key, sg.ckks.encrypt(self.study, key, self.folder / "study")


DATA = {"complete": {}, "missing": {"absent": 0.005}, "large": {"samples": 10_000, "variants": 50_000}}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in DATA}
    yield {name: Task(folder, **DATA[name]) for name, folder in folders.items()}
    for folder in folders.values():
        shutil.rmtree(folder)


@pytest.fixture
def two_threads():
    before = numba.get_num_threads()
    numba.set_num_threads(min(THREADS, before))
    yield
    numba.set_num_threads(before)


def securegen(task: Task):
    """The server: reading, digests, seeds, sums and results. Its answer is decrypted and verified outside."""
    key, paths = task.encrypted
    out = task.folder / "results"

    def check() -> pd.DataFrame:
        tables = sg.ckks.decrypt_tables(out, key, paths.owner, str(task.folder / "ours"))
        plain = write_plain(task.study, str(task.folder / "plain"))
        assert Path(tables[0].path).read_bytes() == Path(plain[0].path).read_bytes()
        return pd.read_csv(tables[0].path, sep="\t")

    return lambda: sg.ckks.associate(paths.cohort, paths.design, out), check


def plink2(task: Task):
    """Its process, with the files it writes."""
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed (Debian and Ubuntu: apt-get install plink2)")
    prefix, out = task.prefix, str(task.folder / "plink2")
    call = ["plink2", "--bfile", prefix, "--pheno", f"{prefix}.pheno.tsv", "--covar", f"{prefix}.covar.tsv"]
    call += ["--glm", "hide-covar", "--threads", str(THREADS), "--out", out]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}

    def run() -> None:
        subprocess.run(call, env=environment, check=True, stdout=subprocess.DEVNULL)

    return run, lambda: pd.read_csv(f"{out}.QT.glm.linear", sep="\t")


def numpy(task: Task):
    """Float64, absent calls at the mean, covariates projected out by a QR decomposition."""
    prefix = task.prefix
    read = lambda part: pd.read_csv(f"{prefix}.{part}.tsv", sep="\t").iloc[:, 2:].to_numpy()
    y, c = read("pheno")[:, 0], np.column_stack([np.ones(task.samples), read("covar")])
    out = {}

    def run() -> None:
        with open_bed(f"{prefix}.bed", num_threads=THREADS) as bed:
            g = bed.read(dtype="float64")
        absent = np.isnan(g)
        mean = np.nanmean(g, axis=0) if absent.any() else None
        if mean is not None:
            g = np.where(absent, mean, g)
        q = np.linalg.qr(c)[0]
        residual = y - q @ (q.T @ y)
        u, v = g.T @ residual, (g * g).sum(0) - ((q.T @ g) ** 2).sum(0)
        df = task.samples - c.shape[1] - 1
        se = np.sqrt((residual @ residual - u * u / v) / df / v)
        out["table"] = pd.DataFrame({"T_STAT": u / v / se, "P": 2 * stats.t.sf(np.abs(u / v / se), df)})

    return run, lambda: out["table"]


def plain(task: Task):
    """Our own engine in the clear."""
    out = []
    return lambda: out.extend(write_plain(task.study, str(task.folder / "plain"))), lambda: pd.read_csv(
        out[0].path, sep="\t"
    )


CASES = [
    pytest.param(f, data, id="-".join([f.__name__, *([] if data == "complete" else [data]), f"t{THREADS}"]))
    for data in DATA
    for f in (plink2, numpy, securegen)
    if (f, data) != (numpy, "large")
]


@pytest.mark.parametrize(("implementation", "data"), CASES)
def test_server_pass(benchmark, implementation, data, tasks, two_threads):
    task = tasks[data]
    run, check = implementation(task)
    benchmark.extra_info["work"] = task.samples * task.variants * (COVARIATES + 2)
    benchmark.pedantic(run, rounds=7 if data == "complete" else 3, warmup_rounds=1)
    t = check()["T_STAT"].to_numpy()
    reference = (plain if data == "large" else numpy)(task)
    reference[0]()
    # the printed promise; with absent calls plink2 leaves people out instead, which moves T by much more
    want = reference[1]()["T_STAT"].to_numpy()
    bound = 1e-3 * (1 + want**2 / (task.samples - COVARIATES - 2))
    if implementation is not plink2:
        assert (np.abs(t - want) <= bound).all()
    elif not task.absent:  # it prints six digits, and tests the rarer allele
        assert (np.abs(np.abs(t) - np.abs(want)) <= bound + 1e-5 * np.abs(want)).all()
