"""A second signature on scores lets these scores through, and no other model of the same name and as many people."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
from support import write_tsv

import securegen as sg
from securegen.engines.ckks.scores import public, steps
from securegen.engines.governed import gate_of_study
from securegen.engines.sets import gate_of_sets
from securegen.errors import PolicyError
from securegen.governance.gate import Asking, gate_of

ANSWERS = {"imputation": "none", "allow_small_score": "SCORE1"}


def models(ruled):
    """Two scoring files of one name, in folders of their own."""
    variants = sg.read_plink(ruled.cohort.bfile).variants
    for n, step in ((0, 7), (1, 9)):
        rows = [(variants.id[i], variants.effect_allele[i], f"{1 + i / 7:.4f}") for i in range(5, 200, step)]
        (ruled.folder / f"m{n}").mkdir()
        path = write_tsv(ruled.folder / f"m{n}" / "s.tsv", ("ID", "A1", "BETA"), rows)
        yield sg.scores.open(bfile=ruled.cohort.bfile, score=str(path), purpose="HMB", **ANSWERS)


def request_of(refused) -> str:
    return re.search("none on request ([0-9a-f]{64})", str(refused.value))[1]


@pytest.fixture
def signed(ruled):
    ruled.write(second_signature__for=["scores"], tiers__analyst__granularity="record")
    return ruled


@pytest.mark.parametrize("protected", [True, False])
def test_another_public_model_is_another_request(signed, monkeypatch, protected):
    if not protected:
        monkeypatch.setattr(public, "replace", lambda gate, **_: gate)
    asked = []
    for n, study in enumerate(models(signed)):
        key, prefix = steps.generate_key(study), signed.folder / f"own{n}"
        sent = steps.encrypt(study, key, prefix)
        results = steps.score(sent.cohort, sent.model, f"{prefix}.results")
        for digits in (6, 12):
            gate = steps.gate_of_key(key, sent.owner, Asking(purpose="HMB"), digits=digits)
            with pytest.raises(PolicyError) as refused:
                steps.decrypt(results, key, sent.owner, gate=gate)
            asked.append(request_of(refused))
    assert len(set(asked)) == (4 if protected else 1)


@pytest.mark.parametrize("protected", [True, False])
def test_another_invitation_is_another_request(signed, monkeypatch, protected):
    """One key and one encryption: whoever opens replies to another invitation opens another model's."""
    if not protected:
        monkeypatch.setattr(steps, "for_invitation", lambda gate, _: gate)
    asked = []
    for n, study in enumerate(models(signed)):
        steps.request(study.reader, signed.folder / f"r{n}", imputation="none")
        rules = sg.scores.PrivacyRules(signed.folder / f"l{n}", "hospital", ("SCORE1",), 100_000)
        steps.invite(signed.folder / f"r{n}", study.inputs, rules, signed.folder / f"i{n}", signed.folder / f"p{n}")
        if not n:
            key = steps.accept(signed.folder / "i0", study.reader, signed.folder / "own")
        gate = steps.gate_of_key(key, signed.folder / "own.owner", Asking(purpose="HMB"))
        with pytest.raises(PolicyError) as refused:
            steps.open_replies(
                signed.folder / f"i{n}", "nowhere", key, signed.folder / "own.owner", study.reader, gate=gate
            )
        asked.append(request_of(refused))
    assert len(set(asked)) == (2 if protected else 1)


@pytest.mark.parametrize("protected", [True, False])
def test_masks_elsewhere_remember_the_policy_of_the_genotypes(ruled, tmp_path, monkeypatch, protected):
    """No policy stands beside the masks of these scores, which the policy's analysts may not have."""
    monkeypatch.setattr("securegen.io.envelope.COST", {"n": 1 << 10, "r": 8, "p": 1})
    ruled.write()
    study, word = next(models(ruled)), {"passphrase": b"correct horse battery staple"}
    names = ("request", "nonce", "offer", "kept", "in", "masks", "out", "ledger")
    at = {name: tmp_path / "elsewhere" / name for name in names}
    (tmp_path / "elsewhere").mkdir()
    rules = sg.scores.PrivacyRules(at["ledger"], "hospital", ("SCORE1",), 100_000)
    steps.request(study.reader, at["request"], imputation="none")
    steps.challenge(at["nonce"])
    steps.offer(at["request"], at["nonce"], study.inputs, rules, at["offer"], at["kept"], **word)
    steps.blind(at["offer"], at["nonce"], study.reader, at["in"], at["masks"], inputs=study.genotypes)
    steps.answer(at["in"], at["kept"], study.inputs, rules, at["out"], **word)
    opening = (at["out"], at["offer"], at["masks"], study.reader)
    if not protected:
        monkeypatch.setattr(steps.vendor_model, "pin_of", lambda _: None)
        assert len(steps.unmask(*opening).total) == 90
        return
    free = gate_of("vendor-key", Asking(), [at["masks"]])
    for gate in (None, free):
        with pytest.raises(PolicyError, match=r"policy\.file: these masks .*governed by a policy"):
            steps.unmask(*opening, gate=gate)
    with pytest.raises(PolicyError, match=r"policy\.granularity"):
        steps.unmask(*opening, inputs=study.genotypes)
    ruled.write(version=2, tiers__analyst__granularity="record")
    assert len(steps.unmask(*opening, inputs=study.genotypes).total) == 90


def test_set_tests_by_another_option_are_another_request(ruled, monkeypatch):
    ruled.write()
    study = ruled.study(purpose="HMB", chr="1", to_bp=40_000)
    made = []
    for inputs in (study.inputs, sg.Inputs(**{**vars(study.inputs), "bits": 20})):
        sets = SimpleNamespace(reader=study.reader, strata=study.strata, table=study.reader.variants, tests={"skat"},
                               analyses=study.analyses, chosen=[0, 1])  # fmt: skip
        made.append(gate_of_sets(gate_of_study("plain", study), SimpleNamespace(sets=sets, inputs=inputs)).inputs)
    assert made[0] != made[1] and made[0].keys() == made[1].keys()
