"""Linear regression with an interaction against statsmodels, within the bound that each row states; codes; what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from support import MemoryReader

import securegen as sg
from securegen import vocabulary as voc
from securegen.catalogue import INTERACTION
from securegen.design import fixedpoint as fp
from securegen.design import interaction as design
from securegen.design.data import DesignData
from securegen.engines.plain.sums import block_sums
from securegen.errors import DesignError, UsageError
from securegen.results.block_columns import result_columns
from securegen.stats import two_regressors
from securegen.stats.imputed import quadratic_sums

N = 400


class Data:
    """Genotypes (V, N) with −1 for no call, covariates (N, 3) of which E is the second, and a phenotype."""

    def __init__(
        self, seed: int, *, samples: int = N, variants: int = 40, centre: float = 0.0, binary: bool = False
    ) -> None:
        rng = np.random.default_rng(seed)
        self.names = ("A", "E", "C")
        self.g = rng.binomial(2, rng.uniform(0.05, 0.95, (variants, 1)), (variants, samples)).astype(np.int8)
        self.g[rng.random(self.g.shape) < 0.03] = -1
        self.covariates = rng.normal(size=(samples, 3))
        if binary:
            self.covariates[:, 1] = rng.random(samples) < 0.3
        self.covariates[:, 0] += 0.5 * self.covariates[:, 1]
        self.covariates[:, 1] = 3 * self.covariates[:, 1] + centre
        self.covariates = self.covariates.round(6)
        e = self.covariates[:, 1] - centre
        self.y = (self.covariates @ [1, 0.2, -1] + 0.4 * np.maximum(self.g[0], 0) * e + rng.normal(size=samples)).round(
            6
        )

    def design(self, bits: int | None = None):
        values, everybody = self.y[:, None], np.ones(len(self.y), bool)
        data = DesignData(("y",), values, everybody, self.covariates, self.names, bits, interaction="E")
        return design.interaction(data, fp.pooled)

    def table(self, bits: int | None = None) -> dict[str, np.ndarray]:
        """Result columns, each (V, 3)."""
        made = self.design(bits)
        block = MemoryReader(self.g).read(0, len(self.g))
        out = result_columns(made.analyses[0], block_sums(block, made.columns))
        return {name: values.reshape(-1, 3) for name, values in out.items()}

    def fit(self, v: int):
        """statsmodels on one variant: g, g·E, intercept and covariates, missing calls at the mean."""
        called = self.g[v] >= 0
        g = np.where(called, self.g[v], self.g[v][called].mean())
        return sm.OLS(self.y, np.column_stack([g, g * self.covariates[:, 1], np.ones(len(g)), self.covariates])).fit()


COHORTS = [
    Data(1), Data(2, centre=50), Data(3, binary=True), Data(4, samples=1500, variants=20), Data(5, samples=60, centre=-2),
]  # fmt: skip


@pytest.mark.parametrize("data", COHORTS, ids=["usual", "far from zero", "two values", "larger", "small"])
@pytest.mark.parametrize("bits", [None, 14])
def test_statsmodels_within_the_stated_bound(data, bits):
    found = data.table(bits)
    df = len(data.y) - 6
    worst = np.zeros(3)
    for v in range(len(data.g)):
        assert found["TEST"][v].tolist() == ["ADD", "ADDxE", "USER_2DF"]
        fit = data.fit(v)
        joint = fit.f_test(np.eye(2, 6))
        t = [*fit.tvalues[:2], np.sqrt(2 * float(joint.fvalue))]
        ours = found["T_OR_F_STAT"][v] * [1, 1, 2]
        ours[2] = np.sqrt(ours[2])
        scaled = np.abs(ours - t) / (1 + np.square(t) / df)
        assert (scaled <= found["DT_SCALED"][v]).all(), (v, scaled, found["DT_SCALED"][v])
        worst = np.maximum(worst, scaled)
        if bits is None:
            np.testing.assert_allclose(found["P"][v], [*fit.pvalues[:2], float(joint.pvalue)], rtol=5e-3)
            np.testing.assert_allclose(found["SE"][v][:2], fit.bse[:2], rtol=1e-4)
            assert (np.abs(found["BETA"][v][:2] - fit.params[:2]) <= 1e-3 * fit.bse[:2]).all()
    assert np.isnan(found["BETA"][:, 2]).all() and np.isnan(found["SE"][:, 2]).all()
    assert np.median(found["DT_SCALED"]) < (1e-3 if bits is None else 0.1)
    if bits == 14:
        assert worst.max() > 2e-5  # rounding is there to be bounded


def test_the_rounding_of_products_is_a_part_of_the_bound(monkeypatch):
    data = Data(6, samples=60, variants=200)
    whole = data.table(14)["DT_SCALED"]
    original = two_regressors.system
    none = {name: np.zeros(len(data.g)) for name in ("e_gh", "e_hh", "d_h", "loose")}
    monkeypatch.setattr("securegen.stats.interaction.system", lambda *a: replace(original(*a), **none))
    assert (data.table(14)["DT_SCALED"][:, 1] < whole[:, 1]).all()


def test_where_e_has_its_zero_moves_the_main_effect_alone():
    near, far = Data(7), Data(7, centre=30)
    far.y = near.y
    a, b = near.table(24), far.table(24)
    np.testing.assert_allclose(a["T_OR_F_STAT"][:, 1:], b["T_OR_F_STAT"][:, 1:], rtol=1e-4, atol=1e-4)
    assert (a["ERRCODE"] == b["ERRCODE"]).all()
    np.testing.assert_allclose(b["BETA"][:, 0], a["BETA"][:, 0] - 30 * a["BETA"][:, 1], atol=1e-4)


def test_fractional_dosages_and_integers_beyond_64_bits():
    """In steps of 1/256 and with columns of 24 bits n²·Σg²x does not fit int64; effects are per copy."""
    data = Data(12, variants=12)
    rng = np.random.default_rng(3)
    steps = np.where(data.g < 0, -1, np.clip(data.g.astype(np.int16) * 256 - rng.integers(0, 90, data.g.shape), 0, 512))
    made = data.design(24)
    block = MemoryReader(steps.astype(np.int16), 256).read(0, len(steps))
    sums = block_sums(block, made.columns)
    weighted = quadratic_sums(sums, N).weighted
    assert weighted is not None and weighted.dtype == object and max(abs(int(v)) for v in weighted.flat) > 1 << 63
    found = result_columns(made.analyses[0], sums, grid=256)
    data.g = np.where(steps < 0, -1, steps / 256)
    for v in range(len(steps)):
        fit = data.fit(v)
        np.testing.assert_allclose(found["T_OR_F_STAT"].reshape(-1, 3)[v, :2], fit.tvalues[:2], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found["SE"].reshape(-1, 3)[v, :2], fit.bse[:2], rtol=1e-5)


def test_codes_instead_of_numbers():
    data = Data(8, binary=True, samples=3000, variants=8)
    e = data.covariates[:, 1] > 0
    data.g = np.zeros((8, 3000), np.int8)
    data.g[0, np.flatnonzero(e)[:15]] = 1  # carriers are all exposed: g·e is a multiple of g
    data.g[1] = e  # g is e
    data.g[2] = -1
    data.g[3] = 1
    data.g[4, np.flatnonzero(e)[:400]] = 1
    data.g[4, np.flatnonzero(~e)[:1]] = 1  # one carrier is not exposed: nearly so
    rng = np.random.default_rng(1)
    data.g[5:] = rng.binomial(2, 0.4, (3, 3000))
    found = data.table()
    codes = found["ERRCODE"]
    assert (codes == codes[:, :1]).all()
    assert codes[:4, 0].tolist() == [
        voc.CORR_TOO_HIGH, voc.CORR_TOO_HIGH, voc.ALL_MISSING, voc.CONST_OMITTED_ALLELE,
    ]  # fmt: skip
    assert codes[4, 0] == voc.VIF_TOO_HIGH and (codes[5:] == voc.OK).all()
    assert np.isnan(found["T_OR_F_STAT"][:4]).all() and np.isfinite(found["T_OR_F_STAT"][4:]).all()
    assert np.isnan(found["A1_FREQ"][2]).all() and np.isfinite(found["A1_FREQ"][3]).all()


def test_an_exact_fit_is_said():
    data = Data(9, samples=100, variants=3)
    data.g[1] = np.random.default_rng(2).binomial(2, 0.4, 100)
    g = data.g[1].astype(float)
    data.y = (2 + g * data.covariates[:, 1] - 0.5 * g + data.covariates[:, 0]).round(6)
    found = data.table()
    assert (found["ERRCODE"][1] == voc.PERFECT_FIT).all() and np.isnan(found["P"][1]).all()
    assert (found["ERRCODE"][0] == voc.OK).all()


def test_heavy_tails_do_not_widen_the_columns():
    """Products are divided by a power of two where their mean square is above a column's: what engines are planned for."""
    data = Data(10)
    data.covariates[:, 1] = np.sign(data.covariates[:, 1]) * np.abs(data.covariates[:, 1]) ** 3
    data.covariates = data.covariates.round(6)
    made = data.design(18)
    (analysis,) = made.analyses
    assert max(analysis.model.shifts) >= 1
    norms = np.sqrt((made.columns.values.astype(float) ** 2).mean(axis=0))
    assert norms.max() <= 2**18 / 5 * 1.001
    found = data.table()
    ok = found["ERRCODE"][:, 1] == voc.OK
    for v in np.flatnonzero(ok)[:10]:
        t = data.fit(v).tvalues[1]
        scaled = abs(found["T_OR_F_STAT"][v, 1] - t) / (1 + t * t / 394)
        assert scaled <= found["DT_SCALED"][v, 1] < 0.1


