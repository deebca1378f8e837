"""Corrections of sites are those of one owner, to the last digit, however people are dealt; who gets none; what is charged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import securegen as sg
from securegen.engines.federated import own_corrections, tilts
from securegen.engines.federated.admission import LEDGER, charge_numbers
from securegen.engines.federated.own_corrections import genotypes_apart
from securegen.engines.federated.tilts import ROWS, most_columns
from securegen.errors import PolicyError, ProtocolError
from securegen.governance.guard import REFUSAL, SiteGuard
from securegen.governance.ledger_file import open_ledger
from securegen.stats import firth, saddlepoint

from .corrected_sites import SITES, Corrected, at_one_owner, people


@pytest.fixture(scope="module")
def cohort():
    return people(700, 60)


def as_numbers(rows):
    return {v: None if c is None else (c.beta, c.se, c.chisq, c.log10p) for v, c in rows.items()}


@pytest.mark.parametrize("method", ["spa", "firth"])
@pytest.mark.parametrize("how", ["round robin", "no carrier at one site", "one site has most"])
def test_rows_are_those_of_one_owner_to_the_last_digit(cohort, tmp_path, method, how):
    dealt = np.arange(700) % SITES
    if how == "no carrier at one site":
        dealt = np.where(cohort.dosage[3] > 0, np.arange(700) % 2, dealt)
    if how == "one site has most":
        dealt = np.where(np.arange(700) % 10 < 8, 2, np.arange(700) % 2)
    run = Corrected(cohort, tmp_path, dealt=dealt, correction=method)
    theirs = at_one_owner(cohort, correction=method)
    assert as_numbers(run.rows) == as_numbers(theirs)
    assert sum(c is not None for c in run.rows.values()) > 15
    assert max(c.log10p for c in run.rows.values() if c is not None) > 3


def test_a_variant_of_19_carriers_gets_none_and_one_of_20_does(tmp_path):
    cohort = people(600, 12, missing=0)
    for v, carriers in ((1, 19), (2, 20)):
        cohort.dosage[v] = 0
        cohort.dosage[v, np.flatnonzero(cohort.cases)[:carriers]] = 1
    run = Corrected(cohort, tmp_path)
    assert run.rows[1] is None and run.rows[2] is not None
    with_few = at_one_owner(cohort, few=True)
    assert with_few[1] is not None and with_few[2] == run.rows[2]


@pytest.mark.parametrize("openings", ["all", "strict"])
@pytest.mark.parametrize("method", ["spa", "firth"])
def test_a_variant_of_20_to_39_carriers_beside_whom_few_people_vary_gets_none_by_saddlepoint(
    tmp_path, method, openings
):
    """One owner sums every outcome there. Under rules nothing of such a row is opened."""
    cohort = people(2400, 12, low=0.2, missing=0)
    cohort.cases = np.arange(2400) // 3 % 20 == 0
    here = np.flatnonzero(np.arange(2400) % 3 == 0)
    left = {case: here[cohort.cases[here] == case].tolist() for case in (True, False)}
    for v, carriers in ((1, 20), (2, 39), (3, 40)):
        cohort.dosage[v] = 0
        for case, count in ((True, carriers // 3), (False, carriers - carriers // 3)):
            cohort.dosage[v, left[case][:count]] = 1
            del left[case][:count]
    run = Corrected(cohort, tmp_path, correction=method, openings=openings)
    assert {v: run.rows[v] is None for v in (1, 2, 3)} == {1: method == "spa", 2: method == "spa", 3: False}
    assert len(run.of("0000-sums")) == len(run.rows) - 2 * (method == "spa" and openings == "strict")
    theirs, with_few = (at_one_owner(cohort, correction=method, few=few) for few in (False, True))
    assert {v: theirs[v] is None for v in (1, 2, 3)} == {v: run.rows[v] is None for v in (1, 2, 3)}
    assert all(c is not None for c in with_few.values())
    if openings == "all":
        assert as_numbers(run.rows) == as_numbers(theirs)


@pytest.mark.parametrize("method", ["spa", "firth"])
def test_where_every_carrier_is_a_case(tmp_path, method):
    """U is the largest value that it can be, whose probability is a product over people: sites leave the row, one owner has it.
    Firth's effect is finite."""
    cohort = people(600, 8, missing=0)
    cohort.age[:] = np.where(np.arange(600) % 2, 40.0, 60.0)
    cohort.cases = np.arange(600) % 20 < 2
    cohort.dosage[1] = cohort.cases
    run = Corrected(cohort, tmp_path, correction=method)
    assert as_numbers(run.rows) == as_numbers(at_one_owner(cohort, correction=method))
    assert (run.rows[1] is None) == (method == "spa")
    assert at_one_owner(cohort, correction=method, few=True)[1].log10p > 20


