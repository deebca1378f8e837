"""Floors count the people behind a row: the attack reads one person's phenotype where they do not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import write_tsv

import securegen as sg
from securegen.engines.federated.own_policy import check_site, check_terms
from securegen.errors import PolicyError
from securegen.governance import gate
from securegen.model import Samples, Sums
from securegen.results import outputs, write
from securegen.results.people_behind import who_differ, who_differ_in_groups

PEOPLE, VARIANTS = 200, 300


@pytest.fixture(scope="module")
def dosage():
    rng = np.random.default_rng(4)
    return rng.binomial(2, np.linspace(0.01, 0.99, VARIANTS)[:, None], (VARIANTS, PEOPLE)).astype(np.int8)


@pytest.fixture
def study(ruled, dosage):
    """A study of 25 exposed people (`E`), and of their ages, beside a policy with a floor of three people."""
    ruled.write(limits__minor_alleles=3)
    rng = np.random.default_rng(5)
    ids = np.array([f"s{i}" for i in range(PEOPLE)], object)
    reader = sg.from_arrays(
        dosage, Samples(ids, ids, np.ones(PEOPLE, bool), np.zeros(PEOPLE, np.int8)),
        variants={
            "chromosome": ["1"] * VARIANTS, "position": np.arange(1, VARIANTS + 1), "id": [f"v{i}" for i in range(VARIANTS)],
            "effect_allele": ["A"] * VARIANTS, "other_allele": ["G"] * VARIANTS,
        },
    )  # fmt: skip
    e = np.isin(np.arange(PEOPLE), rng.choice(PEOPLE, 25, replace=False)).astype(int)
    rows = [
        (i, i, f"{y:.6f}", x, int(a))
        for i, y, x, a in zip(ids, rng.normal(size=PEOPLE), e, rng.integers(20, 80, PEOPLE), strict=True)
    ]
    table = write_tsv(ruled.folder / "t.tsv", ("FID", "IID", "Y", "E", "AGE"), rows)

    def opened(of: str, **more: object) -> sg.Study:
        return sg.open_study(
            reader, pheno=table, pheno_name="Y", covar=table, covar_name=(of,), interaction=of, purpose="HMB", **more
        )

    return opened


def test_one_exposed_carrier_is_withheld(study, dosage, monkeypatch):
    """ADD and ADDxE together are that one's phenotype beside the mean of the other exposed."""
    of = study("E")
    y, e = np.loadtxt(of.inputs.pheno, skiprows=1, usecols=(2, 3), unpack=True)
    counts = np.array([[np.bincount(g[e == x], minlength=3) for x in (0, 1)] for g in dosage])
    few = set(np.flatnonzero((counts.sum(axis=2) - counts.max(axis=2) < 3).any(axis=1)))

    def shown(engine):
        frame = sg.run(of, engine)["Y"]
        hidden = frame["ERRCODE"] == "FEW_CARRIERS"
        assert frame.loc[hidden, ["A1_FREQ", "OBS_CT", "BETA", "P"]].isna().all().all()
        return frame[~hidden]

    def read_of(frame):
        """Phenotypes that are recovered, of those who are alone among the exposed."""
        found, betas = 0, frame.pivot(index="ID", columns="TEST", values="BETA")
        for j in set(frame["ID"].str[1:].astype(int)) & few:
            one = (e == 1) & (dosage[j] > 0)
            if one.sum() == 1:
                beta = betas.loc[f"v{j}"]
                guess = y[(e == 1) & ~one].mean() + dosage[j, one] * (beta["ADD"] + beta["ADDxE"])
                found += bool(abs(guess - y[one]).max() < 1e-3)
        return found

    plain = shown("plain")
    assert len(plain) > VARIANTS and not set(plain["ID"].str[1:].astype(int)) & few and not read_of(plain)
    monkeypatch.setattr(write, "fewest_carriers", lambda *_, **__: np.full(VARIANTS, 99.0))  # the protection
    assert read_of(shown("plain")) > 3


