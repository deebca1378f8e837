"""The whole-genome model: against regenie's step 1, by hand, sites against one cohort, and its limits."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from support import Sites, securegen

import securegen as sg
from securegen.errors import DesignError, InputError, UsageError
from securegen.governance.gate import ungoverned
from securegen.io.loco import read_offsets
from securegen.model import Samples
from securegen.structure import ridge, ridge_people, whole_genome
from securegen.structure.people_tables import write_loco
from securegen.structure.ridge_people import people_of
from securegen.structure.ridge_totals import Alone
from securegen.structure.step1 import write_step1
from securegen.structure.totals import OwnTotals

from .conftest import WHOLE

REGENIE = WHOLE.parent / "gold_regenie"
LOCO = 1e-3  # of dosages in steps of 1/1024 and predictors of 12 bits, beside values of the deviation 0.5


class Together(Alone):
    """Totals of parties that trust each other."""

    def __init__(self, few):
        self.few = few

    def _total(self, values):
        return np.array(self.few(values.ravel().tolist())).reshape(values.shape)

    def products(self, beside, wanted):
        for pair in super().products(beside, wanted):
            yield tuple(map(self._total, pair))

    def newton(self, step):
        return tuple(map(self._total, super().newton(step)))

    def losses(self, name, values):
        return self._total(super().losses(name, values))


def varying(reader, count: int):
    """The first variants that vary among its people."""
    counts = OwnTotals(reader).counts()
    return reader.select(None, np.flatnonzero((counts.dosage > 4) & (counts.dosage < 2 * counts.called - 4))[:count])


@pytest.fixture(scope="module")
def made(whole, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("step1") / "m")
    inputs = sg.Inputs(bfile=whole.bfile, pheno=whole.pheno, covar=whole.covar)
    return out, sg.step1(inputs, out, block=250, write_score=True)


@pytest.mark.parametrize("phenotype, number, theirs, chosen", [("QT", 1, "qt1_1", 0.5), ("CC", 2, "cc1_1", 0.25)])
def test_predictions_are_those_of_regenie(made, reader, phenotype, number, theirs, chosen):
    out, record = made
    ours = read_offsets(f"{out}_{number}.loco", reader.samples).values
    expected = read_offsets(REGENIE / f"{theirs}.loco", reader.samples).values
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(expected))
    assert np.nanmax(np.abs(ours - expected)) <= LOCO
    assert record.facts["heritability"][phenotype] == chosen


def test_the_list_is_what_pred_reads(made, whole):
    """Their association tests are regenie's, within what differs of the predictions."""
    out, _ = made
    study = sg.open_study(whole.bfile, pheno=whole.pheno, pheno_name="QT", covar=whole.covar, pred=f"{out}_pred.list")
    ours = sg.run(study)["QT"].set_index("ID")
    theirs = pd.read_csv(REGENIE / "qt_pred_QT.regenie.gz", sep=" ").set_index("ID")
    chisq = ours.loc[theirs.index, "T_STAT"] ** 2
    assert ((chisq - theirs["CHISQ"]).abs() <= 2e-3 * np.maximum(1, theirs["CHISQ"])).all()