def test_under_rules_each_site_has_nobody_or_enough_with_every_genotype(tmp_path):
    """At each site nobody or 20 carriers; 15 at one is withheld there, and nobody's numbers are opened."""
    cohort = people(1500, 20, low=0.2, missing=0)
    site = np.arange(1500) % SITES
    for v, first in ((1, 25), (2, 15), (3, 0)):
        cohort.dosage[v] = 0
        for s, carriers in ((0, first), (1, 25), (2, 25)):
            here = np.flatnonzero(site == s)
            cohort.dosage[v, here[cohort.cases[here]][: carriers // 2]] = 1
            cohort.dosage[v, here[~cohort.cases[here]][: carriers - carriers // 2]] = 1
    run = Corrected(cohort, tmp_path, openings="strict")
    assert run.rows[1] is not None and run.rows[2] is None and run.rows[3] is not None
    assert run.say("rows withheld here: few people with a genotype")
    flags = dict(zip(sorted(run.rows), run.of("0000-flags")[:, 0].tolist(), strict=True))
    assert flags[2] == 1 and flags[1] == 0
    theirs = at_one_owner(cohort)
    assert run.rows[1].log10p == pytest.approx(theirs[1].log10p, rel=5e-3)  # weights are opened as one number


def test_groups_of_a_row():
    one, none = np.ones(1000), np.zeros(1000)

    def good(g, missing=None):
        return genotypes_apart(g, missing, g, 10)

    assert good(none) and good(np.r_[one[:20], none[:980]]) and not good(np.r_[one[:19], none[:981]])
    assert not good(np.r_[2.0, one[:30], none[:969]])  # one homozygote
    assert good(np.r_[2 * one[:10], one[:30], none[:960]])
    lacking = np.arange(1000) >= 995
    assert not good(np.r_[one[:30], none[:970]], lacking) and good(np.r_[one[:30], none[:970]], np.arange(1000) >= 990)
    assert not genotypes_apart(np.r_[one[:985], none[:15]], None, np.r_[one[:985], none[:15]], 10)


@pytest.mark.parametrize("method", ["spa", "firth"])
def test_each_round_is_charged_once(tmp_path, method):
    large = people(1200, 30, low=0.2, missing=0)
    run = Corrected(large, tmp_path, openings="strict", correction=method)
    columns = run.strata[0][0].design.columns.values.shape[1]
    per_round = ROWS[method].columns
    expected = columns + per_round[0] + (run.rounds - 1) * per_round[1]
    with open_ledger(tmp_path / "0" / LEDGER) as ledger:
        assert set(ledger.spent.tolist()) == {expected}
    assert run.rounds > 2 and most_columns(method) >= expected - columns
    Corrected(large, tmp_path, openings="strict", correction=method, digest=run.study.digest)
    with open_ledger(tmp_path / "0" / LEDGER) as ledger:
        assert set(ledger.spent.tolist()) == {expected}


def test_a_study_for_which_the_budget_is_too_small_is_refused_before_a_sum(tmp_path):
    """21 columns of corrections do not fit beside those of the design at 150 people a site, 16 % of whom are 24; with consent."""
    small, logs = people(450, 8, low=0.3, missing=0), [[], [], []]
    with pytest.raises(PolicyError, match=REFUSAL[:30]):
        Corrected(small, tmp_path / "a", openings="strict", logs=logs)
    assert any(
        "corrections among them, for 150 people; at most 16% are allowed" in line for log in logs for line in log
    )
    Corrected(small, tmp_path / "b", openings="strict", consent_openings=True)


def test_a_round_beyond_the_budget_is_withheld(tmp_path, monkeypatch):
    """Another study of these people took the budget meanwhile: site 1 sends noise in place of all rows, and the study goes on."""
    cohort = people(1200, 20, low=0.3, missing=0)
    real = own_corrections.OwnTilts.numbers

    def spending(self, places, tilted, width, *, start, allowed, **more):
        if not start and self.reader.samples.iid[0] == "p1":
            allowed = False
        return real(self, places, tilted, width, start=start, allowed=allowed, **more)

    monkeypatch.setattr(own_corrections.OwnTilts, "numbers", spending)
    run = Corrected(cohort, tmp_path, openings="strict")
    assert run.rounds == 2 and all(c is None for c in run.rows.values())
    assert run.say("rows withheld here: the budget") and (run.of("0001-flags") == 1).all()


def test_the_ledger_refuses_a_round(tmp_path):
    cohort = people(1200, 6, low=0.3, missing=0)
    run = Corrected(cohort, tmp_path, openings="strict")
    lines: list[str] = []
    samples, guard = cohort.reader.select(np.arange(0, 1200, SITES)).samples, SiteGuard(lines.append)

    def charged(what: str, columns: int, study=run.study) -> bool:
        return charge_numbers(study, what, samples, np.arange(400), columns, tmp_path / "0", guard)

    left = int(0.16 * 400) - most_spent(tmp_path)
    assert charged("a", left) and charged("a", left)
    assert not charged("b", 1) and "16%" in lines[-1]
    assert charged("b", 1, replace(run.study, consent_openings=True))


def most_spent(folder) -> int:
    with open_ledger(folder / "0" / LEDGER) as ledger:
        return int(ledger.spent.max())


def test_sites_with_other_rows_are_named_before_a_sum(cohort, tmp_path):
    with pytest.raises(ProtocolError, match="other integers"):
        Corrected(cohort, tmp_path, keep=lambda study, site: replace(study, p_thresh=0.5 if site else 0.4))


@pytest.mark.parametrize("method", ["spa", "firth"])
def test_a_row_that_is_not_settled_after_the_last_round_stays(cohort, tmp_path, monkeypatch, method):
    """One owner who leaves what sites leave takes as few points: tables stay equal."""
    of = saddlepoint if method == "spa" else firth
    monkeypatch.setattr(of, "FEWER_STEPS", 3)
    if method == "spa":
        monkeypatch.setattr(tilts, "FEWER_STEPS", 3)
    monkeypatch.setattr(ROWS[method], "rounds", 4 if method == "spa" else 3)
    run = Corrected(cohort, tmp_path, correction=method)
    assert as_numbers(run.rows) == as_numbers(at_one_owner(cohort, correction=method))
    assert any(c is None for c in run.rows.values()) and any(c is not None for c in run.rows.values())
    assert all(c is not None for c in at_one_owner(cohort, correction=method, few=True).values())


def test_a_dry_run_says_what_corrections_cost(reference):
    cohort = reference("sim_500x5k")
    lines: list[str] = []
    study = sg.open_study(cohort.bfile, pheno=cohort.pheno, pheno_name="CC", correction="firth", chr="1", to_bp=300_000)
    sg.Federated(sites=3).describe(study, lines.append)
    assert lines == [
        "--correction firth: at most 14 rounds of all sites, which count as 14 columns per phenotype in the budgets (CC)"
    ]
