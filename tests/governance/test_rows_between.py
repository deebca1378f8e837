"""Rows of two tables of one policy, over sets that are far apart: where one of those who are in one alone carries a variant, the
difference of its rows is that person."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from support import securegen

import securegen as sg
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.scores import counted
from securegen.engines.ckks.scores.messages import ScoreRequest
from securegen.engines.federated import admission
from securegen.engines.federated.admission import admit
from securegen.engines.mpc import people as mpc_people
from securegen.engines.mpc.people import admitted
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError
from securegen.governance import history, rows_between
from securegen.governance.guard import SiteGuard
from securegen.governance.openings import too_few
from securegen.governance.rows import RowRule
from securegen.governance.site_sets import StudySites
from securegen.model import GenotypeBlock, Samples
from securegen.results import write
from securegen.results.read import read_own
from securegen.scores.sums import count_alleles
from securegen.stats.qc import Filters
from securegen.study.genotypes import open_genotypes

FEW = {"chr": "1", "to_bp": 40_000}
LEFT_OUT = 14
FLOOR = 3
PASSPHRASE = b"a long passphrase of a test"


class World:
    """A governed cohort, a list without some people, and the genotypes and diagnoses of these."""

    def __init__(self, ruled) -> None:
        self.ruled = ruled
        lines = [line.split("\t") for line in Path(ruled.cohort.pheno).read_text().splitlines()]
        at = lines[0].index("CC")
        known = {line[1]: line[at] for line in lines[1:]}
        reader = sg.read_plink(ruled.cohort.bfile)
        self.iid = [i for i in reader.samples.iid if known.get(i, "NA") not in ("NA", "-9")]
        self.gone = self.iid[:LEFT_OUT]
        self.case = {i: known[i] == "2" for i in self.iid}
        fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
        self.less = ruled.folder / "less.txt"
        self.less.write_text("".join(f"{f}\t{i}\n" for f, i in fam if i not in self.gone))
        self.variants = len(ruled.study("CC", model="allelic", **FEW, **self.asked).reader.variants)
        block = reader.read(0, self.variants)
        place = [list(reader.samples.iid).index(i) for i in self.gone]
        self.dosage = block.dosage[:, place].astype(int)
        self.called = ~block.missing[:, place] if block.missing is not None else np.ones(self.dosage.shape, bool)

    asked = {"purpose": "HMB"}

    def study(self, keep: Path | None = None, **more):
        return self.ruled.study("CC", model="allelic", keep=keep, **FEW, **self.asked, **more)

    @property
    def few(self) -> np.ndarray:
        """Rows in which few of those left out stand out."""
        counts = np.stack([((self.dosage == c) & self.called).sum(axis=1) for c in range(3)], axis=1)
        return too_few(counts.sum(axis=1)[:, None] - counts, FLOOR).any(axis=1)


@pytest.fixture
def world(ruled) -> World:
    ruled.write(limits__minor_alleles=FLOOR, budgets__releases_per_day=50)
    return World(ruled)


def _read(world: World, first: pd.DataFrame, second: pd.DataFrame) -> int:
    """Of how many rows with one carrier the difference of two tables is that carrier's diagnosis."""
    out = 0
    for v in np.flatnonzero(((world.dosage > 0) & world.called).sum(axis=1) == 1):
        cases = first["A1_CASE_CT"][v] - second["A1_CASE_CT"][v]
        copies = cases + first["A1_CTRL_CT"][v] - second["A1_CTRL_CT"][v]
        if np.isfinite(copies):
            person = world.gone[int(np.argmax((world.dosage[v] > 0) & world.called[v]))]
            assert (cases > 0) == world.case[person]
            out += 1
    return out


def test_a_row_that_one_of_those_left_out_carries_is_withheld_and_else_is_her_diagnosis(world, monkeypatch):
    first = sg.run(world.study())["CC"]
    second = sg.run(world.study(world.less))["CC"]
    hidden = second["ERRCODE"] == "FEW_CARRIERS"
    assert world.few.any() and hidden[world.few].all() and not hidden.all()
    assert _read(world, first, second) == 0
    again = sg.run(world.study())["CC"]
    pd.testing.assert_frame_equal(again, first)  # what was shown stays as it was
    monkeypatch.setattr(history, "between", lambda *_: [])  # the protection
    assert _read(world, first, sg.run(world.study(world.less))["CC"]) > 2


