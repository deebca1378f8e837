"""The k variants that go most with a phenotype, named and without numbers.

The score of a variant is the numerator of the trend test, |Σ (y − m)(g − 1)| over people with a phenotype and a call (Armitage
1955): g copies, y between public bounds, 1 for cases and 0 for controls, m a mean of y that was made noisy first. A person adds
to no variant's sum more than max(m − low, high − m), as |g − 1| ≤ 1, and m is known by then: that is the sensitivity. The true
mean would not do, since one person moves it for everybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from securegen.errors import UsageError
from securegen.governance.label_noise import bounds_text, parse_bounds
from securegen.governance.people_noise import PeopleNoise, Sensitivity, largest, noisy_sums
from securegen.noisy.cohort import CountedCohort
from securegen.noisy.people import coded, numbers_of
from securegen.noisy.summary import HITS, NoisySummary, NoisyTable
from securegen.study import checks
from securegen.study.inputs import Inputs

STEPS: Final = 1 << 16  # of a phenotype between its bounds
MOST_HITS: Final = 100
MOVED: Final = Sensitivity(STEPS, STEPS**2)  # steps above the lower bound and below the upper one: together STEPS
_EXACT: Final = 1 << 53  # whole numbers in float64


def hits(inputs: Inputs, cohort: CountedCohort, *, k: int = 10, bounds: Any = None) -> NoisySummary:
    """k variants for the one phenotype `pheno_name`, strongest first. bounds: LO,HI of a quantitative phenotype, known without
    the data; None: cases and controls, coded as in `counts.counts`. Raises UsageError."""
    if inputs.pheno is None or inputs.pheno_name is None or len(inputs.pheno_name) != 1:
        raise UsageError("hits need one phenotype: give `pheno` and one `pheno_name`")
    path, (name,), variants = inputs.pheno, inputs.pheno_name, cohort.variants
    checks.whole("k", k, 1, MOST_HITS)
    if k is None or k > len(variants):
        raise UsageError(f"`k` is {k}, of {len(variants)} variants")
    k = int(k)
    ends = parse_bounds(bounds_text(bounds))

    def steps() -> np.ndarray:
        """(n,) float64: whole steps of those who are counted, NaN without a phenotype."""
        values = numbers_of(inputs, cohort.reader.samples, path, name)[cohort.chosen]
        if ends is None:
            case, control = coded(values, zero_one=inputs.force_01)
            return np.where(case, float(STEPS), np.where(control, 0.0, np.nan))
        low, high = ends
        inside: np.ndarray = np.rint((np.clip(values, low, high) - low) / (high - low) * STEPS)
        return inside

    def draw(noise: PeopleNoise) -> list[int]:
        y = steps()
        known = ~np.isnan(y)
        above = int(y[known].sum())
        sums = noisy_sums([above, int(known.sum()) * STEPS - above], noise.share(1, k + 1), MOVED)
        mean = mean_of(sums)
        centred = np.where(known, y - mean, 0.0)
        if len(y) * STEPS * cohort.most >= _EXACT:
            raise UsageError("`dosage_grid` is too fine for exact sums of so many people: choose a smaller one")
        scores = np.zeros(len(variants), np.int64)
        for start, dosage, called in cohort.copies():
            centre = (dosage - cohort.reader.dosage_grid) * called
            scores[start : start + len(dosage)] = np.abs(centre @ centred).astype(np.int64)
        return [*sums, *largest(scores.tolist(), k, noise.share(k, k + 1), moved_by(mean, cohort.reader.dosage_grid))]

    def table(numbers: Sequence[int], _: PeopleNoise) -> NoisyTable:
        at = np.array(numbers[2:], np.int64)
        v = variants.take(at)
        return NoisyTable(
            ("#RANK", "CHROM", "POS", "ID", "REF", "ALT"),
            (np.arange(1, len(at) + 1), v.chromosome, v.position, v.id, v.other_allele, v.effect_allele),
        )

    def facts(noise: PeopleNoise) -> dict[str, Any]:
        by = "exponential" if noise.delta is None else "Gumbel"
        return {"k": k, "noise_on_scores": by, "epsilon_of_mean": noise.share(1, k + 1).epsilon}

    asked = {"k": k, "bounds": None if ends is None else list(ends), "digest": variants.digest()}
    return NoisySummary(HITS, asked, k, draw, table, facts)


def mean_of(sums: Sequence[int]) -> int:
    """The noisy mean in steps, between the bounds whatever the noise was."""
    above, below = (max(s, 0) for s in sums)
    return round(STEPS * above / (above + below)) if above + below else STEPS // 2


def moved_by(mean: int, grid: int) -> int:
    """The most that one person moves any variant's score, in steps times units of a dosage."""
    return grid * max(mean, STEPS - mean)
