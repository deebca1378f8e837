"""Scores with private weights from files to .sscore: the plain engine's numbers, and models too small to be private."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bed_reader import to_bed

from securegen.engines.mpc import score_run, scores
from securegen.engines.mpc.association import announce_cohort
from securegen.engines.mpc.dealer import score_dealer
from securegen.engines.mpc.score_run import model_run, people_run
from securegen.engines.mpc.state_file import StateFile
from securegen.engines.mpc.vertical import Roles
from securegen.errors import PolicyError, ProtocolError
from securegen.governance.gate import ungoverned
from securegen.scores.files import read_scorings
from securegen.scores.match import match_variants
from securegen.scores.plan import plan_scores, used_variants
from securegen.scores.release import release
from securegen.scores.sscore import sscore_text
from securegen.scores.sums import count_alleles, plain_scores
from securegen.study.genotypes import open_genotypes
from securegen.study.inputs import Inputs, silent

from .conftest import results

ROOT = Path(__file__).parents[3]
PEOPLE, M = 9, 400
ROLES = Roles("gen", "mod", "deal")
PARTIES = {"gen": "genotypes", "mod": "model", "deal": "dealer"}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Nine people with missing calls; weights for most variants, some on the other allele."""
    folder = tmp_path_factory.mktemp("scores")
    draw = np.random.default_rng(41)
    g = draw.binomial(2, 0.4, (PEOPLE, M)).astype(np.float64)
    g[draw.random((PEOPLE, M)) < 0.02] = np.nan
    ids = [f"p{i}" for i in range(PEOPLE)]
    properties = {
        "fid": ids, "iid": ids, "sid": [f"rs{j}" for j in range(M)], "chromosome": ["1"] * M,
        "bp_position": list(range(1, M + 1)), "allele_1": ["A"] * M, "allele_2": ["G"] * M,
    }  # fmt: skip
    to_bed(folder / "people.bed", g, properties=properties)
    rows = [f"rs{j}\t{'A' if j % 3 else 'G'}\t{'G' if j % 3 else 'A'}\t{draw.normal():.6f}" for j in range(0, M, 2)]
    (folder / "weights.tsv").write_text("ID\tA1\tA2\tWEIGHT\n" + "\n".join(rows) + "\n")
    (folder / "small.tsv").write_text("ID\tA1\tA2\tWEIGHT\n" + "\n".join(rows[:20]) + "\n")
    return folder


def plain_text(folder, digits=6):
    """The plain engine's .sscore, without the counts."""
    reader = open_genotypes(Inputs(str(folder / "people")))
    matches = [match_variants(s, reader.variants) for s in read_scorings([folder / "weights.tsv"])]
    plan = plan_scores(matches, counts=count_alleles(reader, used_variants(matches)), digits=digits)
    table = sscore_text(reader.samples, release(plain_scores(reader, plan), digits=digits))
    rows = [line.split("\t") for line in table.splitlines()]
    return "\n".join("\t".join([*r[:2], *(["NA", "NA"] if i else r[2:4]), *r[4:]]) for i, r in enumerate(rows)) + "\n"


def run(study, folder, out, *, score="weights.tsv", limit=PEOPLE, digits=6):
    reader = open_genotypes(Inputs(str(folder / "people")))
    return study.run({
        "gen": lambda s: people_run(s, ROLES, reader, str(out / "r"), gate=ungoverned(), log=silent, digits=digits),
        "mod": lambda s: model_run(
            s, ROLES, [str(folder / score)], model="m", state=StateFile(out / "state"), reply_cap=limit,
            digits=digits,
        ),
        "deal": lambda s: score_dealer(s, left="gen", right="mod"),
    })  # fmt: skip


@pytest.mark.parametrize(("bits", "digits"), [(32, 3), (64, 6)])
def test_scores_are_those_of_the_plain_engine_and_replies_are_counted(
    study, files, tmp_path, monkeypatch, bits, digits
):
    """In the ring that the bound of these scores allows: weights have the bits that the released digits need."""
    s, sent = study(PARTIES), []
    send = scores.matmul_ring
    monkeypatch.setattr(scores, "matmul_ring", lambda g, y, **more: (sent.append(y.dtype), send(g, y, **more))[1])
    out = results(run(s, files, tmp_path, digits=digits))
    assert Path(out["gen"]).read_text() == plain_text(files, digits)
    assert set(sent) == {np.dtype(f"u{bits // 8}")}
    again = run(s, files, tmp_path, digits=digits)
    assert isinstance(again["mod"], PolicyError) and "9 of at most 9" in str(again["mod"])


def test_a_model_with_few_weights_for_the_people_asked_is_refused(study, files, tmp_path):
    out = run(study(PARTIES), files, tmp_path, score="small.tsv")
    assert isinstance(out["mod"], PolicyError) and "20 weights" in str(out["mod"])
    assert not list(tmp_path.glob("*.sscore"))


def test_without_that_rule_as_many_people_as_weights_solve_for_them():
    """Why: the attack on exact scores of 20 weights, which needs 20 people; with 19 it fails."""
    draw = np.random.default_rng(2)
    g, w = draw.binomial(2, 0.4, (20, 20)).astype(float), draw.integers(-1000, 1000, 20)
    assert np.linalg.matrix_rank(g) == 20
    np.testing.assert_array_equal(np.rint(np.linalg.solve(g, g @ w)), w)
    short, *_ = np.linalg.lstsq(g[:19], g[:19] @ w, rcond=None)
    assert not np.array_equal(np.rint(short), w)


