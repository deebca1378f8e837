"""The estimated power of membership tests is that of the attacks, carried out on simulated cohorts."""

from __future__ import annotations

import itertools
import math
from functools import partial

import numpy as np
import pytest
from scipy import integrate, stats
from support import MemoryReader

from securegen.errors import UsageError
from securegen.governance import membership
from securegen.governance.linkage import linkage
from securegen.governance.membership import (
    choose,
    distance_at,
    group_power,
    information,
    log_ratio,
    power,
    trait_power,
)

COHORTS, PEOPLE, VARIANTS, OTHERS = 10, 200, 300, 600
FPR = 0.05


def monte_carlo(expected: float, found: int, others: int) -> float:
    """Four standard errors of a simulated power: of its members, and of the threshold that the others set."""
    z = stats.norm.isf(FPR)
    slope = stats.norm.pdf(z - stats.norm.isf(1 - expected)) / stats.norm.pdf(z)
    return 4 * math.sqrt(expected * (1 - expected) / found + slope**2 * FPR * (1 - FPR) / others)


@pytest.fixture(scope="module")
def attacks() -> dict[str, list[tuple[np.ndarray, np.ndarray, float]]]:
    """By attack and cohort: statistics of members, of others, and the estimated power."""
    rng = np.random.default_rng(7)
    out: dict[str, list[tuple[np.ndarray, np.ndarray, float]]] = {}
    for _ in range(COHORTS):
        p = rng.uniform(0.05, 0.95, VARIANTS)
        inside, outside = (rng.binomial(2, p, (n, VARIANTS)) for n in (PEOPLE, OTHERS))
        copies, y = inside.sum(axis=0), rng.normal(size=PEOPLE)
        ratio = [log_ratio(g, copies, PEOPLE, p).sum(axis=1) for g in (inside, outside)]
        minor = np.minimum(copies, 2 * PEOPLE - copies)
        square = float(information(minor, np.full(VARIANTS, PEOPLE)).sum())
        out.setdefault("frequencies", []).append((*ratio, power(math.sqrt(square), FPR)))
        # effects as they are published: standardised in the sample; tested with the population's frequencies
        y = (y - y.mean()) / y.std()
        effect = ((inside - inside.mean(axis=0)) / inside.std(axis=0)).T @ y / PEOPLE
        case = np.sign(y - np.quantile(y, 0.75))
        standard = (case - case.mean()) / case.std()
        contrast = ((inside - inside.mean(axis=0)) / inside.std(axis=0)).T @ standard / PEOPLE
        known = [(g - 2 * p) / np.sqrt(2 * p * (1 - p)) for g in (inside, outside)]
        theirs = rng.normal(size=OTHERS)
        significant = np.argsort(-np.abs(effect))[:30]
        for name, which in (("effects", np.arange(VARIANTS)), ("significant effects", significant)):
            distance = math.sqrt(float((effect[which] ** 2).sum()))
            scores = [x[:, which] @ effect[which] for x in known]
            out.setdefault(f"{name}, trait known", []).append(
                (scores[0] * np.sign(y), scores[1] * np.sign(theirs), trait_power(distance, FPR, known=True))
            )
            out.setdefault(f"{name}, trait unknown", []).append(
                (np.abs(scores[0]), np.abs(scores[1]), trait_power(distance, FPR, known=False))
            )
        distance = math.sqrt(float((contrast**2).sum()))
        scores = [x @ contrast for x in known]
        theirs = np.where(rng.random(OTHERS) < 0.25, 1, -1)
        out.setdefault("contrasts, group known", []).append(
            (scores[0] * case, scores[1] * theirs, group_power(distance, FPR, 0.25, known=True))
        )
        joint = [np.stack([(copies / PEOPLE - 2 * p) / np.sqrt(2 * p * (1 - p)), contrast])]
        worth = float((1 / PEOPLE + 3 * contrast**2).sum())  # y² of a quarter's cases is 3
        scores = [x @ (joint[0][0] + math.sqrt(3) * joint[0][1]) for x in known]
        out.setdefault("frequencies and contrasts, a case", []).append(
            (scores[0][case > 0], scores[1], power(math.sqrt(worth), FPR))
        )
    return out


@pytest.mark.parametrize(
    "attack",
    [
        "frequencies", "effects, trait known", "effects, trait unknown", "significant effects, trait known",
        "significant effects, trait unknown", "contrasts, group known", "frequencies and contrasts, a case",
    ],
)  # fmt: skip
def test_the_estimate_is_the_power_of_the_attack(attacks, attack):
    """Within four standard errors: at a quarter to a half of the members found, about 0.05."""
    found, members, expected = 0.0, 0, 0.0
    for inside, outside, estimate in attacks[attack]:
        found += float((inside > np.quantile(outside, 1 - FPR)).sum())
        members, expected = members + len(inside), expected + estimate / COHORTS
    assert 0.1 < expected < 0.8
    assert abs(found / members - expected) < monte_carlo(expected, members, COHORTS * OTHERS)


def test_a_test_that_knew_nothing_of_the_selection_would_be_far_off(attacks):
    """Released because they are significant, 30 rows say as much as 100 of the table: the estimate must count χ²."""
    expected = np.mean([e for _, _, e in attacks["significant effects, trait known"]])
    naive = trait_power(math.sqrt(30 / PEOPLE), FPR, known=True)
    assert expected - naive > monte_carlo(float(expected), COHORTS * PEOPLE, COHORTS * OTHERS)