def test_the_model_survives_json():
    (analysis,) = Data(11).design().analyses
    fields = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(analysis.model).items()}
    assert INTERACTION.read_model("InteractionModel", fields) == analysis.model


SMALL = {"pheno": "examples/cohort.pheno.tsv", "covar": "examples/cohort.covar.tsv", "chr": "1", "to_bp": 400_000}


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"interaction": "BMI"}, DesignError, "interaction` BMI: it is not among the covariates, they are AGE, SEX, PC1"),
        ({"interaction": "AGE", "covar_name": "SEX"}, DesignError, "they are SEX"),
        ({"interaction": "AGE", "covar": None}, DesignError, "there are none"),
        ({"interaction": "AGE", "pheno_name": "CC"}, UsageError, "a case/control phenotype, whose model is logistic"),
        ({"interaction": "AGE", "pheno_name": ("QT", "CC")}, UsageError, "name quantitative phenotypes"),
        ({"interaction": "AGE", "model": "logistic"}, UsageError, "leave `model` logistic out"),
        ({"interaction": "AGE", "missing": "complete"}, UsageError, "leave `missing` complete out"),
        ({"interaction": "AGE", "statistic": "regenie"}, UsageError, "Student's t"),
        ({"interaction": "AGE", "pred": "list"}, UsageError, "Student's t"),
        ({"interaction": 7}, UsageError, "a name as text"),
        ({"model": "interaction"}, UsageError, "choose one of linear, logistic, trend, allelic"),
    ],
)  # fmt: skip
def test_what_does_not_go_together(options, error, words):
    with pytest.raises(error) as found:
        sg.open_study("examples/cohort", **(SMALL | {"pheno_name": "QT"} | options))
    assert words in str(found.value)


