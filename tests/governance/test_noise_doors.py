"""Noise and policies: no way round by command, from Python or by editing files."""

from __future__ import annotations

import json

import pytest
from support import securegen

import securegen as sg
from securegen.engines.ckks.tables import gate_of_results
from securegen.errors import PolicyError
from securegen.governance.gate import Asking

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
    sg.run(ruled.study("QT", purpose="HMB", dp_epsilon=1.0, dp_bounds="0,60", **FEW), "ckks")
    ruled.policy.write_text(ruled.policy.read_text().replace("required = true", "required = false"))
    with pytest.raises(PolicyError):
        ruled.study("CC", **asked, dp_epsilon=1.0)


def test_noise_after_exact_statistics_is_refused(ruled):
    ruled.write(noise__epsilon=2.0)
    asked = {"purpose": "HMB", **FEW}
    sg.run(ruled.study("CC", **asked), out=str(ruled.folder / "exact"))
    with pytest.raises(PolicyError, match=r"noise\.exact: exact statistics of phenotype CC"):
        ruled.study("CC", **asked, dp_epsilon=1.0)


def test_who_opens_a_design_cannot_say_that_it_has_noise(ruled):
    """Saying so would open exact tables where noise is required."""
    ruled.write(noise__required=True)
    study = ruled.study("CC", purpose="HMB", **FEW)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    sg.ckks.encrypt(study, key, ruled.folder / "e")
    gate = gate_of_results(key, ruled.folder / "e.owner", asking=Asking(ruled.policy, purpose="HMB", epsilon=1.0))
    assert gate.policy is not None and gate.asking.epsilon is None
