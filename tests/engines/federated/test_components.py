"""Components of all sites: what one cohort finds, and the rules that their attacks made necessary."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support import MemoryReader

from securegen.engines.federated import common_variants as common
from securegen.engines.federated import components as fed
from securegen.engines.federated import own_components
from securegen.errors import DesignError, PolicyError
from securegen.governance import openings
from securegen.governance.guard import SiteGuard
from securegen.io.arrays import from_arrays
from securegen.structure import components as pc
from securegen.structure.totals import OwnTotals

from .conftest import secure_sum

SEED = b"a study"
SITES = ("anna", "bert", "cora")
PEOPLE, VARIANTS, CROWD = 480, 700, 1200


def structured(rng: np.random.Generator, people: int = PEOPLE, variants: int = VARIANTS) -> np.ndarray:
    """(M, N) genotypes of three populations, 1 % of calls missing in a third of the variants."""
    f = rng.uniform(0.1, 0.5, variants)
    population = np.arange(people) % 3
    drift = np.clip(f[:, None] + rng.normal(0, 0.12, (variants, 3)), 0.03, 0.97)
    g = rng.binomial(2, drift[:, population]).astype(np.int8)
    g[: variants // 3][rng.random((variants // 3, people)) < 0.1] = -1
    return g


def reader_of(g: np.ndarray):
    memory = MemoryReader(g)
    return from_arrays(np.where(g < 0, np.nan, g), memory.samples, variants=memory.variants)


@pytest.fixture(scope="module")
def genotypes():
    return structured(np.random.default_rng(4))


def part(g: np.ndarray, site: str) -> np.ndarray:
    return g[:, SITES.index(site) :: 3]


def run_sites(trio, g, *, level="strict", wanted=2, people=None, charges=None, turns=60, **more):
    """The components of each site's people."""
    said: list[str] = []

    def act(session):
        site = session.site
        reader = reader_of(part(g, site))
        mask = np.ones(len(reader.samples), bool) if people is None else people[SITES.index(site) :: 3]
        guard = SiteGuard(said.append, level=level, end=session.end)
        charge = (
            (lambda q: charges.setdefault(site, []).append(q.shape[1])) if charges is not None else (lambda q: None)
        )
        secure = secure_sum(session)
        return fed.federated_components(
            secure, reader, mask, wanted, SEED, guard, charge, strict=level == "strict", say=said.append, **more
        )

    return trio.drive(act, turns), said


def test_sites_find_what_one_cohort_finds(trio, genotypes):
    """Not a digit differs, although every site was stopped and begun anew before each message."""
    found, said = run_sites(trio, genotypes, level="all", rounds=4)
    everybody = reader_of(genotypes)
    counts = OwnTotals(everybody).counts()
    frequency = counts.dosage / (2 * counts.called)
    common = everybody.select(None, np.flatnonzero(np.minimum(frequency, 1 - frequency) >= 0.01))
    own = OwnTotals(common)
    whole = pc.components(own, 2, SEED, rounds=4)
    values = pc.scores(whole, own.project(*pc.standardised(whole.counts).loadings(whole.loadings)))
    for site in SITES:
        np.testing.assert_array_equal(found[site], values[SITES.index(site) :: 3])
    population = np.arange(PEOPLE) % 3
    means = np.stack([values[population == k].mean(axis=0) for k in range(3)])
    assert np.linalg.matrix_rank(np.c_[means, np.ones(3)], tol=0.01) == 3  # and they tell the populations apart


def test_the_rules_leave_the_components_as_they_are(trio, genotypes):
    """Under `strict` some variants go; the populations stay where they were."""
    genotypes = structured(np.random.default_rng(4), people=3600, variants=300)
    with_rules, said = run_sites(trio, genotypes, charges=(charges := {}))
    values = np.zeros((3600, 2))
    for site in SITES:
        values[SITES.index(site) :: 3] = with_rules[site]
    population = np.arange(3600) % 3
    means = np.stack([values[population == k].mean(axis=0) for k in range(3)])
    within = np.sqrt(np.mean([values[population == k].var(axis=0) for k in range(3)], axis=0))
    apart = np.abs(means[:, None] - means[None]) / within
    assert (apart.max(axis=2)[np.triu_indices(3, 1)] > 4).all()
    assert any(line.startswith("components: ") for line in said)
    assert charges.keys() == set(SITES) and all(set(c) == {6} for c in charges.values())


