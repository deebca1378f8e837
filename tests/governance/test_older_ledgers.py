"""Ledgers of an earlier day are refused by name, alone and with their locks; a kill between two writes stops nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.mpc.state_file import StateFile
from securegen.errors import PolicyError, StorageError
from securegen.governance import audit_release, consent, consent_file, ledger_file, ledger_place
from securegen.governance import consent_steps as steps
from securegen.governance.door import ASSOCIATION, OutputFacts
from securegen.governance.gate import LEDGER, Asking, gate_of
from securegen.governance.history import PeopleFacts
from securegen.model import Samples

PEOPLE = 60
IDS = np.array([f"I{i}" for i in range(PEOPLE)], object)
ALL = Samples(IDS, IDS, np.ones(PEOPLE, bool))
EVERYBODY = np.ones(PEOPLE, bool)
WITHOUT = np.arange(PEOPLE) != 7


def kept(folder: Path, pattern: str) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(pattern)}


def bring_back(files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        path.touch(mode=0o600)
        path.write_bytes(content)


@pytest.fixture
def register(tmp_path) -> Path:
    rows = ["FID\tIID\tDUO\tDATE", *(f"{i}\t{i}\tHMB\t2025-01-01" for i in IDS)]
    (tmp_path / "consents.tsv").write_text("\n".join(rows) + "\n")
    path = tmp_path / "register.tsv"
    steps.import_table(path, tmp_path / "consents.tsv")
    return path


def leave(register: Path) -> None:
    (register.parent / "leaving.txt").write_text("I7 I7\n")
    steps.withdraw(register, register.parent / "leaving.txt")


def claim(register: Path, people: np.ndarray = EVERYBODY, what: str = "QT linear ") -> None:
    steps.claim(register, ALL, [(what, people)], "HMB", "run")


def test_an_older_ledger_would_release_the_person_who_left(register, monkeypatch):
    before = kept(register.parent, "register.tsv.ledger*")
    claim(register)
    leave(register)
    now = kept(register.parent, "register.tsv.ledger*")
    bring_back({Path(f"{register}.ledger"): before[Path(f"{register}.ledger")]})
    with pytest.raises(StorageError, match="older than the mark"):
        claim(register, WITHOUT)
    bring_back(before)  # with its lock
    for use in (lambda: claim(register, WITHOUT), lambda: steps.listing(register), lambda: leave(register)):
        with pytest.raises(StorageError, match="older ledger.* names 1 releases"):
            use()
    with monkeypatch.context() as off:
        off.setattr(consent.Register, "forgotten", lambda register: None)
        claim(register, WITHOUT)  # the attack
    bring_back(now)
    Path(f"{register}.ledger.lock").unlink()
    with pytest.raises(StorageError):  # the register remembers more lines than the attack's
        bring_back(before)
        claim(register, WITHOUT)


def test_a_ledger_of_other_releases_is_not_the_one_of_the_register(register):
    """Two copies that went apart have as many releases each."""
    before = kept(register.parent, "register.tsv*")
    claim(register, what="other linear ")
    other = kept(register.parent, "register.tsv.ledger*")
    bring_back(before)
    claim(register)
    leave(register)
    bring_back(other)
    with pytest.raises(StorageError, match="older"):
        claim(register, WITHOUT)


@pytest.mark.parametrize("change", [claim, leave], ids=["release", "withdrawal"])
@pytest.mark.parametrize("last", range(1, 4))
def test_killed_after_any_write_the_next_run_goes_on(change: Callable, last: int, register, monkeypatch):
    """Killed before the register, a release was not given; from then on the rule holds."""
    monkeypatch.setattr(steps, "_refuse_gone", lambda *_: None)  # the other rule: who left is in no release
    with monkeypatch.context() as dying:
        writes = iter(range(last))
        for module, name in ((ledger_file, "write_bytes"), (ledger_file, "raise_mark"), (consent_file, "write_text")):
            real = getattr(module, name)

            def write(*given, real=real, **more):
                if next(writes, None) is None:
                    raise KeyboardInterrupt
                return real(*given, **more)

            dying.setattr(module, name, write)
        with pytest.raises(KeyboardInterrupt):
            change(register)
            change(register, WITHOUT) if change is claim else claim(register)
    claim(register)
    leave(register)
    with pytest.raises(PolicyError, match=r"consent.release"):
        claim(register, WITHOUT)
    files = kept(register.parent, "register.tsv*")
    assert steps.listing(register).people["withdraw"] == 1 and kept(register.parent, "register.tsv*") == files


def test_a_register_from_before_releases_were_bound_goes_on(register, monkeypatch):
    with monkeypatch.context() as earlier:
        earlier.setattr(consent.Register, "bind", lambda register, now: None)
        claim(register)
    leave(register)
    with pytest.raises(PolicyError, match=r"consent.release"):
        claim(register, WITHOUT)
    assert register.read_text().count("\trelease\t") == 1


def test_an_older_policy_ledger_would_forget_who_was_released(ruled, monkeypatch):
    ruled.write()

    def ask(name: str, people: np.ndarray) -> None:
        gate = gate_of("plain", Asking(purpose="HMB"), [ruled.cohort.bfile], log=lambda line: None)
        facts = PeopleFacts(ALL, ((name, "", people),), (people[:, None].astype(np.int64),))
        output = OutputFacts(ASSOCIATION, name, int(people.sum()), 10, columns=1, minor=30)
        gate.of(facts, {"bed": "ab" * 32, "pheno": name}).release([output])

    others = np.arange(PEOPLE) >= 20
    ask("first", others)
    before = kept(ruled.folder, f"{LEDGER}*")
    ask("second", EVERYBODY)
    with pytest.raises(PolicyError, match="differ"):
        ask("third", WITHOUT)
    bring_back({ruled.folder / LEDGER: before[ruled.folder / LEDGER]})
    with pytest.raises(StorageError, match="older than the mark"):
        ask("third", WITHOUT)
    bring_back(before)
    with pytest.raises(StorageError, match="older one.* names 2 releases, 1 are in it"):
        ask("third", WITHOUT)
    for path in before:
        path.unlink()
    with pytest.raises(StorageError, match="older one.* names 2 releases, 0 are in it"):
        ask("third", WITHOUT)
    bring_back(before)
    monkeypatch.setattr(audit_release, "refuse_older", lambda ledger, entries: None)
    monkeypatch.setattr(ledger_place, "settle", lambda entries, path, policy: None)
    ask("third", WITHOUT)  # the attack


def test_an_older_state_of_an_owner_would_use_a_mask_twice(tmp_path):
    state = StateFile(tmp_path / "state.json")
    state.claim("phenotypes/a", "ab" * 32)
    before = kept(tmp_path, "state.json")
    state.claim("phenotypes/b", "ab" * 32)
    state.spend("columns", 5, limit=5)
    bring_back(before)
    with pytest.raises(StorageError, match="older than the mark"):
        state.claim("phenotypes/b", "cd" * 32)
    (tmp_path / "state.json.lock").unlink()
    state.claim("phenotypes/b", "cd" * 32)  # the attack
    assert state.spend("columns", 5, limit=5) == 5


def test_the_same_mark_keeps_the_ledger_of_every_engine(tmp_path):
    with ledger_file.open_ledger(tmp_path / "ledger") as ledger:
        ledger.add_set("one", ledger.rows(ALL), EVERYBODY)
    before = kept(tmp_path, "ledger")
    with ledger_file.open_ledger(tmp_path / "ledger") as ledger:
        ledger.add_set("two", ledger.rows(ALL), WITHOUT)
    bring_back(before)
    with pytest.raises(StorageError, match="older than the mark"), ledger_file.open_ledger(tmp_path / "ledger"):
        pass
    for path in (*before, tmp_path / "ledger.key"):
        path.unlink()
    with pytest.raises(StorageError, match="are gone"), ledger_file.open_ledger(tmp_path / "ledger"):
        pass
