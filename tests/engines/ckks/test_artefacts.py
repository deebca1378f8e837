"""Folders that travel: whatever is truncated, altered, exchanged or invented is named and refused, never parsed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from ckks_tools import rewrite_manifest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import securegen as sg
from securegen.engines.ckks import artefact
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner import secret_key
from securegen.engines.ckks.scores.messages import digest_of_message
from securegen.engines.ckks.studydesign import open_design
from securegen.errors import ArtefactError, SecuregenError, VerificationError
from securegen.io import looks
from securegen.io.digests import blake3_of


@pytest.fixture
def travelled(small_encrypted, tmp_path):
    """A copy of cohort and design, as the server received them."""
    folder = tmp_path / "server"
    return (
        shutil.copytree(small_encrypted.cohort, folder / "c"),
        shutil.copytree(small_encrypted.design, folder / "d"),
    )


def serve(travelled, tmp_path):
    return sg.ckks.associate(*travelled, tmp_path / "served.results")


def test_a_truncated_block_is_named(travelled, tmp_path):
    block = next(travelled[0].glob("g-000001-*.npy"))
    block.write_bytes(block.read_bytes()[:-4])
    with pytest.raises(ArtefactError, match=rf"{block.name} has \d+ bytes, its manifest says \d+: truncated"):
        serve(travelled, tmp_path)
    assert not (tmp_path / "served.results" / "manifest.json").exists()


@pytest.mark.parametrize("which", [0, 1])
def test_an_altered_byte_is_found(travelled, tmp_path, which):
    block = sorted(travelled[which].glob("*.npy"))[-1]
    raw = bytearray(block.read_bytes())
    raw[-9] ^= 1
    block.write_bytes(raw)
    with pytest.raises(ArtefactError, match=f"{block.name} does not have the digest"):
        serve(travelled, tmp_path)


@pytest.mark.parametrize("which", [0, 1])
def test_a_missing_file_is_named(travelled, tmp_path, which):
    block = sorted(travelled[which].glob("*.npy"))[-1]
    block.unlink()
    with pytest.raises(ArtefactError, match=f"{block.name} cannot be read: No such file"):
        serve(travelled, tmp_path)


def test_exchanged_manifests_are_refused(travelled, tmp_path):
    first, second = (folder / "manifest.json" for folder in travelled)
    a, b = first.read_bytes(), second.read_bytes()
    first.write_bytes(b)
    with pytest.raises(ArtefactError, match="is an encrypted design, expected cohort"):
        serve(travelled, tmp_path)
    first.write_bytes(a)
    second.write_bytes(a)
    with pytest.raises(ArtefactError, match="is an encrypted cohort, expected design"):
        serve(travelled, tmp_path)


def test_an_altered_manifest_is_not_signed(travelled, tmp_path):
    for folder in travelled:
        path = folder / "manifest.json"
        content = json.loads(path.read_text())
        content["body"]["samples"] += 1
        original = path.read_bytes()
        path.write_text(json.dumps(content))
        with pytest.raises(ArtefactError, match="not signed by its owner; it was altered"):
            serve(travelled, tmp_path)
        path.write_bytes(original)
    assert serve(travelled, tmp_path)


def test_a_design_of_another_owner_or_cohort_is_refused(travelled, small_study, small_key, tmp_path):
    other = sg.ckks.generate_key(sg.ckks.plan(small_study))
    made = sg.ckks.encrypt(small_study, other, tmp_path / "other")
    with pytest.raises(ArtefactError, match="belongs to key"):
        sg.ckks.associate(travelled[0], made.design, tmp_path / "served.results")
    few = dataclasses.replace(small_study, reader=small_study.reader.select(variants=np.arange(40)))
    same_key = sg.ckks.encrypt(few, small_key, tmp_path / "few")
    with pytest.raises(ArtefactError, match="made for another cohort, or for another version"):
        sg.ckks.associate(travelled[0], same_key.design, tmp_path / "served.results")


def test_an_unfinished_cohort_is_refused(travelled, tmp_path):
    (travelled[0] / "manifest.json").unlink()
    with pytest.raises(ArtefactError, match="has no manifest: it is not complete"):
        serve(travelled, tmp_path)


@pytest.mark.parametrize(
    ("version", "told"),
    [(99, r"written by another version of securegen \(99\)"), (2, "format version 2, .*encrypts again")],
)
def test_another_version_is_refused(version, told, travelled, tmp_path):
    path = travelled[0] / "manifest.json"
    written = path.read_text()
    assert '"version": 3' in written
    path.write_text(written.replace('"version": 3', f'"version": {version}'))
    with pytest.raises(ArtefactError, match=told):
        serve(travelled, tmp_path)


def test_results_under_another_key_are_refused(small_results, small_encrypted, small_study, tmp_path):
    other = sg.ckks.generate_key(sg.ckks.plan(small_study))
    with pytest.raises(ArtefactError, match="altered or belongs to another key"):
        sg.ckks.decrypt_tables(small_results, other, small_encrypted.owner, str(tmp_path / "table"))


def test_an_altered_record_of_the_owner_is_refused(small_results, small_encrypted, small_key, tmp_path):
    owner = shutil.copytree(small_encrypted.owner, tmp_path / "owner")
    for box in ("cohort.box", next(p.name for p in owner.glob("design-*.box"))):
        raw = (owner / box).read_bytes()
        (owner / box).write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(ArtefactError, match="altered or belongs to another key"):
            sg.ckks.decrypt_tables(small_results, small_key, owner, str(tmp_path / "table"))
        (owner / box).write_bytes(raw)


def test_truncated_results_are_refused_without_retiring_the_key(small_results, small_encrypted, small_key, tmp_path):
    """Damage on the way is seen before anything is decrypted: no verification failure."""
    folder = shutil.copytree(small_results, tmp_path / "r")
    block = folder / "block-000001.npy"
    block.write_bytes(block.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match=r"block-000001.npy has 1000 bytes, its manifest says \d+"):
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))
    assert not list(tmp_path.glob("*table*"))


def test_residues_beyond_their_prime_are_refused(dishonest, small_encrypted, small_key, tmp_path):
    folder = dishonest(lambda index, words: words.__setitem__((0, 0), 2**32 - 1))
    with pytest.raises(ArtefactError, match="residues that are not below their prime"):
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"blocks": []}, "blocks is a list of 0, expected one of 1 to"),
        ({"key": "0" * 64}, "belongs to another key"),
        ({"cohort": "0" * 64}, "computed from another cohort or design"),
        ({"design": "0" * 64}, "computed from another cohort or design"),
        ({"design": "../../cohort"}, "design is '../../cohort', expected 32 bytes in hex"),
        ({"design": None}, "design is null, expected 32 bytes in hex"),
    ],
)
def test_results_that_are_not_of_this_study_are_refused(
    changes, message, small_results, small_encrypted, small_key, tmp_path
):
    folder = shutil.copytree(small_results, tmp_path / "r")
    rewrite_manifest(folder, **changes)
    with pytest.raises(ArtefactError, match=message):
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


def test_a_file_name_cannot_leave_the_folder(small_results, small_encrypted, small_key, tmp_path):
    folder = shutil.copytree(small_results, tmp_path / "r")
    blocks = artefact.read_manifest(folder, "results", None)["blocks"]
    shutil.copy(folder / "block-000000.npy", tmp_path / "outside.npy")
    for name in ("../outside.npy", str(tmp_path / "outside.npy")):
        rewrite_manifest(folder, blocks=[{**blocks[0], "name": name}, *blocks[1:]])
        with pytest.raises(ArtefactError, match="is not a file name"):
            sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


def test_a_pickle_is_never_opened(small_results, small_encrypted, small_key, tmp_path):
    """A .npy file whose header promises objects is not even read as one."""
    folder = shutil.copytree(small_results, tmp_path / "r")
    np.save(folder / "block-000000.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    blocks = artefact.read_manifest(folder, "results", None)["blocks"]
    raw = (folder / "block-000000.npy").read_bytes()
    blocks[0] |= {"size": len(raw), "blake3": blake3_of(folder / "block-000000.npy")}
    rewrite_manifest(folder, blocks=blocks)
    with pytest.raises(ArtefactError, match="is not a uint32 array of shape"):
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(tmp_path / "table"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=120 if __debug__ else 30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_invented_manifest_is_refused_and_never_crashes(
    data, small_results, small_encrypted, small_key, tmp_path_factory
):
    """A server writes anything anywhere in its manifest: one of our errors, whatever it is."""
    folder = tmp_path_factory.getbasetemp() / "invented"
    if not folder.exists():
        shutil.copytree(small_results, folder)
    body = artefact.read_manifest(small_results, "results", None)
    keys_of = sorted(body)
    where = data.draw(st.sampled_from([*keys_of, "blocks/0", "blocks/1/name", "blocks/0/size", "blocks/2/blake3", "-"]))
    value = data.draw(JSON)
    if where == "-":
        del body[data.draw(st.sampled_from(keys_of))]
    else:
        *path, last = where.split("/")
        place = body
        for step in path:
            place = place[int(step) if step.isdigit() else step]
        place[int(last) if last.isdigit() else last] = value
    (folder / "manifest.json").write_text(json.dumps({"body": body, "signature": ""}))
    original = artefact.read_manifest(small_results, "results", None)
    unused = {"streams"}  # what nothing depends on
    honest = {k: v for k, v in body.items() if k not in unused} == {
        k: v for k, v in original.items() if k not in unused
    }
    try:
        sg.ckks.decrypt_tables(folder, small_key, small_encrypted.owner, str(folder / "table"))
    except SecuregenError as error:
        assert isinstance(error, ArtefactError | VerificationError)
    else:
        assert honest, where


NO_MANIFESTS = (
    "", "[]", "{}", "null", '{"body": 3, "signature": ""}', "\x00\xff", "[" * 100_000,
    '{"body": {}, "signature": 7}', '{"body": {"magic": "securegen", "version": 1}, "signature": "zz"}',
)  # fmt: skip


@pytest.mark.parametrize("content", NO_MANIFESTS)
def test_what_is_no_manifest_is_refused(content, tmp_path, small_key):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtefactError):
        open_cohort(tmp_path)
    with pytest.raises(ArtefactError):
        open_design(tmp_path, small_key.public)


def test_a_server_can_insist_on_its_owner(small_encrypted, small_study):
    stranger = secret_key.generate(sg.ckks.plan(small_study).parameters)
    with pytest.raises(ArtefactError, match="belongs to key"):
        artefact.read_manifest(small_encrypted.cohort, "cohort", stranger.public)


@pytest.mark.parametrize("look", ["the same", "a digest alone"])
def test_a_manifest_is_one_and_the_same_while_a_command_runs(tmp_path, monkeypatch, look):
    """What a record or a door is told of a message is what was opened: whoever can write there may change it between."""
    place = str(tmp_path / "manifest.json")
    again = {"the same": artefact.open_manifest, "a digest alone": digest_of_message}[look]
    for protected in (True, False):
        with looks.noting() as noted:
            artefact.write_manifest(tmp_path, "score request", {"samples": 1}, None)
            first = artefact.open_manifest(tmp_path)
            again(tmp_path)
            assert noted[place] == hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
            raw = (tmp_path / "manifest.json").read_bytes()
            (tmp_path / "manifest.json").write_bytes(raw.replace(b'"samples": 1', b'"samples": 2'))
            if not protected:
                monkeypatch.setattr(looks, "was_read", lambda *_: None)
                again(tmp_path)
                continue
            with pytest.raises(ArtefactError, match="changed while this ran"):
                again(tmp_path)
            assert first.body["samples"] == 1
            artefact.write_manifest(tmp_path, "score request", {"samples": 3}, None)  # by the command itself
            again(tmp_path)
