"""Allele frequencies of V named variants.

Of each variant both alleles are counted: a person with copies g of one has p − g of the other, p = 2 or 1 by the chromosome and
their own sex, and neither where there is no call. So one person more moves both counts together by p, whatever their genotype:
by 2V in all, and by 2√V in Euclid's norm. N is half the two counts, and costs nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from securegen.errors import UsageError
from securegen.governance.people_noise import PeopleNoise, Sensitivity, deviation_of_sums, noisy_sums
from securegen.noisy.cohort import CountedCohort
from securegen.noisy.summary import FREQUENCIES, NoisySummary, NoisyTable
from securegen.study.ploidy import AUTOSOMAL

MOST_VARIANTS = 1 << 17  # an answer is kept whole


def frequencies(cohort: CountedCohort) -> NoisySummary:
    """Of every variant that the cohort's filters leave. Raises UsageError for too many."""
    variants = cohort.variants
    if len(variants) > MOST_VARIANTS:
        raise UsageError(
            f"{len(variants)} variants; at most {MOST_VARIANTS} are allowed, and with fewer there is less noise: `extract` names "
            "those that you need"
        )
    kinds, copies = cohort.ploidy()
    halved = bool((kinds != AUTOSOMAL).any())
    unit = cohort.reader.dosage_grid * (2 if halved else 1)  # of one copy
    moved = Sensitivity(2 * unit * len(variants), (2 * unit) ** 2 * len(variants))

    def draw(noise: PeopleNoise) -> list[int]:
        alleles = np.zeros((len(variants), 2), np.int64)
        for start, dosage, called in cohort.copies():
            for row, kind in enumerate(kinds[start : start + len(dosage)].tolist()):
                share = (
                    copies[kind] / 2 * unit / cohort.reader.dosage_grid
                )  # of a diploid dosage, in units: 0, ½, 1 or 2
                first, calls = float(dosage[row] @ share), float(called[row] @ share)
                alleles[start + row] = round(first), round(cohort.most * calls - first)
        return noisy_sums(alleles.reshape(-1).tolist(), noise, moved)

    def table(numbers: Sequence[int], noise: PeopleNoise) -> NoisyTable:
        pairs = np.array(numbers, np.float64).reshape(-1, 2) / unit
        total = pairs.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            frequency = np.where(total > 0, np.clip(pairs[:, 0] / total, 0, 1), np.nan)
        v, deviation = variants, np.full(len(pairs), deviation_of_sums(noise, moved) / unit)
        return NoisyTable(
            ("#CHROM", "POS", "ID", "REF", "ALT", "ALT_FREQS", "OBS_CT", "ALT_CT", "NOISE_SD"),
            (v.chromosome, v.position, v.id, v.other_allele, v.effect_allele, frequency, np.round(total).astype(np.int64),
             pairs[:, 0], deviation),
        )  # fmt: skip

    def facts(noise: PeopleNoise) -> dict[str, Any]:
        return {
            "unit": f"1/{unit} copy", "l1": moved.l1, "l2_squared": moved.l2_squared,
            "noise_deviation": deviation_of_sums(noise, moved) / unit,
        }  # fmt: skip

    asked = {"digest": variants.digest(), "unit": unit}
    return NoisySummary(FREQUENCIES, asked, len(variants), draw, table, facts)
