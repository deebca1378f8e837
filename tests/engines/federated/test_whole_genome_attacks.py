"""Attacks on a whole-genome model of all sites: each works with the rule off, and is refused with it on.

Three sites are threads that add up in memory (`local_sums`); the third deviates. People, variants and steps are few, so that
a whole model takes a fraction of a second.
"""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from support import MemoryReader

from securegen.engines.federated import own_predictions
from securegen.engines.federated import whole_genome as fed
from securegen.engines.federated.common_variants import CommonVariants
from securegen.engines.federated.state import SiteState
from securegen.errors import DesignError, PolicyError, ProtocolError
from securegen.governance import openings, ridge_rules
from securegen.governance.guard import SiteGuard, guarded
from securegen.governance.lattice import small_integers
from securegen.governance.ledger_file import open_ledger
from securegen.io.arrays import from_arrays
from securegen.structure import whole_genome
from securegen.structure.ridge_people import GRID, people_of
from securegen.structure.ridge_totals import LEFT_BITS, Alone, Weighted, own_newton, product
from securegen.structure.totals import OwnTotals

from .local_sums import LocalSum, at_every_site

SITES, PEOPLE, VARIANTS, BLOCK = 3, 240, 16, 8
LIAR, WHO = 2, 17  # the site that deviates, and a person of site 0


def reader_of(g: np.ndarray):
    memory = MemoryReader(g)
    return from_arrays(np.where(g < 0, np.nan, g), memory.samples, variants=memory.variants)


class Cohort:
    """Genotypes, a covariate and phenotypes of everybody; every third person is of one site."""

    def __init__(self, seed: int = 1, people: int = PEOPLE, variants: int = VARIANTS) -> None:
        rng = np.random.default_rng(seed)
        self.g = rng.binomial(2, rng.uniform(0.2, 0.5, (variants, 1)), (variants, SITES * people)).astype(np.int8)
        self.age = rng.normal(size=SITES * people)
        genetic = self.g[::4].sum(axis=0) - self.g[::4].sum(axis=0).mean()
        self.trait = 0.7 * genetic + rng.normal(size=SITES * people)
        self.cases = (self.trait > 0.2).astype(float)

    def at(self, values: np.ndarray, site: int) -> np.ndarray:
        return values[..., site::SITES]


@pytest.fixture(scope="module")
def cohort():
    return Cohort()


def model_of(cohort: Cohort, tmp_path, *, binary=False, alter=None, level="strict", said=None, only=None):
    """Predictions of everybody's own site, and everything that was opened. alter: what the deviating site does, by step; only:
    the one site at which the level holds, None for all, so that no other refuses first."""
    whole = OwnTotals(reader_of(cohort.g)).counts()
    values = cohort.cases if binary else cohort.trait

    def part(secure, site):
        reader, people = reader_of(cohort.at(cohort.g, site)), np.ones(cohort.at(cohort.age, site).shape, bool)
        guard = SiteGuard((said if said is not None else []).append, level=level if only in (None, site) else "all")
        (tmp_path / f"{site}").mkdir(exist_ok=True)
        totals = fed.PooledModel(
            secure, guard, SiteState(tmp_path / f"{site}", bytes(32)), people, cohort.g.shape[1],
            guarded(secure.total, guard), lambda columns: None,
        )  # fmt: skip
        own, traits = cohort.at(cohort.age, site)[:, None], cohort.at(values, site)[:, None]
        party = people_of(reader, whole, people, own, ("AGE",), traits, ("T",), totals)
        blocks = whole_genome.blocks_of(np.ones(len(cohort.g), np.int64), BLOCK)
        level_0 = whole_genome.level_0(party, blocks)
        fitted = (
            whole_genome.binary(party, level_0, traits[:, 0], 0)
            if binary
            else whole_genome.quantitative(party, level_0, 0)
        )
        return fitted.loco(), level_0.w[0], fitted.heritability

    return at_every_site(SITES, part, {LIAR: alter} if alter else None)


