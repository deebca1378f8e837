"""A cohort that grew, and a server or an owner that goes back: replayed, dropped, swapped, mixed, restored, doubled, foreign."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from append_tools import Growing, files, growing
from ckks_tools import rewrite_manifest

import securegen as sg
from securegen.engines.ckks import artefact, cohort
from securegen.engines.ckks.owner import retirement, secret_key, verify
from securegen.engines.ckks.owner.design_secrets import all_designs
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, read_info
from securegen.errors import ArtefactError, StorageError, VerificationError


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Growing:
    return growing(tmp_path_factory.mktemp("growing"))


@pytest.fixture(scope="module")
def world(study, tmp_path_factory) -> Path:
    """store: chromosome 1, its design and results kept as old.*; then 2 and 3 appended, the design again, its results."""
    folder = tmp_path_factory.mktemp("world")
    prefix = folder / "store"
    sg.ckks.encrypt(study.study("1"), study.key, prefix)
    study.served(prefix, folder / "old.results")
    for part in ("cohort", "design", "owner"):
        shutil.copytree(f"{prefix}.{part}", folder / f"old.{part}")
    for name in ("2", "3"):
        sg.ckks.append_cohort(study.part(name), study.key, prefix)
    study.design(prefix, "1", "2", "3")
    study.served(prefix, folder / "store.results")
    return folder


@pytest.fixture
def there(world, tmp_path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(world, tmp_path / "w")
    return tmp_path / "w"


def table(study: Growing, there: Path, results: str, **options) -> bytes:
    return study.table(there / results, there / "store", **options)


def not_retired(study: Growing, there: Path) -> bool:
    try:
        retirement.refuse_retired(study.key, there / "store.owner")
    except Exception:
        return False
    return True


def test_results_of_before_are_refused_by_name(study, there):
    """Honest ones, replayed: the owner is told that they are of the cohort of before, and what to do; nobody is accused."""
    message = r"was computed from this cohort as it was until .*, with 30 variants\. Encrypt the design again"
    with pytest.raises(ArtefactError, match=message):
        table(study, there, "old.results")
    assert not_retired(study, there) and table(study, there, "store.results") == study.plain(there, "1", "2", "3")


def test_a_design_of_before_is_refused_by_name(study, there):
    """By the server, and by the owner where only that one is known; then it is encrypted again in the same place."""
    with pytest.raises(
        ArtefactError,
        match=r"was made for .* as it was before variants were appended: its owner lets the append end",
    ):
        sg.ckks.associate(there / "store.cohort", there / "old.design", there / "r")
    assert not (there / "r").exists()
    for part in ("owner", "cohort", "design"):
        shutil.rmtree(there / f"store.{part}")
        shutil.copytree(there / f"old.{part}", there / f"store.{part}")
    sg.ckks.append_cohort(study.part("2"), study.key, there / "store")
    for design in (None, there / "old.design"):
        with pytest.raises(
            ArtefactError, match=r"QT .* was made for this cohort as it was until .* Encrypt the design again"
        ):
            table(study, there, "old.results", design=design)
    study.design(there / "store", "1", "2")  # no --overwrite: what lies there was ended by the append


def test_the_old_results_under_the_names_of_the_new_ones(study, there, monkeypatch):
    """The server drops the appended blocks, or answers them with what it likes."""
    body = artefact.read_manifest(there / "store.results", "results", None)
    forged = shutil.copytree(there / "old.results", there / "forged.results")
    rewrite_manifest(forged, **{name: body[name] for name in ("cohort", "design", "nonce")})
    with pytest.raises(ArtefactError, match="has 1 blocks, 3 expected"):
        table(study, there, "forged.results")
    assert not_retired(study, there)
    with pytest.raises(VerificationError):
        replay(study, there, monkeypatch, (0, 0, 0))


def replay(study: Growing, there: Path, monkeypatch, order: tuple[int, ...]) -> bytes:
    """Results in which every block is another one's: all of them have as many variants and the same streams."""
    forged = shutil.copytree(there / "store.results", there / f"forged{len(list(there.iterdir()))}.results")
    blocks = artefact.read_manifest(forged, "results", None)["blocks"]
    assert len({entry["size"] for entry in blocks}) == 1
    rewrite_manifest(forged, blocks=[blocks[i] for i in order])
    return table(study, there, forged.name)


@pytest.mark.parametrize("order", [(0, 2, 1), (1, 0, 2), (0, 1, 1), (0, 0, 2)])
def test_blocks_of_two_appends_do_not_stand_for_each_other(order, study, there, monkeypatch):
    """Each has secrets of its own number; without the check the table is another one, without a word."""
    honest = study.plain(there, "1", "2", "3")
    with monkeypatch.context() as off:
        off.setattr(verify, "passes", lambda r, sums, expected: True)
        assert replay(study, there, monkeypatch, order) != honest
    with pytest.raises(VerificationError):
        replay(study, there, monkeypatch, order)
    assert not not_retired(study, there)


