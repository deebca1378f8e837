"""A model that stays with its owner: a whole exchange gives the right scores, and what is wrong is refused."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner.state import CohortInfo
from securegen.engines.ckks.scores import key_holder, messages, private, steps
from securegen.engines.ckks.scores.private import encrypt_for, invite, open_scores_for, reply, score_weights
from securegen.engines.ckks.scores.promises import PrivacyRules, keeping_plan, kept_plan
from securegen.errors import ArtefactError, PolicyError, StorageError, VerificationError
from securegen.scores import ledger
from securegen.scores.release import release
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

pytestmark = pytest.mark.usefixtures("forked_roles")


@pytest.fixture
def begun(additive, tmp_path):
    """An exchange of folders up to the encrypted genotypes."""

    def begin(**options):
        inputs = ScoreInputs((additive.score,), **options)
        study = open_scores(Inputs(additive.bfile), inputs)
        rules = PrivacyRules(tmp_path / "ledger.json", "clinic")
        messages.write_request(messages.make_request(study.reader, inputs.imputation), tmp_path / "request")
        invite(tmp_path / "request", inputs, rules, tmp_path / "invitation", tmp_path / "private")
        invitation = messages.read_invitation(tmp_path / "invitation")
        key = encrypt_for(invitation, study.reader, tmp_path / "s")
        answer = (tmp_path / "s.cohort", tmp_path / "s.publickey", tmp_path / "private", inputs, rules, tmp_path / "r")
        return study, invitation, key, answer

    return begin


def test_a_reply_is_charged_and_an_invitation_answered_once(begun, tmp_path):
    study, invitation, key, answer = begun()
    reply(*answer)
    content = json.loads((tmp_path / "ledger.json").read_text())["ledger"]
    assert list(content["replies"].values()) == [{"clinic": len(study.reader.samples)}] and not content["reserved"]
    table = open_scores_for(invitation, tmp_path / "r", key, tmp_path / "s.owner", study.reader)
    plain = release(plain_scores(study.reader, study.plan))
    assert np.array_equal(table.total, plain.total) and np.array_equal(table.average, plain.average)
    assert np.array_equal(table.allele_count, plain.allele_count) and table.named_dosage is None
    with pytest.raises(ArtefactError):
        reply(*answer)


def test_an_invitation_costs_a_reply_and_a_compressed_copy_is_the_same_model(begun, additive, tmp_path):
    begun()
    (packed := tmp_path / "packed.tsv.gz").write_bytes(gzip.compress(Path(additive.score).read_bytes()))
    rules = PrivacyRules(tmp_path / "ledger.json", "clinic")
    for i, score in enumerate((additive.score, str(packed))):
        invite(tmp_path / "request", ScoreInputs((score,)), rules, tmp_path / f"i{i}", tmp_path / f"p{i}")
    content = json.loads((tmp_path / "ledger.json").read_text())["ledger"]
    assert list(content["replies"].values()) == [{"clinic": 3}]
    assert [list(r["replies"].values()) for r in content["reserved"].values()] == [[5]] * 3


def test_released_digits_are_enforced_in_the_reply(begun, tmp_path):
    """With more bits than three digits need the integers differ within the blur, the printed scores hardly ever."""
    study, invitation, key, answer = begun(digits=3, weight_bits=28)
    reply(*answer)
    blinding = invitation.blinding
    assert blinding.blur > 0
    values = key_holder.open_replies(
        tmp_path / "r", key, columns=1, nonce=invitation.nonce, cohort=open_cohort(tmp_path / "s.cohort").digest,
        bound=invitation.bound, blinding=blinding,
    )  # fmt: skip
    exact = plain_scores(study.reader, study.plan).score
    assert 0 < np.abs(values - exact).max() <= blinding.blur
    rng = np.random.default_rng(1)
    many = rng.normal(size=20000) * study_norm(study)
    moved = many + rng.integers(-blinding.blur, blinding.blur + 1, len(many))
    large = np.abs(many) >= study_norm(study)
    changed = np.array([f"{a:.3g}" != f"{b:.3g}" for a, b in zip(many[large], moved[large], strict=True)])
    # |h| is at most deviation, on average half of it; a step of the last digit is at least |S| 10^-3
    chance = blinding.blur / 2 * 10.0**3 / study_norm(study)
    assert chance < 2**-12 and changed.mean() < chance + 5 * math.sqrt(chance / large.sum())


def study_norm(study) -> float:
    return score_weights(study.plan).norm


def test_a_score_beyond_its_bound_is_refused(begun, tmp_path):
    study, invitation, key, answer = begun()
    reply(*answer)
    with pytest.raises(VerificationError):
        open_scores_for(replace(invitation, bound=1), tmp_path / "r", key, tmp_path / "s.owner", study.reader)


def test_genotypes_of_another_invitation_are_refused(begun, tmp_path):
    study, invitation, _, answer = begun()
    other = replace(invitation.parameters, genotype_scale=invitation.parameters.genotype_scale - 1)
    encrypt_for(replace(invitation, parameters=other), study.reader, tmp_path / "t")
    with pytest.raises(ArtefactError, match="parameters of this invitation"):
        reply(tmp_path / "t.cohort", tmp_path / "t.publickey", *answer[2:])
    content = json.loads((tmp_path / "ledger.json").read_text())["ledger"]
    assert list(content["replies"].values()) == [{"clinic": 1}], "the invitation alone"


@pytest.mark.parametrize(
    "change", [{"variant": np.array([-1])}, {"variant": np.array([400])}, {"variant": np.array([3, 3])},
               {"second": np.array([400])}],
)  # fmt: skip
def test_an_invitation_for_variants_that_are_not_there_is_refused(begun, tmp_path, change):
    study, invitation, _, _ = begun()
    with pytest.raises(ArtefactError, match="does not have"):
        encrypt_for(replace(invitation, **change), study.reader, tmp_path / "t")


def test_few_people_do_not_send_allele_counts(small):
    reader = open_scores(Inputs(small.bfile), ScoreInputs((small.score,))).reader
    with pytest.raises(PolicyError, match="14 people"):
        messages.make_request(reader, "cohort")
    assert messages.make_request(reader, "none").counts is None


def test_small_models_are_refused_unless_named(securegen, small):
    words = ("run-local", "prs", "--engine", "ckks", "--private-model", "--bfile", small.bfile, "--score", small.score,
             "--imputation", "none", "--out", "o")  # fmt: skip
    done = securegen(*words, "--min-variants", "1")
    assert done.exception is None or "--allow-small-model" not in str(done.exception), (
        "300 variants, 14 people: allowed"
    )
    lines = Path(small.score).read_text().splitlines()
    Path("few.tsv").write_text("\n".join(lines[:101]) + "\n")
    few = [w if w != small.score else "few.tsv" for w in words]
    done = securegen(*few)
    assert done.exception.exit_code == 12 and "--allow-small-model SCORE1" in str(done.exception)
    done = securegen(*few, "--allow-small-model", "SCORE1")
    assert done.exception.exit_code == 12 and "the cap is" in str(done.exception)
    done = securegen(*few, "--allow-small-model", "SCORE1", "--reply-cap", "14")
    assert done.exit_code == 0, done.exception


def test_run_local_tables_equal_plain(securegen, additive):
    common = ("--bfile", additive.bfile, "--score", additive.score)
    assert securegen("prs", *common, "--out", "plain").exit_code == 0
    done = securegen("run-local", "prs", "--engine", "ckks", "--private-model", *common, "--out", "o")
    assert done.exit_code == 0, done.exception
    rows = [[line.split("\t") for line in Path(f"{n}.sscore").read_text().splitlines()] for n in ("plain", "o")]
    for plain, kept in zip(*rows, strict=True):
        assert [c for i, c in enumerate(plain) if i != 3] == [c for i, c in enumerate(kept) if i != 3]
    record = json.loads(Path("o.run.json").read_text())
    assert set(record["seconds"]) == {"match", "keygen", "encrypt", "score", "decrypt", "total"}
    assert {"request", "invitation", "cohort", "publickey", "replies"} <= set(record["bytes"])
    assert "cannot verify" in " ".join(record["receipt"]["assumptions"])
    for words in (["report", "o"], ["inspect", "o.run.json"], ["rerun", "o.run.json", "--print-config"]):
        again = securegen(*words)
        assert again.exit_code == 0, again.exception  # what reads a record reads this one


def killed_while_inviting(begun, tmp_path, monkeypatch) -> int:
    """After an answered invitation for 6 people another for one is killed in the same folder; the answers that 6 people get
    for its one."""
    study, _, _, answer = begun()
    reply(*answer)
    before = used(tmp_path)
    one = study.reader.select(samples=np.array([0]))
    messages.write_request(messages.make_request(one, "cohort"), tmp_path / "one")

    class Killed(BaseException):
        """Nothing is cleared up."""

    def kill(*_):
        raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(messages, "write_invitation", kill)
        dying.setattr(ledger.Ledger, "withdraw", lambda *_: None)
        with pytest.raises(Killed):
            invite(tmp_path / "one", *answer[3:5], tmp_path / "invitation2", tmp_path / "private")
    reply(*answer)
    return used(tmp_path) - before


def used(folder: Path) -> int:
    content = json.loads((folder / "ledger.json").read_text())["ledger"]
    return next(iter(content["replies"].values()))["clinic"]


def test_a_killed_invitation_does_not_reopen_an_answered_one(begun, tmp_path, monkeypatch):
    with monkeypatch.context() as off:
        off.setattr(private, "keeping_plan", as_it_was)
        assert killed_while_inviting(begun, tmp_path, monkeypatch) == 1, "6 people answered twice, charged 7"
    for name in ("ledger.json", "ledger.json.lock"):
        (tmp_path / name).unlink()
    with pytest.raises(ArtefactError, match="holds no plan of an invitation"):
        killed_while_inviting(begun, tmp_path, monkeypatch)


@contextlib.contextmanager
def as_it_was(plan, token, match, private):
    """The plan first, and then what belongs to it."""
    with keeping_plan(plan, token, match, private):
        pass
    yield


def test_what_was_accepted_is_not_replaced_and_what_was_begun_goes_on(begun, tmp_path, monkeypatch):
    """A second call encrypted anew under another key before it met the first one's key file: the first could not be opened."""
    study, _, key, answer = begun()

    def accept(**given):
        return steps.accept(tmp_path / "invitation", study.reader, tmp_path / "s", **given)

    with pytest.raises(StorageError, match="is not overwritten"):
        accept()
    b, manifest = tmp_path / "s.publickey" / "b.npy", tmp_path / "s.publickey" / "manifest.json"
    sent = b.read_bytes()
    manifest.unlink()  # killed before it was written
    accept(key=key)
    assert b.read_bytes() == sent, "two keys of one nonce: their difference is that of errors"
    reply(*answer)
    (tmp_path / "s.publickey").rename(tmp_path / "sent")  # moved to the model owner, not copied
    with pytest.raises(StorageError, match="is not overwritten"):
        accept(key=key)
    with monkeypatch.context() as off:
        off.setattr(steps, "accepted", lambda prefix: False)
        accept()  # under a fresh key
    with pytest.raises(ArtefactError, match="belongs to another key"):
        open_scores_for(
            messages.read_invitation(tmp_path / "invitation"), tmp_path / "r", key, tmp_path / "s.owner", study.reader
        )


