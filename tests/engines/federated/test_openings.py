"""What everybody who sees the opened sums reads of single people: with the rules off, and with them on."""

from __future__ import annotations

import secrets
from math import gcd
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.federated import admission, association, variant_sums
from securegen.engines.federated.admission import admit, charge, guard_of_study
from securegen.engines.federated.association import federated_sums
from securegen.engines.federated.cohort import _unlike, federated_strata, places_at, plan_analyses, sample_sets
from securegen.engines.federated.rounds import OUT_OF_BOUNDS
from securegen.engines.federated.studyfile import TraitColumn
from securegen.engines.federated.withheld import Withheld
from securegen.engines.plain.sums import block_sums
from securegen.errors import PolicyError
from securegen.governance import rows, signing
from securegen.governance.guard import REFUSAL, guarded
from securegen.io.arrays import ArrayReader
from securegen.model import Samples
from securegen.results.block_columns import result_columns
from securegen.study import people as align
from securegen.study.build import build_design
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs
from securegen.study.traits import Traits, read_traits

from .conftest import make_study, variant_list
from .local_sums import at_every_site

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SITES = 3
BETWEEN = True
KEYS = {name: signing.generate() for name in ("anna", "bert", "cora")}


def study_of(traits, **changes):
    changes = {"openings": "strict", "digest": secrets.token_hex(32)} | changes
    return make_study(KEYS, signing.generate(), phenotypes=tuple(TraitColumn(*t) for t in traits), **changes)


class Run:
    """A study of three sites over a cohort dealt round robin, without messages."""

    def __init__(self, reader, traits: Traits, study, tmp_path, alter=None, log=None) -> None:
        self.study, self.logs = study, [[] for _ in range(SITES)]

        def part(secure, site):
            rows = np.arange(len(reader.samples))[site::SITES]
            own = reader.select(rows, np.arange(len(reader.variants)))
            mine = Traits(
                tuple(align.Phenotype(p.name, p.values[rows], p.binary) for p in traits.phenotypes),
                traits.covariates[rows], traits.covariate_names, (0, 0),
            )  # fmt: skip
            planned = plan_analyses(study, study.sites[site].name, mine, own.samples, self.logs[site].append)
            guard = guard_of_study(study, self.logs[site].append, secure.refuse)
            state = tmp_path / str(site)
            admit(study, sample_sets(study, planned, own.samples), own.samples, state, guard)
            secret, places = bytes([site]) * 32, places_at(study, mine, None, own.variants)
            strata = federated_strata(study, planned, mine, places, own.samples, guarded(secure.total, guard), secret)
            charge(study, strata, own.samples, state, guard)
            withheld = Withheld()
            blocks = list(
                federated_sums(
                    secure, own, strata, name="variants", level=study.openings, fewest=study.fewest_people,
                    few_missing=study.few_missing, complete=study.missing == "complete", withheld=withheld,
                    between=guard.between if BETWEEN else (),
                )
            )  # fmt: skip
            return strata[0].design, blocks, withheld

        out, self.opened = at_every_site(SITES, part, alter)
        self.design, self.blocks, self.withheld = out[0]
        self.designs = [part[0] for part in out]

    def tables(self):
        parts = [[result_columns(a, b) for b in self.blocks] for a in self.design.analyses]
        return [{n: np.concatenate([p[n] for p in blocks]) for n in blocks[0]} for blocks in parts]

    def of(self, step: str) -> np.ndarray:
        return self.opened[f"variants-00000-{step}"]


@pytest.fixture(scope="module")
def example():
    """The shipped cohort: reader, its quantitative phenotype with covariates, dosages (V, N) and missing calls."""
    prefix = str(EXAMPLES / "cohort")
    inputs = Inputs(prefix, pheno=f"{prefix}.pheno.tsv", covar=f"{prefix}.covar.tsv", pheno_name=("QT",))
    reader = open_genotypes(inputs)
    read = read_traits(inputs, reader)
    traits = Traits(read.phenotypes, read.covariates, read.covariate_names, (0, 0))
    block = reader.read(0, len(reader.variants))
    return reader, traits, block.dosage, block.missing, build_design(inputs, reader)


