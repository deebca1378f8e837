"""Sums of weights of one genotype, of people without a call, and of sets of samples: what they say of single people."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.design.logistic import logistic_design
from securegen.engines.federated import variant_sums
from securegen.engines.federated.terms import opened_by
from securegen.errors import PolicyError
from securegen.governance import ledger, openings, rows

from .test_openings import TWO, Run, in_memory, small, study_of, traits_of

DISEASE = [("Y1", "case-control-01")]


def diseased(people=900, variants=60, seed=3, rare=0.05):
    """Dosages of rare variants, age and sex, cases, and the weights of the pooled null model."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rare, (variants, people)).astype(np.int8)
    x = np.column_stack([rng.integers(40, 75, people), rng.integers(0, 2, people)]).astype(float)
    cases = (rng.random(people) < 1 / (1 + np.exp(-(0.05 * (x[:, 0] - 57) + 0.4 * x[:, 1])))).astype(float)
    design = logistic_design(np.ones(people, bool), x, ("AGE", "SEX"), cases, "Y1")
    return dosage, x, cases, design.columns.values[:, 3]


def alone(dosage, run) -> tuple[np.ndarray, np.ndarray]:
    """Opened rows with one homozygote of the rare allele in all, and who it is."""
    rows = np.arange(len(dosage)) if run.study.openings == "all" else np.flatnonzero(run.of("flags")[:, 0] == 0)
    one = np.flatnonzero((dosage[rows] == 2).sum(axis=1) == 1)
    return one, np.array([np.flatnonzero(dosage[v] == 2)[0] for v in rows[one]])


