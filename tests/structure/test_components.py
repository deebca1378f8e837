"""Principal components: against plink2 and an eigendecomposition, sites against one cohort, and what they cannot tell."""

import numpy as np
import pandas as pd
import pytest
from support import MemoryReader, securegen

import securegen as sg
from securegen.errors import DesignError
from securegen.structure import components as pc
from securegen.structure.totals import Counts, OwnTotals

from .conftest import WHOLE

SEED = b"test"


def own(reader, found, people=None):
    s = pc.standardised(found.counts, reader.dosage_grid)
    return pc.scores(found, OwnTotals(reader, people).project(*s.loadings(found.loadings)))


def canonical(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.svd(np.linalg.qr(a)[0].T @ np.linalg.qr(b)[0])[1].min())


def standardised_matrix(reader) -> np.ndarray:
    block = reader.read(0, len(reader.variants))
    g = block.dosage.astype(float)
    missing = np.zeros(g.shape, bool) if block.missing is None else block.missing
    p = np.where(missing, 0, g).sum(axis=1) / (2 * (~missing).sum(axis=1))
    varies = (p > 0) & (p < 1)
    g, missing, p = g[varies], missing[varies], p[varies]
    return (np.where(missing, 0, g - 2 * p[:, None]) / np.sqrt(2 * p * (1 - p))[:, None]).T


def test_components_are_those_of_plink2(whole, tmp_path):
    """plink2 divides each pair by the variants of both; with one number for all, entries agree to three digits."""
    code = securegen("pca", *whole.options()[:2], "--pcs", "6", "--out", str(tmp_path / "p")).code
    ours = pd.read_csv(tmp_path / "p.eigenvec", sep="\t")
    theirs = pd.read_csv(WHOLE / "pca.eigenvec.gz", sep="\t")
    assert code == 0 and ours.columns.tolist() == theirs.columns.tolist()
    assert (ours[["#FID", "IID"]] == theirs[["#FID", "IID"]]).all(axis=None)
    a, b = ours.iloc[:, 2:].to_numpy(), theirs.iloc[:, 2:].to_numpy()
    assert canonical(a, b) >= 0.9999 and canonical(a[:, :2], b[:, :2]) >= 0.999999
    b = b * np.sign((a * b).sum(axis=0))
    assert np.abs(a - b)[:, :2].max() < 5e-4 and np.abs(a - b).max() < 1e-2
    values = np.loadtxt(tmp_path / "p.eigenval"), np.loadtxt(WHOLE / "pca.eigenval")
    np.testing.assert_allclose(*values, rtol=5e-3)


def test_components_are_those_of_the_matrix(reader):
    """Against an eigendecomposition: the rounding of projections is 2^-13 of their size."""
    found = pc.components(OwnTotals(reader), 3, SEED, tolerance=1e-4, rounds=20)
    x = standardised_matrix(reader)
    values, vectors = np.linalg.eigh(x @ x.T)
    assert 1 - canonical(own(reader, found)[:, :2], vectors[:, ::-1][:, :2]) < 1e-8
    np.testing.assert_allclose(found.eigenvalues * found.variants, values[::-1][:3], rtol=1e-5)
    np.testing.assert_allclose((own(reader, found) ** 2).sum(axis=0), 1, rtol=1e-5)


class Sites:
    """Totals of several cohorts, each of which projects and rounds its own people."""

    def __init__(self, parts):
        self.parts = parts

    def counts(self):
        every = [p.counts() for p in self.parts]
        return Counts(sum(c.called for c in every), sum(c.dosage for c in every), sum(c.samples for c in every))

    def squares(self, a, b, shift):
        return [sum(column) for column in zip(*(p.squares(a, b, shift) for p in self.parts), strict=True)]

    def products(self, shifts):
        pooled = self.counts()
        q = [p.rounded(shifts) for p in self.parts]
        products = [p.imputed_products(v, pooled) for p, v in zip(self.parts, q, strict=True)]
        return sum(v.sum(axis=0) for v in q), sum(products)


