"""Encrypted scores of a public model in parts: the server scores chunks of people in any order, to the bytes of one run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from damaged_parts import absent, edited, flipped, renamed

from securegen.engines.ckks import codec
from securegen.engines.ckks.owner.secret_key import SecretKey, generate
from securegen.engines.ckks.scores.parameters import store_parameters
from securegen.engines.ckks.scores.public import (
    EncryptedScores,
    decrypt_scores,
    encrypt_scores,
    score_encrypted,
    score_parameters,
)
from securegen.engines.merging import merge
from securegen.errors import ArtefactError, UsageError
from securegen.scores.study import ScoreInputs, ScoreStudy, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

PARTS = ("2/3", "3/3", "1/3")


@dataclass(frozen=True)
class Sent:
    """What one run wrote. whole: the bytes of its results."""

    study: ScoreStudy
    key: SecretKey
    paths: EncryptedScores
    whole: dict[str, bytes]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.fixture(autouse=True, scope="module")
def four_chunks():
    """14 people in chunks of 4, so that a small cohort has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "CHUNK_GROUPS", 4)
        yield


@pytest.fixture(scope="module")
def sent(small, tmp_path_factory, four_chunks) -> Sent:
    folder = tmp_path_factory.mktemp("sent")
    study = open_scores(Inputs(small.bfile), ScoreInputs((small.score,)))
    planned = score_parameters(study.plan, small.samples)
    key = generate(store_parameters(planned.ring, 1, planned.genotype_scale, dosage_max=2, samples=small.samples))
    paths = encrypt_scores(study, key, folder / "e")
    whole = score_encrypted(paths.cohort, paths.model, folder / "r")
    assert len([p for p in whole.iterdir() if p.suffix == ".npy"]) == 4
    return Sent(study, key, paths, bytes_of(whole))


def test_parts_of_the_server_are_one_run(sent, securegen):
    """By the command line; the owner decrypts what is joined."""
    for part in PARTS:
        done = securegen(
            "prs", "--cohort", str(sent.paths.cohort), "--model", str(sent.paths.model), "--blocks", part, "--out", "s"
        )
        assert done.exit_code == 0, done.output
    assert not Path("s.results").exists()
    done = securegen("merge", "s")
    assert done.exit_code == 0 and "3 parts joined" in done.output and "securegen prs-step decrypt" in done.output
    assert bytes_of(Path("s.results")) == sent.whole
    assert not list(Path().glob("s.*of3.results"))
    _, sums = decrypt_scores("s.results", sent.key, sent.paths.owner)
    assert np.array_equal(sums.values, plain_scores(sent.study.reader, sent.study.plan).values)


def test_a_part_reads_the_files_of_its_own_people(sent, tmp_path):
    """The cohort's other chunks are gone: what each job reads is a share of the whole."""
    cohort = tmp_path / "c"
    shutil.copytree(sent.paths.cohort, cohort)
    for path in [p for p in cohort.glob("*.npy") if int(p.name.split("-")[2].split(".")[0]) != 3]:
        path.unlink()
    score_encrypted(cohort, sent.paths.model, tmp_path / "r.4of4.results", blocks="4/4")
    assert (tmp_path / "r.4of4.results" / "scores-0003.npy").read_bytes() == sent.whole["scores-0003.npy"]
    with pytest.raises(ArtefactError, match="cannot be read"):
        score_encrypted(cohort, sent.paths.model, tmp_path / "r.3of4.results", blocks="3/4")


@pytest.mark.parametrize(
    "damage, message",
    [
        (absent, r"1 of 3 parts are not there, or did not end \(2/3\)"),
        (renamed, "it was renamed"),
        (edited(model="0" * 64), "differ in model: they come from two passes"),
        (edited(cohort="0" * 64), "differ in cohort"), (edited(all_chunks=9), "differ in all_chunks"),
        (edited(first=2), "has other chunks of people than its part"), (edited(role="scores"), "expected a part of results"),
        (edited(role="part of results"), "is damaged"), (edited(chunks=[]), "is damaged"), (edited(all_chunks=0), "is damaged"),
        (flipped("scores-0001.npy"), "is not what its manifest names"),
    ],
    ids=["absent", "renamed", "model", "cohort", "count", "place", "whole", "association", "empty", "none", "flipped"],
)  # fmt: skip
def test_what_is_no_part_of_the_run_is_refused(sent, damage, message, tmp_path):
    for part in PARTS:
        out = f"{tmp_path}/r.{part.replace('/', 'of')}.results"
        score_encrypted(sent.paths.cohort, sent.paths.model, out, blocks=part)
    damage(tmp_path)
    with pytest.raises(ArtefactError, match=message):
        merge(tmp_path / "r")
    assert not (tmp_path / "r.results" / "manifest.json").exists()


def test_scores_of_a_part_are_no_scores(sent, tmp_path):
    part = score_encrypted(sent.paths.cohort, sent.paths.model, tmp_path / "r.1of3.results", blocks="1/3")
    with pytest.raises(ArtefactError, match="is an encrypted part of scores, expected scores"):
        decrypt_scores(part, sent.key, sent.paths.owner)


def test_there_are_no_more_parts_than_chunks(sent, tmp_path):
    with pytest.raises(UsageError, match="there are 4 chunks of people, at most as many parts"):
        score_encrypted(sent.paths.cohort, sent.paths.model, tmp_path / "r", blocks="1/5")
    assert not (tmp_path / "r").exists()