def test_the_tables_of_one_run_are_looked_at_too(world):
    """The second of two phenotypes, which fewer people have."""
    path = world.ruled.folder / "two.tsv"
    fam = dict(line.split()[1::-1] for line in Path(f"{world.ruled.cohort.bfile}.fam").read_text().splitlines())
    rows = [f"{fam[i]}\t{i}\t{n % 7 + n % 3}\t{'NA' if i in world.gone else n % 5}" for n, i in enumerate(world.iid)]
    path.write_text("\n".join(["FID\tIID\tA\tB", *rows]) + "\n")
    study = sg.open_study(world.ruled.cohort.bfile, pheno=path, pheno_name=("A", "B"), **FEW, **world.asked)
    found = sg.run(study)
    hidden = [(found[name]["ERRCODE"] == "FEW_CARRIERS").to_numpy() for name in "AB"]
    assert hidden[1][world.few].all() and (hidden[0] < hidden[1]).any() and not (hidden[0] & world.few).all()


def test_quality_control_and_filters_withhold_the_same_rows(world):
    sg.run(world.study())
    study = sg.open_qc(world.ruled.cohort.bfile, keep=world.less, **FEW, **world.asked)
    frame = sg.qc(study)["afreq"]
    assert (frame["ALT_FREQS"] == "NA")[world.few].all()
    sifted = sg.run(world.study(world.less, qc=True), filters=Filters(maf=0.45))["CC"]
    assert set(frame["ID"][world.few]) <= set(sifted["ID"][sifted["ERRCODE"] == "FEW_CARRIERS"])


@pytest.mark.parametrize("protected", [True, False])
def test_allele_counts_for_scores_withhold_the_same_rows(world, monkeypatch, protected):
    """They go to the owner of a model: all less the others is who, of those left out, carries a variant."""
    if not protected:
        monkeypatch.setattr(counted, "counts_between", lambda gate, reader, _: np.zeros(len(reader.variants), bool))
    sent = []
    for keep in (None, world.less):
        inputs = sg.Inputs(
            bfile=world.ruled.cohort.bfile, keep=None if keep is None else str(keep), **FEW, **world.asked
        )
        reader = open_genotypes(inputs)
        n = len(reader.variants)
        counts = count_alleles(reader, np.arange(n))
        asked = ScoreRequest(reader.variants, counts.samples, reader.dosage_grid, counts)
        sent.append(counted.pass_counts(asked, reader, inputs, world.ruled.folder, lambda _: None).counts)
    known = (sent[0].called > 0) & (sent[1].called > 0)
    assert known.any() and (known[world.few].any()) is not protected
    one = known & (((world.dosage > 0) & world.called).sum(axis=1) == 1)
    copies = np.where(world.called, world.dosage, 0).sum(axis=1)
    assert (sent[0].dosage - sent[1].dosage)[one].tolist() == copies[one].tolist() and one.any() is not protected


def test_an_encrypted_run_withholds_the_same_rows(world):
    sg.run(world.study())
    second = sg.run(world.study(world.less), engine="ckks")["CC"]
    plain = sg.run(world.study(world.less))["CC"]
    pd.testing.assert_frame_equal(second, plain)


def test_people_who_cannot_be_looked_at_are_expected_to_be_many():
    class Reader:
        dosage_grid, dosage_max = 1, 2

        def __init__(self):
            ids = np.array([str(i) for i in range(100)], object)
            self.samples = Samples(ids, ids, np.ones(100, bool), np.zeros(100, np.int8))

        def read(self, start, stop):
            g = np.zeros((2, 100), np.uint8)
            g[0, :40], g[1, :4] = 1, 1
            return GenotypeBlock(start, g, None)

    nobody = np.zeros(100, bool)
    rule = rows_between.RowsBetween([rows_between.Between("y", "", nobody, 90)], Reader(), 3)
    assert rule.hidden("y", "", 0, 2).tolist() == [False, True]  # 36 and 3.6 are expected
    assert not rule.hidden("z", "", 0, 2).any()


