"""Variant quality control from sums: allele frequency, missingness, Hardy–Weinberg; and the filters that use them.

Frequencies are over founders, missingness over everybody, Hardy–Weinberg over founders (or controls among them), as in
plink2. From hard calls: heterozygotes = 2Σg − Σg², homozygotes of A1 = (Σg² − Σg)/2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from securegen.design.qc import QcModel
from securegen.errors import UsageError
from securegen.model import Sums, Variants
from securegen.stats.hwe import exact_test
from securegen.stats.hwe_x import exact_test_x
from securegen.stats.pvalue import chisq_1_inverse
from securegen.vocabulary import ADDITIVE

_LN10 = np.log(10.0)


def quality(sums: Sums, model: QcModel, *, grid: int = 1, copies: int = 2) -> dict[str, np.ndarray]:
    """Counts and p-values for V variants: ALT_FREQS, OBS_CT (alleles), MAC, MISSING_CT, F_MISS, genotype counts, P; CARRIERS,
    the fewest people who can differ from all the others, of founders and of tested.

    sums.g, sums.m: (V, 3) over founders, everybody, tested; sums.q: (V, 1), Σg² over tested. Fractional dosages, and people
    of one copy, have no genotype counts: the Hardy–Weinberg columns are then NaN. On X see `_quality_x`.
    """
    if model.coding != ADDITIVE:
        sums = _additive(sums, model.coding, (2, 3, 4) if model.males else (2,))
    if model.males:
        return _quality_x(sums, model, grid // model.unit)
    assert sums.g.shape[1] == 3 and sums.q.shape[1] == 1
    founders = model.founders - sums.m[:, 0]
    out = _counts(sums, model, sums.g[:, 0] / grid, copies * founders)
    out["CARRIERS"] = out["MAC"] / copies
    tested = model.tested - sums.m[:, 2]
    s, q = sums.g[:, 2], sums.q[:, 0]
    if grid > 1 or copies < 2:
        return out | {name: np.full(len(s), np.nan) for name in ("HET", "HOM_ALT", "HOM_REF", "P", "LOG10_P")}
    het, hom_alt = 2 * s - q, (q - s) // 2
    hom_ref = tested - het - hom_alt
    log_p = exact_test(het, hom_alt, hom_ref)
    differ = tested - np.max([het, hom_alt, hom_ref], axis=0)
    out["CARRIERS"] = _fewest(out["MAC"], differ, _all_tested(sums, model))
    return out | {"HET": het, "HOM_ALT": hom_alt, "HOM_REF": hom_ref, "P": np.exp(log_p), "LOG10_P": -log_p / _LN10}


def no_quality(count: int) -> dict[str, np.ndarray]:
    """As `quality`, of V variants of which nothing may be seen."""
    names = (
        "ALT_FREQS",
        "OBS_CT",
        "MAC",
        "CARRIERS",
        "MISSING_CT",
        "SAMPLE_CT",
        "F_MISS",
        "HET",
        "HOM_ALT",
        "HOM_REF",
        "P",
        "LOG10_P",
    )
    return {name: np.full(count, np.nan) for name in names}


def _additive(sums: Sums, coding: str, squared: Sequence[int]) -> Sums:
    """Σg, and Σg² of the `squared` columns, of the alleles g, from the sums of what a genetic model makes of them and, in
    sums.q, of the alleles."""
    coded, count = (part[:, list(squared)] for part in (sums.g, sums.q))
    return Sums(sums.start, sums.q, sums.m, count + 2 * homozygous(coding, count, coded).astype(np.int64))


def homozygous(coding: str, count: np.ndarray, coded: np.ndarray) -> np.ndarray:
    """People with two copies, from Σ of the copies and from the people whose genotype a genetic model makes 1."""
    found: np.ndarray = {"dominant": count - coded, "recessive": coded, "hetonly": (count - coded) / 2}[coding]
    return found


def _all_tested(sums: Sums, model: QcModel) -> np.ndarray:
    """(V,) bool: as far as sums tell, founders and tested are the same people."""
    alike: np.ndarray = (sums.g[:, 0] == sums.g[:, 2]) & (sums.m[:, 0] == sums.m[:, 2])
    return alike & (model.founders == model.tested)


def _fewest(mac: np.ndarray, differ: np.ndarray, same: np.ndarray) -> np.ndarray:
    """(V,) the fewest who differ, among tested by their genotypes, among founders, where they are others, by their alleles."""
    found: np.ndarray = np.where(same, differ, np.minimum(differ, mac / 2))
    return found


def _counts(sums: Sums, model: QcModel, count: np.ndarray, alleles: np.ndarray) -> dict[str, np.ndarray]:
    """Frequency and missingness from the alleles counted and called among founders."""
    with np.errstate(divide="ignore", invalid="ignore"):
        freq = np.where(alleles > 0, count / np.maximum(alleles, 1), np.nan)
        missing = sums.m[:, 1] / np.float64(model.samples)
    return {
        "ALT_FREQS": freq,
        "OBS_CT": alleles,
        "MAC": np.minimum(count, alleles - count),
        "MISSING_CT": sums.m[:, 1],
        "SAMPLE_CT": np.full(len(count), model.samples, np.int64),
        "F_MISS": missing,
    }


def _quality_x(sums: Sums, model: QcModel, grid: int) -> dict[str, np.ndarray]:
    """Males have one allele, half of each where they are heterozygous; Hardy–Weinberg of females' genotypes and the alleles of
    the other males.

    sums: over founders, everybody, males among founders, females and males among tested, the last three with Σg².
    """
    assert sums.g.shape[1] == 5 and sums.q.shape[1] == 3
    founders, _, male, female, tested_male = range(5)
    males, females, tested_males = (
        total - sums.m[:, j] for total, j in zip(model.males, (male, female, tested_male), strict=True)
    )
    others = (sums.g[:, founders] - sums.g[:, male]) / (grid * model.unit)
    called = model.founders - sums.m[:, founders]
    count = others + sums.g[:, male] / (2 * grid)
    out = _counts(sums, model, count, 2 * (called - males) + males)
    out["CARRIERS"] = out["MAC"] / 2
    names = ("HET", "HOM_ALT", "HOM_REF", "MALE_ALT", "MALE_REF", "P", "LOG10_P")
    if grid > 1:
        return out | {name: np.full(len(count), np.nan) for name in names}
    s, q = sums.g[:, female] // model.unit, sums.q[:, 1] // model.unit**2
    het, hom_alt = 2 * s - q, (q - s) // 2
    hom_ref = females - het - hom_alt
    half = 2 * sums.g[:, tested_male] - sums.q[:, 2]  # heterozygous males
    male_alt = (sums.g[:, tested_male] - half) // 2
    male_ref = tested_males - half - male_alt
    log_p = exact_test_x(het, hom_alt, hom_ref, male_alt, male_ref)
    rest = half + het  # of both alleles
    differ = np.min(
        [rest + hom_alt + male_alt, rest + hom_ref + male_ref, hom_alt + hom_ref + male_alt + male_ref], axis=0
    )
    alike = (called == females + tested_males) & (sums.g[:, founders] == sums.g[:, female] + sums.g[:, tested_male])
    out["CARRIERS"] = _fewest(out["MAC"], differ, alike)
    values = (het, hom_alt, hom_ref, male_alt, male_ref, np.exp(log_p), -log_p / _LN10)
    return out | dict(zip(names, values, strict=True))


@dataclass(frozen=True)
class Filters:
    """Bounds on a variant's quality; None leaves a filter out. maf, mac: minor allele frequency and count over founders;
    geno: largest share of missing calls; hwe: smallest Hardy–Weinberg p."""

    maf: float | None = None
    mac: float | None = None
    geno: float | None = None
    hwe: float | None = None

    @property
    def active(self) -> bool:
        return bool(self.given())

    def check(self, grid: int) -> None:
        """Raise UsageError for --hwe on fractional dosages, which have no genotype counts."""
        if self.hwe is not None and grid > 1:
            raise UsageError(f"`hwe` needs hard calls; these are fractional dosages, in steps of 1/{grid}")

    def given(self) -> dict[str, float]:
        """The filters that are on, by flag, in the order in which plink2 applies them."""
        named = {"--geno": self.geno, "--hwe": self.hwe, "--maf": self.maf, "--mac": self.mac}
        return {flag: bound for flag, bound in named.items() if bound is not None}

    def passing(self, q: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """(V,) bool of variants that pass each filter, in the order of `given`."""
        rules: dict[str, Callable[[float], np.ndarray]] = {
            "--geno": lambda most: q["F_MISS"] <= most * (1 + 1e-12),
            "--hwe": lambda least: ~(q["P"] < least),  # NaN: not tested, on Y and MT
            # NaN (nobody called) fails, as in plink2
            "--maf": lambda least: np.minimum(q["ALT_FREQS"], 1 - q["ALT_FREQS"]) >= least * (1 - 1e-12),
            "--mac": lambda least: q["MAC"] >= least,
        }
        return {flag: rules[flag](bound) for flag, bound in self.given().items()}


def qc_tables(variants: Variants, q: dict[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """Columns of the files that have rows for these variants (vocabulary.QC_COLUMNS): afreq, vmiss, and hardy, on X hardy.x,
    on Y and MT neither. A1 of hardy is the reference allele, as plink2."""
    shared = {"#CHROM": variants.chromosome, "ID": variants.id}
    out = {
        "afreq": {**shared, "REF": variants.other_allele, "ALT": variants.effect_allele, **q},
        "vmiss": {**shared, "MISSING_CT": q["MISSING_CT"], "OBS_CT": q["SAMPLE_CT"], "F_MISS": q["F_MISS"]},
    }
    if np.isnan(q["HET"]).any():
        return out
    called = q["HOM_REF"] + q["HET"] + q["HOM_ALT"]
    total = np.maximum(called, 1)
    reference = (2 * q["HOM_REF"] + q["HET"]) / (2 * total)
    counts = {"HOM_A1_CT": q["HOM_REF"], "HET_A1_CT": q["HET"], "TWO_AX_CT": q["HOM_ALT"]}
    shares = {
        "O(HET_A1)": np.where(called > 0, q["HET"] / total, np.nan),
        "E(HET_A1)": np.where(called > 0, 2 * reference * (1 - reference), np.nan),
    }
    alleles = {"A1": variants.other_allele, "AX": variants.effect_allele}
    p = {"P": q["P"], "LOG10_P": q["LOG10_P"]}
    if "MALE_REF" not in q:
        return out | {"hardy": {**shared, **alleles, **counts, **shares, **p}}
    males = q["MALE_REF"] + q["MALE_ALT"]
    females = {f"FEMALE_{name}": column for name, column in counts.items()}
    females |= {name.replace("(", "(FEMALE_"): column for name, column in shares.items()}
    return out | {
        "hardy.x": {
            **shared, **alleles, **females, "MALE_A1_CT": q["MALE_REF"], "MALE_AX_CT": q["MALE_ALT"],
            "FEMALE_A1_FREQ": np.where(called > 0, reference, np.nan),
            "MALE_A1_FREQ": np.where(males > 0, q["MALE_REF"] / np.maximum(males, 1), np.nan), **p,
        }
    }  # fmt: skip


def lambda_gc(log10p: np.ndarray) -> float:
    """Genomic inflation: median χ² of −log10 p-values over the median of χ² with one degree of freedom; NaN without any.

    >>> lambda_gc(np.array([0.1, -np.log10(0.5), 9.9, np.nan])), round(lambda_gc(np.array([400.0])))
    (1.0, 4032)
    """
    good = log10p[np.isfinite(log10p)]
    median = chisq_1_inverse(np.array([np.log10(2.0)]))[0]
    return float(np.median(chisq_1_inverse(good)) / median) if len(good) else float("nan")
