"""What a distinguisher finds out of draws is less than ε says, and more with half the noise; sums are right on average."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import beta
from support import spread_is
from test_sensitivity import Held, held, tables, whole

import securegen as sg
from securegen.governance import people_noise
from securegen.governance.people_noise import PeopleNoise, Sensitivity, deviation_of_sums, largest, noisy_sums
from securegen.noisy import hits as of_hits
from securegen.noisy.counts import counts
from securegen.noisy.frequencies import frequencies
from securegen.noisy.histogram import histogram
from securegen.noisy.hits import hits, mean_of

ALPHA = 1e-7  # of each of two bounds, which are off together once in 10^11 runs
Z = 5.3
PURE, GAUSS = PeopleNoise(1.0), PeopleNoise(2.0, 1e-3)
PAIR = Sensitivity(2, 4)


def lower_epsilon(hits: int, others: int, n: int, delta: float = 0.0) -> float:
    """What ε is at least, by Clopper and Pearson (1934): an event happened so often in n draws of two neighbours."""
    low = float(beta.ppf(ALPHA, hits, n - hits + 1)) if hits else 0.0
    high = float(beta.ppf(1 - ALPHA, others + 1, n - others)) if others < n else 1.0
    return math.log(max(low - delta, 1e-9) / high)


def of_sums(noise: PeopleNoise, n: int) -> float:
    """ε of draws of 0 and of what one person makes of it."""
    one = np.array(noisy_sums([PAIR.l1] * n, noise, PAIR))
    none = np.array(noisy_sums([0] * n, noise, PAIR))
    return lower_epsilon(int((one >= PAIR.l1).sum()), int((none >= PAIR.l1).sum()), n, noise.delta or 0.0)


def of_scores(noise: PeopleNoise, k: int, n: int) -> float:
    """ε of names: k first places that one person turns round, at the event that tells most."""
    even, tilted = [0] * (2 * k), [-1] * k + [1] * k
    first = sum(set(largest(even, k, noise, 1)) == set(range(k)) for _ in range(n))
    second = sum(set(largest(tilted, k, noise, 1)) == set(range(k)) for _ in range(n))
    return lower_epsilon(first, second, n, noise.delta or 0.0)


def halved(monkeypatch, name: str, by: int = 2) -> None:
    """The protection off: a part of the noise."""
    right = getattr(people_noise, name)
    monkeypatch.setattr(people_noise, name, lambda *args: right(*args) / by)


def test_epsilon_of_sums_is_as_it_says(monkeypatch):
    assert 0.6 < of_sums(PURE, 8000) <= PURE.epsilon
    halved(monkeypatch, "scale_of_sums")
    assert of_sums(PURE, 8000) > PURE.epsilon


@pytest.mark.parametrize(("k", "n", "least", "wrong"), [(1, 2500, 0.3, 2), (2, 4000, 0.0, 4)])
def test_epsilon_of_a_list_is_as_it_says(k, n, least, wrong, monkeypatch):
    assert least < of_scores(PURE, k, n) <= PURE.epsilon
    halved(monkeypatch, "scale_of_scores", wrong)
    assert of_scores(PURE, k, n) > PURE.epsilon


def test_epsilon_of_a_list_with_delta_is_as_it_says(monkeypatch):
    """Gumbel noise by zCDP is wider than this event needs: with a fifth of it the event shows more than ε."""
    noise = PeopleNoise(1.0, 1e-3)
    assert of_scores(noise, 1, 1500) <= noise.epsilon
    halved(monkeypatch, "scale_of_scores", 5)
    assert of_scores(noise, 1, 1500) > noise.epsilon


def least_delta(scale: float, epsilon: float) -> float:
    """δ of Gaussian noise, its deviation in units of what one person moves: theorem 8 of Balle and Wang (2018)."""

    def below(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    return below(0.5 / scale - epsilon * scale) - math.exp(epsilon) * below(-0.5 / scale - epsilon * scale)


def test_delta_is_as_it_says(monkeypatch):
    """The deviation of many draws is enough by the exact formula; half of it is not."""

    def found(n: int = 1500) -> float:
        wide = Sensitivity(2 * 16, 4 * 16)  # V = 16 variants: L2 grows with the root
        deviation = np.array(noisy_sums([0] * n, GAUSS, wide)).std() / math.sqrt(wide.l2_squared)
        return float(deviation / math.sqrt(1 - Z * math.sqrt(2 / n)))

    assert least_delta(found(), GAUSS.epsilon) <= GAUSS.delta
    halved(monkeypatch, "scale_of_sums")
    assert least_delta(found(), GAUSS.epsilon) > GAUSS.delta


def test_shares_never_add_up_to_more_than_the_whole():
    for parts in (1, 2, 3, 7, 100):
        shares = [GAUSS.share(1, parts)] * parts
        assert sum(s.epsilon for s in shares) <= GAUSS.epsilon
        assert sum(s.delta or 1 for s in shares) <= (GAUSS.delta or 0)
        whole_of = [GAUSS.share(parts, parts + 1), GAUSS.share(1, parts + 1)]
        assert sum(s.epsilon for s in whole_of) <= GAUSS.epsilon


@pytest.mark.parametrize("noise", [PeopleNoise(1.0), PeopleNoise(1.0, 1e-5)])
def test_sums_are_unbiased_with_the_deviation_that_is_printed(noise, tmp_path):
    """Of each summary: means of draws are the exact numbers, which a histogram by NumPy and sums by hand say."""
    reader = held(chromosomes=["1", "2", "3"])
    reader = Held(np.clip(reader.dosage, 0, 2), reader.missing, reader.samples, ("1", "2", "3"))
    n, draws = len(reader.samples), 120
    inputs = tables(tmp_path, {f"I{i}": str(1 + i % 2) for i in range(n)})
    called = ~reader.missing
    alleles = np.stack([(reader.dosage * called).sum(1), ((2 - reader.dosage) * called).sum(1)], axis=1)
    third = np.arange(n) % 3
    exact = {
        "counts": [n, *((third == c).sum() for c in (1, 2, 0)), n // 2, n // 2, 0, called.sum()],
        "frequencies": alleles.reshape(-1).tolist(),
        "histogram": [0, n // 2, n // 2, 0, 0, 0],
    }
    asked = {
        "counts": counts(inputs, whole(reader), sexes=True, called=True),
        "frequencies": frequencies(whole(reader)),
        "histogram": histogram(inputs, whole(reader), edges=(0.5, 1.5, 2.5, 3.5)),
    }
    for kind, summary in asked.items():
        found = np.array([summary.draw(noise) for _ in range(draws)], float)
        table = summary.table(found[0].astype(int).tolist(), noise)
        deviation = table.columns[table.header.index("NOISE_SD")]
        if kind == "frequencies":
            deviation = np.repeat(deviation, 2)
        # by Chernoff's bound, which is larger for Laplace noise: one of 60 means lies outside once in 10^10 runs
        assert (np.abs(found.mean(0) - exact[kind]) < 8 * deviation / math.sqrt(draws)).all(), kind
        assert spread_is(np.abs(found - exact[kind]), deviation, laplace=noise.delta is None), kind


def test_a_frequency_costs_two_of_l1_a_variant_and_root_v_of_l2():
    """V variants: Laplace noise grows with V, Gaussian with √V."""
    for v in (1, 100):
        moved = Sensitivity(2 * v, 4 * v)
        assert deviation_of_sums(PURE, moved) == pytest.approx(2 * v * math.sqrt(2), rel=0.02)
        ratio = deviation_of_sums(GAUSS, moved) / deviation_of_sums(GAUSS, PAIR)
        assert ratio == pytest.approx(math.sqrt(v), rel=1e-6)


def test_the_strongest_variants_are_found_where_people_are_many(tmp_path):
    """And hits are of the trend test's numerator, which the noisy mean centres."""
    rng = np.random.default_rng(8)
    n, m = 3000, 40
    y = np.arange(n) % 2
    dosage = rng.binomial(2, 0.3, (m, n)).astype(np.int16)
    dosage[7], dosage[21] = rng.binomial(2, 0.3 + 0.3 * y), rng.binomial(2, 0.6 - 0.25 * y)
    names = np.array([f"I{i}" for i in range(n)], object)
    samples = sg.model.Samples(names, names, np.ones(n, bool))
    reader = Held(dosage, np.zeros(dosage.shape, bool), samples, ("1",) * m)
    inputs = tables(tmp_path, {f"I{i}": str(1 + y[i]) for i in range(n)})
    found = hits(inputs, whole(reader), k=2).draw(PURE)
    assert set(found[2:]) == {7, 21}
    assert abs(mean_of(found[:2]) / of_hits.STEPS - 0.5) < 0.02