def test_errors_are_those_of_leaving_each_person_out(whole, reader):
    """Level 0 of one block by hand: N regressions, each without one person."""
    few = varying(reader.select(np.arange(120), np.arange(0, 1000, 20)), 40)
    rng = np.random.default_rng(0)
    c, y = rng.normal(size=(120, 2)), rng.normal(size=(120, 1))
    people = people_of(few, OwnTotals(few).counts(), np.ones(120, bool), c, ("A", "B"), y, ("Y",))
    blocks = whole_genome.blocks_of(np.ones(40, int), 40)
    level = whole_genome.level_0(people, blocks)
    g = few.read(0, 40)
    x = g.dosage.astype(float).T
    if g.missing is not None:
        x = np.where(g.missing.T, np.nan, x)
        x = np.where(np.isnan(x), np.nanmean(x, axis=0), x)
    q = np.linalg.qr(np.c_[np.ones(120), c])[0]
    x = x - q @ (q.T @ x)
    deviation = np.sqrt((x**2).sum(axis=0) / 117)
    x /= deviation
    r = (y - q @ (q.T @ y))[:, 0]
    r /= np.sqrt(r @ r / 117)
    for j, h in enumerate(ridge.HERITABILITY):
        penalty = 40 * (1 - h) / h
        by_hand = []
        for i in range(120):
            others = np.arange(120) != i
            a = x[others].T @ x[others] + penalty * np.eye(40)
            by_hand.append(x[i] @ np.linalg.solve(a, x[others].T @ r[others]))
        ours = level.w[0, :, j].astype(float)
        scale = np.linalg.lstsq(ours[:, None], np.array(by_hand), rcond=None)[0][0]
        assert np.abs(ours * scale - by_hand).max() < 2e-3 * np.std(by_hand) + 1e-3 * scale
        everybody = np.linalg.solve(x.T @ x + penalty * np.eye(40), x.T @ r) / deviation
        np.testing.assert_allclose(level.effects[0, :, j] * scale, everybody, atol=2e-3 * np.abs(everybody).max())


def test_sites_together_predict_what_one_cohort_predicts(whole, reader):
    """Not a digit differs, quantitative and binary: totals are of integers, and a person's numbers are his alone."""
    few = reader.select(np.arange(300), np.arange(0, 5000, 25))
    rng = np.random.default_rng(5)
    c = rng.normal(size=(300, 2))
    liability = c[:, 0] + rng.normal(size=300)
    y = np.c_[liability, (liability > 0.5).astype(float)]
    blocks = whole_genome.blocks_of(np.repeat(np.arange(1, 6), 40), 40)

    def fit(people):
        level = whole_genome.level_0(people, blocks)
        cases = np.rint(y[people.analysed][:, 1])
        return whole_genome.quantitative(people, level, 0), whole_genome.binary(people, level, cases, 1)

    counts = OwnTotals(few).counts()
    alone = fit(people_of(few, counts, np.ones(300, bool), c, ("A", "B"), y, ("Q", "B")))
    where = np.arange(300) % 3

    def part(s, total):
        mine = where == s
        return fit(people_of(few, counts, mine, c[mine], ("A", "B"), y[mine], ("Q", "B"), Together(total)))

    together = Sites(3).run([partial(part, s) for s in range(3)])
    for s in range(3):
        for one, of_three in zip(alone, together[s], strict=True):
            np.testing.assert_array_equal(one.values[where == s], of_three.values)
            np.testing.assert_array_equal(one.errors, of_three.errors)
            assert one.heritability == of_three.heritability


def test_a_score_is_the_model_with_everybody_in(made, whole, tmp_path):
    """Weights of a copy give Σ of all predictors and coefficients, but for a constant."""
    out, _ = made
    scored = str(tmp_path / "s")
    assert securegen("prs", *whole.options()[:2], "--score", f"{out}.QT.score.txt", "--out", scored).code == 0
    table = pd.read_csv(f"{scored}.sscore", sep="\t")
    total = table.iloc[:, -1]
    loco = read_offsets(f"{out}_1.loco", sg.read_plink(whole.bfile).samples).values[22]
    known = ~np.isnan(loco)
    assert np.corrcoef(total[known], loco[known])[0, 1] > 0.6  # which leave each person out
    phenotype = pd.read_csv(whole.pheno, sep="\t")["QT"]
    inside = np.corrcoef(total[known], phenotype[known])[0, 1]
    outside = np.corrcoef(loco[known], phenotype[known])[0, 1]
    assert inside > outside + 0.1  # why it is not for the people that it was made of


