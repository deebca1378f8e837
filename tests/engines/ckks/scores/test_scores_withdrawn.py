"""Encrypted scores of people one of whom withdrew since are not opened, and leave again only when enough have left."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import write_tsv

import securegen as sg
from securegen.engines.ckks.scores import public, steps
from securegen.errors import PolicyError, StorageError
from securegen.governance.gate import Asking
from securegen.scores.study import ScoreInputs, open_scores


def test_scores_are_not_decrypted_after_a_withdrawal(small, tmp_path, monkeypatch):
    people = [line.split()[:2] for line in Path(f"{small.bfile}.fam").read_text().splitlines()]
    consents = [(*ids, "HMB", "2025-01-01") for ids in people]
    register = tmp_path / "register.tsv"
    sg.consent.import_table(register, write_tsv(tmp_path / "consents.tsv", ("FID", "IID", "DUO", "DATE"), consents))
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
    assert decrypt() == len(people)  # the attack