def covariates_read(example, run: Run) -> int:
    """People of whom whoever sees the totals reads age and sex to the unit, from rows in which they alone lack a call:
    n·Σgx + S·Σmx is S·x modulo n."""
    _, traits, _, missing, _ = example
    design = run.design
    called = design.analyses[0].model.samples - run.of("counts")[:, 0]
    s, columns = run.of("counts")[:, 1], run.of("columns")
    pooled = build_columns(example)
    analysed = pooled[:, 0] == 1
    rows = np.arange(len(missing)) if run.study.openings == "all" else np.flatnonzero(run.of("flags")[:, 0] == 0)
    found = set()
    for at, v in enumerate(rows):
        n, total = int(called[at]), int(s[at])
        if analysed.sum() - n != 1 or gcd(n, total) != 1:
            continue
        person = int(np.flatnonzero(missing[v] & analysed)[0])
        guesses = [int(columns[at, k]) * pow(total, -1, n) % n for k in range(2)]
        if all(guesses[k] == pooled[person, 1 + k] % n for k in range(2)):
            found.add(person)
    return len(found)


def build_columns(example) -> np.ndarray:
    return example[4].columns.values


def test_missing_calls_of_the_shipped_example(example, tmp_path):
    reader, traits, _, missing, design = example
    # had the sums over missing calls been opened
    sums = block_sums(reader.read(0, len(reader.variants)), design.columns)
    alone = sums.m[:, 0] == 1
    rows = {tuple(r) for r in sums.m[alone]}
    people = {tuple(r) for r in design.columns.values[design.columns.values[:, 0] == 1]}
    assert alone.sum() == 911 and len(rows & people) == 410, "the numbers of docs/explanation/openings.md"
    # the one integer of each column still tells it modulo n
    free = Run(reader, traits, study_of([("QT", "quantitative")], openings="all"), tmp_path / "all")
    assert covariates_read(example, free) > 200
    asked = study_of([("QT", "quantitative")], common_samples=True, few_missing="round")
    bound = Run(reader, traits, asked, tmp_path / "strict")
    assert covariates_read(example, bound) <= 2, "by chance"
    assert bound.withheld.rounded > 1000 and 0 < bound.withheld.few < 1500
    # statistics within the promise, the same where calls are complete, and none where withheld
    (got,), (truth,) = bound.tables(), [result_columns(design.analyses[0], sums)]
    kept = got["ERRCODE"] != "FEW_CARRIERS"
    assert np.isnan(got["T_STAT"][~kept]).all() and np.isnan(got["A1_FREQ"][~kept]).all()
    df = 491 - 8
    both = kept & np.isfinite(truth["T_STAT"])
    assert (np.abs(got["T_STAT"] - truth["T_STAT"]) <= 1e-4 * (1 + truth["T_STAT"] ** 2 / df))[both].all()
    whole = kept & ~(missing & (design.columns.values[:, 0] == 1)).any(axis=1)
    assert all(got[n][whole].tolist() == truth[n][whole].tolist() for n in ("BETA", "SE", "P", "A1_FREQ"))
    # by default these rows are withheld, and the others are the plain engine's to the last bit
    strict = Run(reader, traits, study_of([("QT", "quantitative")], common_samples=True), tmp_path / "default")
    (table,) = strict.tables()
    shown = table["ERRCODE"] != "FEW_CARRIERS"
    assert (shown == whole).all() and shown.sum() > 1500 and strict.withheld.missing == (kept & ~whole).sum()
    assert all(table[n][shown].tolist() == truth[n][shown].tolist() for n in ("BETA", "SE", "P", "A1_FREQ"))
    (same,) = free.tables()
    assert same["P"].tobytes() == truth["P"].tobytes() and same["BETA"].tobytes() == truth["BETA"].tobytes()


def in_memory(dosage: np.ndarray) -> ArrayReader:
    """(V, N) copies, -1 without a call."""
    names = np.array([f"P{i}" for i in range(dosage.shape[1])], object)
    return ArrayReader(dosage, Samples(names, names, np.ones(len(names), bool)), variant_list(len(dosage)))


def small(people=360, variants=120, seed=5, missing=0.0):
    """A cohort in memory with two quantitative phenotypes."""
    rng = np.random.default_rng(seed)
    dosage = rng.binomial(2, rng.uniform(0.2, 0.5, (variants, 1)), (variants, people)).astype(np.int8)
    dosage[rng.random(dosage.shape) < missing] = -1
    x = np.column_stack([rng.normal(50, 8, people), rng.integers(0, 2, people).astype(float)])
    y = rng.normal(size=(people, 2))
    return in_memory(dosage), x, y