def test_each_phenotype_has_its_own_people(made, whole, tmp_path):
    """Beside another it is what it is alone."""
    out, _ = made
    alone = str(tmp_path / "a")
    inputs = sg.Inputs(bfile=whole.bfile, pheno=whole.pheno, pheno_name=("CC",), covar=whole.covar)
    sg.step1(inputs, alone, block=250)
    with open(f"{alone}_1.loco", "rb") as a, open(f"{out}_2.loco", "rb") as b:
        assert a.read() == b.read()


def test_variants_that_do_not_vary_are_left_out_and_collinear_ones_refused(whole, reader, tmp_path):
    said: list[str] = []
    keep = tmp_path / "keep"
    samples = reader.samples
    keep.write_text("".join(f"{f} {i}\n" for f, i in zip(samples.fid[:60], samples.iid[:60], strict=True)))
    inputs = sg.Inputs(bfile=whole.bfile, pheno=whole.pheno, pheno_name=("QT",), keep=str(keep), chr=("1",))
    write_step1(inputs, str(tmp_path / "m"), said.append, block=50)
    assert any("without variation" in line for line in said)
    g = reader.read(0, 1)
    with pytest.raises(DesignError, match="does not vary beside the covariates"):
        people = people_of(
            reader, OwnTotals(reader, ~g.missing[0]).counts(), ~g.missing[0],
            g.dosage[0][~g.missing[0], None].astype(float), ("G",),
            np.random.default_rng(0).normal(size=(int((~g.missing).sum()), 1)), ("Y",),
        )  # fmt: skip
        whole_genome.level_0(people, [whole_genome.VariantBlock(1, np.arange(3))])


def test_a_person_whom_nobody_else_predicts_ends_it(reader):
    few = varying(reader.select(np.arange(40), np.arange(2000)), 150)
    y = np.random.default_rng(0).normal(size=(40, 1))
    people = people_of(few, OwnTotals(few).counts(), np.ones(40, bool), np.zeros((40, 0)), (), y, ("Y",))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(DesignError, match="predicted by nobody else"):
        patch.setattr(whole_genome, "LARGEST_LEVERAGE", 0.5)
        whole_genome.level_0(people, whole_genome.blocks_of(np.ones(150, int), 150))


def test_a_phenotype_far_out_is_refused(reader, monkeypatch):
    monkeypatch.setattr(ridge_people, "WIDEST", 8)
    y = np.zeros((500, 1))
    y[0] = 1e6
    with pytest.raises(DesignError, match="Y has a value more than 8 standard deviations"):
        people_of(reader, OwnTotals(reader).counts(), np.ones(500, bool), np.zeros((500, 0)), (), y, ("Y",))


def test_names_that_join_to_one_are_refused(tmp_path):
    samples = Samples(np.array(["A_B", "A"], object), np.array(["C", "B_C"], object), np.ones(2, bool))
    with pytest.raises(InputError, match="A_B_C"):
        write_loco(tmp_path / "x.loco", samples, np.zeros((23, 2)), gate=ungoverned())
    assert not list(tmp_path.iterdir())


def test_tests_without_a_null_model_are_refused(whole, tmp_path):
    inputs = sg.Inputs(bfile=whole.bfile, pheno=whole.pheno, pheno_name=("CC",), model="trend")
    with pytest.raises(UsageError, match="linear or logistic"):
        sg.step1(inputs, tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_only_chromosomes_1_to_22(reference, tmp_path):
    cohort = reference("sexes")
    said: list[str] = []
    inputs = sg.Inputs(bfile=cohort.bfile, pheno=cohort.pheno, pheno_name=("QT",), split_par="b37")
    made = write_step1(inputs, str(tmp_path / "m"), said.append, block=100)
    assert any("on no chromosome from 1 to 22" in line for line in said)
    first = read_offsets(made.paths[1], sg.read_plink(cohort.bfile).samples).values
    np.testing.assert_array_equal(first[0][~np.isnan(first[0])], 0)  # chromosome 1 is all there is
