"""Several sites on this machine: nobody counts twice, swapped alleles are aligned, a rehearsal sees all of them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support import genotypes, securegen, write_plink, write_tsv

import securegen as sg

pytestmark = pytest.mark.usefixtures("forked_roles")

N, M = 60, 9


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Files of two sites whose people differ in BATCH alone, of both together, and of site 2 with A1 and A2 exchanged."""
    folder = tmp_path_factory.mktemp("sites")
    dosage = genotypes(np.random.default_rng(2), M, 2 * N, missing=0)
    bim = "".join(f"1 v{j} 0 {100 + j} D d\n" for j in range(M))
    for name, part in (("all", slice(None)), ("s1", slice(N)), ("s2", slice(N, None)), ("turned", slice(N, None))):
        here = dosage[:, part]
        write_plink(folder / name, np.ascontiguousarray(2 - here if name == "turned" else here))
        people = range(2 * N)[part]
        (folder / f"{name}.fam").write_text("".join(f"F{i} I{i} 0 0 0 -9\n" for i in people))
        (folder / f"{name}.bim").write_text(bim.replace("D d", "d D") if name == "turned" else bim)
    rng = np.random.default_rng(3)
    rows = [(f"F{i}", f"I{i}", 1 + (rng.random() < 0.4), round(rng.normal(), 4), int(i >= N)) for i in range(2 * N)]
    write_tsv(folder / "t", ("#FID", "IID", "CC", "QT", "BATCH"), rows)
    return folder


def run(folder, out, *files, engine="federated", more=()):
    named = [part for f in files for part in ("--bfile", str(folder / f))]
    two = ["--two-sites-learn-each-other"] * (engine != "plain")
    table = ["--pheno", str(folder / "t"), "--out", str(out), *two, *more]
    return securegen("run-local", "gwas", "--engine", engine, *named, *table)


def test_alleles_that_differ_by_case_alone_are_aligned(sites, tmp_path):
    trend = ("--pheno-name", "CC", "--model", "trend")
    assert run(sites, tmp_path / "p", "all", engine="plain", more=trend).code == 0
    done = run(sites, tmp_path / "t", "s1", "turned", more=trend)
    assert done.code == 0, done.err
    plain, pooled = (pd.read_csv(tmp_path / f"{n}.CC.trend", sep="\t") for n in "pt")
    np.testing.assert_array_equal(plain["CHISQ"], pooled["CHISQ"])


def test_a_rehearsal_sees_the_people_of_every_site(sites, tmp_path):
    more = ("--pheno-name", "QT", "--covar", str(sites / "t"), "--covar-name", "BATCH", "--dry-run")
    for engine, split in (("federated", ()), ("mpc", ("--split", "horizontal"))):
        done = run(sites, tmp_path / "o", "s1", "s2", engine=engine, more=(*more, *split))
        assert done.code == 0 and "inputs are in order" in done.out, done.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ["federated", "mpc"])
def test_nobody_counts_twice(engine, sites, tmp_path):
    more = ("--pheno-name", "QT", *(("--split", "horizontal") * (engine == "mpc")))
    done = run(sites, tmp_path / "o", "s1", "s1", engine=engine, more=more)
    assert done.code == 2 and "s1 is given twice" in done.err
    done = run(sites, tmp_path / "o", "all", "s1", engine=engine, more=more)
    assert (
        done.code == 3
        and "person 1 of" in done.err
        and "F0 I0" not in done.err
        and "nobody may count twice" in done.err
    )
    assert {p.name for p in tmp_path.iterdir()} <= {"o.log"}


def test_sites_from_python_as_the_whole_cohort(sites, tmp_path):
    """`sg.open_sites`: two cohorts, of which each is a site, and the tables of all people together."""
    named = {"pheno": str(sites / "t"), "pheno_name": ("QT",)}
    study = sg.open_sites([sg.Inputs(bfile=str(sites / name), **named) for name in ("s1", "s2")])
    engine = sg.Federated(openings="all", two_sites_learn_each_other=True)
    ours = sg.run(study, engine, out=str(tmp_path / "sites")).frame
    whole = sg.run(sg.open_study(str(sites / "all"), **named), out=str(tmp_path / "all")).frame
    assert len(ours) == M and ours.equals(whole)