def test_weights_of_one_homozygote(tmp_path):
    """Σ w g² − Σ w g is twice the weight of the people with two copies: their age and sex, the same at every such variant."""
    dosage, x, cases, w = diseased()
    traits, n = traits_of(x, cases, binary=True), 900
    free = Run(in_memory(dosage), traits, study_of(DISEASE, openings="all"), tmp_path / "all")
    one, who = alone(dosage, free)
    columns = free.of("columns")
    read = (columns[one, 4] // n**2 - columns[one, 1] // n) // 2
    assert len(one) > 10 and (read == w[who]).all()
    bound = Run(in_memory(dosage), traits, study_of(DISEASE), tmp_path / "strict")
    one, who = alone(dosage, bound)
    columns, mean = bound.of("columns"), bound.of("counts")[:, 1] / n
    assert columns.shape[1] == 5, "r, two weighted covariates, Σ w (g − mean)², minor alleles in cases"
    mean, total, homozygote = mean[one], w.sum(), (2 - mean[one]) ** 2 - mean[one] ** 2
    het = bound.of("counts")[one, 1] - 2
    guess = (columns[one, 3] - mean**2 * total - ((1 - mean) ** 2 - mean**2) * het * w.mean()) / homozygote
    assert len(one) > 10 and np.sqrt(((guess - w[who]) ** 2).mean()) > w.std(), "no better than the average"
    (got,), (truth,) = bound.tables(), free.tables()
    shown = got["ERRCODE"] != "FEW_CARRIERS"
    error = np.abs(got["CHISQ"] - truth["CHISQ"]) / np.maximum(1, truth["CHISQ"])
    assert shown.sum() > 50 and error[shown].max() < 1e-3
    assert (got["U"][shown] == truth["U"][shown]).mean() > 0.9 or np.allclose(
        got["U"][shown], truth["U"][shown], atol=0.1
    )


@pytest.mark.parametrize("protected", [False, True])
def test_a_mean_that_is_moved_to_one_half(tmp_path, monkeypatch, protected):
    """A deviating site's false Σg: at a mean of ½ copies, 0 and 1 copies weigh the same and two stand alone."""
    dosage, x, cases, w = diseased()

    def alter(name, own):
        if name.endswith("-counts"):
            rows = np.flatnonzero(run_flags["flags"][:, 0] == 0)
            own = own.copy()
            own[:, 1] = 450 - dosage[rows][:, 1::3].sum(axis=1) - dosage[rows][:, 2::3].sum(axis=1)
        return own

    run_flags = {}
    honest = Run(in_memory(dosage), traits_of(x, cases, binary=True), study_of(DISEASE), tmp_path / "honest")
    run_flags["flags"] = honest.of("flags")
    if not protected:
        monkeypatch.setattr(
            variant_sums, "hidden_weights", lambda copies, mean, w, fewest: (w[None, :], np.zeros(len(copies), bool))
        )
    steered = Run(
        in_memory(dosage), traits_of(x, cases, binary=True), study_of(DISEASE), tmp_path / "steered", alter={0: alter}
    )
    one, who = alone(dosage, steered)
    read = (steered.of("columns")[one, 3] - w.sum() / 4) / 2
    known = np.abs(read - w[who]) < 100
    assert known.mean() < 0.2 if protected else known.all()


@pytest.mark.parametrize("few_missing", ["round", "withhold"])
def test_sex_of_the_one_person_without_a_call(tmp_path, few_missing):
    """x is one of two integers a and b, so Σgx is a·S and a multiple of b − a: what is left is S·x/n of that person."""
    reader, x, y = small(variants=60)
    dosage, rng = reader.read(0, 60).dosage.copy(), np.random.default_rng(2)
    who = rng.permutation(360)[:60]
    dosage[np.arange(60), who] = -1
    traits = traits_of(x, y[:, 0])
    run = Run(in_memory(dosage), traits, study_of(TWO[:1], few_missing=few_missing), tmp_path)
    opened = np.flatnonzero(run.of("flags")[:, 0] == 0)
    a, b = sorted({int(v) for v in run.design.columns.values[:, 2]})
    sums, called = run.of("counts")[:, 1], 359
    right = 0
    for at, v in enumerate(opened):
        left = int(run.of("columns")[at, 1]) - a * int(sums[at])
        guesses = [k for k in (a, b) if (left - (2 * int(sums[at]) * k + called) // (2 * called)) % (b - a) == 0]
        right += guesses == [b if x[who[v], 1] else a]
    assert len(opened) > 40
    if few_missing == "round":
        assert right == len(opened)
        assert any("sex" in line for line in opened_by(run.study)), "it is said"
    else:
        assert right == 0 and not run.of("columns").any()


@pytest.mark.parametrize("missing", ["complete", "mean"])
@pytest.mark.parametrize("protected", [False, True])
def test_people_without_a_call_that_differ_by_one(tmp_path, monkeypatch, missing, protected):
    """A plate fails at two variants, and one person more at the second: the difference of the sums is that person's."""
    reader, x, y = small(variants=30)
    dosage = reader.read(0, 30).dosage.copy()
    dosage[[4, 9], :36] = -1
    dosage[9, 100] = -1
    dosage[20, 200:260] = -1
    if not protected:
        monkeypatch.setattr(rows, "_lacking_alike", lambda codes, at, allowed, *_: allowed)
    study = study_of(TWO[:1], missing=missing, openings="consortium")
    run = Run(in_memory(dosage), traits_of(x, y[:, 0]), study, tmp_path)
    assert np.flatnonzero(run.of("flags")[:, 0]).tolist() == ([9] if protected else [])
    if not protected and missing == "complete":
        pairs = run.of("pairs-0")
        own = run.designs[100 % 3].columns.values[100 // 3]
        design = [int(v) for v in own]
        apart = [design[k] * design[m] for k in range(4) for m in range(k, 4)]
        assert (pairs[1] - pairs[0]).tolist() == apart, "products of person 100's own values"


@pytest.mark.parametrize("protected", [False, True])
def test_one_value_corrected_between_two_studies(tmp_path, monkeypatch, protected):
    """The second study's sums less what the first one's tell of them are one person's genotypes."""
    reader, x, y = small(900, 200)
    if not protected:
        monkeypatch.setattr(ledger, "CONSENTED", 1.0)
        monkeypatch.setattr(openings, "CONSENTED", 1.0)
    first = Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1]), tmp_path)
    Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1]), tmp_path)
    Run(reader, traits_of(x, y[:, 1]), study_of(TWO[:1]), tmp_path)
    again = y[:, 0].copy()
    again[42] += 1.5
    if protected:
        with pytest.raises(PolicyError):
            Run(reader, traits_of(x, again), study_of(TWO[:1]), tmp_path)
        Run(reader, traits_of(x, again), study_of(TWO[:1], consent_openings=True), tmp_path)
        return
    second = Run(reader, traits_of(x, again), study_of(TWO[:1]), tmp_path)
    opened = np.flatnonzero(first.of("flags")[:, 0] == 0)
    known = np.column_stack([first.of("counts")[:, 1], first.of("columns") / 900]).astype(float)
    total = second.of("columns")[:, 2] / 900
    left = total - known @ np.linalg.lstsq(known, total, rcond=None)[0]
    assert np.corrcoef(left, reader.read(0, 200).dosage[opened, 42])[0, 1] > 0.9
