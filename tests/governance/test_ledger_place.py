"""A copy of a ledger has no budget of its own until the steward signs it over; with that off, two copies spend twice."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from policy_tools import Ruled
from support import securegen

import securegen as sg
from securegen.errors import PolicyError, SecuregenError, StorageError
from securegen.governance import ledger_place
from securegen.governance.audit_beside import log_of
from securegen.governance.audit_verify import read_log
from securegen.governance.door import ASSOCIATION, OutputFacts
from securegen.governance.gate import LEDGER, Asking, gate_of
from securegen.governance.history import PeopleFacts
from securegen.governance.ledger_file import open_ledger
from securegen.governance.pin import LedgerPlace
from securegen.governance.signing import generate
from securegen.model import Samples

N = 60
IDS = np.array([f"I{i}" for i in range(N)], object)


def ask(folder: Path, seed: int) -> None:
    """Release a table of 4 columns of 60 people under the policy of a folder."""
    gate = gate_of("plain", Asking(purpose="HMB"), [folder / "policy.toml"], log=lambda line: None)
    everybody = (("QT", "", np.ones(N, bool)),)
    columns = (np.random.default_rng(seed).integers(1, 9, (N, 4)),)
    facts = PeopleFacts(Samples(IDS, IDS, np.ones(N, bool)), everybody, columns)
    gate.of(facts, {"bed": f"{seed:064x}"}).release([OutputFacts(ASSOCIATION, "QT", N, 10, columns=3, minor=30)])


@pytest.fixture
def used(ruled) -> Ruled:
    ruled.write()  # 0.16: 9 columns of 60 people
    ask(ruled.folder, 1)
    return ruled


def copied(used: Ruled, name: str) -> Path:
    shutil.copytree(used.folder, used.folder.parent / name)
    return used.folder.parent / name


def test_a_copy_is_refused_and_without_the_rule_spends_again(used, monkeypatch):
    copy = copied(used, "copy")
    with pytest.raises(
        StorageError, match=r"is a copy, or was brought back: .*policy sign policy.toml .*--ledger-here"
    ):
        ask(copy, 2)
    ask(used.folder, 2)
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        ask(used.folder, 3)
    monkeypatch.setattr(ledger_place, "settle", lambda entries, path, policy: None)
    ask(copy, 3)  # the attack: 12 columns of these people


def test_the_steward_signs_it_over_by_command_and_from_python(used):
    copy, key = copied(used, "moved"), used.key("steward")
    for other in ("anna", "stranger"):
        done = securegen("policy", "sign", copy / "policy.toml", "--key", used.key(other), "--ledger-here")
        assert done.code == 12 and "policy.steward" in done.err
    with pytest.raises(StorageError):
        ask(copy, 2)
    assert securegen("policy", "sign", copy / "policy.toml", "--key", key, "--ledger-here").code == 0
    ask(copy, 2)
    with pytest.raises(PolicyError, match=r"budget\.columns"):
        ask(copy, 3)  # what was spent before came along
    back = used.folder.parent / "back"
    shutil.copytree(copy, back)
    with pytest.raises(StorageError, match="is a copy"):
        ask(back, 2)
    sg.policy.sign(back / "policy.toml", key, ledger_here=True)
    ask(back, 2)
    last = [e for e in read_log(log_of(back / "policy.toml").folder).entries if e.kind == "ledger"]
    assert len(last) == 2 and last[-1].facts["changes"] > last[0].facts["changes"]


def test_a_folder_that_is_renamed_is_the_same_place_and_another_machine_is_not(used, tmp_path, monkeypatch):
    policy, renamed = used.write(), used.folder.parent / "renamed"
    os.rename(used.folder, renamed)
    ask(renamed, 2)
    machine, containers = tmp_path / "machine-id", tmp_path / "dockerenv"
    monkeypatch.setattr(ledger_place, "_MACHINE", machine)
    monkeypatch.setattr(ledger_place, "_CONTAINERS", (containers,))
    for nothing in (None, "", "uninitialized\n"):  # no machine that stays
        if nothing is not None:
            machine.write_text(nothing)
        ask(renamed, 2)
    with open_ledger(renamed / LEDGER, audited=False) as entries:
        machine.write_text("a" * 32 + "\n")
        entries.place = None
        ledger_place.settle(entries, renamed / LEDGER, policy)
        assert entries.place.machine and "a" * 32 not in str(entries.place)
    ask(renamed, 2)
    machine.write_text("b" * 32 + "\n")
    with pytest.raises(StorageError, match="another machine"):
        ask(renamed, 2)
    containers.touch()
    ask(renamed, 2)


def test_what_is_edited_or_signed_by_others_is_not_a_place(used):
    path, policy = used.folder / LEDGER, used.write()
    with open_ledger(path, audited=False) as entries:
        here = entries.place
        entries.place = LedgerPlace(here.file, here.machine, 1, "00" * 64)
    with pytest.raises(StorageError, match="another key than the steward's"):
        ask(used.folder, 1)
    with pytest.raises(PolicyError, match=r"policy\.steward"):
        ledger_place.sign_over(path, policy, generate())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b'"changes":1,', b'"changes":2,'))
    with pytest.raises(StorageError, match="altered"):
        ask(used.folder, 1)
    path.write_bytes(raw)
    sg.policy.sign(used.policy, used.key("steward"), ledger_here=True)
    ask(used.folder, 1)


def test_there_is_nothing_to_sign_over_before_the_first_release(ruled):
    ruled.write()
    with pytest.raises(SecuregenError, match="no ledger"):
        sg.policy.sign(ruled.policy, ruled.key("steward"), ledger_here=True)
