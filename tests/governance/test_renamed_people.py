"""People under other ids are the people they were: budgets and sets go on, by command, from Python and by the ledger alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from policy_tools import Ruled
from support import securegen, text_array

import securegen as sg
from securegen.errors import PolicyError
from securegen.governance import fingerprint
from securegen.governance.fingerprint import Fingerprints
from securegen.governance.gate import LEDGER
from securegen.governance.ledger import Entries
from securegen.governance.ledger_file import open_ledger
from securegen.governance.same_people import Prints
from securegen.model import GenotypeBlock, Samples, Variants

PEOPLE, EACH = 80, 200  # variants of each of 22 chromosomes


class Cohort:
    """Genotypes in memory, (M, N) int8, −1 where missing, of named people."""

    dosage_grid, dosage_max = 1, 2

    def __init__(self, dosage: np.ndarray, names: list[str], variants: Variants | None = None) -> None:
        m, ids = len(dosage), text_array(names)
        self.dosage, self.samples = dosage, Samples(ids, ids, np.ones(len(ids), bool))
        self.variants = variants or Variants(
            text_array([1 + i // EACH for i in range(m)]), 1000 * np.arange(m), text_array(range(m)),
            text_array(["A", "T"][i % 2] for i in range(m)), text_array(["G"] * m),
        )  # fmt: skip
        self.reads = 0

    def read(self, start: int, stop: int) -> GenotypeBlock:
        self.reads += stop - start
        part = self.dosage[start:stop]
        return GenotypeBlock(start, np.maximum(part, 0), part < 0)


def places(ledger: Entries, cohort: Cohort) -> np.ndarray:
    return ledger.rows(cohort.samples, Fingerprints(cohort))


def named(prefix: str, n: int = PEOPLE) -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


@pytest.fixture(scope="module")
def first() -> Cohort:
    rng = np.random.default_rng(5)
    dosage = rng.binomial(2, rng.uniform(0.05, 0.95, (22 * EACH, 1)), (22 * EACH, PEOPLE)).astype(np.int8)
    dosage[rng.random(dosage.shape) < 0.01] = -1
    return Cohort(dosage, named("a"))


@pytest.fixture
def ledger(first) -> Entries:
    ledger = Entries(bytes(32))
    assert places(ledger, first).tolist() == list(range(PEOPLE)) and 120 < len(ledger.prints.bands) <= 132
    return ledger


def changed(first: Cohort, how: str) -> tuple[Cohort, np.ndarray]:
    """The cohort under new ids and otherwise changed, and who each one is."""
    rng = np.random.default_rng(6)
    who, dosage, v = rng.permutation(PEOPLE), first.dosage, first.variants
    rows = np.arange(len(dosage))
    if how == "fewer people":
        who = who[:9]
    if how == "fewer variants":
        rows = np.flatnonzero(rng.random(len(rows)) < 0.8)
    if how == "one chromosome":
        rows = np.flatnonzero(v.chromosome == "21")
    if how == "wrong calls":
        dosage = np.where(rng.random(dosage.shape) < 0.05, rng.integers(-1, 3, dosage.shape), dosage).astype(np.int8)
    if how == "other allele counted":
        dosage = np.where(dosage < 0, dosage, 2 - dosage)
        v = Variants(v.chromosome, v.position, v.id, v.other_allele, v.effect_allele)
    if how == "other names of chromosomes":
        v = Variants(text_array(f"chr{c}" for c in v.chromosome), v.position, v.id, v.effect_allele, v.other_allele)
    return Cohort(dosage[np.ix_(rows, who)], named("b", len(who)), v.take(rows)), who


@pytest.mark.parametrize(
    "how",
    ["nothing else", "fewer people", "fewer variants", "one chromosome", "wrong calls", "other allele counted",
     "other names of chromosomes"],
)  # fmt: skip
def test_people_are_known_by_their_genotypes(how, first, ledger, monkeypatch):
    cohort, who = changed(first, how)
    found = places(ledger, cohort)
    assert (found == who).mean() >= (0.95 if how == "one chromosome" else 0.98)
    again = ledger.rows(cohort.samples)
    assert np.array_equal(again, found), "from then on by the new ids"
    monkeypatch.setattr(
        fingerprint.Fingerprints,
        "prints",
        lambda own, key, bands: ([], np.zeros((len(own._reader.samples), 0), np.uint16)),
    )
    other = Entries(bytes(32))
    places(other, first)
    assert (places(other, cohort) >= PEOPLE).all()  # by ids alone


def test_others_are_not_known_and_ids_hold_where_genotypes_tell_nobody_else(first, ledger):
    rng = np.random.default_rng(7)
    others = Cohort(rng.permuted(first.dosage, axis=1), named("c"), first.variants)
    assert places(ledger, others).tolist() == list(range(PEOPLE, 2 * PEOPLE))
    called_again = Cohort(rng.permuted(first.dosage, axis=1), named("a"), first.variants)
    assert places(ledger, called_again).tolist() == list(range(PEOPLE)), "the ids of before"
    renamed = Cohort(called_again.dosage, named("d"), first.variants)
    assert places(ledger, renamed).tolist() == list(range(PEOPLE)), "who used an id once cannot shed it"
    swapped = Cohort(first.dosage[:, ::-1], named("a"), first.variants)
    ledger.spent[0] = 9
    assert places(ledger, swapped).tolist() == list(range(PEOPLE))[::-1]
    assert ledger.spent[PEOPLE - 1] == 9, "more was spent under this id"


def child(rng: np.random.Generator, mother: np.ndarray, father: np.ndarray) -> np.ndarray:
    """Genotypes from two (2, M) haplotypes each, with one crossover a chromosome on average."""
    out = np.zeros(mother.shape[1], np.int8)
    for parent in (mother, father):
        for c in range(22):
            cross = rng.random(EACH) < 1 / EACH
            which = (np.cumsum(cross) + rng.integers(2)) % 2
            out[c * EACH : (c + 1) * EACH] += parent[which, np.arange(c * EACH, (c + 1) * EACH)]
    return out


def test_sibs_are_two_and_a_person_who_is_there_twice_is_one():
    rng = np.random.default_rng(8)
    haplotypes = (rng.random((60, 2, 22 * EACH)) < rng.uniform(0.05, 0.95, 22 * EACH)).astype(np.int8)
    pairs = [child(rng, haplotypes[2 * i], haplotypes[2 * i + 1]) for i in range(30) for _ in range(2)]
    family = Cohort(np.column_stack([*pairs, *pairs[:3]]), named("s", 63))
    ledger = Entries(bytes(32))
    found = places(ledger, family)
    assert found.tolist() == [*range(60), 0, 1, 2] and len(ledger.spent) == 60
    columns = rng.integers(1, 9, (63, 2))
    assert ledger.charge(found, columns, share=1.0) is None and set(ledger.spent.tolist()) == {2}
    assert ledger.columns[0][1][:4].tolist() == [*(columns[:3] + columns[60:]).tolist(), columns[3].tolist()]


def test_nothing_of_genotypes_leaves_the_key_and_files_are_read_forwards_and_once(first, tmp_path, monkeypatch):
    genotypes = Fingerprints(first)
    with open_ledger(tmp_path / "ledger") as ledger:
        ledger.rows(first.samples, genotypes)
        kept = ledger.prints
    reads, first.reads = first.reads, 0
    with open_ledger(tmp_path / "ledger") as ledger:
        assert np.array_equal(ledger.prints.values, kept.values) and ledger.prints.bands == kept.bands
        ledger.rows(first.samples, genotypes)
    assert reads > 0 and first.reads == 0, "kept for the run"
    places(other := Entries(bytes(31) + b"1"), first)
    equal = (other.prints.values == kept.values) & (kept.values != 0)
    assert other.prints.bands == kept.bands and equal.mean() < 0.001, "under another key"
    monkeypatch.setattr(fingerprint, "MOST_BANDS", 140)
    half = np.flatnonzero(np.arange(len(first.dosage)) % 2)
    places(other, Cohort(first.dosage[half], named("h"), first.variants.take(half)))
    assert len(other.prints.bands) == 140, "no more than a ledger holds"
    few = Cohort(first.dosage[:5], named("f"), first.variants.take(np.arange(5)))
    assert places(Entries(bytes(32)), few).tolist() == list(range(PEOPLE)), "too few variants to tell anybody"


def rename(ruled: Ruled) -> None:
    """Other ids for everybody, in every file."""
    folder = Path(ruled.cohort.bfile).parent
    for name in ("cohort.fam", "pheno.tsv", "covar.tsv"):
        lines = [line.split() for line in (folder / name).read_text().splitlines()]
        new = [[c.replace("F", "G", 1) if c[0] == "F" and c[1:].isdigit() else c for c in line] for line in lines]
        (folder / name).write_text("\n".join("\t".join(line) for line in new) + "\n")


@pytest.mark.parametrize("protected", [True, False])
def test_renamed_people_are_charged_on_by_command(ruled, protected, monkeypatch):
    ruled.write(
        budgets__columns_share=0.1
    )  # 5 columns of 87 people for one phenotype with its covariates, then 7 of 90
    words = ["--purpose", "HMB", "--quiet"]
    assert securegen("gwas", *ruled.words(*words, "--out", ruled.folder / "out")).code == 0
    rename(ruled)
    if not protected:
        monkeypatch.setattr(Prints, "resolve", lambda own, ids, bands, found, people: _by_id(ids, people))
    other = [w if w != "QT" else "CC" for w in ruled.words(*words, "--out", ruled.folder / "again")]
    done = securegen("gwas", *other)
    if protected:
        assert done.code == 12 and "budget.columns: " in done.err and ruled.results("again") == []
    else:
        assert done.code == 0  # the attack: a fresh budget


@pytest.mark.parametrize("protected", [True, False])
def test_encrypting_again_under_new_ids_is_charged_on(ruled, small_key, protected, monkeypatch):
    ruled.write(budgets__columns_share=0.1)

    def table(prefix: str, phenotype: str) -> None:
        study = ruled.study(phenotype, purpose="HMB")
        paths = sg.ckks.encrypt(study, small_key, ruled.folder / prefix)
        results = sg.ckks.associate(paths.cohort, paths.design, ruled.folder / f"{prefix}.results")
        shutil.rmtree(paths.cohort)
        sg.ckks.decrypt(results, small_key, paths.owner, asking=study.inputs.asking)

    table("one", "QT")
    rename(ruled)
    if not protected:
        monkeypatch.setattr(Prints, "resolve", lambda own, ids, bands, found, people: _by_id(ids, people))
        table("two", "QT2")  # the attack
        return
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        table("two", "QT2")
    with open_ledger(ruled.folder / LEDGER) as ledger:
        assert len(ledger.spent) == 90 and len(ledger.people) == 180


def _by_id(ids: np.ndarray, people: int) -> tuple[np.ndarray, int]:
    new = ids < 0
    return np.where(new, people + np.cumsum(new) - 1, ids), people + int(new.sum())