class Steered:
    """Totals of a site beside honest ones, with loadings that a deviating site chose."""

    def __init__(self, g: np.ndarray, level: str = "strict", consent: bool = False):
        self.refused: list[str] = []
        self.reader = reader_of(g)
        own = OwnTotals(self.reader)
        guard = SiteGuard(self.refused.append, level=level, consent=consent)
        self.totals = fed.PooledTotals(Alone(), own, guard, own.counts(), lambda q: None, consent)
        self.scale = pc.standardised(own.counts())

    def image(self, v: np.ndarray) -> np.ndarray:
        return pc._image(self.totals, self.scale, v)


class Alone:
    """A sum of this site alone. inflate: what a deviating site adds to squares, as a factor."""

    inflate = 1

    def agree(self, name, *integers):
        """Nobody else is there."""

    def rows(self, name, count, widths, make, *, bounds=None, check=None):
        own = make()
        total = own * self.inflate if name.endswith("squares") else own
        if check is not None:
            check(own, total)
        return total


@pytest.fixture(scope="module")
def crowd():
    """Without populations, missing calls or relatives."""
    rng = np.random.default_rng(8)
    f = rng.uniform(0.1, 0.5, 1500)
    return rng.binomial(2, f[:, None], (1500, CROWD)).astype(np.int8)


def standard(g: np.ndarray) -> np.ndarray:
    p = g.mean(axis=1, keepdims=True) / 2
    return (g - 2 * p) / np.sqrt(2 * p * (1 - p))


@pytest.mark.parametrize("inflate", [1, 4, 400])
def test_loadings_that_point_at_a_person_are_refused(crowd, inflate):
    """A site that posts last can set the totals of which the next loadings are made: half of a person's genotypes, known, are
    a direction in which it stands out, and the total is the other half. More Σ y² than people have does not hide it."""
    x = standard(crowd)
    known = np.arange(0, 1500, 2)
    v = np.zeros((1500, 1))
    v[known, 0] = x[known, 7]
    v /= np.linalg.norm(v)
    off = Steered(crowd, level="all")
    off.totals.secure.inflate = inflate
    unknown = np.arange(1, 1500, 2)
    assert np.corrcoef(off.image(v)[unknown, 0], x[unknown, 7])[0, 1] > 0.5
    on = Steered(crowd)
    on.totals.secure.inflate = inflate
    with pytest.raises(PolicyError):
        on.image(v)
    assert "column 1: one person holds" in on.refused[0]


def test_columns_whose_difference_is_a_person_are_refused(crowd):
    """Each is below a fiftieth; together they are a person."""
    x = standard(crowd)
    rng = np.random.default_rng(1)
    base = rng.normal(size=1500)
    base /= np.linalg.norm(base)
    person = x[:, 7] / np.linalg.norm(x[:, 7])
    v = np.stack([base, base + 0.05 * person], axis=1)
    q = x.T @ v
    assert (q**2 / (q**2).sum(axis=0)).max() < 1 / 50
    h = Steered(crowd, level="all").image(v)
    assert np.corrcoef(h[:, 1] - h[:, 0], x[:, 7])[0, 1] > 0.3
    # many such pairs are a span in which it stands
    more = [base + c * person for c in (0.02, 0.03, 0.05)]
    on = Steered(crowd)
    with pytest.raises(PolicyError):
        for seed in range(40):
            other = np.random.default_rng(seed).normal(size=1500)
            on.image(np.stack([*more, other / np.linalg.norm(other) + 0.05 * person], axis=1))
    assert "leverage" in on.refused[0] and "beside what is open" in on.refused[0]


def test_rounds_are_looked_at_together(crowd):
    """The columns of all rounds are one span: what one round may not open, several may not."""
    on = Steered(crowd)
    rng = np.random.default_rng(2)
    with pytest.raises(PolicyError):
        for _ in range(8):  # 40 columns of 1,200 people at a time
            on.image(rng.normal(size=(1500, 40)) / 1500**0.5)
    assert 4 <= on.totals.rounds <= 7 and "leverage" in on.refused[0]


def test_squares_below_the_own_are_refused(crowd):
    """They would make the units of projections as small as a deviating site likes."""
    on = Steered(crowd)
    on.totals.secure.inflate = 0
    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        on.image(pc.orthonormal(np.random.default_rng(0).normal(size=(1500, 2)), np.zeros((1500, 0))))


def test_one_person_twice_is_not_a_component(crowd):
    """A duplicate makes a component whose loadings are that person's genotypes; relatives are left out, ten at least."""
    g = crowd[:, :300].copy()
    g[:, 290] = g[:, 20]
    reader, everybody = reader_of(g), np.ones(300, bool)
    found = pc.components(OwnTotals(reader), 2, SEED, rounds=12)
    assert max(abs(np.corrcoef(found.loadings[:, k], standard(g)[:, 20])[0, 1]) for k in range(2)) > 0.6
    chosen = fed.unrelated_people(reader, everybody, 10, cutoff=0.2)
    assert not chosen[290] and int((~chosen).sum()) == 10
    alone = pc.components(OwnTotals(reader, chosen), 2, SEED, rounds=12)
    assert max(abs(np.corrcoef(alone.loadings[:, k], standard(g)[:, 20])[0, 1]) for k in range(2)) < 0.4
    assert openings.set_fault(everybody, chosen) is None
    some = np.arange(300) < 295  # of people who are analysed
    assert not (fed.unrelated_people(reader, some, 10) & ~some).any()
    assert fed.unrelated_people(reader_of(crowd[:, :300]), everybody, 10, cutoff=0.2).all()