def altering(step: str, change):
    """What changes the deviating site's numbers in one step."""
    return lambda name, own: change(own) if name.startswith(step) else own


def diagonal(size: int) -> np.ndarray:
    """Where a triangle of a symmetric matrix has its diagonal."""
    rows, columns = np.triu_indices(size)
    return np.flatnonzero(rows == columns)


def more(places, by):
    def change(own):
        out = own.copy()
        out[places] += by
        return out

    return change


@pytest.mark.parametrize("binary", [False, True])
def test_sites_have_what_one_owner_has_under_the_rules(cohort, tmp_path, binary):
    """Nothing of an honest model is refused, and not a digit differs."""
    found, opened = model_of(cohort, tmp_path, binary=binary)
    values = cohort.cases if binary else cohort.trait
    reader, people = reader_of(cohort.g), np.ones(cohort.g.shape[1], bool)
    whole = people_of(
        reader, OwnTotals(reader).counts(), people, cohort.age[:, None], ("AGE",), values[:, None], ("T",), Alone()
    )
    level = whole_genome.level_0(whole, whole_genome.blocks_of(np.ones(len(cohort.g), np.int64), BLOCK))
    one = whole_genome.binary(whole, level, values, 0) if binary else whole_genome.quantitative(whole, level, 0)
    for site, (loco, w, heritability) in enumerate(found):
        np.testing.assert_array_equal(loco, one.loco()[:, site::SITES])
        np.testing.assert_array_equal(w, level.w[0][site::SITES])
        assert heritability == one.heritability
    assert any(name.startswith("step1-newton-0-4-00") for name in opened) == binary


GRAM, BESIDE, PREDICTORS = "step1-block-00000-gram", "step1-block-00000-beside", "step1-predictors-0-gram"
STEERED = {  # step, and what the deviating site adds to its own numbers
    "2^k I": (GRAM, more(diagonal(BLOCK), 1 << 40)),
    "-2^k I": (GRAM, more(diagonal(BLOCK), -(1 << 30))),
    "one product": (GRAM, more([1], 1 << 30)),
    "a column of cross products": (BESIDE, more((slice(None), 2), 1 << 42)),
    "one cross product": (BESIDE, more((3, 1), -(1 << 40))),
    "predictors": (PREDICTORS, more(diagonal(10), 1 << 51)),
    "predictors below own": (PREDICTORS, more(diagonal(10), -(1 << 36))),
    "predictors beside": ("step1-predictors-0-beside", more((slice(None), 1), 1 << 44)),
    "losses below own": ("step1-losses-0", more((0, 0), -(1 << 40))),
    "losses": ("step1-losses-0", more((0, slice(1, 5)), 1 << 58)),
    "Hessian": ("step1-newton-0-0-01-gram", more(diagonal(11), 1 << 50)),
    "Hessian below own": ("step1-newton-0-0-01-gram", more(diagonal(11), -(1 << 45))),
    "score": ("step1-newton-0-0-00-left", more((slice(None), 0), 1 << 45)),
}


@pytest.mark.parametrize("what", STEERED)
def test_totals_that_people_cannot_give_end_the_study(cohort, tmp_path, what, monkeypatch):
    """Without the rules the model goes on from such totals, to other predictions of everybody, or by them to a singular one."""
    step, change = STEERED[what]
    binary, fell = "newton" in step, []

    def steered(name, own):
        out = altering(step, change)(name, own)
        fell.extend([] if out is own else [name])
        return out

    (tmp_path / "on").mkdir()
    with pytest.raises(PolicyError, match="not what the people of these sites can give"):
        model_of(cohort, tmp_path / "on", binary=binary, alter=steered)
    assert fell == [fell[0]], "at the step itself, before another"
    monkeypatch.setattr(LocalSum, "checked", False)
    for name in ("off", "honest"):
        (tmp_path / name).mkdir()
    honest, _ = model_of(cohort, tmp_path / "honest", binary=binary, level="all")
    try:
        moved, _ = model_of(cohort, tmp_path / "off", binary=binary, level="all", alter=steered)
    except (DesignError, np.linalg.LinAlgError):
        return
    assert any(not np.array_equal(a[0], b[0]) or a[2] != b[2] for a, b in zip(honest, moved, strict=True))


