"""Corrections whose coefficients or points a deviating site chooses by a row's totals: sums over few, or a person by many."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from securegen.catalogue import ADDITIVE
from securegen.design.null_people import NullPeople
from securegen.engines.federated.corrections import _Rows
from securegen.engines.federated.own_corrections import FlaggedRows, OwnTilts
from securegen.engines.federated.tilts import FirthRow, SaddlepointRow
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import leverages
from securegen.kernels.rounded_terms import UNIT
from securegen.stats.corrected import CovariateParts

from .corrected_sites import Corrected, people
from .test_corrections_attacks import ROW, with_carriers

N, MEAN = 3600, 0.9


def scaled_age(run: Corrected) -> np.ndarray:
    out = np.empty(N)
    for site, strata in enumerate(run.strata):
        out[site::3] = strata[0].analysis("logistic", "CC").null.centred[:, 1] / 2**30
    return out


@pytest.mark.parametrize("protected", [False, True])
def test_the_age_of_the_oldest_from_coefficients_that_a_site_steers(tmp_path, monkeypatch, protected):
    """Nobody of two sites carries a variant. The third says totals by which x = −ḡ − γ·age is above 0 for the oldest person
    alone: Σ|x| is hers, so her age."""
    cohort = with_carriers(people(N, 3, low=0.3, missing=0), ROW, {0: (0, 0), 1: (0, 0), 2: (40, 0)})
    rng = np.random.default_rng(2)
    cohort.age = np.round(50 + 5 * rng.normal(size=N).clip(-2, 2), 3)
    cohort.age[0] = 64
    cohort.cases = rng.random(N) < 1 / (1 + np.exp(0.3 - 0.01 * (cohort.age - 50)))
    honest = Corrected(cohort, tmp_path / "honest", openings="strict", p_thresh=0.99)
    assert any(row is not None for row in honest.rows.values())
    c, model = scaled_age(honest), honest.strata[0][0].design.analyses[0].model
    slope = -MEAN / np.sort(c)[-2:].mean()

    def alter(name, own):
        own = own.astype(object)
        if name == "variants-00000-counts":
            own[ROW, 1] = round(MEAN * N)
        if name == "variants-00000-columns":
            own[ROW, 0] = N * round(60 / model.residual_unit)
            own[ROW, 1] = N * round(slope * model.weight_gram[1][1] / model.weight_units[1])
            own[ROW, 2] = round(1.2 * model.weight_total)
        return own

    if not protected:
        monkeypatch.setattr(SaddlepointRow, "one_sided", lambda self, fit, x: [])
        monkeypatch.setattr(OwnTilts, "_stands_out", lambda self, mean, of: False)
    run = Corrected(cohort, tmp_path / "run", openings="strict", p_thresh=0.99, alter={2: alter})
    assert run.say("ends that rest on few people") == protected
    place = sorted(run.rows).index(ROW)
    opened = run.of("0000-sums")[place] / UNIT
    others = np.arange(N) % 3 != 2
    x = cohort.dosage[ROW] - MEAN - slope * c
    absolute = float(opened[3] + opened[4]) - np.abs(x[~others]).sum()  # the third site has its own people
    plain = -MEAN * others.sum() - slope * c[others].sum()  # of everybody's Σc, which is opened
    hers = (absolute + plain) / 2
    read = (hers + MEAN) / -slope
    assert (abs(read - c[0]) < 0.01) != protected  # a hundredth of a year is 0.00125


def test_a_side_of_few_people_far_out():
    """At a far point Σ x p is a sum over who is on one side of it: here one person, whom no variance shows."""
    x, mean = np.full(400, -1.0), np.full(400, 0.01)
    x[0] = 1.0

    class Fit:
        firth_logits = np.full(400, -4.6)

    Fit.mean = mean
    row = FirthRow()
    row._ascent.at = 7.0
    shares = [part.sum() ** 2 / (part**2).sum() for part in row.one_sided(Fit, x)]
    assert shares[0] < 2 and shares[1] > 300


def one_site(n, mean, eta, covariates, coefficients, variant=0):
    """Its side of the corrections of one variant of whom nothing else is open."""
    rng = np.random.default_rng(6)
    centred = np.column_stack([np.ones(n), covariates]) * (1 << 30)
    null = NullPeople(np.arange(n), rng.random(n) < mean, np.rint(centred).astype(np.int64), mean, eta)
    analysis, stratum = (
        SimpleNamespace(null=null, coding=ADDITIVE, model=None),
        SimpleNamespace(name="autosomes", copies=2),
    )
    parts = CovariateParts(np.full(1, 0.6), np.array([coefficients]))
    flagged = FlaggedRows(stratum, analysis, np.array([variant]), parts)
    return OwnTilts(people(n, 1).reader, flagged, SiteGuard(lambda line: None))


def read(own, row, seed):
    """Correlation of a person's genotype with what whoever knows all covariates reads from the sums of a row, over 2,000 variants
    of which nobody has two copies."""
    fit, n = own.fit, len(own.people)
    without = fit.x(np.zeros(n), own.flagged.parts.coefficients[0])
    noise = np.sqrt(n / 12) / UNIT
    told = np.column_stack([np.ones(n), row.told(fit, without, 1)])
    rounded = np.vstack([told, noise * np.eye(told.shape[1])[1:]])
    place = int(leverages(rounded, intercept=False)[:n].argmax())
    reader = np.linalg.lstsq(rounded, np.eye(len(rounded))[place], rcond=1e-13)[0]
    rng = np.random.default_rng(seed)
    genotypes = (rng.random((2000, n)) < 0.2).astype(float)
    points = sorted({*row.open, *row.points})
    none, one = (np.concatenate([row.each(fit, without + g, t) for t in points], axis=1) for g in (0, 1))
    sums = none.sum(axis=0) + genotypes @ (one - none) + noise * rng.normal(size=(len(genotypes), none.shape[1]))
    return np.corrcoef(np.column_stack([genotypes.sum(axis=1), sums]) @ reader, genotypes[:, place])[0, 1]


def at(method, *points):
    row = method()
    row.open = points
    return row


@pytest.mark.parametrize("method", [SaddlepointRow, FirthRow])
def test_all_points_of_a_row_together_read_one_person(method):
    """At each point nobody's leverage is above a quarter; a combination of the numbers of several rounds, rounded as they are, is
    one person's genotype. All points of a row are looked at together."""
    n = 300
    eta = -2 + 0.6 * np.random.default_rng(1).normal(size=n).clip(-2, 2)
    own = one_site(n, 1 / (1 + np.exp(-eta)), eta, np.zeros((n, 0)), [0.0])
    points = tuple(np.arange(-5.5, 6))
    assert not any(own._stands_out(0.6, ((own, 0, at(method, t)),)) for t in points)
    together = at(method, *points)
    assert read(own, together, 1) > 0.5
    assert own._stands_out(0.6, ((own, 0, together),)) and not own._stands_out(0.6, ((own, 0, at(method, -1.0, 1.0)),))
    own.guard.level = "all"
    assert not own._stands_out(0.6, ((own, 0, together),))


