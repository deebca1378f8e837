"""A policy's ledger remembers the registers of consent: leaving one out, or deleting what remembered it, brings nobody back."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import securegen as sg
from securegen.errors import PolicyError, StorageError, UsageError
from securegen.governance import consent_steps, registers
from securegen.governance.gate import LEDGER
from securegen.governance.ledger_file import open_ledger

FEW = {"chr": "1", "to_bp": 40_000, "purpose": "HMB"}
LEAVING = [f"F{n} I{n}" for n in range(20, 45)]  # enough that another table may be released


@pytest.fixture
def consented(ruled):
    """A policy, and a register in which everybody allows all research."""
    ruled.write(budgets__releases_per_day=50)
    fam = [line.split()[:2] for line in Path(f"{ruled.cohort.bfile}.fam").read_text().splitlines()]
    table = ruled.folder / "consents.tsv"
    table.write_text("FID\tIID\tDUO\tDATE\n" + "".join(f"{f}\t{i}\tGRU\t2025-01-01\n" for f, i in fam))
    register = ruled.folder / "register.tsv"
    sg.consent.import_table(register, table)
    return ruled, register


def leave(ruled, register):
    path = ruled.folder / "leaving.txt"
    path.write_text("\n".join(LEAVING) + "\n")
    sg.consent.withdraw(register, path)


def forgetful(monkeypatch):
    monkeypatch.setattr(registers, "remember", lambda ledger, asked: None)


@pytest.mark.parametrize("protected", [True, False])
def test_who_withdrew_is_in_no_table_of_a_run_that_names_no_register(consented, monkeypatch, protected):
    ruled, register = consented
    if not protected:
        forgetful(monkeypatch)
    sg.run(ruled.study(consent=str(register), **FEW))
    leave(ruled, register)
    if not protected:
        assert sg.run(ruled.study(**FEW))["QT"] is not None
        return
    with pytest.raises(PolicyError, match="consent.withdrawn: some of these people"):
        sg.run(ruled.study(**FEW))
    with pytest.raises(PolicyError) as found:  # they are left out; another rule finds the columns of before
        sg.run(ruled.study(consent=str(register), **FEW))
    assert "consent.withdrawn" not in str(found.value)


@pytest.mark.parametrize("protected", [True, False])
def test_an_owners_folder_that_is_made_again_does_not_forget_it(consented, monkeypatch, protected):
    ruled, register = consented
    if not protected:
        forgetful(monkeypatch)
    study = ruled.study(consent=str(register), **FEW)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    sg.ckks.encrypt(study, key, ruled.folder / "e")  # nothing is released yet
    leave(ruled, register)
    for end in ("owner", "cohort", "design"):
        shutil.rmtree(ruled.folder / f"e.{end}")
    made = sg.ckks.encrypt(ruled.study(**FEW), key, ruled.folder / "e")
    results = sg.ckks.associate(made.cohort, made.design, ruled.folder / "results")
    asking = sg.Asking(policy=ruled.policy, purpose="HMB")
    if not protected:
        assert len(sg.ckks.decrypt(results, key, made.owner, asking=asking))
        return
    with pytest.raises(PolicyError, match="consent.withdrawn"):
        sg.ckks.decrypt(results, key, made.owner, asking=asking)


def test_a_register_that_is_gone_is_refused(consented):
    ruled, register = consented
    sg.run(ruled.study(consent=str(register), **FEW))
    register.unlink()
    with pytest.raises(StorageError, match="register"):
        sg.run(ruled.study(**FEW))


def test_the_ledger_keeps_paths_and_old_ledgers_have_none(consented):
    ruled, register = consented
    path = ruled.folder / LEDGER
    with open_ledger(path, audited=False) as ledger:
        assert ledger.registers == []
    sg.run(ruled.study(consent=str(register), **FEW))
    with open_ledger(path, audited=False) as ledger:
        assert ledger.registers == [str(register)]


def kept_elsewhere(ruled, folder: Path) -> tuple[Path, Path]:
    """A register away from the policy's log, and the table of which it is made."""
    register, table = folder / "kept" / "register.tsv", ruled.folder / "consents.tsv"
    register.parent.mkdir()
    sg.consent.import_table(register, table)
    return register, table


@pytest.mark.parametrize("protected", [True, False])
def test_another_register_in_its_place_is_refused(consented, monkeypatch, tmp_path, protected):
    """Made anew of the same consents, away from the policy's log: nobody in it withdrew."""
    ruled, before = consented
    register, table = kept_elsewhere(ruled, tmp_path)
    if not protected:
        monkeypatch.setattr(consent_steps, "witness_of", lambda register, lines=None: (0, ""))
    everybody = sg.run(ruled.study(consent=str(register), **FEW))["QT"]
    leave(ruled, register)
    for file in register.parent.iterdir():
        file.unlink()
    sg.consent.import_table(register, table)
    if protected:
        with pytest.raises(PolicyError, match=r"consent\.register: .* is an older one, or another"):
            sg.run(ruled.study(consent=str(register), **FEW))
        with pytest.raises(PolicyError, match=r"consent\.register"):
            sg.run(ruled.study(consent=str(before), **FEW))  # whichever is named
    else:
        again = sg.run(ruled.study(consent=str(register), **FEW))["QT"]
        assert (again["OBS_CT"] == everybody["OBS_CT"]).all()  # those who left are in it


@pytest.mark.parametrize("protected", [True, False])
def test_encrypting_does_not_make_another_register_known(consented, monkeypatch, tmp_path, protected):
    """It enters people and registers, and asks for no decision."""
    ruled, _ = consented
    register, table = kept_elsewhere(ruled, tmp_path)
    study = ruled.study(consent=str(register), **FEW)
    sg.run(study)
    key = sg.ckks.generate_key(sg.ckks.plan(study))
    leave(ruled, register)
    for file in register.parent.iterdir():
        file.unlink()
    sg.consent.import_table(register, table)
    if not protected:
        witness = consent_steps.witness
        monkeypatch.setattr(consent_steps, "witness", lambda register, known: witness(register, None))
    sg.ckks.encrypt(ruled.study(consent=str(register), **FEW), key, ruled.folder / "e")
    if protected:
        with pytest.raises(PolicyError, match=r"consent\.register: .* is an older one, or another"):
            sg.run(ruled.study(consent=str(register), **FEW))
    else:
        assert len(sg.run(ruled.study(consent=str(register), **FEW))["QT"])


@pytest.mark.parametrize("early", [True, False])
def test_a_path_that_a_ledger_cannot_hold_is_refused_and_the_ledger_stays(consented, monkeypatch, tmp_path, early):
    ruled, _ = consented
    register = tmp_path / "a\u00a0folder" / "register.tsv"
    register.parent.mkdir()
    sg.consent.import_table(register, ruled.folder / "consents.tsv")
    if not early:  # whatever else is entered that is not read again
        monkeypatch.setattr(registers, "reasons", lambda *_: ())
    error, told = (UsageError, "not printable") if early else (StorageError, "stays as it was: .*registers")
    with pytest.raises(error, match=told):
        sg.run(ruled.study(consent=str(register), **FEW))
    monkeypatch.undo()
    assert len(sg.run(ruled.study(**FEW))["QT"])
