"""A reader of rows that are no genotypes, as sums of several variants are: dosages up to 7, and no engine knows of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as statsmodels
from support import text_array

import securegen as sg
from securegen.engines.ckks.owner import verify
from securegen.errors import DesignError
from securegen.model import GenotypeBlock, Samples, Variants

PEOPLE, MASKS, LARGEST = 90, 12, 7


@dataclass(frozen=True)
class MaskReader:
    """Sums of rare alleles in memory. sums: (M, N) int8 from 0 to 7, −1 where missing."""

    sums: np.ndarray
    samples: Samples
    variants: Variants
    dosage_grid: int = 1
    dosage_max: int = LARGEST

    def read(self, start: int, stop: int) -> GenotypeBlock:
        part = self.sums[start:stop]
        missing = part < 0
        return GenotypeBlock(start, np.where(missing, np.int8(0), part), missing if missing.any() else None)

    def select(self, samples=None, variants=None) -> MaskReader:
        out = self
        if samples is not None:
            out = replace(out, sums=out.sums[:, samples], samples=out.samples.take(samples))
        if variants is not None:
            out = replace(out, sums=out.sums[variants], variants=out.variants.take(variants))
        return out

    def on_grid(self, grid: int | None) -> MaskReader:
        return self


@pytest.fixture
def masks() -> MaskReader:
    rng = np.random.default_rng(7)
    sums = rng.integers(0, LARGEST + 1, (MASKS, PEOPLE)).astype(np.int8)
    sums[4:, :3] = -1
    ids, genes = text_array([f"P{i}" for i in range(PEOPLE)]), text_array([f"GENE{j}.M1" for j in range(MASKS)])
    one, mask = (text_array([word] * MASKS) for word in ("1", "M1"))
    variants = Variants(one, np.arange(1, MASKS + 1), genes, mask, text_array(["ref"] * MASKS))
    return MaskReader(sums, Samples(text_array(["0"] * PEOPLE), ids, np.ones(PEOPLE, bool)), variants)


@pytest.fixture
def study(masks, tmp_path):
    rng = np.random.default_rng(8)
    y, age = rng.normal(size=PEOPLE) + 0.3 * masks.sums[0], rng.normal(50, 9, PEOPLE)
    rows = [f"P{i}\t{y[i]:.6f}\t{age[i]:.2f}" for i in range(PEOPLE)]
    table = tmp_path / "traits.tsv"
    table.write_text("\n".join(["#IID\tQT\tAGE", *rows]) + "\n")
    return sg.open_study(masks, pheno=str(table), pheno_name="QT", covar=str(table), covar_name="AGE")


def test_plain_and_ckks_sum_them_exactly(study, tmp_path):
    plain = sg.run(study).frame
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    assert key.public.parameters.dosage_max == LARGEST
    encrypted = sg.ckks.encrypt(study, key, tmp_path / "study")
    results = sg.ckks.associate(encrypted.cohort, encrypted.design, tmp_path / "results")
    assert sg.ckks.decrypt(results, key, encrypted.owner).equals(plain)


def test_the_effect_is_that_of_ordinary_regression(study, masks):
    row = sg.run(study).frame.iloc[0]
    traits = pd.read_csv(study.inputs.pheno, sep="\t")
    x = statsmodels.add_constant(np.column_stack([masks.sums[0], traits["AGE"]]).astype(float))
    fit = statsmodels.OLS(traits["QT"].to_numpy(), x).fit()
    assert row["BETA"] == pytest.approx(fit.params[1], rel=1e-4) and row["T_STAT"] == pytest.approx(
        fit.tvalues[1], rel=1e-3
    )


def test_a_key_for_copies_does_not_take_them(study, masks, tmp_path):
    """Bounds for dosages up to 2 do not hold here: what is refused would wrap, or fail verification at the owner."""
    copies = replace(study, reader=replace(masks, dosage_max=2))
    key = sg.ckks.generate_key(sg.ckks.plan(copies))
    with pytest.raises(DesignError, match="stored values up to"):
        sg.ckks.encrypt(study, key, tmp_path / "study")
    assert verify.largest_sum(10, "g", masks.dosage_max) == 70 and verify.largest_sum(10, "q", masks.dosage_max) == 490
