"""The results of an association run: pictures, strongest loci, what each error code means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from securegen import vocabulary as voc
from securegen.catalogue import TESTS
from securegen.plot import canvas
from securegen.plot.association import manhattan, qq
from securegen.plot.genome import GENOME_WIDE, SUGGESTIVE
from securegen.report.gather import Result
from securegen.report.html import NOTHING, Content, Markup, breakable, element, join, pairs, picture, table

WIDE, NARROW, HALF = 1000, 350, 560
HITS = 15
Annotations = Mapping[str, tuple[str, ...]]

OPENED = {
    "uv": "Linear regression from two opened numbers per variant",
    "chi2": "χ² alone, one opened number per variant",
    "hits": "Linear regression; only variants below the threshold were opened",
    "meta": "Meta-analysis, fixed effects",
}
MISSING = {
    "mean": "at the variant's mean dosage, as in regenie",
    "complete": "left out: each variant is tested in the people called for it, as in plink2",
}
CODES = {
    voc.OK: "all is well",
    voc.ALL_MISSING: "no analysed person has a call",
    voc.CONST_OMITTED_ALLELE: "everybody called has the same genotype",
    voc.CORR_TOO_HIGH: "covariates explain all but 0.2 % of the variant's variance",
    voc.VIF_TOO_HIGH: "covariates explain more than 98 % of it: statistics are wide",
    voc.TOO_FEW_SAMPLES: "no degree of freedom is left",
    voc.PERFECT_FIT: "nothing of the phenotype is left but rounding",
    voc.ZERO_CELL: "a cell of the table is 0",
    voc.UNCORRECTED: "P is small, and --correction could not be done: the score test's statistics stand",
    voc.FEW_CARRIERS: "few people of a party stand out in the variant: it was not opened",
    voc.LOW_MAC: "fewer than 10 expected minor alleles in cases: the normal approximation is not to be trusted",
}


def _title(suffix: str) -> str:
    """What a table is, by the end of its name."""
    return next((t.title for t in TESTS.values() if t.suffix == suffix), OPENED.get(suffix, "Association"))


def without_covariates() -> set[str]:
    """Ends of the names of tables to which covariates and imputation are nothing."""
    return {t.suffix for t in TESTS.values() if not t.covariates}


def p_text(log10p: float) -> str:
    """A p-value for eyes, from −log10 p.

    >>> p_text(7.3004638), p_text(399.7), p_text(0.301), p_text(float("nan"))
    ('5.0e-8', '2.0e-400', '0.50', 'NA')
    """
    if np.isnan(log10p):
        return voc.MISSING_TEXT
    if log10p < 3:
        return f"{10**-log10p:.2g}" if log10p > 1 else f"{10**-log10p:.2f}"
    exponent = int(np.ceil(log10p - 1e-12))
    mantissa = f"{10 ** (exponent - log10p):.1f}"
    return f"1.0e-{exponent - 1}" if mantissa == "10.0" else f"{mantissa}e-{exponent}"


def loci(result: Result, *, threshold: float = GENOME_WIDE) -> int:
    """How many loci have p below `threshold`."""
    leads = result.tests.leads(threshold=threshold, count=1000)
    return sum(result.tests.log10p[i] >= -np.log10(threshold) for i in leads)


def result_section(
    result: Result, record: Mapping[str, Any], *, annotations: Annotations | None = None, names: tuple[str, ...] = ()
) -> Markup:
    """Pictures and tables of one phenotype. record: of the run; annotations: variant id -> further columns, called
    `names`."""
    tests, t = result.tests, result.table
    missing = str(record.get("missing"))
    parts: list[Content] = [element("h3", result.phenotype)]
    kind, file = _title(result.test), element("code", result.path.rpartition("/")[2])
    parts.append(element("p", f"{kind}. ", file, class_="soft"))
    facts: list[tuple[Content, Content]] = [
        ("people analysed", _people(t, result.people or int(record.get("samples") or 0))),
        ("variants", f"{len(t):,}, of them {int(np.isfinite(tests.log10p).sum()):,} with a p-value" if result.whole
         else opened(result, record)),
        ("loci at p < 5e-8", f"{loci(result):,}"), ("loci at p < 1e-5", f"{loci(result, threshold=SUGGESTIVE):,}"),
    ]  # fmt: skip
    if result.whole:
        facts.append(("λ_GC", f"{tests.inflation:.3f} (1 without inflation)"))
    else:
        facts.append(("λ_GC", "not available: the p-values of the others were not opened"))
    if result.row:
        facts.append(("test that is shown", f"{result.row}; the table has the others of each variant"))
    if record.get("covariate_names") and result.test not in without_covariates():
        facts.append(("covariates", ", ".join(map(str, record["covariate_names"]))))
    if missing in MISSING and result.test not in without_covariates():
        facts.append(("missing genotypes", MISSING[missing]))
    parts.append(pairs(facts))
    if result.whole and np.isfinite(tests.log10p).any():
        parts += [
            both(manhattan, tests, f"Manhattan plot of {result.phenotype}",
                  "Each point is a variant; colours alternate by chromosome. Above the solid line p < 5e-8, above the dashed "
                  "line p < 1e-5. Named: the strongest variant of each locus."),
            both(qq, tests, f"QQ plot of {result.phenotype}",
                 "Observed against expected p-values if nothing were associated. The band holds 95 % of them at each place. "
                 "Points that leave it early, far to the left, speak of inflation; late, of associations.", half=True),
        ]  # fmt: skip
    parts.append(hits_table(result, annotations or {}, names))
    parts.append(codes_table(t))
    return join(parts)


def opened(result: Result, record: Mapping[str, Any]) -> str:
    """How many variants were opened, of how many that were tested."""
    tested = record.get("variants")
    return f"{len(result.table):,} of {tested:,} opened" if isinstance(tested, int) else f"{len(result.table):,} opened"


def both(draw: Callable[..., Any], shown: object, alt: str, caption: str, *, half: bool = False) -> Markup:
    """draw(shown, width=…) for wide and for narrow screens."""
    wide, narrow = (canvas.encode(draw(shown, width=w), "svg") for w in (HALF if half else WIDE, NARROW))
    return picture(wide, narrow, alt, caption, half=half)


def _largest(t: pd.DataFrame, name: str) -> int:
    return int(np.nanmax(t[name].to_numpy(float), initial=0)) if name in t else 0


def _people(t: pd.DataFrame, people: int) -> str:
    cases = _largest(t, "CASE_CT")
    return f"{people:,}" + (f" ({cases:,} cases, {people - cases:,} controls)" if cases else "")


def hits_table(result: Result, annotations: Annotations, names: tuple[str, ...]) -> Markup:
    """The strongest variant of each locus."""
    tests, t = result.tests, result.table
    leads = tests.leads(count=HITS)
    if not leads:
        return element("p", "No variant has a p-value." if result.whole else "No variant is below the threshold.")
    shown = next((n for n in ("BETA", "OR", "CHISQ") if n in t), None)
    head = ["variant", "position", "A1 / other"]
    odd = "ERRCODE" in t and any(t["ERRCODE"].iloc[leads] != voc.OK)
    head += ["A1 frequency"] * ("A1_FREQ" in t)
    head += ["χ²" if shown == "CHISQ" else f"{shown} (95 %)"] * (shown is not None) + ["p"]
    head += ["code"] * odd + [*names]
    rows = []
    for i in leads:
        row = t.iloc[i]
        place = f"{row['#CHROM']}:{int(row['POS']):,}"
        cells: list[Content] = [breakable(str(row["ID"])), place, breakable(_alleles(row), 9)]
        if "A1_FREQ" in t:
            cells.append(f"{row['A1_FREQ']:.3f}")
        if shown is not None:
            cells.append(f"{row[shown]:.2f}" if shown == "CHISQ" else _effect(row, shown))
        cells += [p_text(float(row["LOG10_P"])), *([row["ERRCODE"]] if odd else [])]
        rows.append([*cells, *map(breakable, annotations.get(str(row["ID"]), ("",) * len(names)))])
    some = "Strongest variant of each locus (500 kb), p < 1e-5"
    strongest = float(tests.log10p[leads[0]])
    text = some if strongest >= -np.log10(SUGGESTIVE) else "No locus reaches p < 1e-5; the strongest variant"
    numbers = [i for i, name in enumerate(head) if name in ("A1 frequency", "p", "χ²")]
    return element("h4", text) + table(head, rows, numbers=numbers)


def _alleles(row: pd.Series) -> str:
    """A1 and the other allele, as far as the table has them."""
    tested = row.get("A1")
    other = next((row[n] for n in ("REF", "ALT") if n in row and row[n] != tested), None)
    return " / ".join(voc.MISSING_TEXT if allele is None else str(allele) for allele in (tested, other))


def _effect(row: pd.Series, effect: str) -> str:
    low, high = row.get("L95", np.nan), row.get("U95", np.nan)
    if effect == "BETA" and "SE" in row and np.isnan(low):
        low, high = row["BETA"] - voc.Z95 * row["SE"], row["BETA"] + voc.Z95 * row["SE"]
    interval = "" if np.isnan(low) else f" ({low:.3g} to {high:.3g})"
    return f"{row[effect]:.3g}{interval}".replace("-", "−").replace("e−", "e-")


def codes_table(t: pd.DataFrame) -> Markup:
    """How many variants have which error code, and what it means."""
    if "ERRCODE" not in t or t.empty:
        return NOTHING
    counts = t["ERRCODE"].astype(str).value_counts()
    if list(counts.index) == [voc.OK]:
        return element("p", f"Error codes: none; all {len(t):,} variants have statistics.", class_="soft")
    rows = [[code, f"{n:,}", CODES.get(code, "")] for code, n in counts.items()]
    return element("h4", "Error codes") + table(["code", "variants", "meaning"], rows, numbers=[1], class_="words")
