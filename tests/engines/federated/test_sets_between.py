"""The same row over two sets of samples: what the difference of two totals tells of the people in between."""

from __future__ import annotations

import numpy as np
import pytest

from securegen.engines.federated import admission
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import between_sets
from securegen.governance.rows import RowRule
from securegen.model import GenotypeBlock
from securegen.study import people as align
from securegen.study.traits import Traits

from . import test_openings
from .test_openings import TWO, Run, in_memory, study_of

PEOPLE, LEFT = 900, np.arange(30, 90)  # twenty at each site
ALONE, NOBODY, MANY, NEAR = 3, 4, 5, 6  # variants


@pytest.fixture(scope="module")
def cohort():
    """Variants that nobody withholds among everybody: of those who left, one carries ALONE, nobody NOBODY, all MANY."""
    rng = np.random.default_rng(8)
    dosage = rng.binomial(2, 0.4, (8, PEOPLE)).astype(np.int8)
    for row, share in ((ALONE, 0.3), (NOBODY, 0.3), (MANY, 0.3)):
        dosage[row] = rng.random(PEOPLE) < share
        dosage[row, LEFT] = row == MANY
    dosage[ALONE, 42] = 1
    dosage[NEAR] = dosage[0]
    dosage[NEAR, 200:300] = (dosage[NEAR, 200:300] + 1) % 3
    dosage[NEAR, 43] = 2 - dosage[0, 43] if dosage[0, 43] != 1 else 0
    x = np.column_stack([np.round(rng.normal(50, 8, PEOPLE), 1), rng.integers(0, 2, PEOPLE).astype(float)])
    y = rng.normal(size=(PEOPLE, 2))
    y[LEFT, 1] = np.nan
    return dosage, x, y


def study(cohort, tmp_path, *traits: int, covariates: int = 2, **terms) -> Run:
    dosage, x, y = cohort
    named = tuple(align.Phenotype(TWO[k][0], y[:, k], False) for k in traits)
    asked = study_of([TWO[k] for k in traits], **terms)
    return Run(
        in_memory(dosage), Traits(named, x[:, :covariates], ("AGE", "SEX")[:covariates], (0, 0)), asked, tmp_path
    )


def difference(cohort, all_of: Run, rest: Run, row: int) -> list[float]:
    """Σ g, Σ g·age and Σ g·sex over who is in the first study alone, as whoever has both tables' sums has them."""
    out = []
    for run in (all_of, rest):
        at = np.searchsorted(np.flatnonzero(run.of("flags")[:, 0] == 0), row)
        alleles, columns = run.of("counts")[at, 1], run.of("columns")[at] / run.design.analyses[0].model.samples
        known = run.designs[0].columns.values  # scales and centres are public: here from a site's own rows
        mine = known[:, 0] != 0
        lines = [np.polyfit(known[mine, 1 + k].astype(float), cohort[1][::3][mine, k], 1) for k in range(2)]
        out.append([alleles, *(a * columns[k] + b * alleles for k, (a, b) in enumerate(lines))])
    return (np.array(out[0]) - np.array(out[1])).tolist()


@pytest.mark.parametrize("protected", [False, True])
def test_one_carrier_of_those_who_lack_a_later_phenotype(cohort, tmp_path, monkeypatch, protected):
    """Twenty people of each site lack the second study's phenotype, and one of them carries a variant: the difference of two
    tables is her age and sex. Everybody follows the protocol."""
    monkeypatch.setattr(test_openings, "BETWEEN", protected)
    first = study(cohort, tmp_path, 0, common_samples=True)
    later = study(cohort, tmp_path, 1, common_samples=True)
    withheld = later.of("flags")[:, 0] != 0
    assert not first.of("flags")[[ALONE, NOBODY, MANY], 0].any()
    assert not withheld[[NOBODY, MANY]].any() and withheld[ALONE] == protected
    if not protected:
        assert difference(cohort, first, later, ALONE) == pytest.approx([1, *cohort[1][42]], abs=0.02)
    assert any("are in one of two sets" in line for log in later.logs for line in log)


def test_two_phenotypes_of_one_study(cohort, tmp_path):
    run = study(cohort, tmp_path, 0, 1, covariates=0)
    withheld = run.of("flags")[:, 0] != 0
    assert withheld[ALONE] and not withheld[[NOBODY, MANY]].any()
    consortium = study(cohort, tmp_path / "consortium", 0, 1, covariates=0, openings="consortium")
    assert not consortium.of("flags")[ALONE, 0]


def test_rows_that_one_of_those_in_between_tells_apart(cohort):
    """Over everybody a hundred people tell two rows apart, of those in between one."""
    dosage = cohort[0][[0, NEAR]]
    everybody, between = np.ones(PEOPLE, bool), np.isin(np.arange(PEOPLE), LEFT)
    block = GenotypeBlock(0, dosage, None)
    for known, withheld in (((), False), ((between,), True)):
        rule = RowRule([everybody, ~between], 1, strict=True, between=known)
        assert rule.vetoed([block]).tolist() == [False, withheld]
        assert rule.scan(block, [], [everybody]).tolist() == [False, withheld]


def test_sets_in_between():
    a, b, c = (np.array(list(bits)) == "1" for bits in ("111100", "111111", "000011"))
    assert [s.tolist() for s in between_sets([a, b], [b, c])] == [(a != b).tolist(), (b != c).tolist()]
    assert between_sets([a], [a, c]) == []  # no sum over either is in one over both


def test_sets_on_x_are_compared_with_those_on_x():
    """A phenotype that is named as a set on X is, is one of autosomes."""
    from securegen.engines.federated.cohort import set_of

    some, more, known_sex = (np.arange(100) < n for n in (50, 70, 90))
    earlier = [(f"study s 00, {set_of('A')}", some), (f"study s 00, {set_of('A')} on X", known_sex)]
    guard = SiteGuard(lambda line: None)
    for named, last in ((set_of("A on X"), 60), (f"{set_of('B')} on X", 80)):
        guard.look_between(admission._by_place([(named, more), ("founders", some)], earlier))
        assert [s.sum() for s in guard.between] == [20] and guard.between[0][last]
