"""A histogram of one column over public edges. Everybody is in one cell: below, between two edges, above, or without a number. So
one person more moves one count by 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.governance.people_noise import PeopleNoise, Sensitivity, deviation_of_sums, noisy_sums
from securegen.noisy.cohort import CountedCohort
from securegen.noisy.people import numbers_of
from securegen.noisy.summary import HISTOGRAM, NoisySummary, NoisyTable, texts
from securegen.study.inputs import Inputs

MOST_EDGES = 10_000
MOVED = Sensitivity(1, 1)


def edges_of(value: Any) -> tuple[float, ...]:
    """Edges as numbers, from text or numbers. Raises UsageError.

    >>> edges_of("18.5,25,30")
    (18.5, 25.0, 30.0)
    """
    wrong = UsageError(
        f"`edges` is {str(value)[:60]!r}: rising numbers are expected, {MOST_EDGES} at most, by general knowledge and never "
        "those of the data"
    )
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(
        isinstance(w, str | int | float) and not isinstance(w, bool) for w in words
    ):
        raise wrong
    try:
        out = tuple(float(w) for w in words)
    except (ValueError, OverflowError):
        raise wrong from None
    rising = all(a < b for a, b in zip(out, out[1:], strict=False))
    if not 1 <= len(out) <= MOST_EDGES or not rising or not all(map(math.isfinite, out)):
        raise wrong
    return out


def histogram(inputs: Inputs, cohort: CountedCohort, *, edges: Any) -> NoisySummary:
    """Of the one column `pheno_name` of the table `pheno`: phenotype, covariate or score. A bin has its lower edge and not its
    upper one. Raises UsageError."""
    ends = edges_of(edges)
    if inputs.pheno is None or inputs.pheno_name is None or len(inputs.pheno_name) != 1:
        raise UsageError("a histogram needs one column: give `pheno`, any table of people, and one `pheno_name`")
    path, (name,) = inputs.pheno, inputs.pheno_name
    lows, highs = ["-inf", *map(repr, ends), "NA"], [*map(repr, ends), "inf", "NA"]

    def draw(noise: PeopleNoise) -> list[int]:
        values = numbers_of(inputs, cohort.reader.samples, path, name)[cohort.chosen]
        cell = np.where(np.isnan(values), len(ends) + 1, np.searchsorted(ends, values, side="right"))
        exact = np.bincount(cell, minlength=len(ends) + 2)
        return noisy_sums(exact.tolist(), noise, MOVED)

    def table(numbers: Sequence[int], noise: PeopleNoise) -> NoisyTable:
        deviation = np.full(len(numbers), deviation_of_sums(noise, MOVED))
        columns = (texts(lows), texts(highs), np.array(numbers, np.int64), deviation)
        return NoisyTable(("#LOW", "HIGH", "COUNT", "NOISE_SD"), columns)

    def facts(noise: PeopleNoise) -> dict[str, Any]:
        return {"l1": 1, "l2_squared": 1, "noise_deviation": deviation_of_sums(noise, MOVED)}

    return NoisySummary(HISTOGRAM, {"edges": list(ends)}, len(ends) + 2, draw, table, facts)