def traits_of(x, *columns, binary=False) -> Traits:
    names = ("Y1", "Y2", "Y3")
    return Traits(
        tuple(align.Phenotype(n, c, binary) for n, c in zip(names, columns, strict=False)), x, ("AGE", "SEX"), (0, 0)
    )


TWO = [("Y1", "quantitative"), ("Y2", "quantitative")]


def test_one_missing_phenotype_value(tmp_path):
    reader, x, y = small()
    y[42, 1] = np.nan
    free = Run(reader, traits_of(x, y[:, 0], y[:, 1]), study_of(TWO, openings="all"), tmp_path / "all")
    counts = free.of("counts")
    assert np.array_equal(counts[:, 1] - counts[:, 3], reader.read(0, 120).dosage[:, 42]), "this person's genome"
    with pytest.raises(PolicyError, match="does not open"):
        Run(reader, traits_of(x, y[:, 0], y[:, 1]), study_of(TWO), tmp_path / "own")
    run = Run(reader, traits_of(x, y[:, 0], y[:, 1]), study_of(TWO, common_samples=True), tmp_path / "common")
    assert {a.model.samples for a in run.design.analyses} == {359}


def test_one_phenotype_value_more_in_a_later_study(tmp_path):
    """The same sites, the same people, another day."""
    reader, x, y = small()
    Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1]), tmp_path)
    Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1], openings="consortium"), tmp_path)
    y[42, 0] = np.nan
    with pytest.raises(PolicyError) as error:
        Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1]), tmp_path)
    assert str(error.value) == REFUSAL
    Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1], openings="all"), tmp_path)


def test_quality_control_beside_a_phenotype(tmp_path):
    reader, x, y = small()
    y[42, 0] = np.nan
    with pytest.raises(PolicyError):
        Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1], qc=True), tmp_path / "own")
    run = Run(reader, traits_of(x, y[:, 0]), study_of(TWO[:1], qc=True, common_samples=True), tmp_path / "common")
    assert run.design.analyses[-1].model.samples == 359


def near_duplicates():
    """A row, the same but for person 42, its mirror but for person 43, and rows that few people tell from a constant."""
    reader, x, y = small(variants=20)
    dosage = reader.read(0, 20).dosage.copy()
    dosage[3] = dosage[2]
    dosage[3, 42] = (dosage[2, 42] + 1) % 3
    dosage[4] = 2 - dosage[2]
    dosage[4, 43] = (dosage[4, 43] + 1) % 3
    dosage[10] = 0
    dosage[10, :9] = 1
    dosage[11] = 2
    dosage[11, [5, 8]] = 1
    dosage[12] = 1
    dosage[12, 7] = 0
    dosage[13] = 0
    return in_memory(dosage), x, y, dosage


@pytest.mark.parametrize(
    ("level", "withheld"), [("all", []), ("consortium", [10, 11, 12]), ("strict", [3, 4, 10, 11, 12])]
)
def test_rows_that_few_people_tell_apart(tmp_path, level, withheld):
    reader, x, y, dosage = near_duplicates()
    study = study_of(TWO[:1], openings=level, common_samples=level != "all")
    run = Run(reader, traits_of(x, y[:, 0]), study, tmp_path)
    (table,) = run.tables()
    assert np.flatnonzero(table["ERRCODE"] == "FEW_CARRIERS").tolist() == withheld
    assert table["ERRCODE"][13] == "CONST_OMITTED_ALLELE"
    if level != "strict":
        cross, n = run.of("columns"), 360
        away = int(dosage[3, 42]) - int(dosage[2, 42])
        person = (cross[3, :3] - cross[2, :3]) // (n * away)
        assert any((person == c).all() for c in build(reader, x, y)[:, 1:4]), "age, sex and phenotype of person 42"
    if level == "strict":
        assert len(run.of("counts")) == 15


def build(reader, x, y) -> np.ndarray:
    from securegen.design.linear import linear_design

    design = linear_design(np.ones(len(x), bool), x, ("AGE", "SEX"), y[:, :1], ("Y1",))
    return design.columns.values


