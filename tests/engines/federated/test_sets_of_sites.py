"""Set tests in a study of sites: the plain engine's table, and what rows of sets would tell of single people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from set_files import flags
from support import securegen

import securegen as sg
from securegen.engines import set_sums
from securegen.engines.federated import own_masks, own_policy, own_sets, set_totals
from securegen.engines.federated.study_sets import FILES, StudySets
from securegen.errors import PolicyError, UsageError
from securegen.governance import openings, set_rules
from securegen.governance.opened_columns import opened_columns
from securegen.results.read import read_frame
from securegen.vocabulary import SET_TESTS

from .consortium import SITES, Consortium
from .set_sites import SetRun
from .test_masks_of_sites import GENES, PEOPLE, named, of_sites, rare_cohort
from .test_openings import in_memory, study_of

BOTH = {"QT": "quantitative", "CC": "case-control-12"}


@pytest.fixture(scope="module")
def rare(tmp_path_factory):
    """Variants from singletons to a frequency of 0.15, at four sites of 200 people; calls are missing."""
    rng = np.random.default_rng(19)
    share = np.geomspace(0.0007, 0.15, 40)
    dosage = rng.binomial(2, share[:, None], (40, PEOPLE))
    dosage[rng.random(dosage.shape) < 0.01] = 3
    return rare_cohort(tmp_path_factory.mktemp("rare"), dosage)


def test_without_rules_the_tables_are_the_plain_engines(rare, tmp_path):
    """A quantitative trait and a disease, missing calls at the mean: every byte, at every site."""
    options = {**named(tmp_path, GENES), "vc_tests": SET_TESTS, "vc_max_aaf": 0.1}
    _, done = of_sites(tmp_path / "sites", rare, phenotypes=BOTH, common_samples=True, **options)
    study = sg.open_study(
        rare.bfile, pheno=rare.pheno, pheno_name=["QT", "CC"], covar=rare.covar, common_samples=True, **options
    )
    truth = sg.run(study, out=tmp_path / "plain").paths
    for name in SITES:
        assert not getattr(done[name], "tables", done[name])
        for path in done[name].scores:
            trait = path.split(".")[-2]
            raw = Path(path).read_bytes()
            assert raw == Path(truth[f"{trait}.sets"]).read_bytes() and raw.count(b"\t.\n") > 20


def test_rows_that_are_shown_are_the_plain_engines(tmp_path, monkeypatch):
    """With the same variants collapsed, and everybody called: more than those of ten alleles, since sites withhold them."""
    rng = np.random.default_rng(23)
    dosage = rng.binomial(2, np.geomspace(0.001, 0.09, 40)[:, None], (40, PEOPLE))
    cohort = rare_cohort(tmp_path / "cohort", np.minimum(dosage, 1))
    options = {**named(tmp_path, GENES), "vc_tests": SET_TESTS, "vc_max_aaf": 0.1}
    made: list[own_sets.OwnSets] = []
    inner = set_totals.own_sets
    monkeypatch.setattr(set_totals, "own_sets", lambda *args: made.append(inner(*args)) or made[-1])
    _, done = of_sites(tmp_path / "sites", cohort, openings="strict", **options)
    by_name = {made[0].sets.table.id[rows.masks[0].row]: rows for rows in made[0].made}
    assert max(m.collapsed for rows in made[0].made for m in rows.masks) >= 3
    (tmp_path / "f").write_text("".join(f"rs{j} 0.01\n" for j in range(40)))
    study = sg.open_study(
        cohort.bfile, pheno=cohort.pheno, pheno_name="QT", covar=cohort.covar, aaf_file=f"{tmp_path}/f", **options
    )
    with monkeypatch.context() as m:
        m.setattr(set_sums, "rows_of", lambda rows, *_: given(rows, by_name[study.sets.table.id[rows[0]]]))
        truth = Path(sg.run(study, out=tmp_path / "plain").paths["QT.sets"]).read_text().splitlines()
    found = Path(done["anna"].scores[0]).read_text().splitlines()
    shown = [i for i, line in enumerate(found) if not line.endswith("FEW_CARRIERS")]
    assert len(found) == len(truth) and 10 < len(shown) and [found[i] for i in shown] == [truth[i] for i in shown]


def given(rows: np.ndarray, made: set_sums.SetRows) -> set_sums.SetRows:
    """The rows of a set at sites, by the masks' numbers in another table."""
    return replace(made, masks=tuple(replace(m, row=int(r)) for m, r in zip(made.masks, rows, strict=True)))


