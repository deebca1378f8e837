"""What leaves: rounding, the small-model attack and its refusal, reference distribution, risk, the .sscore file."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from securegen.errors import InputError, PolicyError, UsageError
from securegen.governance.gate import ungoverned
from securegen.scores.files import read_scoring
from securegen.scores.match import match_variants
from securegen.scores.plan import plan_scores
from securegen.scores.release import (
    against_reference,
    logistic_risk,
    minimum_variants,
    reference_distribution,
    refuse_small_models,
    release,
    round_digits,
)
from securegen.scores.sscore import read_reference, sscore_text, write_match_log, write_sscore
from securegen.scores.sums import ScoreSums, plain_scores


@pytest.fixture
def model(score_file, array_reader):
    """Plan, integers and cohort of a random additive model."""

    def build(size: int, people: int = 20, missing: float = 0.0):
        rng = np.random.default_rng(size)
        weights = rng.normal(size=size)
        dosage = rng.binomial(2, 0.4, (size, people)).astype(np.int8)
        dosage[rng.random(dosage.shape) < missing] = -1
        reader = array_reader([("1", i + 1, f"rs{i}", "A", "G") for i in range(size)], dosage)
        rows = "".join(f"rs{i}\tA\t{w:.9f}\n" for i, w in enumerate(weights))
        match = match_variants(read_scoring(score_file("ID\tA1\tWEIGHT\n" + rows)), reader.variants)
        plan = plan_scores([match], imputation="none", bits=40)
        return reader, match, plan, plain_scores(reader, plan)

    return build


def genotypes_with_score(plan, released: float, digits: int) -> list[np.ndarray]:
    """Every genotype whose released score is this one: meet in the middle over 3^V (Nikitin and Gürsoy)."""
    weights = np.ldexp(plan.dosage_weight[:, 0].astype(float), -plan.exponent[0])
    half = len(weights) // 2
    left, right = (np.array(list(itertools.product(range(3), repeat=k))) for k in (half, len(weights) - half))
    sums = right @ weights[half:]
    order = np.argsort(sums)
    slack = 10.0 ** (math.floor(math.log10(abs(released))) + 1 - digits) + 1e-12
    found = []
    for row, part in zip(left, left @ weights[:half], strict=True):
        low, high = np.searchsorted(sums[order], (released - part - slack, released - part + slack))
        for k in order[low:high]:
            if round_digits(np.array([part + sums[k]]), digits)[0] == released:
                found.append(np.concatenate([row, right[k]]))
    return found


def test_released_scores_of_a_small_model_spell_the_genotypes(model):
    """The attack, and the two controls that stop it: refusing the model, releasing fewer digits."""
    reader, _, plan, sums = model(8)
    for i, value in enumerate(release(sums).total[:, 0]):
        found = genotypes_with_score(plan, value, 6)
        assert len(found) == 1 and np.array_equal(found[0], reader.dosage[:, i])
    with pytest.raises(PolicyError, match=r"fewer than 15 variants matched in SCORE1 \(8\)"):
        refuse_small_models(plan)
    refuse_small_models(plan, allow_small_score=["SCORE1"])
    refuse_small_models(plan, digits=2)
    assert min(len(genotypes_with_score(plan, v, 2)) for v in release(sums, digits=2).total[:, 0]) > 1


def test_rounding_stops_the_attack_on_a_larger_model(model):
    reader, _, plan, sums = model(16, people=6)
    refuse_small_models(plan)
    exactly, rounded = release(sums, digits=15), release(sums)
    usual = np.flatnonzero(np.abs(rounded.total[:, 0]) >= 0.3 * rounded.total[:, 0].std())
    assert len(usual) >= 3
    for i in usual:
        found = genotypes_with_score(plan, exactly.total[i, 0], 15)
        assert len(found) == 1 and np.array_equal(found[0], reader.dosage[:, i])
        assert len(genotypes_with_score(plan, rounded.total[i, 0], 6)) > 10
    with pytest.raises(PolicyError, match="fewer than 34 variants"):
        refuse_small_models(plan, digits=15)


def test_zero_weights_do_not_count_as_variants(score_file, array_reader):
    reader = array_reader([("1", i + 1, f"rs{i}", "A", "G") for i in range(20)], np.zeros((20, 1), np.int8))
    rows = "".join(f"rs{i}\tA\t{int(i < 5)}\n" for i in range(20))
    match = match_variants(read_scoring(score_file("ID\tA1\tWEIGHT\n" + rows)), reader.variants)
    plan = plan_scores([match], imputation="none")
    assert plan.score_variants(0) == 5
    with pytest.raises(PolicyError):
        refuse_small_models(plan)


def test_minimum_follows_the_released_digits():
    for digits in range(1, 18):
        floor = minimum_variants(digits=digits)
        assert 3**floor >= 10 ** (digits + 1) > 3 ** (floor - 1)
    assert minimum_variants(2) == 30


def test_average_says_nothing_more_than_the_sum(model):
    _, _, plan, sums = model(30, missing=0.1)
    table = release(sums)
    assert np.array_equal(table.average[:, 0], round_digits(table.total[:, 0] / sums.denominator(0), 6))
    nudged = sums.values.copy()
    nudged[:, 0] += 1  # a change below the released digits
    assert np.array_equal(release(ScoreSums(plan, nudged)).average, table.average)


def test_release_is_the_nearest_number(model):
    _, _, plan, sums = model(30)
    table = release(sums, digits=17)
    assert [float(v) for v in table.total[:, 0]] == [int(v) / 2 ** plan.exponent[0] for v in sums.score[:, 0]]
    with pytest.raises(UsageError, match="0 significant digits"):
        release(sums, digits=0)


def test_sscore_file(model, tmp_path):
    reader, match, _, sums = model(30, missing=0.1)
    values = sums.values.copy()
    values[3, sums.plan.missing_column :] = 30  # nothing called
    table = release(ScoreSums(sums.plan, values))
    text = sscore_text(reader.samples, table, {"SCORE1_PERCENTILE": np.full(20, 12.3456789)})
    header, *rows = [line.split("\t") for line in text.splitlines()]
    assert header == [
        "#FID", "IID", "ALLELE_CT", "NAMED_ALLELE_DOSAGE_SUM", "SCORE1_AVG", "SCORE1_SUM", "SCORE1_PERCENTILE",
    ]  # fmt: skip
    assert rows[3][2] == "0" and rows[3][4] == "NA"
    assert rows[0][6] == "12.3457"
    assert [row[5] for row in rows] == [f"{v:.6g}" for v in table.total[:, 0]]
    assert [int(row[3]) for row in rows] == sums.named_dosage.tolist()
    write_sscore(tmp_path / "a.sscore", reader.samples, table, gate=ungoverned())
    assert np.array_equal(read_reference(tmp_path / "a.sscore", "SCORE1"), table.column("SCORE1"))
    with pytest.raises(InputError, match="has no column X_SUM"):
        read_reference(tmp_path / "a.sscore", "X")
    (tmp_path / "b.sscore").write_text("#IID\tS_SUM\na\t-9\nb\tNA\n")
    with pytest.raises(InputError, match="line 3: column S_SUM holds 'NA'"):
        read_reference(tmp_path / "b.sscore", "S")
    write_match_log(tmp_path / "a.match", [match], reader.variants)
    assert len((tmp_path / "a.match").read_text().splitlines()) == 31


def test_an_engine_may_leave_the_counts_out(model):
    reader, _, plan, sums = model(14)
    bare = ScoreSums(replace(plan, imputation="cohort"), sums.values[:, :1])
    table = release(bare)
    assert table.allele_count is None
    assert np.array_equal(table.total, release(sums).total)
    assert sscore_text(reader.samples, table).splitlines()[1].split("\t")[2:4] == ["NA", "NA"]


def test_reference_distribution():
    reference = reference_distribution(np.array([3.0, 1.0, 2.0, 4.0]))
    percentile, z = against_reference(np.array([0.0, 2.0, 2.5, 9.0, np.nan]), reference)
    assert percentile[:4].tolist() == [0.0, 37.5, 50.0, 100.0] and np.isnan(percentile[4])
    assert z[2] == 0 and z[3] == pytest.approx(6.5 / np.std([1, 2, 3, 4], ddof=1), rel=1e-15)
    for bad in ([], [1.0], [2.0, 2.0], [1.0, np.nan]):
        with pytest.raises(InputError, match="two or more finite scores"):
            reference_distribution(np.array(bad))


def test_logistic_risk():
    scores = np.array([-1000.0, 0.0, 1.0, 1000.0])
    risk = logistic_risk(scores, intercept=-2.0, slope=0.5)
    assert risk[0] == pytest.approx(math.exp(-502), rel=1e-12) and risk[3] == 1.0
    assert risk[1:3] == pytest.approx([1 / (1 + math.exp(2)), 1 / (1 + math.exp(1.5))], rel=1e-14)
    with pytest.raises(UsageError, match="must be finite"):
        logistic_risk(scores, intercept=math.nan)
