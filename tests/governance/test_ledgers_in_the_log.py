"""Ledgers that come back with their locks: the audit log of the policy names how far each was, whatever keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import securegen as sg
from securegen.engines.mpc.state_file import StateFile
from securegen.errors import InputError, StorageError
from securegen.governance import audit_ledger, consent_steps, ledger_file
from securegen.governance.label_noise import LabelNoise
from securegen.governance.noise_store import has_draws, open_draws
from securegen.model import Samples
from securegen.scores.ledger import Asked, Ledger

PEOPLE = 60
IDS = np.array([f"I{i}" for i in range(PEOPLE)], object)
ALL = Samples(IDS, IDS, np.ones(PEOPLE, bool))


def of_a_site(folder: Path, number: int, **more: object) -> None:
    with ledger_file.open_ledger(folder / "ledger", **more) as ledger:
        people = np.arange(PEOPLE) % 2 == number % 2
        ledger.sets.append((f"set {number}", people[ledger.rows(ALL)]))


def of_a_party(folder: Path, number: int) -> None:
    state = StateFile(folder / "state.json")
    state.mask_key("cohort", "block", "ab" * 32)  # which no log is told
    state.spend("columns of cohort", number, limit=100)


def of_a_model(folder: Path, number: int) -> None:
    asked = Asked(f"{number:064x}", f"{number:064x}", "score", 3, 100, None)
    Ledger(folder / "replies.json").reserve(f"{number:032x}", "clinic", [asked])


def of_noise(folder: Path, number: int) -> None:
    with open_draws(folder) as entries:
        chosen = np.ones(PEOPLE, bool)
        noise = LabelNoise(0.01)
        entries.draw(f"T{number}", entries.places(ALL, chosen), np.ones(PEOPLE), noise, binary=True)


def of_consent(folder: Path, number: int) -> None:
    table = folder / "consents.tsv"
    table.write_text(f"FID\tIID\tDUO\tDATE\nF\tP{number}\tHMB\t2025-01-01\n")
    consent_steps.import_table(folder / "register.tsv", table)


LEDGERS = {
    of_a_site: "ledger*", of_a_party: "state.json*", of_a_model: "replies.json*", of_noise: "noise.draws*",
    of_consent: "register.tsv*",
}  # fmt: skip


def kept(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def bring_back(folder: Path, pattern: str, files: dict[Path, bytes]) -> None:
    for path in kept(folder, pattern):
        path.unlink()
    for path, content in files.items():
        path.touch(mode=0o600)
        path.write_bytes(content)


@pytest.mark.parametrize("change", LEDGERS, ids=lambda f: f.__name__)
def test_a_ledger_that_came_back_with_its_lock_is_refused(change: Callable, ruled, monkeypatch):
    ruled.write()
    folder, pattern = ruled.folder, LEDGERS[change]
    change(folder, 1)
    before = kept(folder, pattern)
    change(folder, 2)
    for files in (before, {}):  # an older one, and none
        bring_back(folder, pattern, files)
        with pytest.raises((StorageError, InputError), match="an older one, or another: entry .* names"):
            change(folder, 3)
    assert sg.audit.verify(folder).checkpoint.size > 1
    bring_back(folder, pattern, before)
    monkeypatch.setattr(audit_ledger, "refuse_older", lambda *_, **__: None)
    change(folder, 3)  # the attack: what was counted since is forgotten


@pytest.mark.parametrize("change", LEDGERS, ids=lambda f: f.__name__)
def test_another_ledger_of_as_many_changes_is_not_that_one(change: Callable, ruled):
    """Two copies went apart, of which the log knows one."""
    ruled.write()
    folder, pattern = ruled.folder, LEDGERS[change]
    change(folder, 1)
    before, log = kept(folder, pattern), folder / "audit"
    hidden = {name: folder / name for name in ("audit", "audit.secret", "policy.toml", "policy.toml.sig")}
    for path in hidden.values():
        path.rename(folder / "keys" / path.name)
    change(folder, 2)
    other = kept(folder, pattern)
    bring_back(folder, pattern, before)
    for path in hidden.values():
        (folder / "keys" / path.name).rename(path)
    change(folder, 4)
    bring_back(folder, pattern, other)
    with pytest.raises((StorageError, InputError), match="an older one, or another"):
        change(folder, 5)
    assert log.is_dir()


@pytest.mark.parametrize("change", LEDGERS, ids=lambda f: f.__name__)
def test_killed_before_the_log_is_told_the_ledger_is_ahead_and_goes_on(change: Callable, ruled, monkeypatch):
    ruled.write()
    change(ruled.folder, 1)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(audit_ledger, "tell", killed)
        with pytest.raises(KeyboardInterrupt):
            change(ruled.folder, 2)
    change(ruled.folder, 3)


def test_a_policy_that_stands_elsewhere_knows_the_ledger_too(ruled, tmp_path):
    """As a site's, whose policy is beside its genotypes and whose ledger is in its private folder."""
    ruled.write()
    private, policies = tmp_path / "private", (ruled.folder,)
    of_a_site(private, 1, policies=policies)
    before = kept(private, "ledger*")
    of_a_site(private, 2, policies=policies)
    bring_back(private, "ledger*", before)
    with pytest.raises(StorageError, match="an older one"):
        of_a_site(private, 3, policies=policies)
    of_a_site(private, 3)  # nothing governs it: the lock alone


def test_draws_of_noise_that_were_taken_away_are_missed(ruled):
    """Without their files exact statistics would leave, and fresh draws of the same values."""
    ruled.write(noise__epsilon=2.0)
    asked = {"purpose": "HMB", "chr": "1", "to_bp": 40_000}
    ruled.study("CC", dp_epsilon=1.0, **asked)
    bring_back(ruled.folder, "noise.draws*", {})
    assert has_draws(ruled.folder)
    for more in ({}, {"dp_epsilon": 1.0}):
        with pytest.raises(StorageError, match="the store of noise .* names . changes, 0 are in it"):
            ruled.study("CC", **asked, **more)
