"""Noise and policies: no way round by command, from Python or by editing files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support import securegen

import securegen as sg
from securegen.design.columns import AppliedNoise
from securegen.engines.ckks.owner.design_secrets import save
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.tables import read_design
from securegen.errors import ArtefactError, PolicyError
from securegen.governance.gate import Asking
from securegen.governance.label_noise import RANDOMISED
from securegen.results import outputs
from securegen.structure import run
from securegen.structure.step1 import write_step1

FEW = {"chr": "1", "to_bp": 40_000}


def test_a_policy_bounds_noise_and_refuses_exact_statistics(ruled):
    """By command, from Python and by editing the policy."""
    ruled.write(noise__required=True, noise__epsilon=2.0)
    asked = {"purpose": "HMB", **FEW}
    words = ruled.words("--purpose", "HMB", "--quiet", "--out", ruled.folder / "o")
    done = securegen("gwas", *words)
    assert done.code == 12 and "policy.noise" in done.err and ruled.results("o") == []
    with pytest.raises(PolicyError, match=r"policy\.noise"):
        sg.run(ruled.study("CC", **asked))
    with pytest.raises(PolicyError, match=r"noise\.budget"):
        ruled.study("CC", **asked, dp_epsilon=2.5)
    assert securegen("gwas", *words, "--dp-epsilon", "1", "--dp-bounds", "0,60").code == 0
    said = json.loads((ruled.folder / "o.run.json").read_text())
    assert said["label_noise"]["epsilon"] == 1 and any("noise: each" in x for x in said["receipt"]["decisions"])
    ruled.policy.write_text(ruled.policy.read_text().replace("required = true", "required = false"))
    with pytest.raises(PolicyError):
        ruled.study("CC", **asked, dp_epsilon=1.0)


def test_noise_after_exact_statistics_is_refused(ruled):
    ruled.write(noise__epsilon=2.0)
    asked = {"purpose": "HMB", **FEW}
    sg.run(ruled.study("CC", **asked), out=str(ruled.folder / "exact"))
    with pytest.raises(PolicyError, match=r"noise\.exact: exact statistics of phenotype CC"):
        ruled.study("CC", **asked, dp_epsilon=1.0)


def test_a_whole_genome_model_is_a_statistic_of_its_phenotype(ruled, monkeypatch):
    """Its effects and predictions are of exact values: refused where noise is wanted, and remembered where noise comes later."""
    ruled.write(noise__required=True, noise__epsilon=2.0)
    c, owner = ruled.cohort, ruled.key("steward")
    inputs = sg.Inputs(bfile=c.bfile, pheno=c.pheno, pheno_name="QT", purpose="HMB", identity=owner, **FEW)
    with pytest.raises(PolicyError, match=r"policy\.noise"):
        write_step1(inputs, str(ruled.folder / "s"), write_score=True)
    assert ruled.results("s_pred") == []
    with monkeypatch.context() as off:
        off.setattr(run, "exact_reasons", lambda *_: ())  # the protection
        assert write_step1(inputs, str(ruled.folder / "s"), write_score=True).paths
    listed = str(ruled.folder / "s_pred.list")
    with pytest.raises(PolicyError, match=r"policy\.noise: predictions"):
        ruled.study("QT", purpose="HMB", **FEW, dp_epsilon=1.0, dp_bounds="0,60", pred=listed)
    with pytest.raises(PolicyError, match=r"noise\.exact: exact statistics of phenotype QT"):
        ruled.study("QT", purpose="HMB", **FEW, dp_epsilon=1.0, dp_bounds="0,60")


def test_inputs_that_claim_noise_do_not_make_exact_phenotypes_noisy(ruled, monkeypatch):
    """The claim opens the exact table where it is believed; the door asks what was built."""
    ungoverned = sg.run(ruled.study("CC", **FEW))["CC"]
    ruled.write(noise__required=True)
    exact = ruled.study("CC", purpose="HMB", **FEW)
    claims = replace(exact, inputs=replace(exact.inputs, dp_epsilon=1.0))
    with pytest.raises(PolicyError, match=r"policy\.noise"):
        sg.run(claims)
    assert all(a.noise is None for a in claims.analyses)
    monkeypatch.setattr(outputs, "noise_of_all", lambda _: AppliedNoise(claims.inputs.dp_epsilon, None, RANDOMISED))
    with pytest.raises(PolicyError, match=r"policy\.noise"):  # nor does a door believe it without the draws
        sg.run(claims)
    monkeypatch.setattr("securegen.governance.gate.believed", lambda outputs, *_: list(outputs))
    opened = sg.run(claims)["CC"]
    assert opened.equals(ungoverned)


def saying(study: sg.Study, noise: AppliedNoise) -> sg.Study:
    """A study whose analyses say that their phenotypes have noise."""
    strata = tuple(
        replace(s, design=replace(s.design, analyses=tuple(replace(a, noise=noise) for a in s.design.analyses)))
        for s in study.strata
    )
    return replace(study, strata=strata)


def test_noise_that_was_written_by_hand_is_not_believed(ruled, tmp_path, monkeypatch):
    """Made up; of the trait's own stored draws, on exact columns; of noisy columns with less ε than they have."""
    ungoverned = sg.run(ruled.study("CC", **FEW))["CC"]
    ruled.write(noise__required=True, noise__epsilon=4.0)
    asked = {"purpose": "HMB", **FEW}
    exact = ruled.study("CC", **asked)
    forged = [saying(exact, AppliedNoise(1.0, None, RANDOMISED))]
    noisy = ruled.study("CC", dp_epsilon=2.0, **asked)
    (real,) = {a.noise for a in noisy.analyses}
    forged += [replace(saying(exact, real), inputs=noisy.inputs), saying(noisy, replace(real, epsilon=1.0))]
    for study in forged:
        with pytest.raises(PolicyError, match=r"policy\.noise"):
            sg.run(study)
        key = sg.ckks.generate_key(sg.ckks.plan(study))
        with pytest.raises(PolicyError, match=r"noise\.exact: these columns were not built"):
            sg.ckks.encrypt(study, key, tmp_path / "e")
    monkeypatch.setattr("securegen.governance.gate.believed", lambda outputs, *_: list(outputs))
    assert sg.run(forged[0])["CC"].equals(ungoverned)  # the attack


