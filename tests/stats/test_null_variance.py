"""Linear regression with the null model's variance and a whole-genome model's predictions: exact rationals, regenie's tables,
and a logistic null model with predictions as offsets."""

from __future__ import annotations

import gzip
import math
from dataclasses import asdict
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from reference_data import GOLD
from stats.test_linear import DESIGNS, N, nasty
from support import MemoryReader, Sites, solve_exactly

import securegen as sg
from securegen.design.linear import linear_design
from securegen.design.logistic import logistic_design
from securegen.engines.plain import sums
from securegen.errors import DesignError
from securegen.io.loco import read_offsets, read_prediction_list
from securegen.results.block_columns import result_columns
from securegen.stats.linear import linear
from securegen.study.traits import read_traits

NAMES = ("C0", "C1", "C2")


def root(value: Fraction) -> Fraction:
    """√value to 2^-200 of itself."""
    shift = 400 - value.numerator.bit_length() + value.denominator.bit_length()
    shift += shift % 2
    return Fraction(math.isqrt((value.numerator << max(shift, 0)) // value.denominator), 1 << (max(shift, 0) // 2))


def predictions(y: np.ndarray) -> np.ndarray:
    """Predictions in standard deviations: no mean of zero, related to the phenotype and to nothing else."""
    rng = np.random.default_rng(5)
    return 0.4 * (y - y.mean()) / y.std() + 0.3 * rng.normal(size=len(y)) + 0.2


def exact_root(g, covariates, y, prediction) -> tuple[float, float, float]:
    """β, SE and the root of χ², from rational arithmetic on the doubles themselves."""
    c = [[Fraction(1), *map(Fraction, row)] for row in covariates.tolist()]
    y, k = [*map(Fraction, y.tolist())], len(c[0])
    gram = [[sum(row[i] * row[j] for row in c) for j in range(k)] for i in range(k)]

    def left(x):
        b = solve_exactly(gram, [[sum(row[i] * v for row, v in zip(c, x, strict=True))] for i in range(k)])
        return [v - sum(row[i] * b[i][0] for i in range(k)) for row, v in zip(c, x, strict=True)]

    r, over = left(y), len(c) - k
    s = root(sum(v * v for v in r) / over)
    e = [v - s * Fraction(p) for v, p in zip(r, prediction.tolist(), strict=True)]
    variance = sum(v * v for v in e) / over
    g = left(g)
    u, v = sum(a * b for a, b in zip(g, e, strict=True)), sum(a * a for a in g)
    return float(u / v), float(root(variance / v)), float(u / root(v * variance))


@pytest.mark.parametrize(("name", "bits"), [(name, bits) for name in DESIGNS for bits in (None, 14)])
def test_the_certain_bound_holds_against_exact_rationals(name, bits):
    dosage, covariates, y = nasty(name)
    prediction = predictions(y)
    design = linear_design(
        np.ones(N, bool), covariates, NAMES, y[:, None], ("QT",), bits=bits, offsets=prediction[:, None]
    )
    (block,) = sums.sums(MemoryReader(dosage), design.columns, block=len(dosage))
    columns = linear(block, design.analyses[0].model)
    ratios = []
    for j in (0, 1, 2, 5):
        if columns["ERRCODE"][j] not in (".", "VIF_TOO_HIGH"):
            continue
        g, called = dosage[j], dosage[j] >= 0
        mean = Fraction(int(g[called].sum()), int(called.sum()))
        beta, se, t = exact_root([Fraction(int(v)) if v >= 0 else mean for v in g], covariates, y, prediction)
        bound = columns["DT_BOUND"][j]
        ratios.append(abs(columns["T_STAT"][j] - t) / bound)
        assert abs(columns["BETA"][j] - beta) <= 3 * se * bound
        assert abs(columns["SE"][j] / se - 1) <= bound
        if bits is None and name in ("plain", "strong hits", "missing calls", "tiny units"):
            assert bound <= 1e-3 * (1 + t * t / (N - 5))
    assert len(ratios) >= 3 and max(ratios) <= 1, ratios


def test_p_does_not_underflow_and_comes_from_one_degree_of_freedom():
    rng = np.random.default_rng(3)
    g = rng.binomial(2, 0.4, (2, 4000)).astype(np.int8)
    y = 1000.0 * g[0] + rng.normal(size=4000)
    model = linear_design(
        np.ones(4000, bool), np.empty((4000, 0)), (), y[:, None], ("QT",), offsets=np.zeros((4000, 1))
    )
    (block,) = sums.sums(MemoryReader(g), model.columns, block=2)
    columns = linear(block, model.analyses[0].model)
    assert columns["P"][0] == 0 and 860 < columns["LOG10_P"][0] < 890 and columns["ERRCODE"][0] == "."
    # all of y is g: χ² is N − K, and no more
    assert columns["T_STAT"][0] ** 2 == pytest.approx(3999, rel=1e-5)
    assert columns["P"][1] == pytest.approx(math.erfc(abs(columns["T_STAT"][1]) / math.sqrt(2)))


def cohort(n: int = 301):
    rng = np.random.default_rng(8)
    x = np.column_stack([rng.normal(50, 9, n), rng.normal(size=n)])
    y = 170 + 0.1 * x[:, 0] + 5 * rng.normal(size=n)
    cases = (rng.random(n) < 1 / (1 + np.exp(-x[:, 1]))).astype(float)
    return x, y, cases, 0.5 * rng.normal(size=n) + 0.1


@pytest.mark.parametrize("kind", ["linear", "logistic"])
def test_three_sites_get_the_integers_of_one_owner(kind):
    x, y, cases, prediction = cohort()

    def design(mine, **options):
        everybody = np.ones(len(mine), bool)
        if kind == "linear":
            return linear_design(
                everybody, x[mine], ("A", "B"), y[mine, None], ("Y",), offsets=prediction[mine, None], **options
            )
        return logistic_design(everybody, x[mine], ("A", "B"), cases[mine], "Y", offset=prediction[mine], **options)

    members = [np.arange(301)[i::3] for i in range(3)]
    pooled = design(np.arange(301))
    parts = Sites(3).run([lambda total, m=m: design(m, total=total) for m in members])
    for mine, part in zip(members, parts, strict=True):
        np.testing.assert_array_equal(part.columns.values, pooled.columns.values[mine])
        assert asdict(part.analyses[0].model) == asdict(pooled.analyses[0].model)


def test_all_chromosomes_have_the_unit_of_the_phenotype():
    """One unit, whatever is predicted: only the scale of the phenotype's own residual decides it."""
    x, y, _, prediction = cohort()
    scaled: dict = {}

    def model(offset):
        people = np.ones(301, bool)
        design = linear_design(
            people, x, ("A", "B"), y[:, None], ("Y",), offsets=offset[:, None], bits=20, scaled=scaled
        )
        return design.analyses[0].model

    models = [model(f * prediction) for f in (0.0, 1.0, 4.0)]
    assert len({m.unit for m in models}) == 1 and len(scaled) == 1
    assert models[0].null_variance < models[1].null_variance < models[2].null_variance


def test_a_phenotype_that_its_predictions_determine_is_refused():
    x, y, _, _ = cohort()
    q, _ = np.linalg.qr(np.column_stack([np.ones(301), x]))
    r = y - q @ (q.T @ y)
    with pytest.raises(DesignError, match="Y is determined by its predictions"):
        linear_design(
            np.ones(301, bool), x, ("A", "B"), y[:, None], ("Y",),
            offsets=(r / np.sqrt(r @ r / 298))[:, None],
        )  # fmt: skip


@pytest.mark.parametrize("table", ["qt_nopred_QT", "qt_pred_QT", "cc_nopred_CC", "cc_pred_CC"])
def test_regenie_to_its_printed_digits(reference, table):
    """The same statistics of columns with 34 bits: what is left is the reading of phenotypes with six decimals."""
    cohort, folder, trait = reference("sim_500x5k"), GOLD / "sim_500x5k" / "gold_regenie", table[-2:]
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name=trait, covar=cohort.covar)
    traits, variants = read_traits(study.inputs, study.reader), study.reader.variants
    y = traits.phenotypes[0].values
    found = read_prediction_list(folder / f"{trait.lower()}1_pred.list")
    offsets = read_offsets(found[trait], study.reader.samples) if "_pred_" in table else None
    people = ~np.isnan(y) & ~np.isnan(traits.covariates).any(axis=1)
    if offsets is not None:
        people &= ~np.isnan(offsets.values).any(axis=0)
    options = {"bits": 34, "scaled": {}}
    parts = []
    for chromosome in dict.fromkeys(variants.chromosome):
        offset = np.zeros(people.sum()) if offsets is None else offsets.of(chromosome)[people]
        own = people, traits.covariates[people], traits.covariate_names
        if trait == "QT":
            design = linear_design(*own, y[people, None], ("QT",), offsets=offset[:, None], **options)
        else:
            design = logistic_design(*own, y[people], "CC", offset=offset, **options)
        reader = study.reader.select(variants=np.flatnonzero(variants.chromosome == chromosome))
        parts += [result_columns(design.analyses[0], block) for block in sums.sums(reader, design.columns)]
    ours = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    with gzip.open(folder / f"{table}.regenie.gz", "rt") as stream:
        theirs = pd.read_csv(stream, sep=" ").set_index("ID").loc[list(variants.id)]
    chisq = ours["CHISQ"] if trait == "CC" else ours["T_STAT"] ** 2
    for name, values in {
        "A1FREQ": ours["A1_FREQ"], "BETA": ours["BETA"], "SE": ours["SE"], "CHISQ": chisq, "LOG10P": ours["LOG10_P"],
    }.items():  # fmt: skip
        printed = theirs[name].to_numpy()
        half_digit = 0.5 * 10.0 ** (np.floor(np.log10(np.abs(printed))) - 5)
        # phenotypes are read with six decimals; regenie ends its logistic null model at a score of 1e-6
        rest = 2e-8 * (theirs["SE"].to_numpy() if name == "BETA" else np.maximum(1, np.abs(printed)))
        assert (np.abs(values - printed) <= half_digit * 1.001 + rest).all(), name