def test_rare_and_nearly_equal_variants_are_withheld():
    rng = np.random.default_rng(5)
    g = rng.binomial(2, 0.3, (60, 200)).astype(np.int8)
    g[3] = 0
    g[3, 17] = 1  # one carrier
    g[9] = g[8]
    g[9, :3] = (g[9, :3] + 1) % 3  # three people tell it from its neighbour
    g[20] = np.where(rng.random(200) < 0.03, rng.binomial(2, 0.3, 200), g[19])  # r² above 0.9 by more than ten people
    g[30, :4] = -1  # four people lack the call
    guard = SiteGuard(lambda line: None)
    flags = common._flags(reader_of(g), np.ones(200, bool), guard, strict=True)
    assert set(np.flatnonzero(flags)) == {3, 9, 20, 30}
    off = common._flags(reader_of(g), np.ones(200, bool), SiteGuard(lambda line: None, level="all"), strict=False)
    assert not off.any()


def test_variants_that_are_alike_are_found_over_blocks(monkeypatch):
    """As comparing every pair within the window of 500 does, in order."""
    rng = np.random.default_rng(6)
    g = rng.binomial(2, 0.4, (1300, 60)).astype(np.int8)
    copied = rng.integers(1, 500, 300)
    rows = rng.choice(np.arange(500, 1300), 300, replace=False)
    for row, back in zip(rows, copied, strict=True):
        g[row] = g[row - back]
    people = np.ones(60, bool)
    found = np.zeros(1300, bool)
    alike = common._Alike(people)
    reader = reader_of(g)
    for start, stop in ((0, 700), (700, 1300)):
        found[start:stop] = alike.scan(reader.read(start, stop), np.ones(stop - start, bool))
    r2 = np.corrcoef(g) ** 2
    expected = np.zeros(1300, bool)
    for j in range(1300):
        before = [i for i in range(max(0, j - 499), j) if not expected[i]]
        expected[j] = bool((r2[j, before] > 0.9).any())
    np.testing.assert_array_equal(found, expected)


def test_one_site_prunes_among_what_sites_withhold(trio, genotypes):
    """Variants with r² above 0.2 go, of all sites; the others see a count, not whose it is."""
    g = genotypes.copy()
    where = np.random.default_rng(3).random(PEOPLE) < 0.5
    g[200] = np.where(where, g[200], g[199])  # r² about a quarter
    seen = {}

    def act(session):
        reader = reader_of(part(g, session.site))
        guard = SiteGuard(lambda line: None, level="all", end=session.end)
        secure = secure_sum(session)
        mask = np.ones(len(reader.samples), bool)
        seen[session.site] = common._flags(reader, mask, guard, strict=False, prune=session.site == "bert")
        return fed.federated_components(
            secure, reader, mask, 2, SEED, guard, lambda q: None, strict=False, prune=session.site == "bert", rounds=3,
            say=lambda line: None,
        )  # fmt: skip

    trio.drive(act, 60)
    assert seen["bert"][200] == 1 and not seen["anna"].any() and not seen["cora"].any()


def test_few_people_have_no_components(trio):
    """14 columns a round are more than a twentieth of 480 people after two."""
    g = structured(np.random.default_rng(1), variants=60)
    with pytest.raises(Exception, match="10 components of 480 people: 3 rounds of 14 columns are more than 5%"):
        run_sites(trio, g, wanted=10)