def test_a_constant_covariate_is_refused(tmp_path):
    rows = [line.split("\t") for line in Path("examples/cohort.covar.tsv").read_text().splitlines()]
    table = tmp_path / "covar.tsv"
    table.write_text(
        "\n".join("\t".join([*row[:2], row[2], "E" if i == 0 else "1"]) for i, row in enumerate(rows)) + "\n"
    )
    with pytest.raises(DesignError, match="covariate E is constant"):
        sg.open_study("examples/cohort", **(SMALL | {"pheno_name": "QT", "covar": table, "interaction": "E"}))


@pytest.mark.parametrize("reveal", ["uv", "chi2"])
def test_two_numbers_a_variant_are_not_enough(reveal):
    study = sg.open_study("examples/cohort", **SMALL, pheno_name="QT", interaction="AGE")
    with pytest.raises(UsageError, match=f"needs whole sums: engine plain without `reveal` {reveal}"):
        sg.run(study, sg.Plain(reveal=reveal))


@pytest.mark.parametrize("form", [{"format": "regenie"}, {"format": "gwas-ssf", "genome_build": "GRCh37"}])
def test_other_programs_tables_have_no_columns_for_it(form):
    study = sg.open_study("examples/cohort", **SMALL, pheno_name="QT", interaction="AGE")
    with pytest.raises(UsageError, match="has no columns for an `interaction`"):
        sg.run(study, **form)