def test_a_design_of_noisy_phenotypes_is_opened_and_says_so_in_the_owners_record(ruled):
    """Step by step: tables of both engines are of one stored draw; an exact design, or a record that was edited, is refused."""
    ruled.write(noise__required=True, noise__epsilon=2.0)
    study = ruled.study("CC", purpose="HMB", dp_epsilon=1.0, **FEW)
    key, e = sg.ckks.generate_key(sg.ckks.plan(study)), ruled.folder / "e"
    sg.ckks.encrypt(study, key, e)
    sg.ckks.associate(f"{e}.cohort", f"{e}.design", f"{e}.results")
    asking = Asking(ruled.policy, purpose="HMB")
    table = sg.ckks.decrypt(f"{e}.results", key, f"{e}.owner", asking=asking)
    assert table.equals(sg.run(study)["CC"])
    record = read_design(key, f"{e}.owner")
    assert [a.noise for a in record.analyses] == [AppliedNoise(1.0, None, RANDOMISED)]
    (box,) = Path(f"{e}.owner").glob("design-*.box")
    sealed = box.read_bytes()
    box.write_bytes(sealed[:-40] + bytes([sealed[-40] ^ 1]) + sealed[-39:])
    with pytest.raises(ArtefactError):
        sg.ckks.decrypt(f"{e}.results", key, f"{e}.owner", asking=asking)
    box.write_bytes(sealed)
    exact = [replace(s, design=replace(s.design, analyses=tuple(replace(a, noise=None) for a in s.design.analyses)))
             for s in record.strata]  # fmt: skip
    save(OwnerState(Path(f"{e}.owner"), key), replace(record, strata=tuple(exact)))  # as of phenotypes that were exact
    with pytest.raises(PolicyError, match=r"policy\.noise"):
        sg.ckks.decrypt(f"{e}.results", key, f"{e}.owner", asking=asking)