def small(*groups: range, people: int = 900, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variants that these people carry, their ages and a trait."""
    rng = np.random.default_rng(seed)
    dosage = np.zeros((len(groups), people), np.int64)
    for row, mine in zip(dosage, groups, strict=True):
        row[list(mine)] = 1
    return dosage, rng.normal(50, 8, people), rng.normal(size=people)


@pytest.fixture
def no_votes(monkeypatch):
    """Each site lets every row be summed, and collapses what has ten alleles at most."""

    def off() -> None:
        monkeypatch.setattr(own_sets.OwnSets, "flags", lambda self, *_: np.zeros((int(self.ends[-1]), 1), np.int64))

    return off


CASES = {
    # one carrier of a variant that alone is a mask
    "singleton": ({"G": [0, 1]}, "ab", "A a\nB b\n", (range(300), range(300, 301)), 300),
    # two masks of one set, of which the collapsed variants differ by a person
    "two masks": ({"G": [0, 1, 2]}, "aab", "A a\nB a,b\n", (range(5), range(5, 10), range(10, 11)), 10),
    # a set named twice, once without a variant
    "left out": ({"G": [0, 1], "H": [0]}, "a", "A a\n", (range(9), range(9, 10)), 9),
    # three sets whose rows add up to a person
    "many sets": (
        {"G": [0, 1], "H": [1, 2]}, "a", "A a\n", (range(300), range(300, 600), range(601)), 600,
    ),
}  # fmt: skip


def reads(run: SetRun, person: int) -> bool:
    """Whether an integer combination of a few opened rows is the person's columns."""
    target = run.columns[person]
    if not len(run.lines):
        return False
    lines = np.unique(run.lines, axis=0)
    width = lines.shape[1]
    signs = np.array(np.meshgrid(*[[-1, 0, 1]] * len(lines))).reshape(len(lines), -1).T
    return bool((signs @ lines == target[:width]).all(axis=1).any())


@pytest.mark.parametrize("what", CASES)
def test_what_rows_of_sets_would_tell(tmp_path, no_votes, what):
    """Without votes a combination of opened rows is one person's covariates and phenotype; with them none is."""
    sets, kinds, masks, groups, person = CASES[what]
    files = named(tmp_path, sets, kinds, masks)
    data = small(*groups)
    on = SetRun(*data, files, tmp_path / "on")
    assert not reads(on, person) and (on.opened["sets-flags"] > 0).any()
    flagged = [name for name, r in on.results.items() if r.withheld]
    assert flagged and all(np.isnan(v) for name in flagged for v in on.results[name].log10p.values())
    no_votes()
    free = SetRun(*data, files, tmp_path / "off")
    assert reads(free, person) and not any(r.withheld for r in free.results.values())


def test_sets_that_share_a_variant_are_looked_at_together(tmp_path, monkeypatch):
    """Each set by itself shows nothing, all of them a person."""
    sets, kinds, masks, groups, person = CASES["many sets"]
    files, data = named(tmp_path, sets, kinds, masks), small(*groups)
    with monkeypatch.context() as m:
        m.setattr(set_rules, "groups_of", lambda named: np.arange(len(named)))
        assert reads(SetRun(*data, files, tmp_path / "apart"), person)
    run = SetRun(*data, files, tmp_path / "together")
    assert [len(group) for group in run.sets.groups] == [2] and not reads(run, person)


def test_a_person_in_many_rows_of_a_set(tmp_path, monkeypatch):
    """Who carries each of a set's variants has a leverage beyond a quarter in its rows."""
    groups = [range(30 * i, 30 * i + 30) for i in range(6)]
    dosage, age, trait = small(*groups)
    dosage[:, 899] = 1
    files = named(tmp_path, {"G": list(range(6))}, "a", "A a\n")
    run = SetRun(dosage, age, trait, files, tmp_path / "on")
    assert run.results["G.A.all"].withheld
    monkeypatch.setattr(
        own_sets.ridge_rules, "withheld_for_leverage", lambda gram, x, fixed, limit: np.zeros(len(gram) - fixed, bool)
    )
    free = SetRun(dosage, age, trait, files, tmp_path / "off")
    assert not free.results["G.A.all"].withheld
    rows = np.column_stack([np.ones(900), dosage.T])
    assert openings.leverages(rows[899 % 3 :: 3], intercept=False).max() > 0.25


def test_weights_of_one_homozygote(tmp_path, monkeypatch):
    """Of a disease Σ w g² − Σ w g is twice the weight of the only homozygote: such a row is withheld."""
    dosage, age, _ = small(range(300), range(300, 600), people=2400)
    dosage[0, 0] = 2
    disease = (np.random.default_rng(2).random(2400) < 0.4).astype(float)
    files = named(tmp_path, {"G": [0], "H": [1]}, "a", "A a\n")
    asked = {"binary": True, "consent_openings": True}
    run = SetRun(dosage, age, disease, files, tmp_path / "on", **asked)
    assert not run.results["H.A.all"].withheld and run.results["G.A.all"].variants == 0
    assert np.isnan(run.results["G.A.all"].log10p["skat"])
    for module in (own_masks, own_sets):
        inner = module.RowRule
        monkeypatch.setattr(module, "RowRule", lambda *a, _of=inner, **k: _of(*a, **{**k, "quadratic": False}))
    monkeypatch.setattr(own_sets, "withheld_products", lambda codes, fewest: np.zeros(len(codes), bool))
    free = SetRun(dosage, age, disease, files, tmp_path / "off", **asked)
    weight = 3  # of the columns of the score test
    products = free.opened["sets-products-00000-1"][:, 0]
    assert (products - free.lines[:, weight]).tolist() == [2 * free.columns[0, weight], 0]


def test_products_are_opened_once_in_a_lifetime(tmp_path):
    """Of other variants they could be subtracted; of the same ones with another trait they are the same."""
    dosage, age, trait = small(range(300), range(200, 500), range(400, 800))
    files = named(tmp_path, {"G": [0, 1]}, "a", "A a\n")
    SetRun(dosage, age, trait, files, tmp_path)
    SetRun(dosage, age, trait[::-1].copy(), files, tmp_path)
    with pytest.raises(PolicyError, match="does not open"):
        SetRun(dosage, age, trait, named(tmp_path, {"G": [0, 2]}, "a", "A a\n"), tmp_path)


@pytest.mark.parametrize(("step", "alter"), [
    ("sets-flags", lambda own: own - 1), ("sets-products", lambda own: own - 5_000),
    ("sets-products", lambda own: own + 10**9), ("sets-rows", lambda own: own + 10**14),
    ("sets-rows", lambda own: own - 250 * (np.arange(own.shape[1]) == 0)),  # carriers of the others below 0, of everybody above
])  # fmt: skip
def test_totals_that_people_cannot_give_end_the_study(tmp_path, step, alter):
    dosage, age, trait = small(range(300), range(200, 500))
    files = named(tmp_path, {"G": [0, 1]}, "a", "A a\n")
    with pytest.raises(PolicyError, match="not what the people"):
        SetRun(
            dosage,
            age,
            trait,
            files,
            tmp_path,
            alter={0: lambda name, own: alter(own) if name.startswith(step) else own},
        )


def test_common_variants_of_few_at_a_site_are_not_collapsed(tmp_path):
    """Rare at one site alone: collapsed, it would be the set's rare row."""
    dosage, age, trait = small(range(0, 900, 6), range(1, 14, 3))
    dosage[0, 1:10:3] = 1
    files = named(tmp_path, {"G": [0, 1]}, "a", "A a\n")
    run = SetRun(dosage, age, trait, files, tmp_path)
    assert run.results["G.A.all"].variants == 1 and run.results["G.A.all"].collapsed == 1


@pytest.mark.parametrize(("terms", "match"), [
    ({"statistic": "plink2"}, "`statistic` regenie"), ({"qc": True}, "no qc"),
    ({"phenotypes": BOTH}, "`common_samples`"), ({"model": "trend", "phenotypes": {"CC": BOTH["CC"]}}, "`model` trend"),
])  # fmt: skip
def test_what_does_not_go_with_them(rare, tmp_path, terms, match):
    asked: dict[str, Any] = {**named(tmp_path, GENES), "vc_tests": ["skat"], **terms}
    with pytest.raises(UsageError, match=match):
        Consortium(tmp_path, rare).init("study", SITES, **asked)


def test_the_columns_that_a_genotype_meets_are_told():
    """The columns of the design, the other rows of a group, and Σg."""
    steps = [
        ("masks-flags", 40, 3),
        ("sets-rows-00000", 6, 4),
        ("sets-products-00000-12", 9, 1),
        ("sets-rows-00001", 2, 4),
    ]
    rounds = [{"name": name, "rows": rows, "numbers": rows * fields} for name, rows, fields in steps]
    record = {"samples": 900, "phenotypes": ["Y"], "covariates": 1, "engine": "federated", "opened": {"rounds": rounds}}
    (share,) = opened_columns(record)
    assert share.columns == 1 + 4 + 12


def test_a_policy_counts_rows_of_sets(tmp_path):
    """Before anything is sent: at most 16 % of the people as columns, as the ledger of sums allows."""
    said = StudySets(tuple((name, "00" * 32) for name in FILES[:3]), ("0.01",), "max", ("skat",))
    study = study_of([("Y", "quantitative")], sets=said, statistic="regenie", bits=24)
    reader = in_memory(small(range(300))[0].astype(np.int8))
    planned = [SimpleNamespace(mask=np.arange(900) < 500)]
    facts = own_policy.products_of(study, planned, reader.samples, reader.variants, tmp_path)
    assert facts.products == ((f"study {study.digest}, set tests", 80),)
    assert [o.name for o in own_policy.opened_first(study, planned, 900)] == ["products of rows of sets"]


def test_from_one_table(rare, small_sets, tmp_path, forked_roles):
    """Through the processes of a deployment, packed, and compared with the plain engine."""
    files = named(tmp_path, GENES)
    words = [*flags(files), "--bfile", rare.bfile, "--pheno", rare.pheno, "--pheno-name", "QT", "--covar", rare.covar]
    words += ["--vc-tests", "skato,acatv", "--vc-max-aaf", "0.1", "--gzip", "--out", tmp_path / "r"]
    done = securegen("run-local", "gwas", "--engine", "federated", "--compare-plain", *words)
    assert done.code == 0 and "identical to the plain engine: yes" in done.err + done.out, done.err
    assert read_frame(tmp_path / "r.QT.sets.gz").equals(sg.run(small_sets(tmp_path))["QT.sets"])


@pytest.fixture
def small_sets(rare):
    def opened(folder: Path) -> sg.Study:
        return sg.open_study(
            rare.bfile, pheno=rare.pheno, pheno_name="QT", covar=rare.covar, vc_tests=["skato", "acatv"],
            vc_max_aaf=0.1, **named(folder, GENES),
        )  # fmt: skip

    return opened