def test_one_set_of_secrets_for_all_appends_would_let_blocks_be_swapped(study, there, monkeypatch):
    """Were r the same for two blocks with the same genotypes' check, a swap would pass; so a block's number is in it."""
    info = read_info(OwnerState(there / "store.owner", study.key))
    r = [verify.block_secrets(study.key, info.cohort_id, index, 30) for index in range(3)]
    assert len({tuple(row.tolist()) for row in r}) == 3
    state = OwnerState(there / "store.owner", study.key)
    block = study.whole.read(0, 30)
    assert len({state.identity(info.cohort_id, index, block) for index in range(3)}) == 3


def test_the_cohort_of_before_is_not_served_as_the_new_one(study, there):
    """Neither with its own manifest, nor with files of before under the new manifest's names."""
    with pytest.raises(ArtefactError, match="made for another cohort, or for another version of this one"):
        sg.ckks.associate(there / "old.cohort", there / "store.design", there / "r")
    second = shutil.copytree(there / "store.cohort", there / "second.cohort")
    names = sorted(p.name for p in second.glob("g-000001-*"))
    shutil.copy(second / names[0].replace("000001", "000002"), second / names[0])
    with pytest.raises(ArtefactError, match="does not have the digest its manifest names"):
        sg.ckks.associate(second, there / "store.design", there / "r")
    next(second.glob("g-000002-*")).unlink()
    with pytest.raises(ArtefactError, match=r"g-000002-0000.c0.npy cannot be read: No such file .*: copy all"):
        sg.ckks.associate(second, there / "store.design", there / "r")


@pytest.mark.parametrize("change", ["earlier", "order", "dropped"])
def test_a_manifest_that_the_owner_did_not_sign_is_refused(change, there):
    path = there / "store.cohort" / "manifest.json"
    content = json.loads(path.read_text())
    body = content["body"]
    if change == "earlier":
        del body["earlier"]
    elif change == "order":
        body["blocks"] = body["blocks"][::-1]
    else:
        body["blocks"], body["variants"] = body["blocks"][:2], 60
    path.write_text(json.dumps(content))
    with pytest.raises(ArtefactError, match="not signed by its owner"):
        cohort.open_cohort(there / "store.cohort")


def test_an_owners_folder_from_a_backup(study, there):
    """It knows the cohort of before: results of later are refused, those of then are read, and an append begins afresh."""
    shutil.rmtree(there / "store.owner")
    shutil.copytree(there / "old.owner", there / "store.owner")
    with pytest.raises(ArtefactError, match="was computed from another cohort or design than the one to open here"):
        table(study, there, "store.results")
    assert table(study, there, "old.results") == study.plain(there, "1")
    seeds = lambda: {  # noqa: E731
        e["name"]: e["seed"] for e in cohort.open_cohort(there / "store.cohort").stored()
    }
    before, sent = seeds(), there / "sent.cohort"
    with pytest.raises(
        ArtefactError, match="has 90 variants, .* knows 30: another copy of the owner's folder appended"
    ):
        sg.ckks.append_cohort(study.part("2"), study.key, there / "store")
    assert seeds() == before
    (there / "store.cohort").rename(sent)
    sg.ckks.append_cohort(study.part("2"), study.key, there / "store")
    after = seeds()
    shared = {name for name in after if after[name] == before[name]}
    assert shared == {name for name in after if "-000000-" in name}, "a seed twice is the key"
    with pytest.raises(
        StorageError, match="which is not overwritten"
    ):  # this folder does not know whose design lies there
        study.design(there / "store", "1", "2")
    study.design(there / "store", "1", "2", overwrite=True)
    # the server still has the files of the first append, and gets the new manifest
    shutil.copy(there / "store.cohort" / "manifest.json", sent)
    with pytest.raises(ArtefactError, match="does not have the digest its manifest names"):
        sg.ckks.associate(sent, there / "store.design", there / "r")
    for path in (there / "store.cohort").iterdir():
        shutil.copy(path, sent)
    results = sg.ckks.associate(sent, there / "store.design", there / "r2")
    assert study.table(results, there / "store") == study.plain(there, "1", "2")


def test_two_copies_of_an_owners_folder_do_not_append_over_each_other(study, there):
    """Each has a block 1 of its own; the second one would overwrite the files of the first."""
    for name in "ab":
        shutil.copytree(there / "old.owner", there / f"{name}.owner")
    shutil.copytree(there / "old.cohort", there / "a.cohort")
    sg.ckks.append_cohort(study.part("2"), study.key, there / "a")
    (there / "b.cohort").symlink_to(there / "a.cohort")
    before = files(there / "a.cohort")
    with pytest.raises(ArtefactError, match="has 60 variants, .* knows 30: another copy"):
        sg.ckks.append_cohort(study.part("3"), study.key, there / "b")
    assert files(there / "a.cohort") == before and len(cohort.open_cohort(there / "a.cohort").blocks) == 2


