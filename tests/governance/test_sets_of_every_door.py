"""Who is in a sum is in the ledger, whatever the sum is: what two tables differ by is a person, of whichever command they are."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import securegen, write_plink, write_tsv

import securegen as sg
from securegen.cli import prs_step, score_options
from securegen.engines import governed
from securegen.engines.ckks.owner import secret_key
from securegen.engines.mpc import score_run
from securegen.engines.plain import scores as plain
from securegen.errors import PolicyError
from securegen.governance import policy_file
from securegen.governance.gate import Asking, gate_of
from securegen.structure import fine_mapping, run
from securegen.study import genotypes as opened_genotypes
from securegen.study import held

CODE = PolicyError.exit_code
PERSON = 7


@pytest.fixture
def owned(ruled):
    """A policy, and somebody who may have rows of people."""
    ruled.write(budgets__releases_per_day=50, limits__minor_alleles=0)
    return ruled


def without_sets(monkeypatch, module):
    real = module.PeopleFacts
    monkeypatch.setattr(module, "PeopleFacts", lambda samples, sets=(), *a, **k: real(samples, (), *a, **k))


def lists(ruled) -> list[str | None]:
    """Everybody, and everybody but one."""
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    path = ruled.folder / "but-one"
    path.write_text("".join(f"{f} {i}\n" for n, (f, i) in enumerate(fam) if n != PERSON))
    return [None, str(path)]


def inputs(ruled, keep, **more):
    return sg.Inputs(bfile=ruled.cohort.bfile, keep=keep, identity=ruled.key("steward"), purpose="HMB", **more)


def test_loadings_of_two_runs_are_a_persons_genotypes(owned, monkeypatch, tmp_path):
    both = lists(owned)
    run.write_components(inputs(owned, both[0], chr="1"), str(tmp_path / "a"), pcs=1)
    with pytest.raises(PolicyError, match="policy.differing_people"):
        run.write_components(inputs(owned, both[1], chr="1"), str(tmp_path / "b"), pcs=1)
    without_sets(monkeypatch, run)
    found = []
    for keep, out, n in zip(both, "cd", (90, 89), strict=True):
        run.write_components(inputs(owned, keep, chr="1"), str(tmp_path / out), pcs=1)
        lines = [line.split("\t") for line in (tmp_path / f"{out}.loadings.tsv").read_text().splitlines()]
        at = lines[0].index("FREQ")
        found.append({line[2]: float(line[at]) * 2 * n for line in lines[1:]})
    reader = sg.read_plink(owned.cohort.bfile)
    block = reader.read(0, len(reader.variants))
    called = np.ones(len(block), bool) if block.missing is None else ~block.missing.any(axis=1)
    names = [str(v) for v in reader.variants.id]
    whole = [i for i, name in enumerate(names) if called[i] and name in found[0] and name in found[1]]
    read = [round(found[0][names[i]] - found[1][names[i]]) for i in whole]
    assert len(whole) > 50 and read == block.dosage[whole, PERSON].tolist()


def one_score(ruled):
    """A variant that somebody lacks a call of, and its scoring file."""
    rng = np.random.default_rng(5)
    g = rng.binomial(2, 0.4, (30, 90)).astype(np.int8)
    g[0, 3], g[0, PERSON] = -127, 2
    write_plink(ruled.folder / "cohort", g)
    path = write_tsv(
        ruled.folder / "s.tsv",
        ("ID", "A1", "BETA"),
        [("rs0", "A", "1.0"), *((f"rs{j}", "A", "1e-9") for j in range(1, 30))],
    )
    return str(path)


def scored(ruled, score, keep, out, **more):
    study = sg.scores.open(
        bfile=ruled.cohort.bfile, score=score, keep=keep, allow_small_score="SCORE1", min_variants=1, digits=8,
        identity=ruled.key("steward"), purpose="HMB", **more,
    )  # fmt: skip
    frame = sg.scores.run(study).scores
    return float(frame.set_index("IID").loc["I3", "SCORE1_SUM"])


def test_a_mean_that_stands_for_a_call_is_of_the_others(owned, monkeypatch):
    score, both = one_score(owned), lists(owned)
    scored(owned, score, both[0], "a")
    with pytest.raises(PolicyError, match="policy.differing_people"):
        scored(owned, score, both[1], "b")
    scored(owned, score, both[1], "b", imputation="none")  # nothing of the others
    monkeypatch.setattr(governed, "of_scored", lambda gate, reader, imputation: gate)
    first, second = (scored(owned, score, keep, "c") for keep in both)
    total = first / 1 * 89  # of the mean over those called
    assert round(total - second * 88) == 2


def test_kinship_is_compared_with_kinship_alone(owned, tmp_path):
    both = lists(owned)
    run.write_kinship(inputs(owned, both[0]), str(tmp_path / "k"))
    run.write_kinship(inputs(owned, both[0]), str(tmp_path / "k"), king_table_filter=0.1)
    with pytest.raises(PolicyError, match="policy.differing_people"):
        run.write_kinship(inputs(owned, both[1]), str(tmp_path / "l"))
    sg.run(owned.study(identity=owned.key("steward"), purpose="HMB", chr="1", keep=both[1]))  # sums, of other people


def test_components_of_unrelated_samples_are_compared_by_who_is_in_them(owned, monkeypatch, tmp_path):
    chosen = np.ones(90, bool)
    monkeypatch.setattr(run.kinship, "unrelated", lambda count, close: chosen)
    run.write_components(inputs(owned, None, chr="1"), str(tmp_path / "a"), pcs=1, unrelated=True)
    chosen = chosen.copy()
    chosen[PERSON] = False
    with pytest.raises(PolicyError, match="policy.differing_people"):
        run.write_components(inputs(owned, None, chr="1"), str(tmp_path / "b"), pcs=1, unrelated=True)


class _Line:
    """A session that remembers what was sent."""

    def __init__(self):
        self.sent = []

    def send(self, party, what, *rest):
        self.sent.append((what, *rest))

    def send_json(self, party, what, *rest):
        self.sent.append((what, *rest))

    def receive_json(self, party, what):
        raise EOFError


def test_allele_counts_pass_the_door_before_they_are_sent_to_a_models_owner(owned, monkeypatch):
    owned.write(version=2, limits__minor_alleles=40)
    reader, told = sg.read_plink(owned.cohort.bfile), []

    def sent(purpose):
        line, told[:] = _Line(), []
        gate = gate_of("mpc", Asking(purpose=purpose), [owned.policy])
        roles = type("R", (), {"left": "a", "right": "b", "dealer": "c"})
        with contextlib.suppress(EOFError):
            score_run.people_run(line, roles, reader, "out", gate=gate, log=told.append)
        return dict(line.sent)

    with pytest.raises(PolicyError, match="policy.purpose"):
        sent(None)
    assert not told
    counts = sent("HMB")["allele counts"]
    assert (counts[2] == 0).any() and (counts[2] > 0).any()  # variants of few carriers have none
    (said,) = told
    assert said.startswith(f"{(counts[2] == 0).sum():,} variants that tell fewer than 40 people apart (policy)")
    dosage, second, called = counts[:, counts[2] > 0]
    carriers = np.minimum(np.minimum(dosage - second, called - second), called - dosage + 2 * second)
    assert carriers.min() >= 40
    monkeypatch.setattr(score_run, "pass_allele_counts", lambda *a: None)
    monkeypatch.setattr(score_run, "counts_between", lambda *a: np.zeros(1300, bool))
    assert len(sent(None)["allele counts"][0]) == 1300  # without the door they are sent to whoever asks


def loud(monkeypatch):
    """The protection off: what opening says is said at once."""
    free = lambda _, log: contextlib.nullcontext(held.Held(log, None))
    for module in (held, opened_genotypes, plain, score_options, fine_mapping, run, prs_step):
        if hasattr(module, "held"):
            monkeypatch.setattr(module, "held", free)
    return free


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_scores_say_nothing_of_a_list_before_their_door(owned, monkeypatch, dry):
    score, keep = one_score(owned), lists(owned)[1]
    words = [
        "prs",
        "--bfile",
        owned.cohort.bfile,
        "--score",
        score,
        "--allow-small-score",
        "SCORE1",
        "--purpose",
        "HMB",
    ]
    one, mine = ["--keep", keep, "--out", owned.folder / "p", *dry], ["--identity", owned.key("steward")]
    done = securegen(*words, *one)
    assert done.code == CODE and "samples remain" not in done.err + done.out
    assert securegen(*words, *mine, "--out", owned.folder / "q").code == 0
    done = securegen(*words, *one, *mine)  # one who may, and a list that differs by one
    assert done.code == CODE and "policy.differing_people" in done.err and "samples remain" not in done.err + done.out
    loud(monkeypatch)
    assert "89 samples remain" in (done := securegen(*words, *one, *mine)).err + done.out


def test_encrypt_says_nothing_of_people_under_a_policy(owned, monkeypatch):
    keep = lists(owned)[1]
    words = ["--bfile", owned.cohort.bfile, "--chr", "1", "--to-bp", "200000"]
    traits = ["--pheno", owned.cohort.pheno, "--pheno-name", "QT"]
    done = securegen("plan", *words, *traits, "--out", owned.folder / "p", "--purpose", "HMB")
    assert done.code == 0, done.err
    (owned.folder / "pass").write_text("a passphrase of a test\n")
    (owned.folder / "pass").chmod(0o600)
    secret = ["--passphrase-file", owned.folder / "pass"]
    assert securegen("keygen", "--plan", owned.folder / "p.plan.json", "--out", owned.folder / "k", *secret).code == 0
    told = ["encrypt", *words, "--key", owned.folder / "k.secret", *secret, "--out", owned.folder / "e"]
    done = securegen(*told, "--keep", keep, "--dry-run")
    assert done.code != 0 and "89" not in done.err + done.out and "has another number" in done.err
    done = securegen(*told, "--dry-run")
    assert done.code == 0 and "90 samples" not in done.err + done.out
    done = securegen(*told, *traits)
    assert done.code == 0 and " samples" not in done.err + done.out, done.err
    assert "samples" not in json.loads((owned.folder / "e.run.json").read_text())["design"]
    monkeypatch.setattr(held, "governing", lambda _: None)
    monkeypatch.setattr(policy_file, "beside", lambda _: [])
    real = secret_key.read_secret
    monkeypatch.setattr(secret_key, "read_secret", lambda *a, **k: replace(real(*a, **k), policy=None))
    assert "90 samples" in (done := securegen(*told, "--dry-run", "--overwrite")).err + done.out
