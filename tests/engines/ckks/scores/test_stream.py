"""Ciphertexts that are read in stretches: the same residues, and no damaged file goes unnoticed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from ckks_tools import stored_halves

from securegen.engines.ckks import artefact
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import OwnEncryptor, SealEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.scores import stream
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.stream import Term, batches, stretches
from securegen.errors import ArtefactError
from securegen.io.folders import folder_of
from securegen.rlwe.ring import Ring
from securegen.scores.study import ScoreInputs, open_scores
from securegen.study.inputs import Inputs


@pytest.fixture(scope="module", params=[OwnEncryptor, SealEncryptor])
def cohort(request, small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stream")
    reader = open_scores(Inputs(small.bfile), ScoreInputs((small.score,))).reader
    key = generate(store_parameters(Ring.standard(4096, 3), 32, 30, dosage_max=2, samples=14))
    encrypt_cohort(reader, key, folder / "c", OwnerState(folder / "o", key), encryptor=request.param(key))
    return open_cohort(folder / "c")


def terms_of(cohort) -> list[Term]:
    return [Term(s, b) for b, part in enumerate(cohort.blocks) for s in part["streams"]]


@pytest.mark.parametrize("size", [256, 5000, 1 << 20])
def test_stretches_are_what_is_stored(cohort, monkeypatch, size):
    monkeypatch.setattr(stream, "STRETCH_BYTES", size)
    ring, terms = cohort.parameters.ring, terms_of(cohort)
    shape = (len(ring.primes), ring.tiles, 1, ring.lanes)
    want = np.empty((2, len(terms), *shape), np.uint32)
    for r, t in enumerate(terms):
        want[0, r], want[1, r] = stored_halves(cohort, t.block, t.stream)
    got, seen = np.zeros_like(want), 0
    for q, tiles, *halves in stretches(cohort, terms, 0):
        for half, part in zip(got, halves, strict=True):
            half[:, q, tiles] = np.moveaxis(part, 2, 0)
        seen += 1
    assert np.array_equal(got, want) and seen == len(ring.primes) * max(1, -(-ring.tiles * 256 // max(size, 256)))


@pytest.mark.parametrize("half", [0, -1])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), "digest"), (lambda raw: raw[:-4], "truncated"),
        (lambda raw: raw[:20] + b"x" + raw[21:], "uint32 array"), (None, "cannot be read"),
    ],
)  # fmt: skip
def test_damage_is_an_error_at_the_latest_at_the_end(cohort, tmp_path, half, damage, says):
    shutil.copytree(cohort.folder, tmp_path / "c")
    copy, terms = open_cohort(tmp_path / "c"), terms_of(cohort)
    last = terms[-1]
    path = tmp_path / "c" / copy.blocks[last.block]["streams"][last.stream][0][half]["name"]
    raw = path.read_bytes()
    path.unlink()
    if damage:
        path.write_bytes(damage(raw))
    with pytest.raises(ArtefactError, match=says):
        list(stretches(copy, terms, 0))


def test_batches_keep_the_order():
    terms = [Term("g", b) for b in range(70)]
    assert [len(b) for b in batches(terms)] == [32, 32, 6] and sum(batches(terms), []) == terms


@pytest.mark.parametrize("half", [0, -1])
def test_residues_beyond_their_prime_are_refused(cohort, tmp_path, half):
    """Kernels and masks assume them below; whoever encrypts writes the manifest, so digests do not help."""
    shutil.copytree(cohort.folder, tmp_path / "c")
    terms = terms_of(cohort)
    entry = cohort.blocks[terms[-1].block]["streams"][terms[-1].stream][0][half]
    tiles = np.load(tmp_path / "c" / entry["name"])
    tiles[-1, -1, 0, -1] = 2**32 - 1
    made = vars(artefact.write_entry(tmp_path / "c", entry["name"], tiles))
    entry = {**entry, **{name: made[name] for name in ("blake3", "size")}}
    body = json.loads((tmp_path / "c" / "manifest.json").read_text())["body"]
    body["blocks"][terms[-1].block]["streams"][terms[-1].stream][0][half] = entry
    crafted = replace(cohort, folder=folder_of(tmp_path / "c"), body=body)
    with pytest.raises(ArtefactError, match="not below their prime"):
        list(stretches(crafted, terms, 0))
