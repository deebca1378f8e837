"""A cohort encrypted again without who withdrew: it is the cohort of the others, and nothing of before can be read any more."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from support import Cohort, register_of, withdraw, write_tsv

import securegen as sg
from securegen.engines.ckks.owner import asked as asked_of
from securegen.engines.ckks.owner.state import OwnerState
from securegen.errors import ArtefactError, DesignError, KeyFileError, PolicyError, StorageError

PEOPLE, GONE = 90, (7, 20)


@pytest.fixture
def register(tmp_path) -> Path:
    return register_of(tmp_path, dict.fromkeys(range(PEOPLE), "HMB"))


def study(small: Cohort, **more) -> sg.Study:
    return sg.open_study(
        small.bfile, pheno=small.pheno, pheno_name="QT", covar=small.covar, chr="1", to_bp=1200, **more
    )


def others(tmp_path: Path) -> Path:
    return write_tsv(
        tmp_path / "others.txt", ("FID", "IID"), [(f"F{i}", f"I{i}") for i in range(PEOPLE) if i not in GONE]
    )


def test_encrypted_again_it_is_the_cohort_of_the_others(small, register, tmp_path):
    """Table for table; and what was computed of the earlier one is refused before it is decrypted."""
    first = study(small, purpose="HMB", consent=register)
    old = sg.ckks.generate_key(sg.ckks.plan(first))
    made = sg.ckks.encrypt_cohort(first.reader, old, tmp_path / "study")
    sg.ckks.encrypt_design(study(small), old, made.owner, made.design)
    stale = sg.ckks.associate(made.cohort, made.design, tmp_path / "stale")
    withdraw(register, *GONE)
    later = study(small, purpose="HMB", consent=register)
    with pytest.raises(DesignError, match="planned for 90"):  # a key is for a number of people
        sg.ckks.encrypt_cohort(later.reader, old, tmp_path / "other")
    new = sg.ckks.generate_key(sg.ckks.plan(later))
    again = sg.ckks.encrypt(later, new, tmp_path / "study", overwrite=True)
    results = sg.ckks.associate(again.cohort, again.design, tmp_path / "results")
    fresh = study(small, keep=others(tmp_path))
    assert sg.ckks.decrypt(results, new, again.owner).equals(sg.run(fresh).frame)
    for key in (new, old):
        with pytest.raises((ArtefactError, KeyFileError)):
            sg.ckks.decrypt(stale, key, again.owner)
    state, told = OwnerState(again.owner, new), ""
    for box in again.owner.glob("*.box"):  # opened: three letters are anywhere in what is encrypted
        header, arrays = state.read(box.stem)
        told += json.dumps(header) + " ".join(str(v) for a in arrays.values() if a.dtype.kind == "U" for v in a.flat)
    assert "I21" in told and not any(name in told for name in ("I20", "F20"))


def test_results_of_who_withdrew_meanwhile_are_not_decrypted(small, register, tmp_path):
    """Between the steps of a deployment: the design was encrypted, the server has answered."""
    asked = study(small, purpose="HMB", consent=register)
    key = sg.ckks.generate_key(sg.ckks.plan(asked))
    made = sg.ckks.encrypt(asked, key, tmp_path / "study")
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    assert len(sg.ckks.decrypt(results, key, made.owner)) == 21
    withdraw(register, *GONE)
    with pytest.raises(PolicyError, match="consent.withdrawn: 2 of the people"):
        sg.ckks.decrypt(results, key, made.owner)
    with pytest.raises(PolicyError, match="consent.withdrawn"):
        sg.ckks.decrypt_qc(results, key, made.owner, str(tmp_path / "q"))
    (box,) = (b for b in made.owner.glob("asked-*.box") if (made.owner / b.name.replace("asked", "design")).exists())
    kept = box.read_bytes()
    box.unlink()  # which says for what it was encrypted
    with pytest.raises(ArtefactError, match="asked-"):
        sg.ckks.decrypt(results, key, made.owner)
    state, digest = OwnerState(made.owner, key), box.stem.removeprefix("asked-")
    asked_of.keep_asked_of(state, digest, sg.Asking(purpose="HMB", consent=register), np.ones(PEOPLE - 1, bool))
    with pytest.raises(ArtefactError, match="other people"):
        sg.ckks.decrypt(results, key, made.owner)
    box.write_bytes(kept)
    register.rename(tmp_path / "elsewhere.tsv")
    with pytest.raises(StorageError, match="register"):
        sg.ckks.decrypt(results, key, made.owner)


def test_a_design_without_a_purpose_is_held_against_what_the_folder_knows(small, register, tmp_path, monkeypatch):
    """The cohort was encrypted for a purpose, the design beside it for none."""
    asked, idle = study(small, purpose="HMB", consent=register), study(small)
    key = sg.ckks.generate_key(sg.ckks.plan(asked))
    made = sg.ckks.encrypt_cohort(asked.reader, key, tmp_path / "study", inputs=asked.inputs)
    sg.ckks.encrypt_design(idle, key, made.owner, made.design)
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    named = sg.Asking(purpose="HMB", consent=register)
    assert len(sg.ckks.decrypt(results, key, made.owner, asking=named)) == 21
    assert [" as design " in what for what, _ in sg.consent.listing(register).releases] == [True]
    withdraw(register, *GONE)
    for opening in ({}, {"asking": named}):
        with pytest.raises(PolicyError, match="consent.withdrawn: 2 of the"):
            sg.ckks.decrypt(results, key, made.owner, **opening)
    with pytest.raises(PolicyError, match="consent.withdrawn: 2 of these people withdrew"):
        sg.ckks.encrypt_design(idle, key, made.owner, tmp_path / "another")
    with monkeypatch.context() as patched:
        patched.setattr(asked_of, "refuse_left", lambda *_: None)
        assert len(sg.ckks.decrypt(results, key, made.owner)) == 21  # the attack
    assert sg.ckks.take_out_withdrawn(idle.reader, key, tmp_path / "study", register) == 2
    assert asked_of.registers_of(OwnerState(made.owner, key)) == [str(register)]  # of what is encrypted anew too
    with pytest.raises(
        ArtefactError, match="; 2 samples of these files were not encrypted: .*left out$"
    ):  # nor of an order
        sg.ckks.encrypt_design(idle, key, made.owner, tmp_path / "another")


@pytest.mark.parametrize("protected", [True, False])
def test_a_damaged_record_of_a_purpose_is_refused_and_not_forgotten(small, register, tmp_path, monkeypatch, protected):
    """A design had a purpose, the cohort none: without that record, whoever withdrew is in a design of none."""
    asked, idle = study(small, purpose="HMB", consent=register), study(small)
    key = sg.ckks.generate_key(sg.ckks.plan(idle))
    made = sg.ckks.encrypt_cohort(idle.reader, key, tmp_path / "study", inputs=idle.inputs)
    sg.ckks.encrypt_design(asked, key, made.owner, made.design)
    withdraw(register, GONE[0])
    (box,) = (b for b in made.owner.glob("asked-*.box") if (made.owner / b.name.replace("asked", "design")).exists())
    kept = box.read_bytes()
    for damage in (lambda: box.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1])), box.unlink):
        damage()
        if protected:
            with pytest.raises(ArtefactError, match="asked-"):
                sg.ckks.encrypt_design(idle, key, made.owner, tmp_path / "another")
    if protected:
        box.write_bytes(kept)
        with pytest.raises(PolicyError, match="consent.withdrawn: 1 of these people"):
            sg.ckks.encrypt_design(idle, key, made.owner, tmp_path / "another")
        return
    monkeypatch.setattr(asked_of, "_of_this_key", lambda _: (set(), set()))
    sg.ckks.encrypt_design(idle, key, made.owner, tmp_path / "another")


def test_people_taken_out_are_remembered_with_their_register(small, register, tmp_path):
    """Nothing named a purpose before the register was applied; who withdraws later is in no result either."""
    idle = study(small)
    key = sg.ckks.generate_key(sg.ckks.plan(idle))
    made = sg.ckks.encrypt_cohort(idle.reader, key, tmp_path / "study", inputs=idle.inputs)
    assert sg.ckks.take_out_withdrawn(idle.reader, key, tmp_path / "study", register) == 0
    sg.ckks.encrypt_design(idle, key, made.owner, made.design)
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "results")
    withdraw(register, GONE[0])
    with pytest.raises(PolicyError, match="consent.withdrawn: 1 of these people"):
        sg.ckks.decrypt(results, key, made.owner)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.iterdir())}


def test_with_the_same_seeds_it_is_the_same_bytes(small, register, tmp_path, monkeypatch):
    """Seeds come from the operating system, so that two encryptions never are the same bytes; here they are fixed."""
    withdraw(register, *GONE)
    readers = [study(small, purpose="HMB", consent=register).reader, study(small, keep=others(tmp_path)).reader]
    key = sg.ckks.generate_key(sg.ckks.plan(study(small, keep=others(tmp_path))))

    def made(reader, name: str, *, fixed: bool) -> dict[str, str]:
        with monkeypatch.context() as patched:
            if fixed:
                patched.setattr("securegen.kernels.threads.get_num_threads", lambda: 1)  # who draws first
                numbers = itertools.count()
                draw = lambda size=32: np.random.default_rng(next(numbers)).bytes(size)  # noqa: E731
                patched.setattr("secrets.token_bytes", draw)
            return digests(sg.ckks.encrypt_cohort(reader, key, tmp_path / name).cohort)

    assert made(readers[0], "a", fixed=True) == made(readers[1], "b", fixed=True)
    assert made(readers[0], "c", fixed=False) != made(readers[1], "d", fixed=False)