def test_sites_refuse_interactions_since_nobody_has_the_whole_exposure(ruled, study):
    door = gate.gate_of("federated", gate.Asking(), [ruled.policy])
    terms = SimpleNamespace(interaction="AGE", phenotypes=(), qc=False, step1=0)
    for check in (lambda: check_terms(door, terms), lambda: check_site(door, terms, [], [], [], ruled.folder)):
        with pytest.raises(PolicyError, match=r"policy\.minor_alleles.*several sites"):
            check()
    of = study("E")
    (a,) = of.analyses
    assert outputs.associations([a], of.strata, VARIANTS, floor=3)
    (s,) = of.strata
    known_nowhere = replace(s, design=replace(s.design, analyses=(replace(a, model=replace(a.model, ends=())),)))
    with pytest.raises(PolicyError, match=r"policy\.minor_alleles"):
        outputs.associations([a], [known_nowhere], VARIANTS, floor=3)


def test_the_bound_of_an_exposure_of_many_values_is_below_who_differs(ruled, study, dosage):
    """Also where it has two, of which the count is exact; and a carrier whose age is far from the others' is alone."""
    (a,) = study("E").analyses
    sums = next(iter(sg.Plain().sums(_free(study("E")))))
    part = Sums(0, sums.g[:, a.columns], sums.m[:, a.columns], sums.q[:, a.squares])
    exact = who_differ_in_groups(a.model, part, grid=1)
    bound = who_differ_in_groups(replace(a.model, two_values=False), part, grid=1)
    assert (bound <= exact).all() and (bound > 0).any() and (exact < 3).any() and (exact >= 3).any()
    assert not who_differ_in_groups(replace(a.model, ends=()), part, grid=1).any()
    ruled.write(version=2, limits__minor_alleles=1)
    frame = sg.run(study("AGE"))["Y"]
    assert 0 < (frame["ERRCODE"] != "FEW_CARRIERS").sum() < len(frame)


def _free(study: sg.Study) -> sg.Study:
    """The same study where no policy governs, for its sums."""
    return replace(study, inputs=replace(study.inputs, purpose=None, pheno=None, covar=None))


def test_who_differ_is_all_but_the_commonest_genotype(dosage):
    counts = np.array([np.bincount(g, minlength=3) for g in dosage])
    wide = dosage.astype(np.int64)
    told = np.full(VARIANTS, PEOPLE), wide.sum(axis=1), (wide**2).sum(axis=1)
    assert np.array_equal(who_differ(*told, grid=1), PEOPLE - counts.max(axis=1))
    n, s, q = told
    for grid in (2, 127):
        low = who_differ(n, s * grid, q * grid**2, grid=grid)
        assert (low <= PEOPLE - counts.max(axis=1) + 1e-9).all() and (low > 0).any()
    one = (wide > 0).astype(np.int64)
    ones = one.sum(axis=1)
    assert np.allclose(who_differ(n, 2 * ones, 4 * ones, grid=2, copies=1), np.minimum(ones, PEOPLE - ones))


@pytest.mark.parametrize("model", ["linear", "logistic"])
def test_two_males_on_x_are_two_people(ruled, model, monkeypatch):
    """Each counts as two alleles there: two were four, above a floor of three."""
    ruled.write(limits__minor_alleles=3)
    n, rng = 200, np.random.default_rng(8)
    dosage = np.zeros((4, n), np.int8)  # males first
    dosage[0, :2], dosage[1, :3], dosage[2, :60], dosage[3, 100:104] = 2, 2, 2, 1
    ids = np.array([f"s{i}" for i in range(n)], object)
    reader = sg.from_arrays(
        dosage, Samples(ids, ids, np.ones(n, bool), np.repeat([1, 2], n // 2).astype(np.int8)),
        variants={
            "chromosome": ["X"] * 4, "position": [1, 2, 3, 4], "id": list("abcd"), "effect_allele": ["A"] * 4,
            "other_allele": ["G"] * 4,
        },
    )  # fmt: skip
    rows = [(i, i, f"{y:.6f}", 1 + (y > 0)) for i, y in zip(ids, rng.normal(size=n), strict=True)]
    table = write_tsv(ruled.folder / "t.tsv", ("FID", "IID", "Y", "C"), rows)
    name = "Y" if model == "linear" else "C"
    of = sg.open_study(reader, pheno=table, pheno_name=name, model=model, purpose="HMB")

    def shown():
        frame = sg.run(of)[name]
        return set(frame["ID"][frame["ERRCODE"] != "FEW_CARRIERS"])

    assert shown() == ({"b", "c", "d"} if model == "linear" else {"b", "c"})  # without Σg² each may have two
    real = write.fewest_carriers
    monkeypatch.setattr(write, "fewest_carriers", lambda *a, **k: 2 * real(*a, **k))  # the protection
    assert shown() == {"a", "b", "c", "d"}