# what a site looks at of its own people


def totals_of(
    tmp_path, people=400, *, level="strict", said=None, consent=False, secure=None, charge=lambda values: None
):
    """The totals of one site, with nobody else unless `secure` has."""
    guard = SiteGuard((said if said is not None else []).append, level=level, consent=consent)
    secure = secure or Lone()
    return fed.PooledModel(
        secure, guard, SiteState(tmp_path, bytes(32)), np.ones(people, bool), 3 * people, guarded(secure.total, guard), charge
    )  # fmt: skip


class Lone(LocalSum):
    """A sum of this site and of people who add nothing. opened: names of the steps."""

    def __init__(self):
        self.opened: list[str] = []

    def agree(self, name, *integers):
        """Nobody else is there."""

    def total(self, values, check=None):
        return list(values)

    def together(self, steps):
        for step in steps:
            self.opened.append(step.name)
            own = step.make()
            if step.check is not None:
                step.check(own, own)
            yield own


def steered_at(cohort: Cohort, who: int, wanted: float) -> np.ndarray:
    """(B, B) that the deviating site takes from X'X of the first block, so that a person whom it knows has that leverage."""
    x, n = cohort.g[:BLOCK].T.astype(float) * GRID, cohort.g.shape[1]
    c = np.column_stack([np.ones(n), cohort.age])
    left = x - c @ np.linalg.lstsq(c, x, rcond=None)[0]
    penalty = whole_genome.ridge.penalties(VARIANTS)[-1]

    def leverage(times):
        inside = left.T @ left - times * np.outer(left[who], left[who])
        return left[who] @ np.linalg.solve(inside + penalty * np.diag(inside.diagonal() / (n - 2)), left[who])

    low, high = 0.0, 1 / leverage(0.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if 0 < leverage(middle) < wanted else (low, middle)
    return np.rint(low * np.outer(left[who], left[who])).astype(np.int64)


def test_a_person_with_a_leverage_above_a_half_is_refused(cohort, tmp_path, monkeypatch):
    """Who posts last makes the total nearly singular in the direction of a person: the prediction of that person is as large
    as they like, and its products are that person's numbers. The own people are looked at, whatever the total is."""
    away = steered_at(cohort, SITES * WHO, 0.8)[np.triu_indices(BLOCK)][:, None]

    def alter(name, own):
        return own - np.concatenate([away, 0 * away]) if name == GRAM else own  # of two blocks

    monkeypatch.setattr(LocalSum, "checked", False)
    for name in ("off", "on"):
        (tmp_path / name).mkdir()
    ((_, w, _), *_), _ = model_of(cohort, tmp_path / "off", level="all", alter=alter)
    w = w[:, 4].astype(float)  # of the smallest penalty
    assert np.abs(w).argmax() == WHO and w[WHO] ** 2 > 0.3 * (w * w).sum()
    said: list[str] = []
    with pytest.raises(PolicyError):
        model_of(cohort, tmp_path / "on", said=said, alter=alter, only=0)
    assert any("leverage 0.8" in line for line in said)
    for value in (0.51, -1e-9, np.nan):
        with pytest.raises(PolicyError):
            totals_of(tmp_path).leverage("variants a to b", np.array([[0.1], [value]]))
    totals_of(tmp_path, level="all").leverage("variants a to b", np.array([[0.1], [0.51]]))


def test_a_predictor_in_which_one_person_stands_out_is_refused(tmp_path):
    """Its products with the phenotype are that person's phenotype."""
    rng = np.random.default_rng(5)
    y = rng.normal(size=400)
    w = np.rint(rng.normal(size=(400, 5)) * 100).astype(np.int32)
    w[WHO, 3] = 1 << 17
    assert abs(w[:, 3] @ y / (1 << 17) - y[WHO]) < 0.1
    said: list[str] = []
    with pytest.raises(PolicyError):
        totals_of(tmp_path, said=said).predictors("predictors-0", w)
    assert "predictor 3: one person holds" in said[0]
    (tmp_path / "off").mkdir()
    assert np.array_equal(totals_of(tmp_path / "off", level="all").predictors("predictors-0", w), w)


def test_predictors_whose_difference_is_a_person_are_refused(tmp_path):
    """Each of them is of many; they are looked at together, and beside the covariates."""
    rng = np.random.default_rng(6)
    w = np.rint(rng.normal(size=(400, 5)) * 4096).astype(np.int32)
    w[:, 4] = w[:, 3]
    w[WHO, 4] += 40
    said: list[str] = []
    with pytest.raises(PolicyError):
        totals_of(tmp_path, said=said).predictors("predictors-0", w)
    assert "leverage 1.0" in said[0] and "beside what is open" in said[0]


def test_predictors_are_those_that_the_site_began_with(tmp_path):
    """A site that is begun again finds floats that end otherwise; two totals that differ in one person would be that person."""
    rng = np.random.default_rng(7)
    w = np.rint(rng.normal(size=(400, 5)) * 4096).astype(np.int32)
    again = w.copy()
    again[WHO, 2] += 1
    first = totals_of(tmp_path).predictors("predictors-0", w)
    assert np.array_equal(first, w) and np.array_equal(totals_of(tmp_path).predictors("predictors-0", again), w)
    (tmp_path / "lost").mkdir()
    assert not np.array_equal(totals_of(tmp_path / "lost").predictors("predictors-0", again), w)


def newton_step(w, eta, cases, bits=20):
    mean = 1 / (1 + np.exp(-eta))
    x = np.concatenate([w, np.ones((len(w), 1), np.int64)], axis=1).astype(np.int64)
    weight = np.floor(mean * (1 - mean) * 2.0**bits + 0.5).astype(np.int64)
    left = np.floor((cases - mean) * 2.0**LEFT_BITS + 0.5).astype(np.int64)
    return Weighted("newton-0-0-03", x, product(x, x), weight, left, bits)


@pytest.mark.parametrize("what", ["weights", "left", "span"])
def test_a_step_of_newtons_method_in_which_few_stand_out_is_refused(tmp_path, what):
    """A score that was steered, within what people can give, makes coefficients that separate the own people: products are
    then of those who are left."""
    rng = np.random.default_rng(8)
    w = np.rint(rng.normal(size=(400, 12)) * 4096).astype(np.int64)
    eta, cases = rng.uniform(-9.95, -9.85, 400), np.zeros(400)
    if what == "weights":
        eta[WHO] = 0.0
    elif what == "left":
        cases[WHO] = 1.0
    else:  # as many people as columns hold the weights
        eta[:24] = 0.0
        cases[:12] = 1
    step, said = newton_step(w, eta, cases), []
    gram, left = own_newton(step)
    read = left[:-1] / (1 << LEFT_BITS) if what == "left" else gram[-1, :-1] / gram[-1, -1]
    if what == "span":  # somebody's predictors, by a combination of the rows of a Gram matrix
        root = np.sqrt(step.weight.astype(float))[:, None] * step.x
        assert np.sort(np.diag(root @ np.linalg.pinv(root)))[-12:].min() > 0.5
    else:
        assert np.corrcoef(read, w[WHO])[0, 1] > 0.95
    with pytest.raises(PolicyError):
        totals_of(tmp_path, said=said).newton(step)
    assert {"weights": "they rest on", "left": "one person holds", "span": "in the span"}[what] in said[0]
    totals_of(tmp_path, level="all").newton(step)
    eta = rng.normal(size=400)
    totals_of(tmp_path).newton(newton_step(w, eta, (rng.random(400) < 0.5).astype(float)))


def test_logits_beyond_ten_are_refused(tmp_path):
    eta = np.r_[np.zeros(399), -10.1]
    with pytest.raises(PolicyError):
        totals_of(tmp_path).linear("newton-0-0", eta)
    totals_of(tmp_path).linear("newton-0-0", eta / 1.02)
    totals_of(tmp_path, level="all").linear("newton-0-0", eta)


def test_a_loss_of_one_person_is_refused(tmp_path):
    """Who knows the errors of the others, or a sum of small ones, reads one large error; of many people none is."""
    values = np.full((400, 5), 1000, np.int64)
    values[WHO, 2] = 400_000
    said: list[str] = []
    with pytest.raises(PolicyError):
        totals_of(tmp_path, said=said).losses("losses-0", values)
    assert "loss 2: one person holds 50%" in said[0]
    assert totals_of(tmp_path, level="all").losses("losses-0", values)[2] == values[:, 2].sum()
    heavy = np.random.default_rng(1).normal(size=(240, 5)) ** 2 * (1 << 20)
    heavy[0] = 3.5**2 * (
        1 << 20
    )  # an ordinary tail: more than a tenth of the fourth powers, a twentieth of the squares
    assert openings.column_fault(heavy[:, 0].astype(np.int64)) is not None
    totals_of(tmp_path).losses("losses-0", heavy.astype(np.int64))


def test_another_number_of_people_or_numbers_that_no_integer_holds_are_refused(cohort, tmp_path):
    """How many people there are was said before; who posts last would have budgets of one number and means of another."""
    step = "design-"  # Σ of the products of covariates and phenotypes is the last of them
    seen: list[str] = []
    model_of(cohort, tmp_path, alter=lambda name, own: (seen.append(name), own)[1])
    last = [name for name in seen if name.startswith(step)][-1]
    for by in (1 << 32, 1 << 200):
        folder = tmp_path / f"{by}"
        folder.mkdir()
        with pytest.raises(PolicyError, match="not what the people"):
            model_of(
                cohort,
                folder,
                alter=altering(last, lambda own, by=by: own + np.array([by, *[0] * (len(own) - 1)], object)),
            )


def test_what_sites_choose_from_totals_is_the_same_everywhere(cohort, tmp_path, monkeypatch):
    """A site that rounds its predictors in other units would open sums of mixed units."""
    planned = whole_genome.ridge.Fit.planned_scale
    calls = iter(range(1000))
    monkeypatch.setattr(
        whole_genome.ridge.Fit, "planned_scale", lambda *a: planned(*a) * (2.0 if next(calls) == 1 else 1.0)
    )
    with pytest.raises(ProtocolError, match="scales"):
        model_of(cohort, tmp_path)


# blocks


def common_of(g: np.ndarray) -> CommonVariants:
    reader = reader_of(g)
    return CommonVariants(reader, np.arange(len(g)), OwnTotals(reader).counts())


def few_of(g, beside=None, level="strict", block=BLOCK, said=None):
    common, guard = common_of(g), SiteGuard(lambda line: None, level=level)
    blocks = own_predictions._divided(common.reader.variants, block)
    beside = np.zeros((g.shape[1], 0)) if beside is None else beside
    log = (said if said is not None else []).append
    return own_predictions._few_in_combination(common, blocks, np.ones(g.shape[1], bool), beside, guard, log)


def read_person(block: np.ndarray, combination: np.ndarray) -> np.ndarray:
    """What everybody reads: a combination of the rows of a block's Gram matrix."""
    return combination @ (block.astype(np.int64) @ block.T.astype(np.int64))


def test_a_block_whose_combination_is_few_people_is_withheld(cohort):
    """Three variants, no two of them near each other, whose combination is 0 but for one person."""
    g = cohort.g[:, :400].copy()
    g[5] = np.clip(g[2] + g[3], 0, 2)
    g[2, g[2] + g[3] > 2] = 0
    g[5] = g[2] + g[3]
    g[5, WHO] = (g[5, WHO] + 1) % 3
    combination = np.zeros(BLOCK, np.int64)
    combination[[2, 3, 5]] = [-1, -1, 1]
    singled = combination @ g[:BLOCK]
    assert np.count_nonzero(singled) == 1
    np.testing.assert_array_equal(read_person(g[:BLOCK], combination), singled[WHO] * g[:BLOCK, WHO])
    said: list[str] = []
    assert np.flatnonzero(few_of(g, said=said)).tolist() == [5] and "1 variant withheld here" in said[0]
    assert not few_of(g, level="all").any() and not few_of(cohort.g[:, :400]).any()
    # in another block it is in no combination, until blocks are divided anew
    moved = np.concatenate([g[:5], g[6:8], cohort.g[8:9, :400], g[5:6], cohort.g[9:, :400]])
    assert not few_of(moved).any() and np.flatnonzero(few_of(np.delete(moved, 4, axis=0))).tolist() == [7]


def test_blocks_are_looked_at_until_nothing_is_withheld(cohort, monkeypatch):
    """What one round leaves out moves others into a block: as many rounds as it takes, and no more."""
    g = cohort.g[:, :400].copy()
    g[5] = g[2]
    g[5, WHO] = (g[5, WHO] + 1) % 3  # is found at once
    g[8] = g[7]
    g[8, :3] = (g[8, :3] + 1) % 3  # moves into the block of its like
    names: list[str] = []

    def vote(secure, name, own):
        names.append(name)
        return np.flatnonzero(own == 0)

    monkeypatch.setattr(own_predictions, "withheld_by_nobody", vote)
    monkeypatch.setattr(own_predictions, "common_variants", lambda *a, **more: common_of(g))
    reader = reader_of(g)
    own = SimpleNamespace(
        aligned=reader, planned=[SimpleNamespace(phenotype=SimpleNamespace(values=cohort.trait[:400]))],
        traits=SimpleNamespace(covariates=cohort.age[:400, None]),
    )  # fmt: skip
    study = SimpleNamespace(openings="strict", step1=BLOCK)
    people = np.ones(400, bool)
    found, blocks = own_predictions._blocks(study, own, people, 400, None, SiteGuard(lambda l: None), lambda line: None)
    assert names == [f"step1-combinations-0{k}" for k in (1, 2, 3)]
    assert found.rows.tolist() == [0, 1, 2, 3, 4, 6, 7, *range(9, VARIANTS)]
    assert [len(b.rows) for b in blocks] == [8, 6]


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 2.0), (30.0, 31.0)])
def test_covariates_and_diagnoses_are_in_combinations_too(cohort, values):
    """A variant that says the sex of all but one person singles that person out beside it."""
    g = cohort.g[:, :400].copy()
    sex = np.arange(400) % 2
    g[4] = sex
    g[4, WHO] = 1 - g[4, WHO]
    covariate = np.where(sex == 1, values[1], values[0])
    unit = (g[4] - sex)[None].astype(np.int64)
    np.testing.assert_array_equal((unit @ g[:BLOCK].T.astype(np.int64))[0], unit[0, WHO] * g[:BLOCK, WHO])
    assert np.flatnonzero(few_of(g, covariate[:, None])).tolist() == [4] and not few_of(g).any()
    assert small_integers(np.stack([covariate, cohort.age[:400]], axis=1)).shape == (400, 1)


