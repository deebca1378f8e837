"""Set tests: regenie's table, person-by-person oracles, exact tails, calibration, and who can ask for them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import mpmath as mp
import numpy as np
import pandas as pd
import pytest
from scipy import stats
from set_files import REGENIE, by_person, flags, opened, table_of
from support import left, securegen, text_array

import securegen as sg
from securegen.engines.set_sums import results_of_sets, set_carriers
from securegen.errors import InputError, PlanError, UsageError
from securegen.io.plink1 import PlinkReader
from securegen.kernels import rho_mixtures as rho
from securegen.kernels.carrier_sums import assembled, carriers_of, set_products, totals
from securegen.kernels.mixture_tail import NO_RANK, SETTLED, log_tail
from securegen.model import Samples, Variants
from securegen.stats.set_scores import SetScores
from securegen.stats.set_tests import LARGEST_P, NEGLIGIBLE, RHO, acat, set_tests
from securegen.vocabulary import SET_TESTS

ALL = frozenset(SET_TESTS)


def log_tails(q, weights):
    """ln P(Σ λ_j χ²₁ > q) of each q."""
    top = weights.max()
    return np.array([log_tail(x / top, weights / top, NO_RANK, SETTLED) for x in q])


@pytest.mark.parametrize(("trait", "file"), [("QT", "qt_vc_QT"), ("CC", "cc_vc_CC")])
def test_rows_are_regenies(whole, trait, file):
    """SKAT and ACAT-V to what it prints; SKAT-O and ACAT-O nearer than its own error at ρ = 0.999, where Davies fails it."""
    ours = table_of(opened(whole, trait, aaf_bins=0.05, vc_tests=SET_TESTS), trait)
    theirs = pd.read_csv(REGENIE / f"{file}.regenie.gz", sep=" ", comment="#")
    theirs = theirs[theirs["TEST"] != "ADD"].set_index(["ID", "TEST"])
    assert len(ours) == 5 * 200 and len(theirs) == 48 * (5 if trait == "QT" else 4)
    both = theirs.join(ours[["OBS_CT", "CHISQ", "LOG10_P", "COLLAPSED_CT"]].rename(columns={"CHISQ": "CHISQ_OURS"}))
    assert (both["N"] == both["OBS_CT"]).all() and (both["COLLAPSED_CT"] > 1).any()
    off = (both["LOG10_P"] - both["LOG10P"]).abs()
    for test, most in {"SKAT": 5e-6, "ACATV": 5e-6, "SKATO": 2e-2, "ACATO": 2e-2, "SKATO-ACAT": 2e-2}.items():
        here = both.index.get_level_values("TEST") == f"ADD-{test}"
        assert (off[here] <= most * np.maximum(1, both["LOG10P"][here])).all(), test
        if most < 1e-3:
            error = (both["CHISQ_OURS"] - both["CHISQ"]).abs()[here]
            assert (error <= 2e-5 * np.maximum(1, both["CHISQ"][here])).all()


@pytest.mark.parametrize(("trait", "predicted"), [("QT", True), ("CC", True), ("CC", False)])
def test_sums_give_what_every_person_gives(whole, trait, predicted):
    """Collapsing, imputation, offsets of a whole-genome model by chromosome: scores and P of every set."""
    options = {"pred": REGENIE / f"{trait.lower()}1_pred.list"} if predicted else {}
    pred = None
    if predicted:
        lines = [line.split() for line in (REGENIE / f"{trait.lower()}1_1.loco").read_text().splitlines()]
        ids = [
            f"{f}_{i}"
            for f, i in zip(*(getattr(sg.read_plink(whole.bfile).samples, a) for a in ("fid", "iid")), strict=True)
        ]
        pred = {
            int(n): np.array([dict(zip(lines[0][1:], map(float, row), strict=True)).get(i, np.nan) for i in ids])
            for n, *row in lines[1:6]
        }
    ours = table_of(opened(whole, trait, aaf_bins=0.05, vc_tests=("skat", "acatv"), **options), trait)
    for name, (s, k, share) in by_person(whole, trait, pred).items():
        w = 25 * (1 - np.minimum(share, 1 - share)) ** 24
        values = np.linalg.eigvalsh(k * np.outer(w, w))
        values = values[values > 1e-5 * values[values > 0].mean()]
        expected = -log_tails(np.array([((w * s) ** 2).sum()]), values)[0] / np.log(10)
        assert abs(ours.loc[(name, "ADD-SKAT"), "LOG10_P"] - expected) < 2e-6 * max(1, expected)
        f = np.minimum(share, 1 - share)
        single = -np.log10(stats.chi2.sf(s * s / np.diag(k), 1))
        weights = w * w * f * (1 - f)
        share_of = weights / weights.sum()
        p = np.minimum(10.0**-single, 0.999)
        moved = share_of @ (
            np.pi * p * np.log(10) * 2e-6 * np.maximum(1, single) / np.sin(np.pi * p) ** 2
        )  # of Σ w tan
        combined = acat(single, weights)
        t = 1 / np.tan(np.pi * 10.0**-combined)
        allowed = moved / (np.pi * (1 + t * t)) / (10.0**-combined * np.log(10))
        assert abs(ours.loc[(name, "ADD-ACATV"), "LOG10_P"] - combined) < allowed


def pairs_tail(q: float, values: list[float]) -> mp.mpf:
    """P(Σ λ χ²₂ > q) in closed form, for λ that differ: a mixture of exponentials."""
    v = [mp.mpf(x) for x in values]
    return mp.fsum(
        mp.fprod(a / (a - b) for j, b in enumerate(v) if j != i) * mp.exp(-mp.mpf(q) / (2 * a)) for i, a in enumerate(v)
    )


@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 0.3], [2.0, 1.9, 1e-3], [5.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.1, 0.01], None]
)
def test_tails_are_exact(values):
    """Weights in pairs are a sum of exponentials, equal ones a gamma, one is normal: mpmath to 60 digits, down to 1e-2000."""
    with mp.workdps(60):
        for z in (-0.95, -0.3, -0.01, 0, 0.02, 1, 10, 300):
            if values is None:
                q, mixture = 13 * (1 + z), np.ones(13)
                exact = mp.gammainc(mp.mpf(13) / 2, mp.mpf(q) / 2, regularized=True)
            else:
                q, mixture = 2 * sum(values) * (1 + z), np.repeat(values, 2)
                exact = pairs_tail(q, values)
            (found,) = log_tails(np.array([q]), mixture)
            assert abs(found - mp.log(exact)) <= 2e-13 * (1 + abs(mp.log(exact))), (values, z)
        for q in (1e-3, 1.0, 30.0, 1400.0):
            (found,) = log_tails(np.array([7 * q]), np.array([7.0]))
            assert abs(found - mp.log(mp.erfc(mp.sqrt(mp.mpf(q) / 2)))) <= 2e-13 * (1 + q)


def polar_tail(q: float, a: float, b: float) -> mp.mpf:
    on = [mp.pi / 2 * i / 8 for i in range(9)]
    return mp.quad(lambda t: mp.exp(-q / 2 / (a * mp.cos(t) ** 2 + b * mp.sin(t) ** 2)), on) * 2 / mp.pi


def test_tails_of_two_weights_are_exact_whatever_two_doublings_agree_on():
    """By polar coordinates. One agreement of the trapezoidal rule with itself is chance in a tenth of these: 4e-9 of P then."""
    rng = np.random.default_rng(5)
    with mp.workdps(30):
        for a, b, z in zip(*rng.uniform(0.1, 1, (2, 60)), rng.uniform(0, 1, 60), strict=True):
            q = (a + b) * 10**z
            exact = mp.log(polar_tail(q, a, b))
            (found,) = log_tails(np.array([q]), np.array([a, b]))
            assert abs(found - exact) <= 2e-13 * (1 + abs(exact)), (a, b, q)


def cauchy_exactly(log10p: list[float], weights: list[float]) -> float:
    terms = [
        (w, mp.cot(mp.pi * min(mp.mpf(10) ** -v, mp.mpf(LARGEST_P)))) for v, w in zip(log10p, weights, strict=True)
    ]
    t = mp.fsum(w * x for w, x in terms) / mp.fsum(w for w, _ in terms)
    return float(-mp.log10(mp.atan(1 / t) / mp.pi if t > 0 else 0.5 - mp.atan(t) / mp.pi))


@pytest.mark.parametrize(
    ("log10p", "weights"),
    [([v, v - 0.5], [1.0, 2.0]) for v in (0.4, 5.0, 12.0, 14.9, 15.1, 299.9, 300.1, 307.9, 900.0)]
    + [([15.1, 0.0], [1.2e-13, 1.0]), ([400.0, 0.0], [1e-13, 1.0]), ([0.0, 1e-4, 3.0], [1.0, 1.0, 1e-3])],
)  # fmt: skip
def test_cauchy_combination_is_exact(log10p, weights):
    """½ − p has lost the digits of a p of 1e-14; and a tiny P of a tiny weight, as of a common variant among rare ones, does
    not outweigh large ones."""
    with mp.workdps(1000):
        exact = cauchy_exactly(log10p, weights)
    assert acat(np.array(log10p), np.array(weights)) == pytest.approx(exact, rel=1e-13, abs=1e-14)
    assert np.isnan(acat(np.array(log10p), np.zeros(len(log10p))))


def a_set(m: int, seed: int) -> SetScores:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3 * m, m)) * rng.uniform(0.2, 3, m) + rng.normal(size=(3 * m, 1))
    k = x.T @ x
    s = np.linalg.cholesky(k) @ rng.normal(size=m)
    return SetScores(s, k, np.diag(k), rng.uniform(0.001, 0.2, m))


@pytest.mark.parametrize("m", [2, 3, 11])
def test_what_the_mixtures_are_of(m):
    """One tridiagonal form serves every ρ: the same eigenvalues, moments and tails as of each matrix by itself."""
    a = a_set(m, m)
    found = rho.rho_mixtures(a.scores, a.covariance, RHO, 0.0)
    z = a.covariance.sum(axis=1)
    rest = np.linalg.eigvalsh(a.covariance - np.outer(z, z) / z.sum())[1:]
    np.testing.assert_allclose(np.sort(found.rest), rest, rtol=1e-9)
    np.testing.assert_allclose(found.powers, [z.sum(), z @ z, z @ a.covariance @ z], rtol=1e-12)
    for r, log_p, matched in zip(RHO, found.log_p, found.matched, strict=True):
        root = np.linalg.cholesky((1 - r) * np.eye(m) + r * np.ones((m, m)))
        values = np.linalg.eigvalsh(root.T @ a.covariance @ root)
        q = (1 - r) * (a.scores**2).sum() + r * a.scores.sum() ** 2
        assert log_p == pytest.approx(log_tails(np.array([q]), values)[0], abs=1e-9)
        np.testing.assert_allclose(matched[:2], [values.sum(), (values**2).sum()], rtol=1e-10)
        s1, s2 = (values**3).sum() / (values**2).sum() ** 1.5, (values**4).sum() / (values**2).sum() ** 2
        assert s1 * s1 <= s2 and matched[2] == pytest.approx(1 / s2, rel=1e-9)


@pytest.mark.parametrize("scale", [0.3, 1.0, 6.0, 25.0])
def test_the_integral_of_skat_o(scale):
    """By panels that no knot crosses, against adaptive quadrature of Lee's formula, for P from 0.5 to 1e-200."""
    for m in (2, 5, 20):
        a = a_set(m, 100 + m)
        a = SetScores(scale * a.scores, a.covariance, a.variance, a.mean)
        found = rho.rho_mixtures(a.scores, a.covariance, RHO, NEGLIGIBLE)
        p = np.exp(found.log_p.min())
        (g1, g2, g3), rest = found.powers, found.rest
        mu, v0, ve = rest.sum(), 2 * (rest**2).sum(), 4 * (g3 / g1 - g2**2 / g1**2)
        factor, tau = np.sqrt(v0 / (v0 + ve)), g1 * RHO + g2 / g1 * (1 - RHO)
        mean, half, df = found.matched.T
        limit = mean + (stats.chi2.isf(p, df) - df) * np.sqrt(half / df)

        end = max(((limit + (1 - RHO) * mu * (1 - factor) / factor) / tau).min(), 0)
        nodes, weights = np.polynomial.legendre.leggauss(8)
        far = 1 - 2.0 ** -np.arange(46)  # panels that shrink towards the end, where ρ = 0.999 is steep
        edges = np.sqrt(end) * np.unique(
            np.concatenate([np.linspace(x, y, 41) for x, y in zip(far, far[1:], strict=False)])
        )
        half_width, centre = np.diff(edges) / 2, (edges[1:] + edges[:-1]) / 2
        u = (centre[:, None] + half_width[:, None] * nodes).ravel()
        d = (((limit - np.multiply.outer(u * u, tau)) / (1 - RHO)).min(axis=1) - mu) * factor + mu
        density = np.sqrt(2 / np.pi) * np.exp(log_tails(d, rest) - u * u / 2)
        inside = (density.reshape(-1, 8) @ weights) @ half_width
        exact = min(inside + stats.chi2.sf(end, 1), 8 * p)
        (ours,) = set_tests(a, np.zeros(m), {"skato"}).values()  # one weight for all, of which P does not depend
        assert ours == pytest.approx(-np.log10(exact), abs=2e-6)


