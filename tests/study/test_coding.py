"""Genetic models: regenie's own table, least squares by statsmodels, frequencies and filters of the alleles, and what is
refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from reference_data import GOLD
from support import securegen

import securegen as sg
from securegen.errors import InputError, UsageError
from securegen.model import Samples, Variants
from securegen.results.concordance import compare
from securegen.stats.qc import Filters

MODELS = {"dominant": "DOM", "recessive": "REC", "hetonly": "HET"}
N, M = 240, 16


def coded(g: np.ndarray, model: str) -> np.ndarray:
    """0/1 of (…, N) copies, NaN where there is no call."""
    out = {"dominant": g >= 1, "recessive": g == 2, "hetonly": g == 1}[model].astype(float)
    return np.where(np.isnan(g), np.nan, out)


class InMemory:
    """Copies (M, N) with NaN, two covariates, a quantitative and a binary trait that somebody lacks."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(11)
        self.copies = rng.binomial(2, rng.uniform(0.15, 0.85, (M, 1)), (M, N)).astype(float)
        self.copies[0] = rng.binomial(2, 0.03, N)
        self.copies[1] = np.minimum(self.copies[1], 1)  # nobody has two
        self.copies[rng.random((M, N)) < 0.04] = np.nan
        self.covariates = np.column_stack([rng.normal(size=N), rng.integers(0, 3, N)])
        self.traits = {"QT": rng.normal(size=N), "CC": rng.integers(1, 3, N).astype(float)}
        for name, lack in (("QT", slice(0, 5)), ("CC", slice(4, 7))):
            self.traits[name][lack] = np.nan
        self.chromosomes = ["1"] * M
        self.folder = folder

    def _table(self, name: str, columns: dict[str, np.ndarray]) -> Path:
        path = self.folder / name
        frame = pd.DataFrame({"#IID": [f"p{i}" for i in range(N)], **columns})
        frame.to_csv(path, sep="\t", index=False, na_rep="NA")
        return path

    def open(self, **options) -> tuple[sg.Study, str]:
        names = np.array([f"p{i}" for i in range(N)], object)
        samples = Samples(names, names, np.arange(N) >= 30, np.tile([1, 2], N // 2).astype(np.int8))
        ids = np.array([f"v{j}" for j in range(M)], object)
        variants = Variants(
            np.array(self.chromosomes, object),
            np.arange(1, M + 1),
            ids,
            np.full(M, "A", object),
            np.full(M, "G", object),
        )
        log: list[str] = []
        covariates = {"C1": self.covariates[:, 0], "C2": self.covariates[:, 1]}
        told = {"pheno": self._table("p", self.traits), "covar": self._table("c", covariates), "bits": 24}
        reader = sg.from_arrays(self.copies, samples, variants=variants)
        return sg.open_study(reader, **told | options, log=log.append), "\n".join(log)

    def expected(self, j: int, model: str, trait: str) -> tuple[np.ndarray, np.ndarray]:
        """Of the analysed: the trait; the model's values, missing ones at their mean, a constant and covariates."""
        here = ~np.isnan(self.traits[trait])
        g = coded(self.copies[j], model)[here]
        g = np.where(np.isnan(g), np.nanmean(g), g)
        return self.traits[trait][here], np.column_stack([g, np.ones(len(g)), self.covariates[here]])


@pytest.fixture
def cohort(tmp_path) -> InMemory:
    return InMemory(tmp_path)


def frame(study: sg.Study, trait: str, **more):
    return sg.run(study, **more)[trait].set_index("ID")


@pytest.mark.parametrize("model", MODELS)
def test_least_squares(cohort, model):
    rows = frame(cohort.open(pheno_name="QT", **{model: True})[0], "QT")
    assert set(rows["TEST"]) == {MODELS[model]}
    for j in range(M):
        y, x = cohort.expected(j, model, "QT")
        row = rows.loc[f"v{j}"]
        if np.ptp(x[:, 0]) == 0:
            assert row["ERRCODE"] == "CONST_OMITTED_ALLELE" and np.isnan(row["BETA"])
            continue
        fit = sm.OLS(y, x).fit()
        np.testing.assert_allclose(row[["BETA", "SE", "T_STAT"]].to_numpy(float), [fit.params[0], fit.bse[0], fit.tvalues[0]],
                                   rtol=1e-4, atol=1e-6)  # fmt: skip
        assert row["P"] == pytest.approx(fit.pvalues[0], rel=1e-4)
    assert (rows["ERRCODE"] == "CONST_OMITTED_ALLELE").sum() == 2 * (model == "recessive")


@pytest.mark.parametrize("model", MODELS)
def test_complete_cases(cohort, model):
    rows = frame(cohort.open(pheno_name="QT", missing="complete", **{model: True})[0], "QT")
    for j in range(2, M):
        called = ~np.isnan(cohort.copies[j][~np.isnan(cohort.traits["QT"])])
        y, x = (part[called] for part in cohort.expected(j, model, "QT"))
        assert rows.loc[f"v{j}", "T_STAT"] == pytest.approx(sm.OLS(y, x).fit().tvalues[0], rel=1e-4, abs=1e-6)
        assert rows.loc[f"v{j}", "OBS_CT"] == called.sum()


@pytest.mark.parametrize("model", MODELS)
def test_the_score_test(cohort, model):
    rows = frame(cohort.open(pheno_name="CC", **{model: True})[0], "CC")
    for j in range(2, M):
        y, x = cohort.expected(j, model, "CC")
        null = sm.GLM(y - 1, x[:, 1:], family=sm.families.Binomial()).fit()
        weight = null.mu * (1 - null.mu)
        u = x[:, 0] @ (y - 1 - null.mu)
        inner = x[:, 1:].T @ (weight * x[:, 0])
        v = weight @ x[:, 0] ** 2 - inner @ np.linalg.solve(x[:, 1:].T @ (weight[:, None] * x[:, 1:]), inner)
        assert rows.loc[f"v{j}", "CHISQ"] == pytest.approx(u * u / v, rel=1e-4, abs=1e-5)
        copies = cohort.copies[j][~np.isnan(cohort.traits["CC"])]
        minor = copies if np.nanmean(copies) <= 1 else 2 - copies
        assert rows.loc[f"v{j}", "MAC_CASE"] == np.nansum(minor[y == 2])
    few = [min(np.mean(g), 1 - np.mean(g)) * (y == 2).sum() < 10 for y, g in
           ((y, x[:, 0]) for y, x in (cohort.expected(j, model, "CC") for j in range(M)))]  # fmt: skip
    constant = rows["ERRCODE"] == "CONST_OMITTED_ALLELE"
    assert ((rows["ERRCODE"] == "LOW_MAC") | constant).tolist() == few


def test_what_is_of_the_alleles_stays_so(cohort):
    """Frequencies, filters and quality control are those of the additive run, whatever is tested."""
    bounds = Filters(maf=0.2, geno=0.05, hwe=0.05, mac=100.0)
    additive = frame(cohort.open(pheno_name="QT", qc=True)[0], "QT", filters=bounds)
    whole = frame(cohort.open(pheno_name="QT")[0], "QT")
    assert 3 < len(additive) < M - 3
    for model in MODELS:
        rows = frame(cohort.open(pheno_name="QT", qc=True, **{model: True})[0], "QT", filters=bounds)
        assert rows.index.tolist() == additive.index.tolist()
        assert rows["A1_FREQ"].tolist() == additive["A1_FREQ"].tolist()
        all_rows = frame(cohort.open(pheno_name="QT", **{model: True})[0], "QT")
        assert all_rows["A1_FREQ"].tolist() == whole["A1_FREQ"].tolist()
        assert not np.allclose(all_rows["T_STAT"], whole["T_STAT"], equal_nan=True)


def test_chosen_variants_that_are_covariates_keep_their_copies(cohort):
    by_hand = cohort.copies[5].copy()
    here = ~np.isnan(cohort.traits["QT"])
    by_hand[np.isnan(by_hand)] = np.nanmean(by_hand[here])
    ours = frame(cohort.open(pheno_name="QT", dominant=True, condition="v5")[0], "QT")
    y, x = cohort.expected(9, "dominant", "QT")
    fit = sm.OLS(y, np.column_stack([x, by_hand[here]])).fit()
    assert ours.loc["v9", "T_STAT"] == pytest.approx(fit.tvalues[0], rel=1e-4)


def test_regenies_dominant_test(reference, tmp_path):
    """From the command line, matched by id; regenie leaves out variants that its filter or a constant removes."""
    cohort = reference("sim_500x5k")
    done = securegen(
        "gwas",
        *cohort.options(),
        "--dominant",
        "--format",
        "regenie",
        "--digits",
        7,
        "--out",
        tmp_path / "t",
        "--bits",
        24,
    )
    assert done.code == 0, done.err
    ours = pd.read_csv(tmp_path / "t_QT.regenie", sep=" ").set_index("ID")
    theirs = pd.read_csv(GOLD / "sim_500x5k" / "gold_regenie" / "qt_dominant_QT.regenie.gz", sep=" ").set_index("ID")
    assert set(theirs.index) == set(ours.index[ours["EXTRA"].isna()]) and len(theirs) > 1250
    ours = ours.loc[theirs.index]
    assert (ours["TEST"] == "DOM").all() and (theirs["TEST"] == "DOM").all()
    assert (ours["A1FREQ"] - theirs["A1FREQ"]).abs().max() < 1e-6
    assert ((ours["CHISQ"] - theirs["CHISQ"]).abs() <= 1e-5 * np.maximum(1, theirs["CHISQ"])).all()
    for name in ("BETA", "SE"):
        assert ((ours[name] - theirs[name]).abs() <= 2e-5 * theirs["SE"] + 1e-5 * theirs[name].abs()).all()


def test_x_y_and_mt_are_left_out_as_plink2_does(cohort):
    cohort.chromosomes = ["1"] * 10 + ["X", "PAR1", "Y", "Y", "MT", "2"]
    study, log = cohort.open(pheno_name="QT", recessive=True)
    assert "4 variants on X, Y or MT are left out: genetic models need people with two copies" in log
    assert study.reader.variants.chromosome.tolist() == ["1"] * 10 + ["PAR1", "2"]


def test_x_stays_where_it_is_as_regenie_has_it(cohort):
    cohort.chromosomes = ["1"] * 10 + ["X", "X", "Y", "Y", "MT", "2"]
    cohort.copies[10:12, ::2] = np.where(cohort.copies[10:12, ::2] == 1, 2, cohort.copies[10:12, ::2])  # males
    study, log = cohort.open(pheno_name="QT", dominant=True, statistic="regenie", qc=True)
    assert "3 variants on Y or MT are left out" in log and [s.name for s in study.strata] == ["autosomes", "X"]
    bounds = Filters(maf=0.01)
    rows = frame(study, "QT", filters=bounds)
    plain = frame(cohort.open(pheno_name="QT", statistic="regenie", qc=True, chr="X")[0], "QT", filters=bounds)
    assert rows.loc["v10", "A1_FREQ"] == plain.loc["v10", "A1_FREQ"]
    y, x = cohort.expected(10, "dominant", "QT")
    assert rows.loc["v10", "BETA"] == pytest.approx(sm.OLS(y, x).fit().params[0], rel=1e-4)


def test_the_record_and_the_receipt_name_the_model(cohort):
    record = sg.run(cohort.open(pheno_name="QT", hetonly=True)[0]).record
    assert record["genetic_model"] == "hetonly" and record["receipt"]["design"] == "genetic model: hetonly"
    assert "genetic_model" not in sg.run(cohort.open(pheno_name="QT")[0]).record


def test_refusals(cohort):
    with pytest.raises(UsageError, match="`dominant` and `hetonly`: a run has one genetic model"):
        cohort.open(dominant=True, hetonly=True)
    with pytest.raises(UsageError, match="`recessive` is for `model` linear, logistic, not for trend"):
        cohort.open(recessive=True, model="trend", pheno_name="CC")
    with pytest.raises(UsageError, match="`format` gwas-ssf takes additive tests, not `dominant`"):
        sg.run(cohort.open(dominant=True, pheno_name="QT")[0], format="gwas-ssf", genome_build="GRCh38")
    cohort.copies[3, 4] = 0.5
    with pytest.raises(UsageError, match="`dominant` needs hard calls; these are fractional dosages.*`vcf_field` GT"):
        cohort.open(dominant=True)


def test_two_genetic_models_are_not_compared(cohort):
    tables = {name: sg.run(cohort.open(pheno_name="QT", **{name: True})[0])["QT"] for name in MODELS}
    compare(tables["dominant"], tables["dominant"])
    with pytest.raises(InputError, match="two genetic models, TEST DOM and REC"):
        compare(tables["dominant"], tables["recessive"])
    turned = tables["dominant"].rename(columns={"REF": "ALT", "ALT": "REF"}).assign(A1=lambda t: t["ALT"])
    with pytest.raises(InputError, match="16 variants have the other tested allele"):
        compare(tables["dominant"], turned)