def test_real_combinations_are_no_single_person(cohort):
    """Of numbers that no small integers are: a continuous covariate that two variants say but for one person."""
    g = cohort.g[:, :400].copy()
    covariate = 0.37 * g[1] + 0.81 * g[2]
    covariate[WHO] += 0.05
    x = np.column_stack([np.ones(400), covariate, g[:BLOCK].T])
    assert openings.leverages(x)[WHO] > 0.99
    weights = np.linalg.lstsq(x, np.arange(400) == WHO, rcond=None)[0]
    np.testing.assert_allclose(weights @ (x.T @ g[:BLOCK].T), g[:BLOCK, WHO], atol=1e-6)  # all of it in what is opened
    held = few_of(g, covariate[:, None])
    assert 1 <= held.sum() <= 2 and held[[1, 2]].any()
    assert openings.leverages(x[:, ~np.r_[False, False, held[:BLOCK] > 0]]).max() <= openings.LEVERAGE
    assert not few_of(g, cohort.age[:400, None]).any() and not few_of(g, covariate[:, None], level="all").any()


def test_leverages_by_a_gram_matrix_are_those_of_columns():
    rng = np.random.default_rng(2)
    x = rng.binomial(2, 0.3, (120, 20)) * GRID
    x[:, 7], x[:, 9] = x[:, 3], 0
    np.testing.assert_allclose(
        ridge_rules.span_leverages(product(x, x), x), openings.leverages(x, intercept=False), atol=1e-10
    )


