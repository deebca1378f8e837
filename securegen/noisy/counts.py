"""How many people, of which sex, cases and controls, and how many called genotypes.

Each group parts all people: everybody is in one cell of it. One person more moves one count of each of G groups by 1, so that
the counts together move by G, and by √G in Euclid's norm, whoever it is. Called genotypes are a group of their own, which a
person moves by the number of variants at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.governance.people_noise import PeopleNoise, Sensitivity, deviation_of_sums, noisy_sums
from securegen.noisy.cohort import CountedCohort
from securegen.noisy.people import coded, numbers_of
from securegen.noisy.summary import COUNTS, NoisySummary, NoisyTable, texts
from securegen.study import checks
from securegen.study.inputs import Inputs
from securegen.study.ploidy import FEMALE, MALE

MOST_GROUPS = 256


def counts(inputs: Inputs, cohort: CountedCohort, *, sexes: bool = False, called: bool = False) -> NoisySummary:
    """People, and cases, controls and others of each of `pheno_name`. sexes: also by sex; called: also called genotypes of the
    variants. Cases and controls are 2 and 1, with `force_01` 1 and 0, whatever the column holds. Raises UsageError."""
    checks.flag("sexes", sexes)
    checks.flag("called", called)
    names = inputs.pheno_name or ()
    if bool(names) != bool(inputs.pheno) and not (inputs.pheno and inputs.sex_name):
        raise UsageError(
            "`pheno` and `pheno_name` go together: which phenotypes there are is not read from a file here"
        )
    cells = [("people", "all")]
    if sexes:
        cells += [("sex", word) for word in ("male", "female", "unknown")]
    for name in names:
        cells += [(name, word) for word in ("case", "control", "neither")]
    groups, variants = 1 + sexes + len(names), len(cohort.variants)
    if groups > MOST_GROUPS:
        raise UsageError(f"`pheno_name`: {groups} groups; at most {MOST_GROUPS} are allowed")
    moved, parts = Sensitivity(groups, groups), groups + called

    def draw(noise: PeopleNoise) -> list[int]:
        sex, exact = cohort.sex[cohort.chosen], [int(cohort.chosen.sum())]
        if sexes:
            known = [int((sex == code).sum()) for code in (MALE, FEMALE)]
            exact += [*known, len(sex) - sum(known)]
        for name in names:
            values = numbers_of(inputs, cohort.reader.samples, inputs.pheno or "", name)[cohort.chosen]
            known = [int(which.sum()) for which in coded(values, zero_one=inputs.force_01)]
            exact += [*known, len(values) - sum(known)]
        out = noisy_sums(exact, noise.share(groups, parts), moved)
        if called:
            calls = sum(int(found.sum()) for _, _, found in cohort.copies())
            out += noisy_sums([calls], noise.share(1, parts), _of_calls(variants))
        return out

    def deviations(noise: PeopleNoise) -> list[float]:
        one = deviation_of_sums(noise.share(groups, parts), moved)
        return [one] * len(cells) + [deviation_of_sums(noise.share(1, parts), _of_calls(variants))] * called

    def table(numbers: Sequence[int], noise: PeopleNoise) -> NoisyTable:
        rows = [*cells, *([("genotypes", "called")] if called else [])]
        return NoisyTable(
            ("#OF", "WHO", "COUNT", "NOISE_SD"),
            (
                texts([a for a, _ in rows]),
                texts([b for _, b in rows]),
                np.array(numbers, np.int64),
                np.array(deviations(noise)),
            ),
        )

    def facts(noise: PeopleNoise) -> dict[str, Any]:
        told = {"l1": moved.l1, "l2_squared": moved.l2_squared, "noise_deviation": deviations(noise)[0]}
        return told | ({"l1_of_calls": variants, "noise_deviation_of_calls": deviations(noise)[-1]} if called else {})

    asked = {"sexes": sexes, "called": called}
    return NoisySummary(COUNTS, asked, len(cells) + called, draw, table, facts)


def _of_calls(variants: int) -> Sensitivity:
    return Sensitivity(variants, variants**2)