@pytest.mark.parametrize("method", [SaddlepointRow, FirthRow])
@pytest.mark.parametrize("times", [0.1, 1.0])
def test_who_knows_all_covariates_reads_one_person(times, method):
    """Covariates say nothing of the disease, so nobody's mean stands out; a row's coefficients, as chance has them or as a site
    steers them, say which part of them is in each person's terms, and a person's genotype is read. Without coefficients, as if
    covariates said nothing, it passes."""
    n, points = 500, (-1.1, -1.0, -0.8, 0.8, 1.0, 1.1)
    covariates = np.random.default_rng(4).uniform(-1.7, 1.7, (n, 4))
    mean = np.full(n, 0.3)
    eta = np.log(mean / (1 - mean))
    own = one_site(n, mean, eta, covariates, [0.6, *(times * np.array([0.3, -0.2, 0.1, 0.25]))])
    flat = one_site(n, mean, eta, covariates, [0.6, 0.0, 0.0, 0.0, 0.0])
    row = at(method, *points)
    assert read(own, row, 2) > 0.6
    assert not flat._stands_out(0.6, ((flat, 0, row),)) and own._stands_out(0.6, ((own, 0, row),))


def test_a_row_remembers_its_points():
    row = FirthRow()
    row.take([1 << 32, 1 << 32, 0, 1 << 40])
    (far,) = row.points
    assert row.open == (0.0,) and far > 0
    row.take([-(1 << 31), 1 << 32, 0, 1 << 40])
    assert row.open == (0.0, far)


def test_a_variant_in_several_phenotypes_is_looked_at_once():
    """The same genotypes are in the numbers of every disease: what these say of them is looked at together."""
    n = 500
    rng = np.random.default_rng(6)
    owns = []
    for _ in range(4):
        eta = -2 + 0.5 * rng.uniform(-1.7, 1.7, n)
        owns.append(one_site(n, 1 / (1 + np.exp(-eta)), eta, np.zeros((n, 0)), [0.6], variant=7))
    rows = _Rows(owns, "spa", bytes(32))
    for t in rows.tilted:
        t.open = (0.0, -4.5, -3.5, -2.5, 2.5, 3.5)
    beside = rows._beside(0, 0)
    assert [(own, place) for own, place, _ in beside] == [(own, 0) for own in owns[1:]] and beside[0][2] is rows.tilted[
        1
    ]
    each = [(own, 0, t) for own, t in zip(owns, rows.tilted, strict=True)]
    assert not any(own._stands_out(0.6, ((own, place, t),)) for own, place, t in each)
    assert owns[0]._stands_out(0.6, each)
