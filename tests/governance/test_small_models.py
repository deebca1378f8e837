"""Combinations of genotypes behind a printed score, against a list of all of them."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from securegen.errors import InputError
from securegen.governance.small_models import bounded_model, small_model


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("digits", [2, 6])
@pytest.mark.parametrize("seed", range(4))
def test_every_combination_is_counted(seed, digits, named):
    rng = np.random.default_rng(seed)
    weights = [f"{w:.{seed + 1}f}" for w in rng.normal(size=6)]
    behind: Counter[tuple[str, int]] = Counter()
    for genotypes in itertools.product((0, 1, 2), repeat=6):
        total = float(sum((Fraction(w) * g for w, g in zip(weights, genotypes, strict=True)), Fraction(0)))
        behind[
            f"{total:.{digits}g}".replace("-0", "0") if total == 0 else f"{total:.{digits}g}", sum(genotypes) * named
        ] += 1
    found = small_model("S", weights, digits, named=named)
    assert found.exact and found.values == len(behind)
    assert found.alone * 3**6 == pytest.approx(sum(n == 1 for n in behind.values()))
    assert 10**found.per_value == pytest.approx(3**6 / len(behind))


def test_a_score_of_few_precise_weights_is_its_genotypes_and_one_digit_is_not():
    weights = ["0.1234567", "0.2718281", "0.3141592", "0.0577215"]
    assert small_model("S", weights, 6).alone == 1
    assert small_model("S", weights, 1, named=False).alone < 0.5
    assert small_model("S", ["1"] * 4, 6).alone == 2 / 81  # nobody's copies, and everybody's


def test_what_is_too_many_to_count_is_bounded():
    rng = np.random.default_rng(1)
    many = small_model("S", [f"{w:.12f}" for w in rng.normal(size=40)], 6)
    assert not many.exact and math.isnan(many.alone) and many.values == pytest.approx(1e7 * 81)
    assert many.values == bounded_model("S", 40, 6).values
    assert "or more a value" in many.line() and many.to_json()["read_from_value"] is None
    assert bounded_model("S", 3, 6).values == pytest.approx(27)
    assert math.isfinite(bounded_model("S", 1_000_000, 17).combinations)


@pytest.mark.parametrize("weight", ["a", "nan", "1e400"])
def test_weights_that_are_no_numbers_are_refused(weight):
    with pytest.raises(InputError):
        small_model("S", ["0.1", weight], 6)