def test_the_exact_ratio_is_that_of_all_cohorts_of_two():
    """P(count | a member's genotype) / P(count), enumerated over every cohort of two people."""
    p = 0.3
    chance = {g: stats.binom.pmf(g, 2, p) for g in (0, 1, 2)}
    for g, k in itertools.product((0, 1, 2), range(5)):
        given = sum(chance[other] for other in chance if g + other == k)
        alone = sum(chance[a] * chance[b] for a in chance for b in chance if a + b == k)
        expected = math.log(given / alone) if given else -math.inf
        assert log_ratio(np.array([g]), np.array([k]), 2, p)[0] == pytest.approx(expected)


@pytest.mark.parametrize("people, minor", [(3, 1), (3, 3), (5, 2)])
def test_information_of_rare_variants_is_enumerated(people, minor):
    """Twice the mean log ratio of the first person, over every cohort of so many people."""
    p = minor / (2 * people)
    total = 0.0
    for cohort in itertools.product((0, 1, 2), repeat=people):
        chance = math.prod(stats.binom.pmf(g, 2, p) for g in cohort)
        total += chance * log_ratio(np.array([cohort[0]]), np.array([sum(cohort)]), people, p)[0]
    assert information(np.array([minor]), np.array([people]))[0] == pytest.approx(2 * total)


def test_information_of_common_variants_is_one_over_the_people():
    n = np.full(3, 5_000)
    assert information(np.array([0, 50, 2_000]), n) * 5_000 == pytest.approx([0, 1, 1], abs=1 / 200)
    assert information(np.array([60]), n[:1])[0] == pytest.approx(2 * membership._divergence(5_000, 60), rel=1 / 300)


@pytest.mark.parametrize("distance", [0.0, 0.3, 2.0, 40.0])
@pytest.mark.parametrize("fpr", [0.05, 1e-3])
def test_powers_of_traits_are_the_integrals(distance, fpr):
    def mean(of) -> float:
        return 2 * integrate.quad(lambda y: stats.norm.pdf(y) * of(y), 0, 9, limit=200, points=[0.05, 0.5])[0]

    z, z2 = stats.norm.isf(fpr), stats.norm.isf(fpr / 2)
    assert trait_power(distance, fpr, known=True) == pytest.approx(
        mean(lambda y: stats.norm.cdf(y * distance - z)), abs=1e-7
    )
    both = mean(lambda y: stats.norm.cdf(y * distance - z2) + stats.norm.cdf(-y * distance - z2))
    assert trait_power(distance, fpr, known=False) == pytest.approx(both, abs=1e-7)
    assert group_power(distance, fpr, 0.5, known=True) == pytest.approx(power(distance, fpr))


def test_a_power_and_its_distance_are_inverse():
    assert power(distance_at(0.7, 0.01), 0.01) == pytest.approx(0.7)
    assert distance_at(0.01, 0.05) == 0
    with pytest.raises(UsageError):
        distance_at(1.0, 0.05)


def test_rows_are_chosen_in_order_until_the_power_is_reached():
    worth = np.array([0.5, 0.2, 0.9, 0.2, 0.1])
    order = np.array([2, 0, 1, 3, 4])
    assert choose(order, worth, 1.1).tolist() == [1, 2]
    assert choose(order, worth, 10.0).tolist() == [0, 1, 2, 3, 4]
    linked = {2: [0, 1], 3: [4]}
    chosen = choose(order, worth, 10.0, lambda j: np.array(linked.get(j, []), np.int64))
    assert chosen.tolist() == [2, 3]


def test_independent_variants_are_counted_and_the_plain_test_is_worth_no_more():
    """Every variant three times: a third is independent, and the attack on all of them finds what one of them gives."""
    rng = np.random.default_rng(3)
    p = np.repeat(rng.uniform(0.1, 0.9, 100), 3)
    inside, outside = (np.repeat(rng.binomial(2, p[::3], (n, 100)), 3, axis=1) for n in (400, 4_000))
    found = linkage(MemoryReader(inside.T.astype(np.int8)))
    assert found.effective == pytest.approx(100, rel=0.05)
    assert all(set(found.of(j)) >= {i for i in range(j - j % 3, j - j % 3 + 3) if i != j} for j in range(300))
    ratio = partial(log_ratio, copies=inside.sum(axis=0), people=400, frequency=p)
    threshold = np.quantile(ratio(outside).sum(axis=1), 1 - FPR)
    expected = power(math.sqrt(found.effective / 400), FPR)
    hit = float((ratio(inside).sum(axis=1) > threshold).mean())
    assert abs(hit - expected) < monte_carlo(expected, 400, 4_000)
    assert power(math.sqrt(300 / 400), FPR) - hit > 0.05  # what counting all of them would have said


def test_linkage_stays_within_a_chromosome_and_across_blocks(monkeypatch):
    rng = np.random.default_rng(4)
    dosage = rng.binomial(2, 0.4, (40, 300)).astype(np.int8)
    dosage[20:] = dosage[:20]
    dosage[3, :5] = -1
    whole = linkage(MemoryReader(dosage))
    monkeypatch.setattr("securegen.governance.linkage.BLOCK", 7)
    parts = linkage(MemoryReader(dosage))
    assert parts.effective == pytest.approx(whole.effective)
    assert np.array_equal(parts.others, whole.others) and list(whole.of(4)) == [24]