def test_sites_together_find_what_one_cohort_finds(reader):
    """Integers: not a digit differs, with missing calls at the mean of everybody."""
    few = reader.select(None, np.arange(0, 5000, 4))
    whole = pc.components(OwnTotals(few), 3, SEED)
    where = np.arange(500) % 3
    sites = Sites([OwnTotals(few, where == s) for s in range(3)])
    together = pc.components(sites, 3, SEED)
    np.testing.assert_array_equal(whole.loadings, together.loadings)
    np.testing.assert_array_equal(whole.eigenvalues, together.eigenvalues)
    for s in range(3):
        np.testing.assert_array_equal(own(few, whole)[where == s], own(few, together, where == s))


def test_projected_relatives_are_where_they_would_be(reader, whole):
    """Means of populations, of people who are projected and divided by 1 − 1/λ, within 5 % of those with everybody in."""
    population = np.arange(500)
    everybody = pc.components(OwnTotals(reader), 2, SEED)
    chosen = population % 10 != 0
    found = pc.components(OwnTotals(reader, chosen), 2, SEED)
    inside, projected = own(reader, everybody), own(reader, found)
    unscaled = projected[~chosen]
    scaled = unscaled / (1 - 1 / found.eigenvalues)
    # one slope a component, from a component's own scale in the two runs
    ratio = np.sqrt(everybody.eigenvalues / found.eigenvalues)
    for k in range(2):
        sign = np.sign(inside[~chosen, k] @ scaled[:, k])
        slope = sign * (inside[~chosen, k] @ scaled[:, k]) / (inside[~chosen, k] @ inside[~chosen, k]) / ratio[k]
        assert abs(slope - 1) < 0.05


def test_components_that_have_not_settled_are_said(whole, tmp_path):
    from securegen.structure.run import write_components

    said: list[str] = []
    inputs = sg.Inputs(bfile=whole.bfile)
    write_components(inputs, str(tmp_path / "p"), said.append, pcs=6, rounds=3)
    assert any(line.startswith("WARNING") and "of 6 components" in line for line in said)


def test_the_largest_loading_is_positive(reader):
    found = pc.components(OwnTotals(reader), 4, SEED, rounds=5)
    top = np.abs(found.loadings).argmax(axis=0)
    assert (found.loadings[top, np.arange(4)] > 0).all()


def test_variants_that_do_not_vary_have_no_loading():
    rng = np.random.default_rng(0)
    g = rng.integers(0, 3, (60, 30)).astype(np.int8)
    g[7], g[9] = 0, 2
    found = pc.components(OwnTotals(MemoryReader(g)), 2, SEED)
    assert (found.loadings[[7, 9]] == 0).all() and found.variants == 58
    with pytest.raises(DesignError, match="no variant varies"):
        pc.components(OwnTotals(MemoryReader(g[[7, 9]])), 1, SEED)
    with pytest.raises(DesignError, match="29 at most"):
        pc.components(OwnTotals(MemoryReader(g)), 30, SEED)


def test_every_dimension_can_be_asked_for():
    """A basis that is full ends the rounds."""
    rng = np.random.default_rng(1)
    reader = MemoryReader(rng.integers(0, 3, (50, 6)).astype(np.int8))
    found = pc.components(OwnTotals(reader), 5, SEED, tolerance=0.0)
    x = standardised_matrix(reader)
    np.testing.assert_allclose(found.eigenvalues * found.variants, np.linalg.eigvalsh(x @ x.T)[::-1][:5], rtol=1e-3)


def test_eigenvectors_are_covariates(whole, tmp_path):
    out = str(tmp_path / "p")
    assert securegen("pca", *whole.options()[:2], "--pcs", "3", "--unrelated", "--out", out).code == 0
    study = sg.open_study(whole.bfile, pheno=whole.pheno, pheno_name="QT", covar=f"{out}.eigenvec", chr="1")
    assert study.analyses[0].model.covariates == ("PC1", "PC2", "PC3")
