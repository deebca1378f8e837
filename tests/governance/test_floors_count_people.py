"""A floor counts people who differ, not copies: one with one copy and one with two are three copies, and two people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import securegen, write_plink

import securegen as sg
from securegen.design.qc import QcModel
from securegen.engines.mpc import owner_gate
from securegen.engines.mpc.owner_gate import rare_rows
from securegen.governance import gate
from securegen.model import GenotypeBlock, Sums
from securegen.results import write
from securegen.results.people_behind import who_differ
from securegen.scores.plan import AlleleCounts
from securegen.stats import qc

# carriers of a row by genotype: (one copy, two copies), or all but these
ROWS = {"two people, three copies": (1, 1), "three people": (2, 1), "two, turned": (-1, -1), "three, turned": (-2, -1),
        "five copies of three": (1, 2), "many": (30, 5)}  # fmt: skip


def dosages() -> np.ndarray:
    g = np.zeros((len(ROWS) + 20, 90), np.int8)
    for row, (one, two) in zip(g, ROWS.values(), strict=False):
        row[: abs(one)] = 1
        row[abs(one) : abs(one) + abs(two)] = 2
        if one < 0:
            row[:] = 2 - row
    g[len(ROWS) :] = np.random.default_rng(1).binomial(2, 0.4, (20, 90))
    return g


@pytest.fixture
def rare(ruled):
    write_plink(ruled.folder / "cohort", dosages())
    ruled.write(limits__minor_alleles=3)
    return ruled


def shown(table) -> dict[str, bool]:
    """Whether each of ROWS has numbers."""
    return dict(zip(ROWS, (table["ERRCODE"] != "FEW_CARRIERS")[: len(ROWS)].tolist(), strict=True))


PEOPLE = {name: abs(one) + abs(two) > 2 for name, (one, two) in ROWS.items()}


def copies_of(analysis, sums, *, grid=1, copies=2):
    """As floors counted before: copies."""
    first = analysis.columns[0]
    n, s = analysis.model.samples - sums.m[:, first], sums.g[:, first] / grid
    return np.minimum(s, copies * n - s)


def test_rows_of_a_linear_model_count_people(rare, monkeypatch):
    def table():
        return shown(sg.run(rare.study(purpose="HMB"))["QT"])

    assert table() == PEOPLE
    monkeypatch.setattr(write, "fewest_carriers", copies_of)
    assert all(table().values())  # two people's covariates and phenotype


def test_rows_without_squares_count_half_the_copies(rare):
    found = shown(sg.run(rare.study("CC", purpose="HMB", model="logistic"))["CC"])
    assert not found["two people, three copies"] and not found["five copies of three"] and found["many"]


@pytest.mark.parametrize("model", ["dominant", "recessive", "hetonly"])
def test_genetic_models_count_people(rare, model):
    found = shown(sg.run(rare.study(purpose="HMB", **{model: True}))["QT"])
    assert not found["two people, three copies"] and not found["two, turned"]
    if model == "dominant":
        assert found["three people"]


@pytest.mark.parametrize("copies", [False, True])
def test_frequencies_count_people(rare, monkeypatch, tmp_path, copies):
    if copies:
        real = write._quality
        monkeypatch.setattr(write, "_quality", lambda *a: (found := real(*a)) | {"CARRIERS": found["MAC"]})
    assert (
        securegen("qc", "--bfile", rare.cohort.bfile, "--purpose", "HMB", "--out", tmp_path / "q", "--quiet").code == 0
    )
    lines = [line.split("\t") for line in Path(f"{tmp_path}/q.afreq").read_text().splitlines()]
    column = lines[0].index("ALT_FREQS")
    found = dict(zip(ROWS, (line[column] != "NA" for line in lines[1:]), strict=False))
    assert found == (dict.fromkeys(ROWS, True) if copies else PEOPLE)


def test_correlations_count_people(rare):
    r = sg.ld(sg.Inputs(bfile=rare.cohort.bfile, extract=str(listed(rare, 0, 2)), purpose="HMB"))
    assert list(r.columns) == ["rs1"]
    assert who_differ(*(np.array([v]) for v in (90, 3, 5)), grid=1).tolist() == [2]


def listed(ruled, *numbers) -> Path:
    path = ruled.folder / "extract"
    path.write_text("".join(f"rs{j}\n" for j in (*numbers, 1)))
    return path


def test_the_genotype_owner_of_mpc_counts_people_everywhere(rare, monkeypatch):
    door = gate.gate_of("mpc", gate.Asking(), [rare.policy])
    block, everybody = GenotypeBlock(0, dosages(), None), np.ones((90, 1), bool)
    assert (~rare_rows(block, everybody, 1, door)[: len(ROWS)]).tolist() == list(PEOPLE.values())
    males = GenotypeBlock(0, 2 * (dosages() > 0).astype(np.int8), None)  # of X, where a male's copy is stored as two
    assert rare_rows(males, everybody, 1, door)[:2].tolist() == [True, False]
    missing = np.zeros((len(dosages()), 90), bool)
    missing[1, 0] = True  # one of three has no call
    assert rare_rows(GenotypeBlock(0, dosages(), missing), everybody, 1, door)[1]
    monkeypatch.setattr(owner_gate, "who_differ", lambda n, s, q, grid: np.minimum(s / grid, 2 * n - s / grid))
    assert not rare_rows(block, everybody, 1, door)[0] and not rare_rows(males, everybody, 1, door)[0]


def test_counts_for_a_models_owner_count_people():
    g = dosages()
    called = np.full(len(g), 90)
    counts = AlleleCounts(np.arange(len(g)), g.sum(axis=1, dtype=np.int64), (g == 2).sum(axis=1), called, 90)
    differ = [90 - max((row == c).sum() for c in range(3)) for row in g]
    assert counts.who_differ(1).tolist() == differ
    fine = AlleleCounts(np.arange(len(g)), 4 * g.sum(axis=1, dtype=np.int64), 4 * (g == 2).sum(axis=1), called, 90)
    assert fine.who_differ(4).tolist() == differ


def test_quality_control_counts_people_of_x_and_of_part_of_the_founders():
    """A male counts once, and a female of two copies; where others are tested than have the frequencies, half the copies."""
    female, male = np.array([2, 1, *[0] * 40]), np.array([2, 2, *[0] * 30])  # of X, males 0 and 2
    g, q = (lambda x: x.sum()), (lambda x: (x * x).sum())
    everybody = np.concatenate([female, male])
    sums = Sums(
        0, np.array([[g(everybody), g(everybody), g(male), g(female), g(male)]]), np.zeros((1, 5), np.int64),
        np.array([[q(male), q(female), q(male)]]),
    )  # fmt: skip
    model = QcModel("QC", samples=74, founders=74, tested=74, males=(32, 42, 32))
    assert qc.quality(sums, model)["CARRIERS"].tolist() == [4] and qc.quality(sums, model)["MAC"].tolist() == [5]
    h = np.array([1, 2, *[0] * 60])
    part = Sums(0, np.array([[g(h), g(h), 0]]), np.zeros((1, 3), np.int64), np.array([[0]]))
    assert qc.quality(part, QcModel("QC", samples=62, founders=62, tested=40))["CARRIERS"].tolist() == [0]
    whole = Sums(0, np.array([[g(h), g(h), g(h)]]), np.zeros((1, 3), np.int64), np.array([[q(h)]]))
    assert qc.quality(whole, QcModel("QC", samples=62, founders=62, tested=62))["CARRIERS"].tolist() == [2]


def test_loadings_and_weights_of_rare_variants_are_not_written(rare, tmp_path):
    """A frequency of one carrier in the loadings, or her effect in a score that was made of her, is hers."""

    def written(floor, version):
        rare.write(version=version, limits__minor_alleles=floor, budgets__releases_per_day=50)
        words = ["--bfile", rare.cohort.bfile, "--purpose", "HMB", "--identity", rare.key("steward"), "--quiet"]
        done = securegen("pca", *words, "--pcs", "1", "--out", tmp_path / f"p{floor}")
        assert done.code == 0, done.err
        lines = (tmp_path / f"p{floor}.loadings.tsv").read_text().splitlines()[1:]
        return {line.split("\t")[2] for line in lines}

    few = {f"rs{j}" for j, name in enumerate(ROWS) if name != "many"}
    assert not written(5, 2) & few and written(0, 3) >= few
    words = ["--bfile", rare.cohort.bfile, "--purpose", "HMB", "--identity", rare.key("steward"), "--quiet"]
    words += ["--pheno", rare.cohort.pheno, "--pheno-name", "CC", "--block", "10", "--write-score"]
    for floor, version in ((5, 4), (0, 5)):
        rare.write(version=version, limits__minor_alleles=floor, limits__differing_people=1)
        done = securegen("step1", *words, "--out", tmp_path / f"s{floor}")
        assert done.code == 0, done.err
        named = set((tmp_path / f"s{floor}.CC.score.txt").read_text().split())
        assert bool(named & few) == (floor == 0)