def test_a_cohort_folder_from_a_backup(study, there):
    """The owner's record says what the manifest is."""
    shutil.copy(there / "old.cohort" / "manifest.json", there / "store.cohort")
    assert len(cohort.open_cohort(there / "store.cohort").blocks) == 1
    sg.ckks.append_cohort(study.part("3"), study.key, there / "store")  # is there already
    assert len(cohort.open_cohort(there / "store.cohort").blocks) == 3
    results = study.served(there / "store", there / "r")
    assert study.table(results, there / "store") == study.plain(there, "1", "2", "3")


def test_the_record_of_one_version_does_not_go_with_checks_of_another(study, there):
    """A cohort.box from a backup beside the blocks of now, and blocks of then beside the record of now."""
    shutil.copy(there / "old.owner" / "cohort.box", there / "store.owner")
    sg.ckks.append_cohort(study.part("2"), study.key, there / "store")  # the same genotypes: block 1 goes on
    assert len(read_info(OwnerState(there / "store.owner", study.key)).variants) == 60
    shutil.copy(there / "store.owner" / "block-000000.box", there / "store.owner" / "block-000001.box")
    with pytest.raises(ArtefactError, match="altered or belongs to another key"):  # a box is named
        sg.ckks.append_cohort(study.part("3"), study.key, there / "store")


def test_records_of_blocks_that_are_not_the_cohorts(study, there, monkeypatch):
    state = OwnerState(there / "store.owner", study.key)
    header, arrays = state.read("block-000001")
    state.write("block-000001", header | {"part": state.read("block-000002")[0]["part"]}, arrays)
    (there / "store.cohort" / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match="the records of blocks are not those of its cohort"):
        sg.ckks.append_cohort(study.part("3"), study.key, there / "store")
    assert not (there / "store.cohort" / "manifest.json").exists()


def test_two_appends_at_once(study, there):
    """One writes; the other says so, and finds the cohort as the first one left it."""
    store = OwnerState(there / "store.owner", study.key)
    before = files(there / "store.cohort")
    with store.alone(), pytest.raises(StorageError, match="another securegen is writing"):
        sg.ckks.append_cohort(study.part("2"), study.key, there / "store")
    assert files(there / "store.cohort") == before


@pytest.mark.parametrize("same_numbers", [False, True])
def test_another_key_appends_nothing(same_numbers, study, there):
    """Another one, and one with the same public numbers and another master key."""
    other = secret_key.generate(study.key.public.parameters)
    if same_numbers:
        other = replace(study.key, master=other.master)
    before = files(there / "store.cohort")
    with pytest.raises(ArtefactError, match="belongs to another key"):
        sg.ckks.append_cohort(study.part("2"), other, there / "store")
    assert files(there / "store.cohort") == before
    assert table(study, there, "store.results") == study.plain(there, "1", "2", "3")


def test_a_retired_key_appends_nothing(study, there):
    with pytest.raises(VerificationError):
        blocks = artefact.read_manifest(there / "store.results", "results", None)["blocks"]
        rewrite_manifest(there / "store.results", blocks=[blocks[0], blocks[2], blocks[1]])
        table(study, there, "store.results")
    with pytest.raises(Exception, match="retired"):
        sg.ckks.append_cohort(study.part("2"), study.key, there / "store")


def test_without_the_digest_of_the_version_an_old_table_would_pass(study, there, monkeypatch):
    """The protection off: the record of before and its design open the old results, 30 of 90 variants, without a word."""
    state = OwnerState(there / "store.owner", study.key)
    old = OwnerState(there / "old.owner", study.key)
    (ended,) = all_designs(old)
    state.write(f"design-{ended.digest[:32]}", *old.read(f"design-{ended.digest[:32]}"))
    info = read_info(state)
    with monkeypatch.context() as off:
        off.setattr(OwnerState, "earlier", lambda self: {})
        off.setattr(CohortInfo, "before", lambda self, digest: None)
        with pytest.raises(ArtefactError, match="computed from another cohort or design"):  # the digest alone stops it
            table(study, there, "old.results", design=ended.digest)
        from securegen.engines.ckks import tables

        stale = replace(info, digest=ended.cohort_digest)
        off.setattr("securegen.engines.ckks.owner.state.read_info", lambda state: stale)
        sums = list(sg.ckks.decrypt_sums(there / "old.results", study.key, there / "store.owner", design=ended.digest))
        assert sum(len(s) for s in sums) == 30 and tables is not None
    with pytest.raises(ArtefactError, match="as it was until"):
        table(study, there, "old.results", design=ended.digest)


def test_what_is_appended_is_encrypted_under_fresh_seeds(there):
    seeds = [e["seed"] for e in cohort.open_cohort(there / "store.cohort").stored()]
    assert len(set(seeds)) == len(seeds) and all(seeds)
    assert np.array_equal(cohort.open_cohort(there / "store.cohort").starts, [0, 30, 60, 90])
