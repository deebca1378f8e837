"""What corrections could tell of single people, or what a deviating site could make of them: with a rule off, and with it on."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.design.null_people import NullPeople
from securegen.engines.federated import own_corrections
from securegen.engines.federated.own_corrections import rests_on
from securegen.engines.federated.rounds import OUT_OF_BOUNDS
from securegen.engines.federated.tilts import SaddlepointRow, bounds
from securegen.errors import PolicyError
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import leverages
from securegen.kernels.rounded_terms import UNIT, tilted_terms
from securegen.stats.corrected import NullFit

from .corrected_sites import SITES, Corrected, at_one_owner, people
from .local_sums import LocalSum

ROW = 1


def without(monkeypatch, rule: str) -> None:
    """Switch a rule of a site's own people off."""
    always = {"genotypes_apart": lambda *args: True, "rests_on": lambda weights: np.inf}
    monkeypatch.setattr(own_corrections, rule, always[rule])


def with_carriers(cohort, row: int, of_site: dict[int, tuple[int, int]]):
    """Give a variant to so many people of each site, once and twice; half of them cases."""
    cohort.dosage[row] = 0
    for s, (once, twice) in of_site.items():
        here = np.flatnonzero(np.arange(cohort.dosage.shape[1]) % SITES == s)
        order = np.concatenate([here[cohort.cases[here]][: once // 2], here[~cohort.cases[here]]])[: once + twice]
        cohort.dosage[row, order] = 1
        cohort.dosage[row, order[once:]] = 2
    return cohort


@pytest.mark.parametrize("protected", [False, True])
def test_the_age_of_one_homozygote_from_the_ends_of_the_sum(tmp_path, monkeypatch, protected):
    """The largest and the smallest value of S tell Σ|x|, so Σ of the carriers' ages; a quantitative phenotype of the same study
    tells Σ g·age: where one carrier has two copies, the difference is hers."""
    cohort = with_carriers(people(1800, 8, low=0.3, missing=0), ROW, {0: (40, 1), 1: (40, 0), 2: (40, 0)})
    cohort.trait = np.random.default_rng(5).normal(size=1800)
    if not protected:
        without(monkeypatch, "genotypes_apart")
    run = Corrected(cohort, tmp_path, openings="strict")
    place = sorted(run.rows).index(ROW)
    assert run.of("0000-flags")[place, 0] == protected
    opened = run.of("0000-sums")[place] / UNIT
    mine = next(i for i, s in enumerate(run.strata) if s)
    design = run.strata[mine][0].design
    score, linear = (design.analyses[k] for k in (0, 1))
    # everybody has coefficients and Σc; the age column c of the linear model is the null model's, shifted by a known number
    null = [s[0].analysis("logistic", "CC").null for s in run.strata]
    c = np.empty(1800)
    for s in range(SITES):
        c[s::SITES] = null[s].centred[:, 1] / 2**30
    w = np.empty(1800)
    for s in range(SITES):
        w[s::SITES] = null[s].mean * (1 - null[s].mean)
    g = cohort.dosage[ROW].astype(float)
    level = g.mean()
    slope = float((w * c * g).sum() / (w * c * c).sum())  # Σwcg is opened, Σwcc is the null model's
    sum_x = g.sum() - level * 1800 - slope * c.sum()
    carriers = g.sum() - 1
    of_carriers = (opened[3] + opened[4] + sum_x) / 2
    ages = (g.sum() - carriers * level - of_carriers) / slope
    hers = float(g @ c) - ages
    true = c[g == 2][0]
    assert (abs(hers - true) < 0.02) != protected
    assert score.test == "logistic" and linear.test == "linear"


@pytest.mark.parametrize("protected", [False, True])
def test_numbers_of_few_carriers_of_one_site(tmp_path, monkeypatch, protected):
    """Twelve carriers at one site, forty at another that takes its own part away: K at a far point is t·12 and the sum of the
    logarithms of what twelve people have. Enough carriers is 20 of this site's own."""
    cohort = with_carriers(people(1800, 8, low=0.3, missing=0), ROW, {0: (12, 0), 1: (40, 0), 2: (0, 0)})
    cohort.cases[np.flatnonzero(cohort.dosage[ROW])[:9]] = True
    if not protected:
        without(monkeypatch, "genotypes_apart")
    run = Corrected(cohort, tmp_path, openings="strict", p_thresh=0.99)
    assert (run.rows[ROW] is None) == protected
    place = sorted(run.rows).index(ROW)
    assert run.of("0000-flags")[place, 0] == protected


def test_a_row_that_a_site_withholds_is_noise_for_everybody(tmp_path):
    """Not even the other sites' part of it is opened: they would read each other, and this site who withheld."""
    cohort = with_carriers(people(1500, 8, low=0.3, missing=0), ROW, {0: (15, 0), 1: (30, 0), 2: (30, 0)})
    parts: dict[int, np.ndarray] = {}

    def note(site):
        def alter(name, own):
            if name == "corrections-0000-sums":
                parts[site] = own
            return own

        return alter

    run = Corrected(cohort, tmp_path, openings="strict", p_thresh=0.99, alter={s: note(s) for s in range(SITES)})
    place = sorted(run.rows).index(ROW)
    assert run.of("0000-flags")[place, 0] == 1 and run.rows[ROW] is None
    noise = np.abs(parts[0][place].astype(object))
    assert all(v > bounds(1500) >> 20 for v in noise)  # of the field's whole width
    assert all(abs(v) < UNIT * 1500 for v in parts[1][place])
    again = Corrected(
        cohort, tmp_path / "b", openings="strict", p_thresh=0.99, alter={s: note(s) for s in range(SITES)}
    )
    assert again.rows[ROW] is None and np.array_equal(
        np.abs(parts[0][place].astype(object)), noise
    )  # made again: the same


def deviating(step: str, change):
    """The last site's numbers of a step, altered."""
    return {2: lambda name, own: change(own.astype(object)) if name == step else own}


@pytest.mark.parametrize("protected", [False, True])
def test_a_site_that_takes_out_a_vote_reads_noise(tmp_path, monkeypatch, protected):
    cohort = with_carriers(people(1500, 8, low=0.3, missing=0), ROW, {0: (15, 0), 1: (30, 0), 2: (30, 0)})
    monkeypatch.setattr(LocalSum, "checked", protected)
    rows = sorted(at_one_owner(cohort, p_thresh=0.99))

    def change(own):
        own[rows.index(ROW)] -= 1
        return own

    def run():
        return Corrected(
            cohort, tmp_path, openings="strict", p_thresh=0.99, alter=deviating("corrections-0000-flags", change)
        )

    if protected:
        with pytest.raises(PolicyError, match="not what the people"):
            run()
        return
    found = run()
    place = rows.index(ROW)
    assert found.of("0000-flags")[place, 0] == 0
    assert max(abs(int(v)) for v in found.of("0000-sums")[place]) > bounds(1500) >> 4  # and nobody's part


@pytest.mark.parametrize("protected", [False, True])
@pytest.mark.parametrize("what", ["a variance below the own", "more than people have"])
def test_a_site_that_steers_newtons_method_by_what_people_cannot_give(tmp_path, monkeypatch, what, protected):
    cohort = people(900, 8, low=0.3, missing=0)
    monkeypatch.setattr(LocalSum, "checked", protected)
    step, by = ("corrections-0001-sums", -(1 << 44)) if "below" in what else ("corrections-0000-sums", 1 << 76)

    def change(own):
        own[:, 2 if "below" in what else 1] += by
        return own

    def run():
        return Corrected(cohort, tmp_path, alter=deviating(step, change))

    if protected:
        with pytest.raises(PolicyError) as error:
            run()
        assert str(error.value) == OUT_OF_BOUNDS
    else:
        found, theirs = run().rows, at_one_owner(cohort)
        assert found.keys() == theirs.keys() and found != theirs


@pytest.mark.parametrize("protected", [False, True])
def test_a_site_that_steers_the_point_far_out(tmp_path, monkeypatch, protected):
    """A total that people could give moves the next point to where the variance is nearly one person's: of the carriers she
    whose μ is the smallest. This site's own people say no there."""
    rng = np.random.default_rng(2)
    cohort = with_carriers(people(1800, 8, low=0.3, missing=0), ROW, {0: (30, 0), 1: (30, 0), 2: (30, 0)})
    cohort.age = np.round(50 + 5 * rng.normal(size=1800).clip(-2, 2), 3)
    mean = 1 / (1 + np.exp(6 - 0.5 * (cohort.age - 50)))
    cohort.cases = rng.random(1800) < mean
    cohort.cases[np.flatnonzero(cohort.dosage[ROW])[:30:2]] = True
    if not protected:
        without(monkeypatch, "rests_on")
    rows = sorted(at_one_owner(cohort, p_thresh=0.99))
    place = rows.index(ROW)

    def change(own):
        own[place, 0] += int(70.5 * UNIT)  # of U: what as many more cases would give, all carriers but one
        return own

    run = Corrected(
        cohort, tmp_path, openings="strict", p_thresh=0.99, consent_openings=True,
        alter=deviating("corrections-0000-sums", change),
    )  # fmt: skip
    vetoed = run.say("variances that rest on few people")
    assert vetoed == protected
    if protected:
        assert run.rows[ROW] is None


def test_how_many_people_a_variance_rests_on():
    """Far out the variance of 24 carriers is that of whoever has the smallest μ."""
    mean = np.concatenate([[1e-6], np.full(23, 0.05), np.full(500, 0.05)])
    null = NullPeople(np.arange(524), np.zeros(524, bool), np.full((524, 1), 1 << 30), mean)
    fit, x = NullFit(null), np.concatenate([np.ones(24), np.zeros(500)])
    row = SaddlepointRow()
    assert row.points == (0.0,) and rests_on(row.weights(fit, x)[0]) > 20
    for t, people_behind in ((0.0, 23), (14.0, 1)):
        share = 1 / (1 + (1 - mean) / mean * np.exp(-t))
        assert rests_on(x * x * share * (1 - share)) == pytest.approx(people_behind, rel=0.1)
    second = tilted_terms(x, mean, 14.0)[2] / UNIT
    odds = np.exp(14.0) * 1e-6
    assert second == pytest.approx(odds / (1 + odds) ** 2, rel=0.02)  # her μ, read
    assert rests_on(np.zeros(5)) == 0.0


def test_flagged_variants_that_read_one_person():
    """Of whom μ is far from everybody's, a combination of the numbers at a point is her genotype, at every variant that is
    flagged there. The rule of leverage looks at these columns beside all that is open."""
    rng = np.random.default_rng(1)
    eta = np.concatenate([rng.uniform(-3, -1, 499), [4.0]])
    mean = 1 / (1 + np.exp(-eta))
    null = NullPeople(np.arange(500), rng.random(500) < mean, np.full((500, 1), 1 << 30), mean)
    told = SaddlepointRow.each(NullFit(null), np.ones(500), 2.0)  # without a copy they are 0
    design = rng.normal(size=(500, 3))
    together = np.column_stack([design, told])
    assert leverages(design)[-1] < 0.05 and leverages(together)[-1] > 0.8
    best = np.linalg.lstsq(np.column_stack([np.ones(500), together]), np.eye(500)[-1], rcond=None)[0]
    reader = np.column_stack([np.ones(500), together]) @ best
    genotypes = rng.binomial(2, 0.3, (2000, 500)).astype(float)
    read = np.corrcoef(genotypes @ reader, genotypes[:, -1])[0, 1]
    assert read > 0.85
    everybody = np.ones(500, bool)
    guard, off = SiteGuard(lambda line: None), SiteGuard(lambda line: None, level="all")
    for one in (guard, off):
        one._columns = list(design.T)
    assert "leverage" in guard.singles_out(told, everybody) and off.singles_out(told, everybody) is None
    usual = np.arange(500) < 499
    assert guard.singles_out(told[usual], usual) is None
