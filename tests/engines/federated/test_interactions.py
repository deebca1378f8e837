"""What the sums of an interaction say of single people: sums over each genotype, products with a rare exposure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from securegen.engines.federated.terms import opened_by
from securegen.errors import DesignError, PolicyError, UsageError
from securegen.governance import openings, rows
from securegen.governance.guard import SiteGuard
from securegen.model import GenotypeBlock

from .test_openings import Run, in_memory, study_of, traits_of

ONE = [("Y1", "quantitative")]
CHOSEN = {"covariates": ("AGE", "SEX"), "interaction": "AGE"}
SHARED = {"AGE": 0, "AGE:AGE": 1, "SEX": 2, "Y1": 3, "AGE:SEX": 4, "AGE:Y1": 5, "g² AGE": 6, "g² AGE:AGE": 7}


def cohort(people=900, variants=60, seed=3, frequency=(0.2, 0.5)):
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(*frequency, (variants, 1)), (variants, people)).astype(np.int8)
    x = np.column_stack([rng.uniform(40, 75, people).round(2), rng.integers(0, 2, people)]).astype(float)
    return dosage, x, rng.uniform(-1, 1, people).round(4)


def run(dosage, x, y, folder, **changes):
    folder.mkdir(exist_ok=True)
    return Run(in_memory(dosage), traits_of(x, y), study_of(ONE, **(CHOSEN | changes)), folder)


def opened_rows(study: Run, variants: int) -> np.ndarray:
    return np.arange(variants) if study.study.openings == "all" else np.flatnonzero(study.of("flags")[:, 0] == 0)


def of_homozygotes(study: Run) -> np.ndarray:
    """Of each opened row Σ over people with two copies of their integer AGE, in everybody's sight: (Σg²e − Σge)/2."""
    columns, n = study.of("columns"), study.design.analyses[0].model.samples
    return (columns[:, SHARED["g² AGE"]] // n**2 - columns[:, SHARED["AGE"]] // n) // 2


def ages(study: Run, people: int) -> np.ndarray:
    """Everybody's integer AGE, in the order of the cohort."""
    out = np.zeros(people, np.int64)
    for site, design in enumerate(study.designs):
        out[site::3] = design.columns.values[:, 1]
    return out


def test_rows_that_are_opened_have_the_plain_table_s_numbers(tmp_path):
    data = cohort()
    free, bound = run(*data, tmp_path / "all", openings="all"), run(*data, tmp_path / "strict")
    (whole,), (got,) = free.tables(), bound.tables()
    shown = got["ERRCODE"] != "FEW_CARRIERS"
    assert 60 < shown.sum() < 180 and shown.sum() % 3 == 0
    for name, values in whole.items():
        np.testing.assert_array_equal(got[name][shown], values[shown], err_msg=name)
    assert np.isnan(got["T_OR_F_STAT"][~shown]).all()
    assert any("Σ g² × AGE" in line for line in opened_by(bound.study))


@pytest.mark.parametrize("protected", [False, True])
def test_the_age_of_one_homozygote(tmp_path, monkeypatch, protected):
    dosage, x, y = cohort(frequency=(0.03, 0.08), variants=120)
    if not protected:
        monkeypatch.setattr(openings, "squares_apart", lambda copies, called, fewest: np.ones(len(copies), bool))
        monkeypatch.setattr(rows, "_genotypes_apart", lambda codes, at, allowed, *_: allowed)
    study = run(dosage, x, y, tmp_path / "s")
    index, age = opened_rows(study, len(dosage)), ages(study, 900)
    homozygous = (dosage[index] == 2).sum(axis=1) == 1
    read = of_homozygotes(study)[homozygous]
    who = [np.flatnonzero(dosage[v] == 2)[0] for v in index[homozygous]]
    if protected:
        assert not len(who)
        for site in range(3):
            count = (dosage[index][:, site::3] == 2).sum(axis=1)
            assert ((count == 0) | (count >= 10)).all()
    else:
        assert len(who) > 5 and (read == age[who]).all()


@pytest.mark.parametrize("protected", [False, True])
def test_two_rows_that_differ_in_one_homozygote(tmp_path, monkeypatch, protected):
    """Each row alone is fine and many people tell them apart; the people with two copies differ by one."""
    dosage, x, y = cohort(variants=2)
    dosage[:] = np.random.default_rng(8).binomial(1, 0.5, dosage.shape)
    dosage[:, :120] = 2
    dosage[1, 120] = 2
    if not protected:
        monkeypatch.setattr(rows, "_genotypes_apart", lambda codes, at, allowed, *_: allowed)
    study = run(dosage, x, y, tmp_path / "s")
    index = opened_rows(study, 2)
    if protected:
        assert index.tolist() == [0]
    else:
        read = np.diff(of_homozygotes(study))
        assert index.tolist() == [0, 1] and read.tolist() == [ages(study, 900)[120]]


@pytest.mark.parametrize("turned", [(0, 2), (2, 0), (1, 0)])
def test_the_people_of_another_genotype_are_compared_too(turned):
    """Those of 0 copies in one row and of 2 in the next, as where alleles are swapped, and those of 1 and 0."""
    here, there = turned
    rng = np.random.default_rng(4)
    first, second = rng.permuted(np.repeat([0, 1, 2], 40)), rng.permuted(np.repeat([0, 1, 2], 40))
    members = first == here
    second[second == there] = next(c for c in (0, 1, 2) if c not in (there,))
    second[members] = there
    second[np.flatnonzero(members)[0]] = next(c for c in (0, 1, 2) if c != there)
    block = GenotypeBlock(0, np.stack([first, second]).astype(np.int8), None)
    everybody = np.ones(120, bool)
    free = rows.RowRule([everybody], 1, strict=True)
    bound = rows.RowRule([everybody], 1, strict=True, quadratic=True)
    assert free.vetoed([block]).tolist() == [False, False]
    assert bound.vetoed([block]).tolist() == [False, True]


def test_few_people_of_a_genotype_or_of_a_fraction():
    n = 200
    copies = np.zeros((5, n))
    copies[0, :30], copies[0, 30:60] = 1, 2
    copies[1, :30], copies[1, 30:39] = 1, 2  # nine with two copies
    copies[2, :30] = 1  # nobody has two: nothing is told apart
    copies[3, :30], copies[3, 30] = 1, 0.5  # one fraction: g(g − 1) is that person alone
    copies[4] = np.linspace(0, 2, n)
    called = np.ones((5, n), bool)
    assert openings.squares_apart(copies, called).tolist() == [True, False, True, False, True]
    called[0, 31:60] = False  # of two copies one is called
    assert not openings.squares_apart(copies, called)[0]


@pytest.mark.parametrize("protected", [False, True])
def test_products_with_a_rare_exposure(tmp_path, monkeypatch, protected):
    """Twelve exposed people a site pass as a covariate. With their products the columns span so much of each of them that
    whoever sees the sums has one person's genotypes."""
    dosage, x, y = cohort(people=600, variants=200)
    rng = np.random.default_rng(5)
    exposed = np.zeros(600)
    exposed[:36] = 1
    wide = np.column_stack([exposed, x, rng.uniform(-1, 1, (600, 6)).round(3)])
    names = ("E", "AGE", "SEX", *(f"C{k}" for k in range(6)))
    traits = replace(traits_of(wide, y), covariates=wide, covariate_names=names)
    (tmp_path / "linear").mkdir()
    Run(in_memory(dosage), traits, study_of(ONE, covariates=names), tmp_path / "linear")  # passes
    study = study_of(ONE, covariates=names, interaction="E")
    if protected:
        with pytest.raises(PolicyError):
            Run(in_memory(dosage), traits, study, tmp_path)
        return
    monkeypatch.setattr(SiteGuard, "opened", lambda self, what, columns, analysed: None)
    monkeypatch.setattr(SiteGuard, "column", lambda self, what, values: None)
    monkeypatch.setattr("federated.test_openings.charge", lambda *_: None)
    found = Run(in_memory(dosage), traits, study, tmp_path)
    columns = np.zeros((600, found.design.columns.values.shape[1]))
    for site, design in enumerate(found.designs):
        columns[site::3] = design.columns.values
    shares = openings.leverages(columns)
    person = int(shares.argmax())
    q, _ = np.linalg.qr(columns / np.abs(columns).max(axis=0))
    weights = q @ q[person]  # of everybody in a combination of the sums that are opened
    guess = dosage @ weights - dosage.mean(axis=1) * weights.sum()
    assert person < 36 and shares[person] > 0.4
    assert np.corrcoef(guess, dosage[:, person] - dosage.mean(axis=1))[0, 1] > 0.5


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"interaction": "BMI"}, UsageError, "the study has no such covariate; it has AGE, SEX"),
        ({"few_missing": "round"}, UsageError, "leave `few_missing` round out"),
        ({"statistic": "regenie"}, UsageError, "Student's t"),
        ({"missing": "complete"}, UsageError, "leave `missing` complete out"),
        ({"model": "logistic"}, DesignError, "needs cases and controls"),
    ],
)
def test_studies_that_do_not_go_together(changes, error, words):
    with pytest.raises(error, match=words):
        study_of(ONE, **(CHOSEN | changes))
    with pytest.raises((UsageError, DesignError), match="has none"):
        study_of([("Y1", "case-control-01")], **CHOSEN)