def test_a_plan_without_second_copies_leaves_none_of_an_earlier_one(small, additive, tmp_path):
    inputs = [ScoreInputs((c.score,), imputation="none") for c in (small, additive)]
    for c, given in zip((small, additive), inputs, strict=True):
        study = open_scores(Inputs(c.bfile), given)
        one = study.reader.select(samples=np.array([0]))
        messages.write_request(messages.make_request(one, "none"), tmp_path / "request")
        invite(tmp_path / "request", given, PrivacyRules(tmp_path / "ledger.json", "c"), tmp_path / "i", tmp_path / "p")
        assert (kept_plan(tmp_path / "p").second_weight is None) == (c is additive)


def test_replies_are_opened_for_the_people_that_were_encrypted(begun, tmp_path, monkeypatch):
    study, invitation, key, answer = begun()
    reply(*answer)
    other = study.reader.select(samples=np.arange(len(study.reader.samples))[::-1])
    with pytest.raises(ArtefactError, match="holds other people than these"):
        open_scores_for(invitation, tmp_path / "r", key, tmp_path / "s.owner", other)
    monkeypatch.setattr(CohortInfo, "same_people", lambda *_: True)
    table = open_scores_for(invitation, tmp_path / "r", key, tmp_path / "s.owner", other)
    assert np.array_equal(table.total, release(plain_scores(study.reader, study.plan)).total), (
        "each under another's name"
    )
