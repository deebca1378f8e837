"""Masks of sets of variants in a study of sites: the plain engine's rows, and of whom their differences would tell."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import securegen as sg
from securegen.engines.federated import own_masks, site
from securegen.errors import PolicyError, SecuregenError, UsageError
from securegen.governance import set_rules
from securegen.governance.guard import SiteGuard
from securegen.results.read import read_frame

from .conftest import Cohort, variant_list, write_cohort
from .consortium import SITES, Consortium
from .local_sums import at_every_site
from .test_openings import in_memory

PEOPLE, VARIANTS = 800, 40
BINS = (0.005, 0.03, 0.2)


def rare_cohort(folder: Path, dosage: np.ndarray) -> Cohort:
    """Two traits and a covariate beside these genotypes."""
    rng = np.random.default_rng(4)
    n = dosage.shape[1]
    people, variants = [f"p{i}" for i in range(n)], variant_list(len(dosage))
    age = rng.normal(50, 8, n)
    folder.mkdir(parents=True, exist_ok=True)
    rows = zip(people, 0.1 * age + dosage[1] + rng.normal(0, 1, n), 1 + (rng.random(n) < 0.4), strict=True)
    (folder / "pheno").write_text("#IID\tQT\tCC\n" + "".join(f"{p}\t{q:.4f}\t{c}\n" for p, q, c in rows))
    (folder / "covar").write_text("#IID\tAGE\n" + "".join(f"{p}\t{a:.3f}\n" for p, a in zip(people, age, strict=True)))
    bfile = write_cohort(folder / "pooled", dosage, variants, people)
    return Cohort(bfile, str(folder / "pheno"), str(folder / "covar"), dosage, variants, people)


@pytest.fixture(scope="module")
def rare(tmp_path_factory) -> Cohort:
    """Variants from singletons to a frequency of 0.15, at four sites of 200 people."""
    rng = np.random.default_rng(9)
    share = np.geomspace(0.0007, 0.15, VARIANTS)
    dosage = rng.binomial(2, share[:, None], (VARIANTS, PEOPLE))
    dosage[0] = np.arange(PEOPLE) == 9
    dosage[rng.random(dosage.shape) < 0.01] = 3  # no call
    return rare_cohort(tmp_path_factory.mktemp("rare"), dosage)


def named(folder: Path, sets: dict[str, list[int]], kinds: str = "ab", masks: str = "M1 a\nM2 a,b\n") -> dict[str, str]:
    """Files of sets of variants by number, whose categories alternate."""
    anno = "".join(f"rs{j} {s} {kinds[j % len(kinds)]}\n" for s, mine in sets.items() for j in mine)
    (folder / "anno").write_text(anno)
    lines = (f"{s} 1 {i + 1} {','.join(f'rs{j}' for j in mine)}\n" for i, (s, mine) in enumerate(sets.items()))
    (folder / "sets").write_text("".join(lines))
    (folder / "masks").write_text(masks)
    return {"anno_file": f"{folder}/anno", "set_list": f"{folder}/sets", "mask_def": f"{folder}/masks"}


GENES = {"A": list(range(0, 40, 3)), "B": list(range(1, 40, 3)), "C": list(range(25, 40))}


def of_sites(folder: Path, cohort: Cohort, **terms: Any) -> tuple[Consortium, dict[str, Any]]:
    """A study of four sites and what each ended with."""
    both = Consortium(folder, cohort)
    both.init("study", SITES, **terms)
    return both, both.run_all("study", SITES)


@pytest.mark.parametrize(("rule", "trait", "public"), [
    ("max", "QT", False), ("sum", "QT", False), ("comphet", "QT", True), ("sum", "CC", False),
])  # fmt: skip
def test_without_rules_they_are_the_plain_engines(rare, tmp_path, rule, trait, public):
    """Singletons, bins, weights of the null model: every byte."""
    masks = named(tmp_path, GENES)
    (tmp_path / "f").write_text("".join(f"rs{j} {0.004 * j:g} {int(j < 2)}\n" for j in range(VARIANTS)))
    options = {**masks, "aaf_bins": BINS, "build_mask": rule} | ({"aaf_file": f"{tmp_path}/f"} if public else {})
    kind = {"QT": "quantitative", "CC": "case-control-12"}[trait]
    both, done = of_sites(tmp_path / "sites", rare, phenotypes={trait: kind}, **options)
    study = sg.open_study(rare.bfile, pheno=rare.pheno, pheno_name=trait, covar=rare.covar, **options)
    truth = sg.run(study, out=tmp_path / "plain").paths[trait]
    assert any(name.endswith("singleton") for name in study.reader.variants.id)
    for name in SITES:
        (table,) = done[name].tables
        assert Path(table.path).read_bytes() == Path(truth).read_bytes()
    assert "masks" in (both.work / "study" / "study.toml").read_text()


@pytest.mark.parametrize("rule", ["max", "sum"])
def test_rows_that_are_shown_are_the_plain_engines(rare, tmp_path, monkeypatch, rule):
    """Given the frequencies that stand for those of withheld variants: the largest of any site's, up to a bin."""
    seen: list[own_masks.Classes] = []
    inner = own_masks._classes
    monkeypatch.setattr(own_masks, "_classes", lambda *args: seen.append(inner(*args)) or seen[-1])
    options = {**named(tmp_path, GENES), "aaf_bins": BINS, "build_mask": rule}
    both, done = of_sites(tmp_path / "sites", rare, openings="strict", **options)
    found = Path(done["anna"].tables[0].path).read_text().splitlines()
    classes, ids = seen[0], sorted({j for mine in GENES.values() for j in mine})
    copies = np.where(rare.dosage == 3, np.nan, rare.dosage)[ids]
    own = np.stack([np.nanmean(copies[:, i::4], axis=1) / 2 for i in range(4)], axis=1)
    carriers, lack = (
        np.stack([w[:, i::4].sum(axis=1) for i in range(4)], axis=1) for w in (copies > 0, np.isnan(copies))
    )
    few = (((carriers > 0) & (carriers < 10)) | ((carriers == 0) & (lack > 0) & (lack < 10))).any(axis=1)
    assert classes.few.tolist() == (few & (own.max(axis=1) <= 0.01)).tolist() and few.sum() > 10
    hidden = classes.few | classes.near
    assert (hidden >= few).all()
    np.testing.assert_array_equal(classes.rarity.share[~hidden], np.nanmean(copies, axis=1)[~hidden] / 2)
    largest = own.max(axis=1)[hidden]
    for told, most in zip(classes.rarity.share[hidden].tolist(), largest.tolist(), strict=True):
        assert told == min((b for b in BINS if most <= own_masks._step(b)), default=own_masks.ABOVE)
    shares = zip(ids, np.minimum(classes.rarity.share, 1).tolist(), classes.rarity.there.tolist(), strict=True)
    (tmp_path / "f").write_text("".join(f"rs{j} {s!r}\n" for j, s, there in shares if there))
    study = sg.open_study(
        rare.bfile, pheno=rare.pheno, pheno_name="QT", covar=rare.covar, aaf_file=f"{tmp_path}/f", **options
    )
    truth = Path(sg.run(study, out=tmp_path / "plain").paths["QT"]).read_text().splitlines()
    assert len(found) == len(truth) > 10 and "singleton" not in "".join(found)
    shown = [i for i, line in enumerate(found) if not line.endswith("FEW_CARRIERS")]
    assert 2 < len(shown) < len(found) and [found[i] for i in shown] == [truth[i] for i in shown]