def test_an_owner_gives_the_genotypes_again(world, tmp_path):
    """Without them the door refuses, and nothing is decrypted."""
    sg.run(world.study())
    study = world.study(world.less)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    made = sg.ckks.encrypt(study, key, world.ruled.folder / "study")
    secret_key.write_secret(world.ruled.folder / "k.secret", key, passphrase=PASSPHRASE)
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    asking = sg.Asking(policy=world.ruled.policy, purpose="HMB")
    with pytest.raises(PolicyError, match=r"policy\.rows_between.*genotypes"):
        sg.ckks.decrypt(results, key, made.owner, asking=asking)
    (tmp_path / "passphrase").write_bytes(PASSPHRASE)
    (tmp_path / "passphrase").chmod(0o600)
    words = ("decrypt", "--key", world.ruled.folder / "k.secret", "--passphrase-file", tmp_path / "passphrase", "--owner",
             made.owner, "--results", results, "--out", tmp_path / "out", "--purpose", "HMB", "--quiet")  # fmt: skip
    done = securegen(*words)
    assert done.code == PolicyError.exit_code and "policy.rows_between" in done.err
    assert (done := securegen(*words, "--bfile", world.ruled.cohort.bfile)).code == 0, done.err
    (table,) = tmp_path.glob("out.CC.*")
    frame = read_own(table)
    hidden = (frame["ERRCODE"] == "FEW_CARRIERS").to_numpy()
    assert hidden[world.few].all() and not hidden.all()


@pytest.mark.parametrize("missing", ["complete", "mean"])
def test_the_phenotype_of_the_one_person_without_a_call(world, monkeypatch, missing):
    """Called people alone: what the row's error lacks of that of a row where everybody is called is one person's square."""
    c = world.ruled.cohort
    study = sg.open_study(c.bfile, pheno=c.pheno, pheno_name="QT", missing=missing, dominant=True, **FEW, **world.asked)
    people = study.design.columns.values[:, 0] != 0
    block = sg.read_plink(c.bfile).read(0, world.variants)
    lacking = block.missing[:, people].sum(axis=1)
    frame = sg.run(study)["QT"]
    hidden = (frame["ERRCODE"] == "FEW_CARRIERS").to_numpy()
    assert (lacking == 1).sum() > 3
    assert hidden[lacking == 1].all() if missing == "complete" else not hidden[lacking == 1].all()
    if missing == "mean":
        return
    monkeypatch.setattr(write, "few_uncalled", lambda a, sums, floor: np.zeros(len(sums), bool))  # the protection
    frame = sg.run(study)["QT"]
    value = {line.split("\t")[1]: line.split("\t")[2] for line in Path(c.pheno).read_text().splitlines()[1:]}
    iid = np.array(sg.read_plink(c.bfile).samples.iid)[people]
    y = np.array([float(value[i]) for i in iid])
    read = 0
    carries = (block.dosage > 0) & ~block.missing
    for v in np.flatnonzero(lacking == 1):
        n, b, se = frame["OBS_CT"][v], frame["BETA"][v], frame["SE"][v]
        if np.isfinite(b):
            carriers = carries[v, people].sum()  # 2·n·A1_FREQ says it, of a table of copies
            squares = (se**2 * (n - 2) + b**2) * carriers * (n - carriers) / n
            one = (((y - y.mean()) ** 2).sum() - squares) * (len(y) - 1) / len(y)
            truth = y[block.missing[v, people]][0] - y.mean()
            assert abs(one - truth**2) < 1e-3 * (y**2).sum()
            read += 1
    assert read > 3


def _withheld(world, engine):
    """Rows that an engine of several parties withholds of those who are left, after a table of everybody in the clear."""
    reader = sg.read_plink(world.ruled.cohort.bfile)
    left = np.array([i in set(world.iid) - set(world.gone) for i in reader.samples.iid])
    log: list[str] = []
    if engine == "mpc":
        state = StateFile(world.ruled.folder / "state.json", policies=(world.ruled.folder,))
        (rule,) = admitted(reader, [([""], left[:, None])], state, "strict", log.append)
    else:
        guard = SiteGuard(log.append, policies=(world.ruled.folder,))
        study = SimpleNamespace(digest="1" * 64, consent_openings=False, fewest_people=10, name="s")
        sites = StudySites(study.digest, (("a", "1"), ("b", "2"), ("c", "3")), "a")
        admit(study, [('phenotype "CC"', left)], reader.samples, world.ruled.folder / "state", guard, sites)
        rule = RowRule([left], 1, strict=True, between=guard.between)
    return rule.vetoed([reader.read(0, world.variants)])


@pytest.mark.parametrize("engine", ["mpc", "federated"])
def test_engines_of_several_parties_know_what_a_policy_released(world, monkeypatch, engine):
    sg.run(world.study())
    assert _withheld(world, engine)[world.few].all()
    for module in (mpc_people, admission):
        monkeypatch.setattr(module, "earlier_sets", lambda *_: {})  # the protection
    assert not _withheld(world, engine)[world.few].all()
