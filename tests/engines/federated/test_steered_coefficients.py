"""Corrections whose coefficients or points a deviating site chooses by a row's totals: sums over few, or a person by many."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from securegen.design.null_people import NullPeople
from securegen.engines.federated.corrections import _Rows
from securegen.engines.federated.own_corrections import FlaggedRows, OwnTilts
from securegen.engines.federated.tilts import FirthRow, SaddlepointRow
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import leverages
from securegen.kernels.rounded_terms import UNIT
from securegen.stats.corrected import NullFit

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
    assert all(row is not None for row in honest.rows.values())
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


@pytest.mark.parametrize("method", [SaddlepointRow, FirthRow])
def test_all_points_of_a_row_together_read_one_person(method):
    """At each point nobody's leverage is above a quarter; a combination of the numbers of several rounds, rounded as they are, is
    one person's genotype. All points of a row are looked at together."""
    n, everybody = 500, np.ones(500, bool)
    rng = np.random.default_rng(1)
    eta = -2 + 0.6 * rng.normal(size=n).clip(-2, 2)
    mean = 1 / (1 + np.exp(-eta))
    null = NullPeople(np.arange(n), rng.random(n) < mean, np.full((n, 1), 1 << 30), mean, eta)
    fit = NullFit(null)
    flagged = FlaggedRows(None, SimpleNamespace(null=null), np.arange(1), None)
    own = OwnTilts(people(n, 1).reader, flagged, SiteGuard(lambda line: None))
    points = range(-6, 6)
    each = [leverages(method.told(fit, float(t))).max() for t in points]
    assert max(each) < 0.25 and not any(own._stands_out(((own, method, (t, t)),)) for t in points)
    told = np.column_stack([np.ones(n), *(method.told(fit, float(t)) for t in points)])
    noise = np.sqrt(n / 12) / UNIT
    rounded = np.vstack([told, noise * np.eye(told.shape[1])])
    place = int(leverages(rounded, intercept=False)[:n].argmax())
    reader = np.linalg.lstsq(rounded, np.eye(len(rounded))[place], rcond=1e-13)[0]
    genotypes = rng.binomial(2, 0.3, (3000, n)).astype(float)
    opened = genotypes @ told + noise * rng.normal(size=(3000, told.shape[1]))
    assert np.corrcoef(opened @ reader, genotypes[:, place])[0, 1] > 0.55
    assert own._stands_out(((own, method, (-6, 5)),)) and not own._stands_out(((own, method, (-1, 1)),))
    assert SiteGuard(lambda line: None, level="all").singles_out(told, everybody) is None


def test_a_row_remembers_how_far_its_points_reached():
    row = FirthRow()
    row.take([1 << 32, 1 << 32, 0, 1 << 40])
    (far,) = row.points
    assert row.reach == (0.0, 0.0) and far > 0
    row.take([-(1 << 31), 1 << 32, 0, 1 << 40])
    assert row.reach == (0.0, far)


def test_a_variant_in_several_phenotypes_is_looked_at_once():
    """The same genotypes are in the numbers of every disease: what these say of them is looked at together."""
    n = 500
    rng = np.random.default_rng(6)
    owns = []
    for _ in range(4):
        eta = -2 + 0.5 * rng.uniform(-1.7, 1.7, n)
        mean = 1 / (1 + np.exp(-eta))
        null = NullPeople(np.arange(n), rng.random(n) < mean, np.full((n, 1), 1 << 30), mean)
        flagged = FlaggedRows(SimpleNamespace(name="autosomes"), SimpleNamespace(null=null), np.array([7]), None)
        owns.append(OwnTilts(people(n, 1).reader, flagged, SiteGuard(lambda line: None)))
    rows = _Rows(owns, "spa", bytes(32))
    for t in rows.tilted:
        t.reach = (-4.5, 3.5)
    beside = rows._beside(0, 0)
    assert [own for own, _ in beside] == owns[1:] and beside[0][1].span == (-5, 4)
    each = [((own, SaddlepointRow, t.span),) for own, t in zip(owns, rows.tilted, strict=True)]
    assert not any(of[0][0]._stands_out(of) for of in each)
    assert owns[0]._stands_out(tuple(of[0] for of in each))