def test_rows_of_two_segments_and_of_the_window(tmp_path, monkeypatch):
    """Rows are compared across what is posted together, up to 500 variants."""
    from securegen.engines.federated import segments

    reader, x, y = small(variants=1300)
    dosage = reader.read(0, 1300).dosage.copy()
    for near in (1040, 500, 1299):
        dosage[near] = dosage[near - 3]
        dosage[near, 1] = (dosage[near, 1] + 1) % 3
    dosage[1200] = dosage[10]
    dosage[1200, 1] = (dosage[10, 1] + 1) % 3
    monkeypatch.setattr(segments, "MOST_VARIANTS", 512)
    monkeypatch.setattr(segments, "CELLS", 1)
    monkeypatch.setattr(segments, "TOGETHER", 1)
    study = study_of(TWO[:1], common_samples=True)
    run = Run(in_memory(dosage), traits_of(x, y[:, 0]), study, tmp_path)
    (table,) = run.tables()
    assert len(run.blocks) == 3
    assert np.flatnonzero(table["ERRCODE"] == "FEW_CARRIERS").tolist() == [500, 1040, 1299]


def test_trend_over_few_missing_calls_is_withheld(tmp_path):
    reader, x, _ = small(missing=0.004)
    cases = (np.arange(360) % 5 < 2).astype(float)
    study = study_of([("Y1", "case-control-01")], model="trend", common_samples=True)
    run = Run(reader, traits_of(x, cases, binary=True), study, tmp_path)
    (table,) = run.tables()
    missing = reader.read(0, 120).missing
    few = np.any([(0 < c) & (c < 10) for c in (missing[:, i::3].sum(1) for i in range(3))], axis=0)
    assert few.sum() > 30 and (table["ERRCODE"] == "FEW_CARRIERS").tolist() == few.tolist()
    assert np.isnan(table["CASE_CT"][few]).all() and (table["CASE_CT"][~few] == 144).all()
    assert not run.of("columns")[few[run.of("flags")[:, 0] == 0]].any(), "nor is who of them is a case opened"


def test_complete_cases_of_few_missing_calls_are_imputed(tmp_path):
    reader, x, y = small(missing=0.004)
    dosage = np.where(reader.read(0, 120).missing, -1, reader.read(0, 120).dosage)
    dosage[7] = np.where(np.arange(360) < 60, -1, np.maximum(dosage[7], 0))
    reader = in_memory(dosage)
    study = study_of(TWO[:1], missing="complete", common_samples=True, few_missing="round")
    run = Run(reader, traits_of(x, y[:, 0]), study, tmp_path)
    (table,) = run.tables()
    assert table["OBS_CT"][7] == 300
    some = (dosage < 0).any(axis=1) & (table["ERRCODE"] != "FEW_CARRIERS")
    some[7] = False
    assert some.sum() > 30 and (table["OBS_CT"][some] == 360).all() and run.withheld.imputed == some.sum()
    assert len(run.of("pairs-0")) == 1


@pytest.mark.parametrize("column", range(3))
@pytest.mark.parametrize("by", [-(10**4), 10**4])
def test_counts_that_are_not_of_people(tmp_path, column, by):
    """A deviating site's false counts end the study at the others, whatever may be opened."""
    reader, x, y = small(variants=6)

    def alter(name, own):
        own = own.copy()
        if name.endswith("-counts"):
            own[:, column] += by
        return own

    study = study_of(TWO[:1], openings="all")
    with pytest.raises(PolicyError) as error:
        Run(reader, traits_of(x, y[:, 0]), study, tmp_path, alter={1: alter})
    assert str(error.value) == OUT_OF_BOUNDS


def test_only_whether_samples_are_equal_is_opened(tmp_path):
    reader, x, y = small(900)
    y[:450, 1] = np.nan
    run = Run(reader, traits_of(x, y[:, 0], y[:, 1]), study_of(TWO), tmp_path)
    first = run.opened["design-0001"]
    assert first.shape == (1,) and int(first[0]) > 450, "no count of people"
    masks = [~np.isnan(y[i::3]) for i in range(3)]
    differ = [i for i in range(3) if not (masks[i][:, 0] == masks[i][:, 1]).all()]
    guess = lambda i, secret: _unlike(masks[i][:, 0], masks[i][:, 1], secret)  # noqa: E731
    assert int(first[0]) == sum(guess(i, bytes([i]) * 32) for i in differ)
    assert int(first[0]) != sum(guess(i, b"") for i in differ), "who guesses the people cannot check it"


