"""Whole runs from files to tables: every split writes the plain engine's tables, text for text."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed

from securegen.engines.mpc.aggregates import deal, genotype_run, phenotype_run
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.engines.plain.engine import write_plain
from securegen.errors import PolicyError
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.opening import open_study

ROOT = Path(__file__).parents[3]
N, M = 240, 90


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A cohort with missing calls, people without phenotype, a quantitative and a case/control trait."""
    folder = tmp_path_factory.mktemp("cohort")
    draw = np.random.default_rng(31)
    g = draw.binomial(2, draw.uniform(0.05, 0.5, M), (N, M)).astype(np.float64)
    g[draw.random((N, M)) < 0.02] = np.nan
    g[:, 30:60] = np.nan_to_num(g[:, 30:60])
    ids = [f"p{i}" for i in range(N)]
    age = draw.normal(50, 10, N).round(1)
    sex = draw.integers(1, 3, N)
    qt = (0.03 * age + 0.4 * np.nan_to_num(g[:, 5]) + draw.normal(size=N)).round(4)
    cc = 1 + (qt > np.median(qt)).astype(int)
    names = {
        "fid": ids, "iid": ids, "sid": [f"rs{j}" for j in range(M)], "chromosome": ["1"] * M,
        "bp_position": list(range(1, M + 1)), "allele_1": ["A"] * M, "allele_2": ["G"] * M,
    }  # fmt: skip
    to_bed(folder / "all.bed", g, properties=names)
    lines = [  # the same people lack both: of rows over two sets, few would pass among those in between
        f"{i}\t{i}\t{'NA' if k % 17 == 3 else q}\t{'NA' if k % 17 == 3 else c}"
        for k, (i, q, c) in enumerate(zip(ids, qt, cc, strict=True))
    ]
    (folder / "pheno.tsv").write_text("#FID\tIID\tQT\tCC\n" + "\n".join(lines) + "\n")
    lines = [f"{i}\t{i}\t{a}\t{s}" for i, a, s in zip(ids, age, sex, strict=True)]
    (folder / "covar.tsv").write_text("#FID\tIID\tage\tsex\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def plain(cohort):
    """The plain engine's tables: name to text."""
    study = open_study(cohort / "all", pheno=str(cohort / "pheno.tsv"), covar=str(cohort / "covar.tsv"))
    write_plain(study, str(cohort / "plain"))
    tables = {p.name.removeprefix("plain."): p.read_text() for p in cohort.glob("plain.*.glm.*")}
    assert set(tables) == {"QT.glm.linear", "CC.glm.logistic.score"}
    return tables


def assert_same_tables(folder, prefix, plain):
    found = {p.name.removeprefix(f"{prefix}."): p.read_text() for p in folder.glob(f"{prefix}.*.glm.*")}
    assert found == plain


def script(name, cohort, out, *more):
    files = ["--bfile", cohort / "all", "--pheno", cohort / "pheno.tsv", "--covar", cohort / "covar.tsv", "--out", out]
    return subprocess.run(
        [sys.executable, str(ROOT / "protocols" / name), *map(str, files), *more], capture_output=True, text=True,
        timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more"), [("two_party_gwas.py", ["--consent-aggregates"]), ("outsourced_gwas.py", [])]
)
def test_each_party_as_a_process_gives_the_plain_tables(cohort, plain, tmp_path, name, more):
    run = script(name, cohort, tmp_path / "out", "--column-limit", "100", *more)
    assert run.returncode == 0, run.stderr[-2000:]
    assert_same_tables(tmp_path, "out", plain)


def test_the_two_parties_find_the_hits_alone_without_consent(cohort, plain, tmp_path):
    run = script("two_party_gwas.py", cohort, tmp_path / "out", "--column-limit", "100", "--threshold", "0.05")
    assert run.returncode == 0, run.stderr[-2000:]
    for name, table in {n.split(".")[0]: pd.read_csv(StringIO(t), sep="\t") for n, t in plain.items()}.items():
        hits = pd.read_csv(tmp_path / f"out.{name}.hits", sep="\t")
        assert hits["ID"].tolist() == table.loc[table["P"] <= 0.05, "ID"].tolist() and len(hits)


@pytest.mark.parametrize(
    ("consent", "limit", "message"), [(False, 100, "`consent_aggregates`"), (True, 3, "at most 3")]
)
def test_without_consent_or_above_the_limit_no_table_appears(study, cohort, tmp_path, consent, limit, message):
    roles = {"ada": "genotypes", "bob": "phenotypes", "dan": "dealer"}
    names = Roles(*roles)
    own = Inputs("", pheno=str(cohort / "pheno.tsv"), covar=str(cohort / "covar.tsv"))

    def ada(s):
        genotype_run(
            s, names, open_genotypes(Inputs(str(cohort / "all"))), cohort="c", state=StateFile(tmp_path / "a.state"),
            consent_aggregates=consent, column_limit=limit,
        )  # fmt: skip

    def bob(s):
        state = StateFile(tmp_path / "b.state")
        phenotype_run(s, names, own, str(tmp_path / "out"), state=state, consent_aggregates=True)

    out = study(roles).run({"ada": ada, "bob": bob, "dan": lambda s: deal(s, names)})
    assert isinstance(out["ada"], PolicyError) and message in str(out["ada"])
    assert not list(tmp_path.glob("out*"))