def test_the_demonstration_runs_every_party_as_a_process(files, tmp_path):
    call = ["--bfile", files / "people", "--score", files / "weights.tsv", "--out", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "protocols" / "two_party_prs.py"), *map(str, call)], capture_output=True, text=True,
        timeout=600, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out.sscore").read_text() == plain_text(files)


@pytest.mark.parametrize("protected", [False, True])
def test_small_runs_one_after_the_other_count_together(study, files, tmp_path, monkeypatch, protected):
    """200 weights may be asked for 10 people in all: not for 9 as often as the limit of replies allows."""
    if not protected:
        monkeypatch.setattr(score_run, "lifetime_replies", lambda plan, allow: 1 << 62)
    s = study(PARTIES)
    results(run(s, files, tmp_path, limit=1000))
    again = run(s, files, tmp_path, limit=1000)
    if protected:
        assert isinstance(again["mod"], PolicyError) and "10 of at most 10" in str(again["mod"])
    else:
        results(again)


def test_without_it_runs_that_each_keep_the_rule_solve_for_the_weights():
    """Why: 200 weights asked for 9 people at a time, 23 times."""
    draw = np.random.default_rng(3)
    w, parts = draw.integers(-1000, 1000, 200), [draw.binomial(2, 0.4, (9, 200)).astype(float) for _ in range(23)]
    g, scores = np.concatenate(parts), np.concatenate([g @ w for g in parts])
    found, *_ = np.linalg.lstsq(g, scores, rcond=None)
    np.testing.assert_array_equal(np.rint(found), w)
    at_the_limit, *_ = np.linalg.lstsq(g[:10], scores[:10], rcond=None)
    assert not np.array_equal(np.rint(at_the_limit), w)


@pytest.mark.parametrize(
    "change",
    [{"names": ["a\n1\t2"]}, {"names": [""]}, {"names": [None]}, {"exponent": [float("inf")]}, {"exponent": [1.5]},
     {"file_of": [3]}, {"file_of": [True]}, {"variants_of": ["9"]}],
)  # fmt: skip
def test_announced_scores_that_would_break_a_table_are_refused(change):
    good = {"names": ["a"], "exponent": [-3], "file_of": [0], "variants_of": [9], "second": False}
    assert score_run._public_plan(good, 1, "mod").names == ("a",)
    with pytest.raises(ProtocolError, match="announced malformed scores"):
        score_run._public_plan(good | change, 1, "mod")


def asked_and_gone(s, files, tmp_path, variants, *, limit):
    """What a client hears that announces these variants and then breaks off; and how the model's owner ended."""
    reader = open_genotypes(Inputs(str(files / "people"))).select(samples=np.arange(1), variants=np.array(variants))
    counts, told = count_alleles(reader, np.arange(len(variants))), []

    def client(session):
        announce_cohort(session, "mod", reader)
        session.send("mod", "allele counts", np.stack([counts.dosage, counts.second, counts.called]))
        told.append(session.receive_json("mod", "scores/plan")["variants_of"])
        raise RuntimeError("enough is known")

    def owner(session):
        state = StateFile(tmp_path / "state")
        model_run(session, ROLES, [str(files / "weights.tsv")], model="m", state=state, reply_cap=limit, digits=3)

    deal = lambda session: score_dealer(session, left="gen", right="mod")  # noqa: E731
    out = s.run({"gen": client, "mod": owner, "deal": deal})
    return told, out["mod"]


@pytest.mark.parametrize("protected", [False, True])
def test_asking_which_variants_a_model_has_costs_answers(protected, study, files, tmp_path, monkeypatch):
    """All variants but one: the count tells whether that one is in the model. The client breaks off before it is answered."""
    if not protected:
        monkeypatch.setattr(score_run, "charge", lambda *counted, limit: None)
    s = study(PARTIES)
    person = open_genotypes(Inputs(str(files / "people"))).select(samples=np.arange(1))
    called = np.flatnonzero(count_alleles(person, np.arange(M)).called)
    heard = [asked_and_gone(s, files, tmp_path, np.setdiff1d(called, [j]), limit=3) for j in called[:5]]
    found = np.array([told[0][0] for told, _ in heard if told])
    assert len(found) == (3 if protected else 5)
    assert list(found < found.max()) == list(called[: len(found)] % 2 == 0), "even rows are the model's"
    assert not protected or all("3 of at most 3" in str(error) for _, error in heard[3:])


def test_a_refusal_costs_an_answer_too(study, files, tmp_path):
    """It tells that few of the announced variants are in the model, or none."""
    s = study(PARTIES)
    for variants in ([1, 3, 5], range(1, 40)):
        told, error = asked_and_gone(s, files, tmp_path, variants, limit=2)
        assert not told and "at most" not in str(error)
    told, error = asked_and_gone(s, files, tmp_path, range(M), limit=2)
    assert not told and "2 of at most 2" in str(error)


@pytest.mark.parametrize("change", [(0, -1), (0, 1 << 40), (1, 1 << 40), (2, 0), (2, 10), (2, -5)])
def test_allele_counts_that_no_people_have_are_refused(change, study, files, tmp_path, monkeypatch):
    row, value = change
    announce = score_run.count_alleles

    def lying(reader, variants):
        counts = announce(reader, variants)
        (counts.dosage, counts.second, counts.called)[row][0] = value
        return counts

    monkeypatch.setattr(score_run, "count_alleles", lying)
    out = run(study(PARTIES), files, tmp_path)
    assert isinstance(out["mod"], ProtocolError) and "allele counts that no 9 people have" in str(out["mod"])