def test_columns_beyond_the_budget(tmp_path):
    reader, x, _ = small()
    y = np.random.default_rng(8).normal(size=(360, 18))
    names = [(f"Y{i}", "quantitative") for i in range(18)]
    traits = Traits(tuple(align.Phenotype(f"Y{i}", y[:, i], False) for i in range(18)), x, ("AGE", "SEX"), (0, 0))
    with pytest.raises(PolicyError):
        Run(reader, traits, study_of(names, common_samples=True), tmp_path / "refused")
    Run(reader, traits, study_of(names, common_samples=True, consent_openings=True), tmp_path / "named")


def test_what_the_rules_cost_is_said():
    lines = Withheld(100, few=3, missing=20, weighted=97, averaged=2).lines()
    assert [line.split()[0] for line in lines] == ["3", "WARNING:", "score", "in"]
    assert "CHISQ by some 1e-4" in lines[2] and Withheld(100, missing=5).lines()[0].startswith("5 of 100")
    assert Withheld(100).lines() == []


@pytest.mark.parametrize("protected", [False, True])
def test_a_vote_that_a_deviating_site_takes_out(tmp_path, monkeypatch, protected):
    """Who sends last sets how many sites withhold a variant to none: the sums of one carrier are that person's values."""
    reader, x, y = small(900, 60)
    dosage = reader.read(0, 60).dosage.copy()
    dosage[7] = np.arange(900) == 100
    run = lambda name, **more: Run(in_memory(dosage), traits_of(x, y[:, 0]), study_of(TWO[:1]), tmp_path / name, **more)  # noqa: E731
    votes = run("honest").of("flags")
    assert votes[7, 0] == 1
    steer = {0: lambda name, own: own - votes if name.endswith("-flags") else own}
    if protected:
        with pytest.raises(PolicyError, match=OUT_OF_BOUNDS[:40]):
            run("steered", alter=steer)
        return
    monkeypatch.setattr(association, "not_below_own", None)
    columns = run("steered", alter=steer)
    person = columns.designs[100 % 3].columns.values[100 // 3]
    assert (columns.of("columns")[7] / 900).tolist() == person[1:].tolist()


@pytest.mark.parametrize("level", ["all", "strict"])
def test_rows_of_large_cohorts_are_read_few_at_a_time_and_tables_stay(level, tmp_path, monkeypatch):
    """Memory follows the genotypes that are read at once, not people times a fixed number of rows."""
    reader, x, y = small(people=1500)
    study, traits = study_of([("Y1", "quantitative")], openings=level), traits_of(x, y[:, 0])
    (whole,) = Run(reader, traits, study, tmp_path / "whole").tables()
    read, sizes = ArrayReader.read, set()
    monkeypatch.setattr(ArrayReader, "read", lambda self, a, b: (sizes.add(b - a), read(self, a, b))[1])
    for module in (variant_sums, rows):
        monkeypatch.setattr(module, "HELD", 500 * 7 + 3)
    (few,) = Run(reader, traits, study, tmp_path / "few").tables()
    assert max(sizes) == 7 and whole.keys() == few.keys()
    for name, column in whole.items():
        assert np.array_equal(column, few[name], equal_nan=column.dtype.kind == "f"), name


def test_how_many_carry_a_variant_at_a_site_is_not_bisected(tmp_path, monkeypatch):
    """Studies that differ in the fewest people alone: the votes say at which number a site begins to withhold."""
    reader, x, y = small(people=900, variants=20)
    dosage = reader.read(0, 20).dosage.copy()
    dosage[5] = np.arange(dosage.shape[1]) % 2
    dosage[5, 0::SITES] = 0
    dosage[5, np.arange(12) * SITES] = 1  # at the first site
    reader = in_memory(dosage)

    def closed(fewest):
        study = study_of(TWO[:1], fewest_people=fewest)
        return Run(reader, traits_of(x, y[:, 0]), study, tmp_path).blocks[0].withheld[5]

    assert not closed(10) and not closed(10)
    with pytest.raises(PolicyError):
        closed(12)
    monkeypatch.setattr(admission, "enter_fewest", lambda *_: None)  # the protection
    assert [bool(closed(k)) for k in (11, 12, 13)] == [False, False, True]
