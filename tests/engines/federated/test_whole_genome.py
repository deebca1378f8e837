"""A whole-genome model of all sites: what one owner's model gives, what rules stop, and what a deviating site would read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support import securegen, write_plink

import securegen as sg
from securegen.io.loco import read_offsets

pytestmark = pytest.mark.usefixtures("forked_roles")

PEOPLE, VARIANTS, BLOCK = 900, 80, 20


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two phenotypes of many variants on two chromosomes, haplotypes that neighbours share, missing calls."""
    folder = tmp_path_factory.mktemp("model")
    rng = np.random.default_rng(2)
    f = rng.uniform(0.15, 0.5, (VARIANTS, 1))
    copies = [(rng.random((VARIANTS, PEOPLE)) < f).astype(np.int8) for _ in range(2)]
    for h in copies:
        for j in range(1, VARIANTS):
            same = rng.random(PEOPLE) < (0.4 if j % 10 else 0)
            h[j, same] = h[j - 1, same]
    g = copies[0] + copies[1]
    z = (g - g.mean(axis=1, keepdims=True)) / g.std(axis=1, keepdims=True)
    genetic = z[::4].T @ rng.normal(size=VARIANTS // 4)
    liability = genetic / genetic.std() + rng.normal(size=PEOPLE)
    g[5, rng.random(PEOPLE) < 0.05] = -127
    base = folder / "cohort"
    write_plink(base, g)
    bim = [line.split("\t") for line in Path(f"{base}.bim").read_text().splitlines()]
    for j, row in enumerate(bim):
        row[0] = str(1 + j * 2 // VARIANTS)
    Path(f"{base}.bim").write_text("".join("\t".join(row) + "\n" for row in bim))
    names = [line.split()[:2] for line in Path(f"{base}.fam").read_text().splitlines()]
    age = rng.normal(size=PEOPLE)
    rows = zip(names, liability + 0.3 * age, 1 + (liability > 0.3), strict=True)
    pheno = "".join(f"{a}\t{b}\t{q:.5f}\t{c}\n" for (a, b), q, c in rows)
    (folder / "pheno.tsv").write_text("#FID\tIID\tQT\tCC\n" + pheno)
    covar = "".join(f"{a}\t{b}\t{v:.4f}\n" for (a, b), v in zip(names, age, strict=True))
    (folder / "covar.tsv").write_text("#FID\tIID\tAGE\n" + covar)
    return {"bfile": str(base), "pheno": str(folder / "pheno.tsv"), "covar": str(folder / "covar.tsv")}


def options(cohort):
    return [word for name, value in cohort.items() for word in (f"--{name}", value)]


def rehearse(cohort, out, *more):
    return securegen(
        "run-local", "gwas", "--engine", "federated", *options(cohort), "--step1", "--block", BLOCK, "--keep-files",
        "--out", out, *more,
    )  # fmt: skip


def test_sites_have_what_one_owner_has(cohort, tmp_path):
    """Predictions, effects and tables, to the byte; quantitative and binary."""
    done = rehearse(cohort, tmp_path / "f", "--openings", "all", "--write-score")
    assert done.code == 0, done.err
    inputs = sg.Inputs(**cohort)
    sg.step1(inputs, str(tmp_path / "p"), block=BLOCK, write_score=True)
    samples = sg.read_plink(cohort["bfile"]).samples
    (work,) = tmp_path.glob("f.sites.*")
    for k, name in enumerate(("QT", "CC"), 1):
        plain = read_offsets(tmp_path / f"p_{k}.loco", samples).values
        for s in range(3):
            site = read_offsets(work / f"site{s + 1}" / f"result_{k}.loco", samples).values
            own = np.arange(PEOPLE) % 3 == s
            np.testing.assert_array_equal(site[:, own], plain[:, own])
            assert np.isnan(site[:, ~own]).all()
        score = (tmp_path / f"p.{name}.score.txt").read_bytes()
        assert (tmp_path / f"f.{name}.score.txt").read_bytes() == score
    study = sg.open_study(**cohort, pred=str(tmp_path / "p_pred.list"))
    sg.run(study).write(str(tmp_path / "p"))
    for suffix in ("QT.glm.linear", "CC.glm.logistic.score"):
        assert (tmp_path / f"f.{suffix}").read_bytes() == (tmp_path / f"p.{suffix}").read_bytes()
    record = json.loads((tmp_path / "f.run.json").read_text())
    assert "a whole-genome model" in json.dumps(record["receipt"])
    assert {r["name"] for r in record["opened"]["rounds"]} >= {
        "step1-flags",
        "step1-block-00000-gram",
        "step1-losses-0",
    }