# budgets


def afford(people, block, predictors=10, pooled=None, **study):
    said: list[str] = []
    study = SimpleNamespace(consent_openings=False, step1=block, **study)
    study.consent_openings = study.__dict__.pop("consent", False)
    own_predictions._afford(study, SiteGuard(said.append), block, predictors, pooled or 3 * people, people)


def test_a_block_of_more_than_a_quarter_of_the_people_tells_them(cohort):
    """With as many variants as people their Gram matrix is the people, but for a rotation that whole numbers undo; consent to
    columns is no consent to that."""
    with pytest.raises(PolicyError):
        afford(300, 76, pooled=1 << 20)
    for consent, people, block, error in ((True, 300, 76, PolicyError), (True, 300, 75, None), (False, 3000, 40, None)):
        if error is None:
            afford(people, block, consent=consent)
        else:
            with pytest.raises(error):
                afford(people, block, consent=consent)


def test_budgets_of_all_and_of_the_own_people():
    afford(1000, 100, 50)
    with pytest.raises(DesignError, match="more than 5%"):
        afford(1000, 100, 51)
    with pytest.raises(PolicyError):  # of a site that is small beside the others
        afford(900, 100, 50, pooled=3000)
    afford(900, 100, 50, pooled=3000, consent=True)


@pytest.mark.parametrize("other", ["variants", "blocks", "people", "folder"])
def test_once_in_a_lifetime(tmp_path, other):
    """The difference of two totals of products is of the people or variants by which they differ."""
    samples = reader_of(np.zeros((1, 600), np.int8)).samples
    people = np.ones(600, bool)

    def charge(what="study a", variants=b"one", people=people, predictors=10, block=20, folder="ledger", **more):
        with open_ledger(tmp_path / folder) as ledger:
            return ledger.charge_products(what, ledger.rows(samples), people, variants, block, predictors, **more)

    assert charge() is None and charge() is None, "the same study begun again"
    less = people.copy()
    less[:10] = False
    if other == "folder":  # a ledger that was brought back from before has forgotten
        for part in list(tmp_path.iterdir()):
            shutil.copy(part, tmp_path / part.name.replace("ledger", "kept"))
        assert charge("study b", b"two", folder="kept") is not None, "of another name, it still knows them"
        assert charge("study b", b"two", folder="another") is None
        return
    second = {
        "variants": {"variants": b"two"},
        "blocks": {"variants": b"one, other blocks"},
        "people": {"people": less},
    }[other]
    assert "once is allowed" in charge("study b", **second)
    assert charge("study b", consent=True, **second) is None
    with open_ledger(tmp_path / "ledger") as ledger:
        assert max(ledger.spent) == 60
    # another phenotype of the same products: these are free, its predictors are not
    assert charge(folder="free") is None and charge("study c", predictors=7, folder="free") is None
    with open_ledger(tmp_path / "free") as ledger:
        assert max(ledger.spent) == 37
    assert "107 columns" in charge("study d", predictors=70, folder="free")