def test_a_small_site_refuses_before_its_people_are_projected(trio, genotypes):
    """Its share is its own: 16 % of its people."""
    people = np.ones(PEOPLE, bool)
    people[2::3] = np.arange(PEOPLE // 3) < 100  # 24 columns, of 100 people
    with pytest.raises(PolicyError):
        run_sites(trio, genotypes, people=people)


class Altered:
    """A sum of this site and one that sets totals: people in all, and how many sites withhold a variant."""

    def __init__(self, people: int | None = None, votes: int | None = None) -> None:
        self.people, self.votes = people, votes

    def refuse(self, reason):
        raise PolicyError(reason)

    def agree(self, name, *integers):
        """Nobody else is there."""

    def total(self, values):
        return values if self.people is None else [self.people]

    def rows(self, name, count, widths, make, *, bounds=None, check=None):
        own = make()
        total = own * 0 + self.votes if name.endswith("flags") and self.votes is not None else own
        if check is not None:
            check(own, total)
        return total


@pytest.mark.parametrize("secure", [Altered(people=1 << 70), Altered(people=700), Altered(votes=0)])
def test_totals_that_a_site_sets_end_the_study(crowd, monkeypatch, secure):
    """More people than there are, fewer than here; votes of the sites that withhold a variant taken out."""
    g = crowd[:200].copy()
    g[7] = np.arange(CROWD) == 3

    def found():
        guard = SiteGuard(lambda line: None)
        return fed.federated_components(
            secure, reader_of(g), np.ones(CROWD, bool), 2, SEED, guard, lambda q: None, strict=True, say=lambda line: None
        )  # fmt: skip

    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        found()
    if secure.votes == 0:
        monkeypatch.setattr(common, "not_below_own", None)
        assert found().shape == (CROWD, 2)  # with a variant of one carrier


def test_an_eigenvalue_that_is_not_positive_is_an_error(crowd):
    """Totals of a deviating site, all zero: components would not be numbers."""
    own = OwnTotals(reader_of(crowd[:50]))
    found = pc.components(own, 2, SEED, rounds=1)
    with pytest.raises(DesignError, match="an eigenvalue is not positive"):
        pc.scores(replace(found, eigenvalues=found.eigenvalues * 0), np.ones((CROWD, 2), np.int64))


def test_those_who_are_left_out_are_enough_for_their_components(crowd):
    """Sums over everybody less those over the people of the components are the others', in each component and alone: of ten
    people somebody stands out in them."""
    g = crowd.copy()
    g[:, 900] = g[:, 20]
    reader, everybody = reader_of(g), np.ones(CROWD, bool)
    most = {}
    for fewest in (10, own_components.LEFT_OUT * 3):
        people = fed.unrelated_people(reader, everybody, fewest, cutoff=0.2)
        assert int((~people).sum()) == fewest
        found = pc.components(OwnTotals(reader, people), 2, SEED, rounds=3)
        most[fewest] = openings.leverages(own(reader, found)[~people]).max()
    assert most[10] > openings.LEVERAGE > most[48]


@pytest.mark.parametrize("smallest", [10, 20])
def test_a_site_without_relatives_is_no_smaller_than_the_study_takes(crowd, smallest):
    """Of 60 people with one twice 48 are left out: 12 would be the site's part of the components."""
    g = crowd[:, :60].copy()
    g[:, 50] = g[:, 20]
    site = SimpleNamespace(aligned=reader_of(g), planned=[SimpleNamespace(mask=np.ones(60, bool))])
    study = SimpleNamespace(pcs=2, fewest_people=10, smallest_cohort=smallest)
    memory = SimpleNamespace(once=lambda name, make: make())
    if smallest == 10:
        ((_, people),) = own_components.component_people(study, site, memory, lambda line: None)
        assert people.sum() == 12
        return
    with pytest.raises(PolicyError, match="12 people are left"):
        own_components.component_people(study, site, memory, lambda line: None)


def own(reader, found):
    s = pc.standardised(found.counts)
    return pc.scores(found, OwnTotals(reader).project(*s.loadings(found.loadings)))


def test_what_one_of_those_left_out_has_alone_is_withheld(crowd):
    """Components are of everybody less relatives, the study sums everybody: where one of the 48 has the allele alone, the
    difference is her components; where she alone lacks the call, or tells two variants apart, too."""
    g = crowd[:60].copy()
    left = np.arange(CROWD) >= CROWD - 48
    her = CROWD - 7
    g[:, left] = np.random.default_rng(2).integers(0, 3, (60, 48))  # common among them
    g[9, left], g[9, her] = 0, 1
    g[20, ~left & (np.arange(CROWD) < 30)] = -1
    g[20, her] = -1
    g[31] = g[30]
    g[31, ~left] = crowd[31, ~left]
    g[31, her] = (g[30, her] + 1) % 3
    reader, people, guard = reader_of(g), ~left, SiteGuard(lambda line: None)
    off = common._flags(reader, people, guard, strict=True)
    assert not off[[9, 20, 30, 31]].any()
    components = np.random.default_rng(1).normal(size=(CROWD, 2))
    np.testing.assert_allclose(g[9] @ components - g[9, people] @ components[people], components[her])
    on = common._flags(reader, people, guard, strict=True, others=left)
    assert on[[9, 20, 31]].all() and not on[30]
    np.testing.assert_array_equal(off, common._flags(reader, people, guard, strict=True, others=left & ~left))