def carried(*groups: range) -> np.ndarray:
    """Variants that these people carry."""
    out = np.zeros((len(groups), PEOPLE), np.int64)
    for row, people in zip(out, groups, strict=True):
        row[list(people)] = 1
    return out


def columns_of(cohort: Cohort, found: pd.DataFrame, one: str, other: str) -> float:
    """The difference of two rows in carriers: here a count, and with each column the values of those apart."""
    table = found.set_index("ID")["A1_FREQ"] * 2 * PEOPLE
    return float(table[one] - table[other])


ATTACKS = {
    # masks of one set, one person apart
    "one person apart": ({"G": [0, 1]}, "ab", "M1 a\nM2 a,b\n", ("G.M2.0.9", "G.M1.0.9"), carried(range(160), range(160, 161))),
    # who carries two variants is what their masks have more than the mask of both
    "three masks": ({"G": [0, 1]}, "ab", "M1 a\nM2 b\nM3 a,b\n", ("G.M3.0.9",), carried(range(160), range(159, 320))),
    # a mask and the one of its variants that a study of variants opens
    "another study": ({"G": [0, 1]}, "a", "M1 a\n", ("G.M1.0.9",), carried(range(160), range(160, 161))),
    # a set named again without a variant, more than 500 rows later
    "left out": (
        {"G": [0, 1], **{f"F{i}": [2] for i in range(520)}, "H": [0]}, "a", "M1 a\n", ("G.M1.0.9", "H.M1.0.9"),
        carried(range(160), range(160, 163), range(200, 400)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", ATTACKS)
def test_what_masks_would_tell(tmp_path, monkeypatch, what):
    """With the rule off the rows are shown whose difference is one to three people; with it one of them is withheld."""
    sets, kinds, masks, rows, carriers = ATTACKS[what]
    rng = np.random.default_rng(1)
    cohort = rare_cohort(tmp_path / "cohort", np.vstack([carriers, rng.binomial(2, 0.3, (4, PEOPLE))]))
    (tmp_path / "f").write_text("".join(f"rs{j} 0.5\n" for j in range(3)))
    options = {**named(tmp_path, sets, kinds, masks), "aaf_bins": 0.9, "aaf_file": f"{tmp_path}/f"}
    off = what == "one person apart"
    with monkeypatch.context() as m:
        if not off:
            m.setattr(site, "rules_of_masks", lambda *_: {})
        _, done = of_sites(tmp_path / "off", cohort, openings="all" if off else "strict", **options)
    free = read_frame(done["anna"].tables[0].path).set_index("ID")
    assert (free.loc[list(rows), "ERRCODE"] == ".").all()
    if len(rows) == 2:
        assert columns_of(cohort, free.reset_index(), *rows) in (1.0, 3.0)
    if what == "another study":
        assert free["A1_FREQ"].iloc[0] * 2 * PEOPLE == pytest.approx(cohort.dosage[0].sum() + 1)
    _, done = of_sites(tmp_path / "on", cohort, openings="strict", **options)
    held = read_frame(done["anna"].tables[0].path).set_index("ID")
    assert (held.loc[list(rows), "ERRCODE"] == "FEW_CARRIERS").any()
    if what == "three masks":
        assert (held["ERRCODE"] == ".").sum() == 2


def test_other_masks_of_the_same_people(tmp_path):
    """A later study leaves a variant out: the difference of two masks is who carries that. The same masks may be opened again."""
    rng = np.random.default_rng(1)
    first, later = carried(range(160), range(160, 320)), carried(range(320, 321))
    cohort = rare_cohort(tmp_path / "cohort", np.vstack([first, later, rng.binomial(2, 0.3, (4, PEOPLE))]))
    (tmp_path / "f").write_text("".join(f"rs{j} 0.5\n" for j in range(3)))
    told = {"aaf_bins": 0.9, "aaf_file": f"{tmp_path}/f", "openings": "strict"}
    both, done = of_sites(tmp_path / "sites", cohort, **named(tmp_path, {"G": [0, 1, 2]}, "a", "M a\n"), **told)
    assert not [r for r in done.values() if isinstance(r, Exception)]
    both.init(
        "again", SITES, phenotypes={"CC": "case-control-12"}, **named(tmp_path, {"H": [2, 0, 1]}, "a", "N a\n"), **told
    )
    assert not [r for r in both.run_all("again", SITES).values() if isinstance(r, Exception)]
    without = named(tmp_path, {"G": [0, 1]}, "a", "M a\n")
    both.init("without", SITES, **without, **told)
    assert all(isinstance(r, SecuregenError) for r in both.run_all("without", SITES).values())
    both.init("named", SITES, **without, **told, consent_openings=True)
    assert not [r for r in both.run_all("named", SITES).values() if isinstance(r, Exception)]


@pytest.mark.parametrize("protected", [False, True])
def test_bins_of_many_studies_count_carriers(monkeypatch, protected):
    """One variant that the third site withholds, four bins a study: where votes are on the bins, a few studies say how many of
    its people carry it."""
    dosage = np.random.default_rng(3).binomial(2, 0.2, (2, 600))
    dosage[1] = 0
    dosage[1, 2:21:3] = 1
    if not protected:
        monkeypatch.setattr(own_masks, "LADDER", (0.0, own_masks.RARE))
        monkeypatch.setattr(own_masks, "_step", lambda top: top)

    def part(asked, secure, place):
        reader = in_memory(dosage[:, place::3].astype(np.int8))
        return own_masks._classes(
            planned(len(reader.samples)), reader, asked, secure, SiteGuard(lambda line: None), lambda line: None
        )

    left = set(range(1, 10))  # alleles of 200 people
    for first in (1, 5):
        asked = tuple((k + 0.5) / 400 for k in range(first, first + 4))
        found, _ = at_every_site(3, partial(part, asked))
        share = found[0].rarity.share[1]
        steps = {top: own_masks._step(top) for top in asked}
        left -= {n for n in left if share != min((t for t in asked if n / 400 <= steps[t]), default=own_masks.ABOVE)}
    assert left == ({5, 6, 7, 8, 9} if protected else {7})


def test_combinations_of_many_sets_are_looked_at():
    """Rows of which no two are close, and whose sum is one person: whoever lists sets can make them."""
    a, b, c = carried(range(100), range(100, 200), range(201))
    rows = np.array([a, b, c], np.int64)
    distances = [(rows[i] != rows[j]).sum() for i in range(3) for j in range(i)]
    assert min(distances) > 10
    assert set_rules.withheld_combinations(rows).tolist() == [False, False, True]
    assert set_rules.withheld_combinations(rows[:2]).tolist() == [False, False]
    many = np.repeat(rows[:1], set_rules.TOGETHER + 2, axis=0)
    assert set_rules.withheld_combinations(many).tolist() == [False] * set_rules.TOGETHER + [True, True]


def planned(people: int) -> SimpleNamespace:
    return SimpleNamespace(planned=[SimpleNamespace(mask=np.ones(people, bool), test=SimpleNamespace(binary=False))])


@pytest.mark.parametrize(("step", "alter"), [
    ("masks-flags", lambda own: own - 1), ("masks-counts", lambda own: own - 1000),
    ("masks-counts", lambda own: own + np.array([0, 10_000])),
])  # fmt: skip
def test_a_site_cannot_take_out_votes_or_people(rare, step, alter):
    """Without the check the others' votes vanish, and a variant that few of them carry is counted apart."""

    def part(secure, place):
        reader = in_memory(np.where(rare.dosage == 3, -1, rare.dosage)[:, place::3].astype(np.int8))
        guard = SiteGuard(lambda line: None)
        return own_masks._classes(planned(len(reader.samples)), reader, (0.01,), secure, guard, lambda line: None)

    deviating = {0: lambda name, own: alter(own) if name == step else own}
    honest, opened = at_every_site(3, part)
    assert honest[0].few.sum() > 10 and honest[0].dosage.tolist() == honest[2].dosage.tolist()
    with pytest.raises(PolicyError):
        at_every_site(3, part, deviating)


@pytest.mark.parametrize(("terms", "match"), [
    ({"openings": "consortium"}, "`openings` consortium"),
    ({"build_mask": "sum", "interaction": "AGE"}, "`interaction`"),
    ({"build_mask": "sum", "qc": True}, "`qc`"), ({"recessive": True}, "masks count several"),
    ({"anno_file": None}, "give `anno_file` too"),
])  # fmt: skip
def test_what_does_not_go_with_them(rare, tmp_path, terms, match):
    with pytest.raises(UsageError, match=match):
        Consortium(tmp_path, rare).init("study", SITES, **{**named(tmp_path, GENES), **terms})


def test_files_of_sets_are_those_that_the_study_names(rare, tmp_path):
    both = Consortium(tmp_path, rare)
    both.init("study", SITES, **named(tmp_path, GENES))
    path = tmp_path / "study" / "anno.txt"
    path.write_text(path.read_text().replace(" a\n", " b\n", 1))
    done = both.run_all("study", SITES[:1])
    assert "it was altered" in str(done["anna"])