@pytest.mark.parametrize("variants", [2, 3, 5])
def test_variants_of_one_frequency_that_nobody_carries_together(variants):
    """Their differences vary most, and are at right angles to the sum but for rounding: every ρ has its tail all the same."""
    rng = np.random.default_rng(variants)
    for people in range(200, 212):
        g = np.zeros((variants, people))
        for i, own in enumerate(rng.permutation(people)[: 11 * variants].reshape(variants, 11)):
            g[i, own] = 1.0
        g -= g.mean(axis=1)[:, None]
        s, k = g @ rng.normal(size=people), g @ g.T
        found = rho.rho_mixtures(s, k, RHO, NEGLIGIBLE)
        for r, log_p in zip(RHO, found.log_p, strict=True):
            root = np.linalg.cholesky((1 - r) * np.eye(variants) + r)
            q = (1 - r) * (s**2).sum() + r * s.sum() ** 2
            assert log_p == pytest.approx(log_tails(np.array([q]), np.linalg.eigvalsh(root.T @ k @ root))[0], abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_a_sum_that_does_not_vary_tells_nothing(seed):
    """Then Q_ρ is (1 − ρ)Q, and SKAT-O is SKAT, whatever rounding leaves of the variance of the sum."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2 + seed, 60))
    x -= x.mean(axis=0)
    k = x @ x.T
    a = SetScores(3 * x @ rng.normal(size=60), k, np.diag(k), np.full(len(k), 0.01))
    found = set_tests(a, a.mean, {"skat", "skato"})
    assert found["skato"] == pytest.approx(found["skat"], rel=1e-9)


@pytest.mark.parametrize("unit", [1e-100, 1e-60, 3.0, 1e60, 1e80])
def test_the_unit_of_a_trait_does_not_matter(unit):
    """Fourth powers of a covariance in far units are no numbers: P was another one, and of 1e-90 there was none."""
    a = a_set(5, 5)
    other = SetScores(unit * a.scores, unit * (unit * a.covariance), unit * (unit * a.variance), a.mean)
    assert set_tests(other, a.mean, ALL) == pytest.approx(set_tests(a, a.mean, ALL), rel=1e-9)


@pytest.mark.parametrize("slope", [1.0, 1e-9, 1e-13, 1e-17])
def test_lines_that_hardly_fall(slope):
    """The integral over a line that ends far away is of where χ² is."""
    found = rho.log_shared(np.array([20.0, 21.0]), np.array([slope, 2 * slope]), np.array([2.0, 1.0]))
    u = np.linspace(0, 12, 24001)
    tails = log_tails(np.maximum(np.minimum(20 - slope * u * u, 21 - 2 * slope * u * u), 0), np.array([2.0, 1.0]))
    exact = np.log(np.trapezoid(np.exp(tails - u * u / 2) * np.sqrt(2 / np.pi), u))
    assert found == pytest.approx(exact, abs=1e-5)  # of the trapezoids at a kink; a wrong panel is off by more than 1


def test_tests_are_calibrated():
    """Under the null hypothesis P is uniform: of SKAT exactly, of the others near 0.05 and 0.01."""
    rng = np.random.default_rng(2)
    a = a_set(9, 1)
    root = np.linalg.cholesky(a.covariance)
    draws = [
        set_tests(SetScores(root @ rng.normal(size=9), a.covariance, a.variance, a.mean), a.mean, ALL)
        for _ in range(1500)
    ]
    p = {name: 10.0 ** -np.array([d[name] for d in draws]) for name in SET_TESTS}
    assert stats.kstest(p["skat"], "uniform").pvalue > 0.01
    for name in SET_TESTS:
        assert 0.035 < (p[name] < 0.05).mean() < 0.065 and (p[name] < 0.01).mean() < 0.018, name


def test_far_tails_stay_finite():
    a = a_set(6, 4)
    for scale in (50.0, 500.0):
        found = set_tests(SetScores(scale * a.scores, a.covariance, a.variance, a.mean), a.mean, ALL)
        assert all(np.isfinite(v) and v > 200 for v in found.values())
        assert found["skato"] >= found["skat"] - np.log10(8) - 1e-9


def test_the_counted_allele_does_not_matter():
    """Where the other allele is rarer, the score turns its sign and the weight is of the rarer one."""
    a = a_set(5, 8)
    turned = np.array([1, -1, 1, 1, -1.0])
    other = SetScores(turned * a.scores, np.outer(turned, turned) * a.covariance, a.variance, a.mean)
    share = np.where(turned < 0, 1 - a.mean, a.mean)
    assert set_tests(other, share, ALL) == pytest.approx(set_tests(a, a.mean, ALL), rel=1e-12)


def test_acato_alone_has_the_ends_of_the_grid_as_regenie():
    a = a_set(7, 3)
    alone, beside = set_tests(a, a.mean, {"acato"})["acato"], set_tests(a, a.mean, {"acato", "skato"})["acato"]
    ends = rho.rho_mixtures(*_weighted(a), RHO[[0, -1]], NEGLIGIBLE).log_p / -np.log(10)
    assert alone == pytest.approx(acat(np.array([set_tests(a, a.mean, {"acatv"})["acatv"], *ends]))) and alone != beside


def _weighted(a: SetScores) -> tuple[np.ndarray, np.ndarray]:
    w = 25 * (1 - a.mean) ** 24
    return w * a.scores, np.outer(w, w) * a.covariance


@pytest.mark.parametrize("people", [3, 61, 62, 64, 96, 131])
def test_carriers_of_a_packed_bed_are_those_of_its_dosages(people, tmp_path):
    """Any number of people, chosen and in another order, on a grid, rows that are not beside each other."""
    rng = np.random.default_rng(people)
    g = rng.choice([0, 0, 0, 0, 1, 2, -1], (9, people)).astype(np.int8)
    g[4] = 0
    codes = np.array([3, 2, 0, 1], np.uint8)[g]  # −1 is the last
    codes = np.concatenate([codes, np.zeros((9, -people % 4), np.uint8)], axis=1)
    packed = codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6
    (tmp_path / "x.bed").write_bytes(b"\x6c\x1b\x01" + packed.tobytes())
    names = text_array([str(i) for i in range(people)])
    variants = Variants(*[text_array(["1"] * 9), np.arange(9), *[text_array([str(j) for j in range(9)])] * 3])
    whole = PlinkReader(
        tmp_path / "x.bed", Samples(names, names, np.ones(people, bool)), variants, np.arange(people), np.arange(9), people, 9
    )  # fmt: skip
    some = whole.select(rng.permutation(people)[: max(2, people // 2)], np.array([0, 1, 4, 8, 5]))
    for reader in (whole, some, some.on_grid(256)):
        firsts = np.array([0, 2, len(reader.variants)])
        for number, carriers, lacking in set_carriers(reader, firsts, np.array([0, 1])):
            block = reader.read(*firsts[number : number + 2])
            for found, rows in ((carriers, block.dosage), (lacking, block.missing)):
                dense = np.zeros(block.dosage.shape, np.int64)
                for a in range(len(dense)):
                    part = slice(*found.ends[a : a + 2])
                    dense[a, found.people[part]] = found.values[part]
                np.testing.assert_array_equal(dense, np.zeros_like(dense) if rows is None else rows)
    (tmp_path / "x.bed").write_bytes((tmp_path / "x.bed").read_bytes()[:-1])
    with pytest.raises(InputError, match="shorter than when it was opened"):
        whole.read_packed(0, 9)


@pytest.mark.parametrize(("kind", "people"), [(np.int8, 64), (np.int8, 61), (np.int16, 50), (np.int32, 33)])
def test_sums_over_carriers_are_exact(kind, people):
    rng = np.random.default_rng(people)
    g = (rng.binomial(2, 0.1, (7, people)) * (1 if kind is np.int8 else 200)).astype(kind)
    m = rng.random((7, people)) < 0.1
    g[m] = 0
    weight, columns = rng.integers(0, 1 << 25, people), rng.integers(-(1 << 26), 1 << 26, (people, 4))
    got = set_products(carriers_of(g, 7), carriers_of(m, 7), weight, columns)
    wide, lost = g.astype(np.int64), m.astype(np.int64)
    for found, expected in zip(
        got, ((wide * weight) @ wide.T, (wide * weight) @ lost.T, (lost * weight) @ lost.T, wide @ columns, lost @ columns),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(found, expected)
    few = rng.random(people) < 0.5
    np.testing.assert_array_equal(totals(carriers_of(g, 7), few), wide[:, few].sum(axis=1))
    single, groups = np.array([6, 2]), [np.array([0, 1, 3]), np.array([4, 5])]
    for rows, every in ((g, False), (m, True)):
        made = assembled(carriers_of(rows, 7), single, groups, people, every=every)
        dense = np.zeros((4, people), np.int64)
        for j in range(4):
            here = slice(made.ends[j], made.ends[j + 1])
            dense[j, made.people[here]] = made.values[here]
        joined = [rows[i].all(axis=0) if every else rows[i].max(axis=0) for i in groups]
        np.testing.assert_array_equal(dense, np.array([rows[6], rows[2], *joined], np.int64))


def test_from_the_command_line_and_packed(small, sets, tmp_path):
    words = [
        *small.options("QT,CC"),
        *flags(sets),
        "--vc-tests",
        "skato,acatv",
        "--vc-max-aaf",
        "0.5",
        "--gzip",
        "--digits",
        "6",
    ]
    done = securegen("gwas", *words, "--out", tmp_path / "r", "--dry-run")
    assert done.code == 0 and f"{tmp_path}/r.CC.sets.gz" in done.out and not (tmp_path / "r.CC.sets.gz").exists(), done
    done = securegen("gwas", *words, "--out", tmp_path / "r")
    assert done.code == 0 and "r.QT.sets.gz" in done.err, done.err
    lines = gzip.decompress((tmp_path / "r.CC.sets.gz").read_bytes()).decode().splitlines()
    assert lines[0] == (
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tVARIANT_CT\tCOLLAPSED_CT\tCHISQ\tP\tLOG10_P\tERRCODE"
    )
    assert [line.split("\t")[2:7:4] for line in lines[1:3]] == [["S0.M1.0.5", "ADD-SKATO"], ["S0.M1.0.5", "ADD-ACATV"]]
    study = sg.open_study(
        small.bfile,
        pheno=small.pheno,
        pheno_name="CC",
        covar=small.covar,
        vc_tests=["skato", "acatv"],
        vc_max_aaf=0.5,
        **sets,
    )
    frame = sg.run(study)["CC.sets"]
    assert len(frame) == len(lines) - 1 and frame["LOG10_P"].notna().all()
    np.testing.assert_allclose(frame["LOG10_P"], [float(line.split("\t")[12]) for line in lines[1:]], rtol=1e-5)


def test_the_owner_of_an_encrypted_study_does_them_in_the_clear(small, sets, tmp_path, forked_roles):
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="CC", vc_tests=SET_TESTS, aaf_bins="all", **sets)
    tables = [sg.run(study, engine, tmp_path / engine).paths for engine in ("plain", "ckks")]
    assert [set(t) for t in tables] == [{"CC", "CC.sets"}] * 2
    for name in tables[0]:
        assert Path(tables[0][name]).read_bytes() == Path(tables[1][name]).read_bytes()


def test_sums_that_could_wrap_are_refused(small, sets):
    study = sg.open_study(small.bfile, pheno=small.pheno, pheno_name="CC", vc_tests="skat", aaf_bins="all", **sets)
    huge = replace(study.sets, reader=replace(study.sets.reader, dosage_grid=1 << 20))
    with pytest.raises(PlanError, match="the products of a set's variants for CC"):
        next(results_of_sets(huge))


def test_a_set_that_nothing_can_be_tested_of_is_said(small, sets):
    """One variant of the set is the covariate that it is conditioned on."""
    Path(sets["set_list"]).write_text("S0 1 1 rs0\nS1 1 2 rs9,rs10\n")
    study = sg.open_study(
        small.bfile, pheno=small.pheno, pheno_name="QT", condition="rs0", vc_tests="skat", aaf_bins="all", **sets
    )
    frame = sg.run(study)["QT.sets"].set_index("ID")
    assert frame.loc["S0.M2.all", "ERRCODE"] == "CONST_OMITTED_ALLELE" and np.isnan(frame.loc["S0.M2.all", "P"])
    assert frame.loc["S1.M2.all", "ERRCODE"] == "." and frame.loc["S1.M2.all", "P"] > 0


@pytest.mark.parametrize(("options", "match"), [
    ({"vc_tests": "skat", "anno_file": None}, "give `anno_file` too"), ({"vc_tests": "skat", "model": "trend"}, "`model` trend"),
    ({"vc_tests": "skat", "missing": "complete"}, "`missing` complete"), ({"vc_max_aaf": 0.1}, "needs `vc_tests`"),
    ({"vc_tests": "skat", "pheno_name": "CC", "correction": "spa"}, "`correction` spa"),
    ({"vc_tests": "skat", "interaction": "AGE"}, "`interaction`"), ({"vc_tests": "skat", "blocks": "1/2"}, "`blocks`"),
])  # fmt: skip
def test_what_does_not_go_with_them(small, sets, options, match):
    given = {"pheno": small.pheno, "pheno_name": "QT", "covar": small.covar, **sets, **options}
    with pytest.raises(UsageError, match=match):
        sg.open_study(small.bfile, **given)


def test_they_are_done_in_the_clear(small, sets, tmp_path):
    words = [*small.options(), *flags(sets), "--vc-tests", "skat", "--out", tmp_path / "r"]
    done = securegen("run-local", "gwas", "--engine", "plain", "--reveal", "uv", *words)
    assert done.code == 2 and "leave --reveal uv out" in done.err
    (tmp_path / "key").write_text("")
    done = securegen("encrypt", "--key", tmp_path / "key", *words)
    assert done.code == 2 and "--vc-tests are done where genotypes are in the clear" in done.err
    assert not [name for name in left(tmp_path) if name.startswith("r.")]
