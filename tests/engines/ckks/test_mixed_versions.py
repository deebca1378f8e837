"""Nothing is made from, or read with, two versions of a cohort: encryptors, genotypes, checks, designs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from support import MemoryReader

import securegen as sg
from securegen.design.columns import Design
from securegen.design.strata import alone
from securegen.engines.ckks import artefact, cohort, steps, studydesign
from securegen.engines.ckks.owner import encrypt_design as encrypting
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.owner.asked import keep_asked_of
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encrypt_design import encrypt_design
from securegen.engines.ckks.owner.encryption import ENCRYPTORS
from securegen.engines.ckks.owner.state import OwnerState, read_info
from securegen.engines.ckks.planner import Plan, Workload, choose
from securegen.engines.ckks.scores.public import MODEL
from securegen.engines.ckks.server import associate
from securegen.errors import ArtefactError, StorageError, VerificationError
from securegen.governance.gate import Asking
from securegen.model import Columns

SAMPLES = 20
COLUMNS = Columns(("A", "B"), np.random.default_rng(4).integers(-99, 99, (SAMPLES, 2)), (False, True))


class Killed(BaseException):
    """The end of a process."""


@pytest.fixture(scope="module")
def key():
    return secret_key.generate(choose(Workload(SAMPLES, 4000, 2, 16, squares=True)).parameters)


@pytest.fixture
def reader(key):
    width = key.public.parameters.block_variants
    return MemoryReader(np.random.default_rng(1).integers(0, 3, (2 * width + 7, SAMPLES)).astype(np.int8))


def encrypt(reader, key, folder, *, encryptor="own", stop_after=None, squares=True):
    def progress(done: int, total: int) -> None:
        if done == stop_after:
            raise Killed

    state = OwnerState(folder / "owner", key)
    make = ENCRYPTORS[encryptor](key)
    info = encrypt_cohort(reader, key, folder / "cohort", state, encryptor=make, squares=squares, progress=progress)
    return state, info


def add_design(state, info, key, folder, encryptor="own", reader=None):
    make = ENCRYPTORS[encryptor](key)
    return encrypt_design(
        alone(Design(COLUMNS, ()), len(info.variants)), key, info, state, folder, encryptor=make, reader=reader,
        keep=lambda digest: keep_asked_of(state, digest, Asking(), np.ones(len(info.samples), bool)),
    )  # fmt: skip


def changed(reader: MemoryReader) -> MemoryReader:
    dosage = reader.dosage.copy()
    dosage[:, 0] = (dosage[:, 0] + 1) % 3
    return MemoryReader(dosage)


@pytest.mark.parametrize("first", ENCRYPTORS)
def test_blocks_of_another_encryptor_are_not_kept(first, reader, key, tmp_path, monkeypatch):
    second = next(e for e in ENCRYPTORS if e != first)
    encrypt(reader, key, tmp_path, encryptor=first)
    with monkeypatch.context() as without:  # the attack: the identity of a block as it was
        without.setattr(OwnerState, "identity", lambda self, cohort_id, index, block: "the same")
        encrypt(reader, key, tmp_path / "mixed", encryptor=first)
        encrypt(reader, key, tmp_path / "mixed", encryptor=second)
    halves = lambda folder: {  # noqa: E731
        len(e)
        for part in json.loads((folder / "cohort" / "manifest.json").read_text())["body"]["blocks"]
        for chunk in part["streams"].values()
        for e in chunk
    }
    expected = {"own": {1}, "seal": {2}}
    assert halves(tmp_path / "mixed") == expected[first], "a manifest that says one encryptor, files of the other"
    encrypt(reader, key, tmp_path, encryptor=second)
    assert halves(tmp_path) == expected[second]
    assert cohort.open_cohort(tmp_path / "cohort").body["encryptor"] == second


def test_blocks_of_another_format_are_not_kept(reader, key, tmp_path, monkeypatch):
    _, info = encrypt(reader, key, tmp_path)
    before = (tmp_path / "cohort" / "g-000000-0000.c0.npy").read_bytes()
    monkeypatch.setattr(artefact, "FORMAT_VERSION", artefact.FORMAT_VERSION + 1)
    _, later = encrypt(reader, key, tmp_path)
    assert later.cohort_id != info.cohort_id and (tmp_path / "cohort" / "g-000000-0000.c0.npy").read_bytes() != before


def test_a_killed_encryption_leaves_no_cohort_to_add_a_design_to(reader, key, tmp_path):
    """Half of the checks are of other genotypes; the server still has the cohort as it was sent."""
    state, info = encrypt(reader, key, tmp_path)
    sent = shutil.copytree(tmp_path / "cohort", tmp_path / "sent")
    with pytest.raises(Killed):
        encrypt(changed(reader), key, tmp_path, stop_after=1)
    with pytest.raises(ArtefactError, match="was not finished: run it again"):
        read_info(state)
    # a process that read the record before the kill
    with pytest.raises(ArtefactError, match="block 0 was encrypted again since"):
        add_design(state, info, key, tmp_path / "design")
    assert not (tmp_path / "design" / "manifest.json").exists() and not state.designs()

    # the attack: neither the record nor the identities are looked at
    stale = replace(info, identities=())
    secrets = add_design(state, stale, key, tmp_path / "design")
    opened = cohort.open_cohort(sent)
    associate.associate(opened, studydesign.open_design(tmp_path / "design", opened.public), tmp_path / "results")
    from securegen.engines.ckks.owner import decrypt

    with pytest.raises(VerificationError):  # an honest server's result
        list(decrypt.decrypt(tmp_path / "results", state, stale, secrets))


def test_the_same_command_again_ends_the_old_version_and_what_was_made_for_it(reader, key, tmp_path):
    state, info = encrypt(reader, key, tmp_path)
    add_design(state, info, key, tmp_path / "design")
    state.write(MODEL, {}, {})
    encrypt(reader, key, tmp_path)  # nothing changed: nothing ends
    assert len(state.designs()) == 1 and (state.folder / f"{MODEL}.box").exists()
    with pytest.raises(Killed):
        encrypt(changed(reader), key, tmp_path, stop_after=1)
    _, later = encrypt(changed(reader), key, tmp_path)
    assert later.digest != info.digest and not state.designs() and not (state.folder / f"{MODEL}.box").exists()


def test_a_design_that_is_replaced_ends_before_the_new_one_begins(reader, key, tmp_path, monkeypatch):
    """A kill in between leaves no design rather than the old record beside new files."""
    state, info = encrypt(reader, key, tmp_path)
    add_design(state, info, key, tmp_path / "design")

    def killed(*_):
        raise Killed

    monkeypatch.setattr(encrypting, "_expected", killed)
    with pytest.raises(Killed):
        add_design(state, info, key, tmp_path / "design")
    assert not state.designs() and not (tmp_path / "design" / "manifest.json").exists()


def test_two_processes_do_not_write_one_owners_folder(reader, key, tmp_path):
    state, info = encrypt(reader, key, tmp_path)
    with state.alone():
        for work in (
            lambda: encrypt(reader, key, tmp_path),
            lambda: add_design(state, info, key, tmp_path / "design"),
        ):
            with pytest.raises(StorageError, match="another securegen is writing"):
                work()
    assert not (state.folder / ".lock").exists()
    add_design(state, info, key, tmp_path / "design")


def test_a_finished_study_is_not_overwritten(small, small_study, small_key, tmp_path):
    """Its results may be at the server. What was interrupted goes on; --overwrite says that they are lost."""
    made = sg.ckks.encrypt(small_study, small_key, tmp_path / "s")
    results = sg.ckks.associate(made.cohort, made.design, tmp_path / "r")
    for folder in (made.cohort, made.design):
        folder.rename(tmp_path / f"{folder.name} at the server")
    with pytest.raises(StorageError, match="has a complete study, which is not overwritten"):
        sg.ckks.encrypt(small_study, small_key, tmp_path / "s")
    with pytest.raises(StorageError, match="has a complete cohort, which is not overwritten"):
        steps.encrypt_cohort(small_study.reader, small_key, tmp_path / "s")
    assert sg.ckks.decrypt(results, small_key, made.owner).equals(sg.run(small_study).frame)
    sg.ckks.encrypt(small_study, small_key, tmp_path / "s", overwrite=True)
    with pytest.raises(ArtefactError, match="another cohort or design"):
        sg.ckks.decrypt(results, small_key, made.owner)
    # the design was not reached: the same call goes on
    for box in made.owner.glob("design-*"):
        box.unlink()
    sg.ckks.encrypt(small_study, small_key, tmp_path / "s")


def test_a_plan_that_an_earlier_version_wrote_opens():
    """It said the grid, where plans now say the largest dosage."""
    for grid, squares in ((1, False), (4, True)):
        plan = choose(Workload(100, 1000, 3, 16, dosage_max=2 * grid, squares=squares))
        body = plan.to_json()
        del body["workload"]["dosage_max"]
        assert Plan.from_json(body | {"workload": body["workload"] | {"grid": grid}}) == plan
        with pytest.raises(ArtefactError, match="a grid or a dosage_max"):
            Plan.from_json(body)
        with pytest.raises(ArtefactError, match="a grid or a dosage_max"):
            Plan.from_json(body | {"workload": body["workload"] | {"grid": grid, "dosage_max": 2 * grid}})
