"""SKAT-O and ACAT-O row by row: nearer to exact tails than regenie's own numbers are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from set_files import REGENIE, by_person, opened, table_of

from securegen.stats.set_tests import RHO, acat
from securegen.vocabulary import SET_TESTS

ROUNDED = 1e-13  # of the largest eigenvalue, below which one is 0


def contour(q: np.ndarray, values: np.ndarray) -> np.ndarray:
    """ln P(Σ λ χ²₁ > q) by a plain trapezoidal rule along t = c + s(ix + x²/2), in complex float64, without any kernel."""
    w = values / values.max()
    out = np.zeros(len(q))
    for i, top in enumerate(q / values.max()):
        if top <= 0:
            continue
        c = optimize.brentq(lambda t, q=top: (w / (1 - 2 * t * w)).sum() - q, -0.5 * len(w) / top - 1, 0.5 - 1e-13)
        s = 1 / np.sqrt(2 * ((w / (1 - 2 * c * w)) ** 2).sum())
        c = (0.5 * s if c >= 0 and 0.5 * s < 0.3 else -0.5 * s) if abs(c) < 0.5 * s else c
        x = np.linspace(0, np.sqrt(160 / (s * top)), 500)
        t = c + s * (1j * x + x * x / 2)
        exponent = -0.5 * np.log(1 - 2 * np.outer(t, w)).sum(axis=1) - t * top  # each factor turns by less than π
        values_at = (np.exp(exponent) / t * s * (1j + x)).imag
        integral = (values_at.sum() - 0.5 * (values_at[0] + values_at[-1])) * x[1] / np.pi
        out[i] = np.log(integral + (c < 0))
    return out


def by_contour(s: np.ndarray, k: np.ndarray, share: np.ndarray) -> dict[str, float]:
    """−log10 P of the tests that regenie approximates, from dense matrices, numpy's eigenvalues and `contour`."""
    f = np.minimum(share, 1 - share)
    w, sign = 25 * (1 - f) ** 24, np.where(share > 0.5, -1, 1)
    single = -np.log10(stats.chi2.sf(s * s / np.diag(k), 1))
    acatv = acat(single, w * w * f * (1 - f))
    if len(s) == 1:
        return {"SKATO": single[0], "SKATO-ACAT": single[0], "ACATO": single[0]}
    z, kw, m = sign * w * s, k * np.outer(sign * w, sign * w), len(s)
    logs, quantiles = [], []
    mixtures = []
    for r in RHO:
        root = np.linalg.cholesky((1 - r) * np.eye(m) + r)
        values = np.linalg.eigvalsh(root.T @ kw @ root)
        values = values[values > ROUNDED * values.max()]
        mixtures.append(values)
        logs.append(contour(np.array([(1 - r) * (z @ z) + r * z.sum() ** 2]), values)[0])
    smallest = min(logs)
    for values in mixtures:
        c1, c2, c3, c4 = ((values**j).sum() for j in (1, 2, 3, 4))
        s1, s2 = c3 / c2**1.5, c4 / c2**2
        a = 1 / (s1 - np.sqrt(max(s1 * s1 - s2, 0))) if s1 * s1 > s2 else 0.0
        df = a * a - 2 * (s1 * a - 1) * a * a if s1 * s1 > s2 else 1 / s2
        quantiles.append(c1 + (stats.chi2.isf(np.exp(smallest), df) - df) * np.sqrt(c2 / df))
    one = kw.sum(axis=1)
    g1, g2, g3 = one.sum(), one @ one, one @ kw @ one
    rest = np.linalg.eigvalsh(kw - np.outer(one, one) / g1)
    rest = rest[rest > ROUNDED * rest.max()]
    mu, v0, ve = rest.sum(), 2 * (rest**2).sum(), max(4 * (g3 / g1 - g2**2 / g1**2), 0)
    factor, tau = np.sqrt(v0 / (v0 + ve)), g1 * RHO + g2 / g1 * (1 - RHO)
    limit = np.array(quantiles)
    end = max(((limit + (1 - RHO) * mu * (1 - factor) / factor) / tau).min(), 0)
    a, b = limit / (1 - RHO), tau / (1 - RHO)
    with np.errstate(divide="ignore", invalid="ignore"):
        knots = (np.subtract.outer(a, a) / np.subtract.outer(b, b)).ravel()  # where the smallest of the lines changes
    knots = np.sort(knots[(knots > 0) & (knots < end)])
    middle = (np.r_[0, knots] + np.r_[knots, end]) / 2
    lowest = (a - np.multiply.outer(middle, b)).argmin(axis=1)
    graded = np.r_[0, 0.1, 0.3, 0.6, 1 - 0.5 ** np.arange(2, 42, 4), 1] ** 2 * end
    edges = np.sqrt(np.unique(np.r_[graded, knots[np.diff(lowest) != 0]]))
    nodes, weights = np.polynomial.legendre.leggauss(8)
    u = ((edges[1:] + edges[:-1]) / 2)[:, None] + np.diff(edges)[:, None] / 2 * nodes
    lines = ((limit - np.multiply.outer(u.ravel() ** 2, tau)) / (1 - RHO)).min(axis=1)
    tails = np.exp(contour((lines - mu) * factor + mu, rest) - u.ravel() ** 2 / 2) * np.sqrt(2 / np.pi)
    inside = (tails.reshape(u.shape) @ weights) @ (np.diff(edges) / 2)
    skato = -np.log10(min(inside + stats.chi2.sf(end, 1), 8 * np.exp(smallest), 1))
    each = -np.array(logs) / np.log(10)
    return {"SKATO": skato, "SKATO-ACAT": acat(each), "ACATO": acat(np.array([acatv, *each]))}


@pytest.mark.parametrize(("trait", "file"), [("QT", "qt_vc_QT"), ("CC", "cc_vc_CC")])
def test_every_row_is_nearer_to_the_contour_integral_than_regenies(whole, trait, file):
    """Row by row, to what regenie prints and columns of 24 bits say; and regenie is far off where Davies fails it."""
    ours = table_of(opened(whole, trait, aaf_bins=0.05, vc_tests=SET_TESTS), trait)["LOG10_P"]
    theirs = pd.read_csv(REGENIE / f"{file}.regenie.gz", sep=" ", comment="#").set_index(["ID", "TEST"])["LOG10P"]
    far = rows = 0
    for name, numbers in by_person(whole, trait, None, every=6).items():
        for test, exact in by_contour(*numbers).items():
            row = (name, f"ADD-{test}")
            if row not in theirs.index:
                continue
            printed = 5e-6 * max(1, exact)
            own, regenies = abs(ours.loc[row] - exact), abs(theirs.loc[row] - exact)
            assert own <= regenies + printed and own < 1e-5 * max(1, exact), (row, own, regenies)
            far, rows = far + (regenies > 1e-4), rows + 1
    assert rows >= 12 and far >= 2
