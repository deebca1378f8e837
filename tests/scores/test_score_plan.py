"""Integers of a plan: exactness, streams, imputation, several scores, bounds that hold for every cohort."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from securegen.errors import InputError, PlanError, UsageError
from securegen.scores.files import read_scoring, read_scorings
from securegen.scores.integers import bits_for, exact, scale_exponent
from securegen.scores.match import match_variants
from securegen.scores.plan import plan_scores, used_variants
from securegen.scores.release import release, round_digits
from securegen.scores.sums import count_alleles, plain_scores

COHORT = [("1", i + 1, f"rs{i}", "A", "G") for i in range(6)]
TYPED = (
    "rsID\teffect_allele\tother_allele\teffect_weight\tis_dominant\tis_recessive\tdosage_0_weight\tdosage_1_weight"
    "\tdosage_2_weight\tallelefrequency_effect\n"
    "rs0\tA\tG\t0.37\t\t\t\t\t\t0.1\nrs1\tG\tA\t-0.2\t\t\t\t\t\t0.2\n"
    "rs2\tA\tG\t0.111\tTRUE\t\t\t\t\t0.3\nrs3\tG\tA\t0.7\t\tTRUE\t\t\t\t0.4\n"
    "rs4\tA\tG\t\t\t\t0.3\t-0.1\t0.25\t0.5\nrs5\tG\tA\t\t\t\t-0.01\t0.5\t0.6\t0.6\n"
)
IMPUTATIONS = ("cohort", "file", "none")


@pytest.fixture
def typed(score_file, array_reader):
    """A cohort of every genotype, and a file with every effect type, labelled and swapped."""

    def build(grid: int = 1, missing: bool = True):
        steps = np.arange(-1 if missing else 0, 2 * grid + 1)
        dosage = np.stack([np.roll(steps, k) for k in range(6)]).astype(np.int16)
        reader = array_reader(COHORT, dosage, grid)
        return reader, match_variants(read_scoring(score_file(TYPED)), reader.variants)

    return build


@pytest.mark.parametrize("grid", [1, 4, 100])
@pytest.mark.parametrize("imputation", IMPUTATIONS)
def test_every_effect_type(typed, oracle, grid, imputation):
    reader, match = typed(grid)
    plan = plan_scores(
        [match], dosage_grid=grid, imputation=imputation, counts=count_alleles(reader, used_variants([match]))
    )
    sums = plain_scores(reader, plan)
    unit = Fraction(2) ** -plan.exponent[0] / grid
    for value, want in zip(sums.score[:, 0], oracle(match, reader, 0, imputation), strict=True):
        assert abs(int(value) * unit - want) <= Fraction(plan.error[0])


@pytest.mark.parametrize("imputation", IMPUTATIONS)
def test_weights_that_fit_the_scale_have_no_error(score_file, array_reader, oracle, imputation):
    reader = array_reader(COHORT[:2], np.array([[0, 1, 2, -1], [2, 1, -1, 0]], np.int8))
    text = "ID\tA1\tA2\tWEIGHT\teaf\nrs0\tA\tG\t0.75\t0.5\nrs1\tG\tA\t-1.5\t0.25\n"
    match = match_variants(read_scoring(score_file(text)), reader.variants)
    plan = plan_scores([match], imputation=imputation, counts=count_alleles(reader, used_variants([match])))
    values = [int(v) * Fraction(2) ** -plan.exponent[0] for v in plain_scores(reader, plan).score[:, 0]]
    want = oracle(match, reader, 0, imputation)
    if imputation == "none":
        assert plan.error == (0.0,)
    assert max(abs(a - b) for a, b in zip(values, want, strict=True)) <= Fraction(plan.error[0])
    called = (reader.dosage >= 0).all(axis=0)
    assert [v for v, c in zip(values, called, strict=True) if c] == [w for w, c in zip(want, called, strict=True) if c]


def test_blocks_do_not_change_integers(typed):
    reader, match = typed()
    counts = count_alleles(reader, used_variants([match]))
    plan = plan_scores([match], counts=counts)
    whole = plain_scores(reader, plan)
    for block in (1, 2, 5):
        again = count_alleles(reader, used_variants([match]), block=block)
        assert np.array_equal(again.dosage, counts.dosage) and np.array_equal(again.second, counts.second)
        assert np.array_equal(plain_scores(reader, plan, block=block).values, whole.values)
    assert plan.rows(2, 5) == slice(2, 5)
    assert plan.rows(6, 9) == slice(6, 6)


def test_counts_as_plink2_defines_them(typed):
    reader, match = typed()
    sums = plain_scores(reader, plan_scores([match], counts=count_alleles(reader, used_variants([match]))))
    called = reader.dosage >= 0
    assert np.array_equal(sums.allele_count, 2 * called.sum(axis=0))
    copies = np.where(match.swapped[:, None], 2 - reader.dosage, reader.dosage)
    assert np.array_equal(sums.named_dosage, np.where(called, copies, 0).sum(axis=0))
    assert (sums.denominator(0) == 12).all()
    without = plain_scores(reader, plan_scores([match], imputation="none"))
    assert np.array_equal(without.denominator(0), sums.allele_count)


def test_variants_nobody_is_called_at_are_left_out_and_counted(score_file, array_reader):
    reader = array_reader(COHORT[:2], np.array([[0, 1, 2], [-1, -1, -1]], np.int8))
    match = match_variants(read_scoring(score_file("ID\tA1\tWEIGHT\nrs0\tG\t1\nrs1\tG\t1\n")), reader.variants)
    plan = plan_scores([match], counts=count_alleles(reader, used_variants([match])))
    assert plan.left_out == 1 and plan.variants_of == (1,)
    assert plain_scores(reader, plan).score[:, 0].tolist() == [v << plan.exponent[0] for v in (2, 1, 0)]
    nothing = array_reader(COHORT[:2], np.full((2, 3), -1, np.int8))
    with pytest.raises(InputError, match="no sample has a called genotype"):
        plan_scores([match], counts=count_alleles(nothing, used_variants([match])))


def test_several_files_keep_their_own_alleles_and_denominators(score_file, array_reader):
    dosage = np.array([[0, 1, -1], [2, -1, 1], [1, 1, 1]], np.int8)
    reader = array_reader(COHORT[:3], dosage)
    a = score_file("ID\tA1\tx\ty\nrs0\tA\t1\t2\nrs1\tA\t0.5\t1\n", "a")
    b = score_file("ID\tA1\tWEIGHT\nrs1\tG\t1\nrs2\tG\t3\n", "b")
    matches = [match_variants(f, reader.variants) for f in read_scorings([a, b])]
    counts = count_alleles(reader, used_variants(matches))
    for imputation in ("cohort", "none"):
        together = plain_scores(reader, plan_scores(matches, imputation=imputation, counts=counts))
        assert together.plan.names == ("x", "y", "SCORE2") and together.plan.file_of == (0, 0, 1)
        start = 0
        for match in matches:
            own = count_alleles(reader, used_variants([match]))
            alone = plain_scores(reader, plan_scores([match], imputation=imputation, counts=own))
            width = len(alone.plan.names)
            assert np.array_equal(together.score[:, start : start + width], alone.score)
            assert np.array_equal(together.denominator(start), alone.denominator(0))
            start += width
        assert np.array_equal(together.allele_count, 2 * (dosage >= 0).sum(axis=0))
        assert together.named_dosage.tolist() == [2 + 0 + 1, 1 + 0 + 1, 0 + 1 + 1]


def test_the_bound_holds_for_the_worst_cohort(typed, array_reader):
    """Each sample takes, variant by variant, the genotype that moves one column furthest."""
    reader, match = typed(1)
    plan = plan_scores([match], counts=count_alleles(reader, used_variants([match])))
    states = np.array([[0, 0, 0], [1, 0, 0], [2, 1, 0], [0, 0, 1]])
    weights = np.stack([plan.dosage_weight, plan.second_weight, plan.missing_weight], axis=1)
    terms = np.einsum("gk,vkc->gvc", states, weights)
    reachable = np.maximum(np.abs(plan.constant + terms.max(0).sum(0)), np.abs(plan.constant + terms.min(0).sum(0)))
    assert (reachable <= np.array(plan.bound)).all()
    assert max(plan.bound) < 1 << 63


def test_a_sum_that_could_wrap_is_refused(score_file, array_reader):
    size = 400
    reader = array_reader(
        [("1", i + 1, f"rs{i}", "A", "G") for i in range(size)], np.zeros((size, 1), np.int16), 1 << 14
    )
    path = score_file("ID\tA1\tWEIGHT\n" + "".join(f"rs{i}\tG\t0.9\n" for i in range(size)))
    match = match_variants(read_scoring(path), reader.variants)
    with pytest.raises(PlanError, match="sums of SCORE1 could reach 2\\^66: use fewer bits per weight"):
        plan_scores([match], dosage_grid=1 << 14, imputation="none", bits=40)
    plan = plan_scores([match], dosage_grid=1 << 14, imputation="none", bits=36)
    assert plain_scores(reader, plan).score[0, 0] == plan.constant[0] > 1 << 57


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"imputation": "median"}, UsageError, "one of cohort, file, none"),
        ({"imputation": "cohort"}, UsageError, "needs the cohort's allele counts"),
        ({"imputation": "none", "bits": 8}, UsageError, "8 bits per weight"),
        ({"imputation": "none", "dosage_grid": 1 << 15}, UsageError, "a dosage grid of 32768"),
    ],
)
def test_options_that_do_not_fit(typed, options, error, complaint):
    _, match = typed()
    with pytest.raises(error, match=complaint):
        plan_scores([match], **options)


@pytest.mark.parametrize("frequency", ["", "NA", "1.2", "-0.1", "x", "nan"])
def test_frequencies_of_the_file_are_checked(score_file, array_reader, frequency):
    reader = array_reader(COHORT[:1], np.array([[0, 1]], np.int8))
    path = score_file(f"ID\tA1\tWEIGHT\teaf\nrs0\tA\t1\t{frequency}\n")
    match = match_variants(read_scoring(path), reader.variants)
    with pytest.raises(InputError, match="line 2: .* is not an allele frequency"):
        plan_scores([match], imputation="file")


def test_zero_weights_twin_names_and_another_grid_are_refused(score_file, array_reader, typed):
    reader = array_reader(COHORT[:1], np.array([[0, 1]], np.int8))
    match = match_variants(read_scoring(score_file("ID\tA1\tWEIGHT\nrs0\tA\t0.0\n")), reader.variants)
    with pytest.raises(InputError, match="score SCORE1: every weight of the variants matched is zero"):
        plan_scores([match], imputation="none")
    with pytest.raises(UsageError, match="same name"):
        plan_scores([match, match], imputation="none")
    _, good = typed()
    plan = plan_scores([good], imputation="none")
    with pytest.raises(UsageError, match="dosage grid of 1, the cohort has 2"):
        plain_scores(replace(reader, dosage_grid=2), plan)


@given(st.fractions(min_value=Fraction(1, 10**30), max_value=10**30), st.integers(16, 40))
def test_scale(largest, bits):
    scaled = largest * Fraction(2) ** scale_exponent(largest, bits)
    assert 2 ** (bits - 1) <= scaled < 2**bits


@settings(max_examples=200)
@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=12))
def test_text_is_read_exactly(value):
    assert exact(str(value)) == Fraction(value)


@pytest.mark.parametrize("digits", [3, 6, 8])
def test_the_digits_shown_are_those_of_the_weights(score_file, array_reader, oracle, digits):
    """Bits follow from the released digits; with 20 most sixth digits were those of rounded weights."""
    rng = np.random.default_rng(11)
    size, people = 800, 60
    rows = [("1", i + 1, f"rs{i}", "A", "G") for i in range(size)]
    weights = rng.normal(size=size) / 100
    reader = array_reader(rows, rng.integers(0, 3, (size, people)).astype(np.int16))
    body = "".join(f"rs{i}\tA\t{w:.17g}\n" for i, w in enumerate(weights))
    match = match_variants(read_scoring(score_file("ID\tA1\tWEIGHT\n" + body)), reader.variants)
    truth = np.array([float(v) for v in oracle(match, reader, imputation="none")])

    def wrong(bits) -> tuple[int, float]:
        plan = plan_scores([match], imputation="none", bits=bits, digits=digits)
        shown = release(plain_scores(reader, plan), digits=digits).total[:, 0]
        unit = 10.0 ** (np.floor(np.log10(np.abs(truth))) - digits + 1)
        return int((shown != round_digits(truth, digits)).sum()), float((np.abs(shown - truth) / unit).max())

    assert wrong(None)[0] <= 1 and wrong(None)[1] < 0.53
    assert digits != 6 or (wrong(20)[0] > people / 2 and wrong(20)[1] > 1)
    plan = plan_scores([match], imputation="none", digits=digits)
    moved = 6 * math.sqrt(4 * size / 12) * 2.0 ** -plan.exponent[0]
    assert moved <= 10.0**-digits * math.sqrt((weights**2).sum()) / 64 * (1 + 1e-9)


def test_weights_of_a_fine_grid_have_no_more_bits_than_sums_hold():
    weights = [Fraction(w) for w in np.random.default_rng(1).normal(size=5000)]
    assert bits_for(weights, 17) == 40 > bits_for(weights, 17, 1 << 14) >= 16
    total = sum(abs(w) for w in weights) / max(abs(w) for w in weights)
    assert 6 * (1 << 14) * total * 2 ** bits_for(weights, 17, 1 << 14) < 2**60
