"""Encrypted scores of people one of whom withdrew since are not opened, and leave again only when enough have left."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support import write_tsv

import securegen as sg
from securegen.engines.ckks.scores import messages, public, steps
from securegen.engines.ckks.scores.promises import PrivacyRules
from securegen.errors import PolicyError, StorageError
from securegen.governance import consent_steps
from securegen.governance.gate import Asking
from securegen.scores.study import ScoreInputs, open_scores
from securegen.study.inputs import Inputs


def consenting(cohort, folder: Path) -> tuple[list[list[str]], Path]:
    """Everybody's ids, and a register in which all consent."""
    people = [line.split()[:2] for line in Path(f"{cohort.bfile}.fam").read_text().splitlines()]
    consents = [(*ids, "HMB", "2025-01-01") for ids in people]
    register = folder / "register.tsv"
    sg.consent.import_table(register, write_tsv(folder / "consents.tsv", ("FID", "IID", "DUO", "DATE"), consents))
    return people, register


def test_scores_are_not_decrypted_after_a_withdrawal(small, tmp_path, monkeypatch):
    people, register = consenting(small, tmp_path)
    bim = [line.split() for line in Path(f"{small.bfile}.bim").read_text().splitlines()[3:40]]
    score = write_tsv(
        tmp_path / "score.tsv", ("ID", "A1", "w"), [(b[1], b[4], round(0.1 + i / 97, 3)) for i, b in enumerate(bim)]
    )
    inputs = sg.Inputs(bfile=small.bfile, purpose="HMB", consent=str(register))
    study = open_scores(inputs, ScoreInputs((str(score),)), haploid=False)
    key = steps.generate_key(study)
    sent = steps.encrypt(study, key, tmp_path / "s")
    steps.score(sent.cohort, sent.model, tmp_path / "s.results")

    def decrypt() -> int:
        return len(public.decrypt_scores(tmp_path / "s.results", key, sent.owner)[0])

    assert decrypt() == decrypt() == len(people)
    assert any(what.startswith("rows of scores") for what, _ in sg.consent.listing(register).releases)
    sg.consent.withdraw(register, write_tsv(tmp_path / "leaving.txt", ("FID", "IID"), people[2:3]))
    with pytest.raises(PolicyError, match=r"consent.withdrawn: 1 of the people"):
        decrypt()
    register.rename(tmp_path / "moved.tsv")
    with pytest.raises(StorageError, match="is gone"):
        decrypt()
    (tmp_path / "moved.tsv").rename(register)
    monkeypatch.setattr(Asking, "refuse_withdrawn", lambda *_: None)
    monkeypatch.setattr(consent_steps, "_refuse_gone", lambda *_: None)
    assert decrypt() == len(people)  # the attack


@pytest.mark.parametrize("hidden", ["the scores", "the model"])
def test_answers_of_a_hidden_model_are_not_opened_after_a_withdrawal(additive, tmp_path, monkeypatch, hidden):
    """`prs-step open`, `prs-step unmask`: the answer came, and somebody withdrew before it was opened."""
    people, register = consenting(additive, tmp_path)
    asking = Asking(purpose="HMB", consent=str(register))
    at = {name: tmp_path / name for name in ("request", "offer", "kept", "in", "out")}
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    rules = PrivacyRules(tmp_path / "ledger.json", "clinic")
    messages.write_request(messages.make_request(study.reader, study.inputs.imputation), at["request"])
    if hidden == "the scores":
        steps.invite(at["request"], study.inputs, rules, at["offer"], at["kept"])
        key = steps.accept(at["offer"], study.reader, at["in"], asking=asking)
        steps.reply(f"{at['in']}.cohort", f"{at['in']}.publickey", at["kept"], study.inputs, rules, at["out"])
        opened = partial(steps.open_replies, at["offer"], at["out"], key, f"{at['in']}.owner", study.reader)
    else:
        monkeypatch.setattr("securegen.io.envelope.COST", {"n": 1 << 10, "r": 8, "p": 1})
        word = {"passphrase": b"correct horse battery staple"}
        steps.challenge(at["in"])
        steps.offer(at["request"], at["in"], study.inputs, rules, at["offer"], at["kept"], **word)
        steps.blind(at["offer"], at["in"], study.reader, at["out"], tmp_path / "masks", asking=asking)
        steps.answer(at["out"], at["kept"], study.inputs, rules, tmp_path / "rounded", **word)
        opened = partial(steps.unmask, tmp_path / "rounded", at["offer"], tmp_path / "masks", study.reader)
    assert len(opened().total) == len(people)
    sg.consent.withdraw(register, write_tsv(tmp_path / "leaving.txt", ("FID", "IID"), people[2:3]))
    with pytest.raises(PolicyError, match=r"consent.withdrawn: 1 of the people"):
        opened()
    monkeypatch.setattr(Asking, "refuse_withdrawn", lambda *_: None)
    monkeypatch.setattr(consent_steps, "_refuse_gone", lambda *_: None)
    assert len(opened().total) == len(people)  # the attack
