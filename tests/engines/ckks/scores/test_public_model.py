"""Encrypted scores of a public model: integers and text equal to plain, and nothing else is shown."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from securegen.engines.ckks import artefact, keys, steps
from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner import verify
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import CohortInfo, OwnerState, read_info
from securegen.engines.ckks.planner import Workload
from securegen.engines.ckks.planner import choose as plan_association
from securegen.engines.ckks.scores import owner, parameters
from securegen.engines.ckks.scores.parameters import choose, noise_bound, store_parameters
from securegen.engines.ckks.scores.public import (
    add_model,
    decrypt_scores,
    encrypt_scores,
    generate_score_key,
    score_encrypted,
    score_parameters,
)
from securegen.engines.ckks.scores.public_model import read_model, write_model
from securegen.engines.ckks.scores.server import terms
from securegen.engines.ckks.scores.weights import cohort_weights, stored_weights, weight_polynomials
from securegen.errors import ArtefactError, PlanError, PolicyError, StorageError, VerificationError
from securegen.io import store_requests
from securegen.io.arrays import from_arrays
from securegen.io.folders import folder_of
from securegen.kernels.ntt import forward, inverse
from securegen.rlwe.residues import ring_tables, to_tiles
from securegen.scores.release import minimum_variants
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs


@pytest.fixture(scope="module")
def study(small):
    return open_scores(Inputs(small.bfile), ScoreInputs((small.score,)))


@pytest.fixture(scope="module")
def run(study, tmp_path_factory):
    """(folder, key, what was sent, results) of one honest run."""
    folder = tmp_path_factory.mktemp("run")
    key = generate_score_key(study.plan, len(study.reader.samples))
    sent = encrypt_scores(study, key, folder / "e")
    return folder, key, sent, score_encrypted(sent.cohort, sent.model, folder / "r")


def test_integers_equal_plain(study, run):
    _, key, sent, results = run
    _, sums = decrypt_scores(results, key, sent.owner)
    plain = plain_scores(study.reader, study.plan)
    assert study.plan.second_weight is not None and study.plan.missing_weight.any()
    assert sums.values.dtype == plain.values.dtype and np.array_equal(sums.values, plain.values)


def test_a_server_reads_and_writes_in_an_object_store(run, store):
    """The same bytes as from a disk, and a file that was altered there is refused before anything is written."""
    _, _, sent, results = run
    for folder, name in ((sent.cohort, "c"), (sent.model, "m")):
        for path in folder.iterdir():
            folder_of(f"{store}/lab/{name}").write(path.name, [path.read_bytes()])
    out = score_encrypted(f"{store}/lab/c", f"{store}/lab/m", f"{store}/lab/r")
    assert str(out) == f"{store}/lab/r" and out.sizes() == {p.name: p.stat().st_size for p in results.iterdir()}
    assert all(out.read(p.name, "a file", 1 << 30) == p.read_bytes() for p in results.iterdir())
    cohort, name = folder_of(f"{store}/lab/c"), "g-000000-0000.c0.npy"
    raw = cohort.read(name, "a file", 1 << 30)
    cohort.write(name, [raw[:-5] + bytes([raw[-5] ^ 1]) + raw[-4:]])
    with pytest.raises(ArtefactError, match=name):
        score_encrypted(f"{store}/lab/c", f"{store}/lab/m", f"{store}/lab/s")
    assert folder_of(f"{store}/lab/s").sizes() == {}


def test_a_server_on_a_store_that_loses_requests_and_answers(run, flaky, monkeypatch):
    """Run again until it ends, it writes the same bytes."""
    _, _, sent, results = run
    store, losses = flaky
    for folder, name in ((sent.cohort, "c"), (sent.model, "m")):
        for path in folder.iterdir():
            folder_of(f"{store}/lab/{name}").write(path.name, [path.read_bytes()])
    losses.share = 0.15
    monkeypatch.setattr(store_requests, "TRIES", 2)
    for _ in range(30):
        with contextlib.suppress(StorageError):
            out = score_encrypted(f"{store}/lab/c", f"{store}/lab/m", f"{store}/lab/r")
            break
    losses.share = 0
    assert sum(losses.lost.values()) > 3
    assert {p.name: p.read_bytes() for p in results.iterdir()} == {
        name: out.read(name, "a file", 1 << 30) for name in out.sizes()
    }


def test_a_server_can_insist_on_its_owner(study, run, tmp_path):
    """`public`: somebody who may write where cohort and model lie puts whole ones of a key of their own there."""
    _, key, sent, results = run
    other = generate_score_key(study.plan, len(study.reader.samples))
    theirs = encrypt_scores(study, other, tmp_path / "theirs")
    keys.write_public(tmp_path / "key.public", key.public)
    with pytest.raises(ArtefactError, match="belongs to key"):
        score_encrypted(theirs.cohort, theirs.model, tmp_path / "r", public=tmp_path / "key.public")
    with pytest.raises(ArtefactError, match="belongs to key"):
        score_encrypted(sent.cohort, theirs.model, tmp_path / "r", public=tmp_path / "key.public")
    assert not (tmp_path / "r").exists()
    score_encrypted(theirs.cohort, theirs.model, tmp_path / "r")  # without it
    mine = score_encrypted(sent.cohort, sent.model, tmp_path / "m", public=tmp_path / "key.public")
    assert (mine / "manifest.json").read_bytes() == (results / "manifest.json").read_bytes()


@pytest.mark.parametrize(("samples", "pack"), [(1, 1), (5, 1), (5, 4), (14, 16)])
def test_every_layout_gives_the_same_integers(study, tmp_path, samples, pack):
    """Person-major (b = 1) and samples in coefficients (b > 1), a part of the samples, several blocks."""
    few = open_scores(study.genotypes, study.inputs, opened=study.reader.select(np.arange(samples)))
    planned = score_parameters(few.plan, samples)
    p = store_parameters(planned.ring, pack, planned.genotype_scale, dosage_max=2, samples=samples)
    key = generate(p)
    sent = encrypt_scores(few, key, tmp_path / "e")
    _, sums = decrypt_scores(score_encrypted(sent.cohort, sent.model, tmp_path / "r"), key, sent.owner)
    assert np.array_equal(sums.values, plain_scores(few.reader, few.plan).values)


def test_fractional_dosages(small, tmp_path):
    rng = np.random.default_rng(3)
    dosage = np.round(rng.uniform(0, 2, (300, 5)) * 256) / 256
    dosage[rng.random(dosage.shape) < 0.1] = np.nan
    whole = open_scores(Inputs(small.bfile), ScoreInputs((small.score,)))
    reader = from_arrays(dosage, list("abcde"), variants=whole.reader.variants)
    study = open_scores(Inputs(""), ScoreInputs((small.score,)), opened=reader)
    key = generate_score_key(study.plan, 5)
    sent = encrypt_scores(study, key, tmp_path / "e")
    _, sums = decrypt_scores(score_encrypted(sent.cohort, sent.model, tmp_path / "r"), key, sent.owner)
    assert reader.dosage_grid == 256
    assert np.array_equal(sums.values, plain_scores(reader, study.plan).values)


@pytest.mark.parametrize(
    ("cohort", "file"),
    [("edge", "edge.prs.tsv"), ("sim_500x5k", "sim_500x5k.prs.tsv"), ("cineca", "cineca.PGS001229_chr22.tsv")],
)
def test_text_equals_plain_on_the_reference_data(securegen, reference, cohort, file):
    common = (
        "--bfile",
        reference(cohort).bfile,
        "--score",
        str(reference.source(cohort) / file),
        "--allow-small-score",
        "SCORE1",
    )
    for engine in ("plain", "ckks"):
        done = securegen("run-local", "prs", "--engine", engine, *common, "--out", engine)
        assert done.exit_code == 0, done.exception
    assert Path("plain.sscore").read_bytes() == Path("ckks.sscore").read_bytes()
    record = json.loads(Path("ckks.run.json").read_text())
    assert set(record["seconds"]) == {"match", "keygen", "encrypt", "score", "decrypt", "total"}
    assert record["planned_noise_margin_bits"] >= 0 and record["bytes"]["cohort"] > 0
    assert not list(Path().glob("*.parties*"))


def with_scores(results: Path, folder: Path, change) -> Path:
    """A copy of a results folder in which change(tiles) was applied and the digests made right."""
    body = artefact.read_manifest(results, "scores", None)
    folder.mkdir()
    entries = []
    for entry in body["chunks"]:
        tiles = np.load(results / entry["name"])
        entries.append(vars(artefact.write_entry(folder, entry["name"], change(tiles))))
    artefact.write_manifest(
        folder, "scores", {**{k: body[k] for k in ("key", "cohort", "model")}, "chunks": entries}, None
    )
    return folder


def spelling_the_key(key, columns: int):
    """(NΔ, (N/2)Δ, …): coefficients of the first score become N + (N/2)·s."""

    def change(tiles):
        p = key.public.parameters
        out = tiles.copy()
        shape = (*out.shape[:2], -1, columns, 2, out.shape[-1])
        view = out.reshape(shape)
        for i, q in enumerate(p.ring.primes):
            one = (1 << p.genotype_scale) % q
            view[i, :, 0, 0, 0], view[i, :, 0, 0, 1] = 0, 4 * one % q
        return out

    return change


def test_a_result_that_spells_the_key_is_refused(run, tmp_path):
    """Without verification the scores are the secret key's coefficients; with it nothing is shown."""
    _, key, sent, results = run
    columns = len(read_model(sent.model, key.public).plan.constant)
    crafted = with_scores(results, tmp_path / "crafted", spelling_the_key(key, columns))
    tiles = np.load(next(crafted.glob("scores-*.npy")))
    values, distance = owner.insecure_decrypt_unverified(tiles, key, columns)
    b = key.public.parameters.pack
    s = key.residues[None].copy()
    inverse(s, ring_tables(key.public.parameters.ring))
    top = s[0, 0, -b:].astype(np.int64)
    top[top > 1] = -1
    assert np.array_equal(values[:b, 0], 4 * top) and distance[:b, 0].max() < 1e-9
    with pytest.raises(VerificationError):
        decrypt_scores(crafted, key, sent.owner)


def test_sums_beyond_half_the_checks_modulus_would_spell_the_key(tmp_path, monkeypatch):
    """S and S + p pass a check modulo p = 2^61 − 1 alike: p·Δ in the half that meets s gives S + p·s, if the range allows
    it. Bounds of 2^60 and more are refused by the planner, by the server and before decryption."""
    people, variants, grid = 8, 640, 1 << 11
    rng = np.random.default_rng(1)
    names = [f"v{j}" for j in range(variants)]
    table = {"chromosome": ["1"] * variants, "position": list(range(1, variants + 1)), "id": names,
             "effect_allele": ["A"] * variants, "other_allele": ["G"] * variants}  # fmt: skip
    dosage = np.round(rng.random((variants, people)) * 2 * grid) / grid
    cohort = from_arrays(dosage, [f"s{i}" for i in range(people)], variants=table, grid=grid)
    rows = "".join(f"v{j}\tA\tG\t{0.99 if j % 2 else -0.99}\n" for j in range(variants))
    (tmp_path / "w.tsv").write_text("ID\teffect_allele\tother_allele\teffect_weight\n" + rows)
    study = open_scores(Inputs(""), ScoreInputs((str(tmp_path / "w.tsv"),), weight_bits=40), opened=cohort)
    assert 1 << 61 < study.plan.bound[0] < 1 << 63
    with pytest.raises(PlanError, match="below 2\\^60"):
        generate_score_key(study.plan, people)
    checked = parameters.check_provable
    for module in (parameters, owner):  # off
        monkeypatch.setattr(module, "check_provable", lambda bound: None)
    key = generate_score_key(study.plan, people)
    sent = encrypt_scores(study, key, tmp_path / "e")
    results = score_encrypted(sent.cohort, sent.model, tmp_path / "r")
    _, honest = decrypt_scores(results, key, sent.owner)
    p = key.public.parameters
    added = np.zeros((1, len(p.ring.primes), p.ring.n), np.uint64)
    added[0, :, 0] = [(verify.MODULUS << p.genotype_scale) % q for q in p.ring.primes]
    forward(added, ring_tables(p.ring))
    columns, primes = honest.values.shape[1], np.array(p.ring.primes, np.uint64)[:, None, None]

    def add(tiles):
        out = tiles.astype(np.uint64)
        for at in range(1, tiles.shape[2], 2 * columns):  # of every group the first score's half that meets s
            out[:, :, at] = (out[:, :, at] + to_tiles(added, p.ring)[:, :, 0]) % primes
        return out.astype(np.uint32)

    crafted = with_scores(results, tmp_path / "crafted", add)
    _, got = decrypt_scores(crafted, key, sent.owner)
    s = key.residues[None].copy()
    inverse(s, ring_tables(p.ring))
    s = np.where(s[0, 0] > 1, -1, s[0, 0].astype(np.int64))
    read = np.rint((got.values[:, 0].astype(float) - honest.values[:, 0].astype(float)) / 2.0**61).astype(int)
    assert read.tolist() == [s[p.ring.n - p.pack + i % p.pack] for i in range(people)] and read.any()
    monkeypatch.setattr(owner, "check_provable", checked)  # on, at decryption alone
    with pytest.raises(PlanError, match="below 2\\^60"):
        decrypt_scores(crafted, key, sent.owner)
    monkeypatch.setattr(parameters, "check_provable", checked)
    with pytest.raises(PlanError, match="below 2\\^60"):
        score_encrypted(sent.cohort, sent.model, tmp_path / "again")


def test_one_integer_off_by_one_is_refused(run, tmp_path):
    _, key, sent, results = run

    def add_one(tiles):
        """c0 gains Δ·X^(n−1)."""
        p = key.public.parameters
        unit = np.zeros((p.block_variants, 1), np.int64)
        unit[0] = 1  # at X^(n−b)
        residues = weight_polynomials(unit, p, 1 << p.genotype_scale)[0]
        lanes = residues.reshape(len(p.ring.primes), p.ring.tiles, p.ring.lanes)
        out = tiles.copy().astype(np.uint64)
        out[:, :, 0] = (out[:, :, 0] + lanes) % np.array(p.ring.primes, np.uint64)[:, None, None]
        return out.astype(np.uint32)

    honest, _ = owner.insecure_decrypt_unverified(np.load(next(results.glob("scores-*.npy"))), key, 4)
    crafted = with_scores(results, tmp_path / "crafted", add_one)
    off, distance = owner.insecure_decrypt_unverified(np.load(next(crafted.glob("scores-*.npy"))), key, 4)
    assert (off - honest).sum() == 1 and distance.max() < 0.5
    with pytest.raises(VerificationError):
        decrypt_scores(crafted, key, sent.owner)


def test_a_result_of_another_model_is_refused(study, run, tmp_path):
    _, key, sent, _ = run
    other = replace(study.plan, dosage_weight=study.plan.dosage_weight[::-1].copy())
    write_model(other, tmp_path / "model", key)
    replayed = score_encrypted(sent.cohort, tmp_path / "model", tmp_path / "r")
    with pytest.raises(ArtefactError, match="another cohort, model or key"):
        decrypt_scores(replayed, key, sent.owner)
    # the same result relabelled as that of the model that was sent
    digest = read_model(sent.model, key.public).digest
    relabelled = with_scores(replayed, tmp_path / "relabelled", lambda tiles: tiles)
    body = artefact.read_manifest(relabelled, "scores", None)
    artefact.write_manifest(
        relabelled, "scores", {k: body[k] for k in ("key", "cohort", "chunks")} | {"model": digest}, None
    )
    with pytest.raises(VerificationError):
        decrypt_scores(relabelled, key, sent.owner)


def test_blocks_without_weight_are_not_read(study, tmp_path):
    """With everything but the first block at zero, the server does its work though the other files are gone."""
    plan = study.plan
    planned = score_parameters(plan, len(study.reader.samples))
    key = generate(store_parameters(planned.ring, 128, planned.genotype_scale, dosage_max=2, samples=14))
    width = key.public.parameters.block_variants
    keep = (np.arange(len(plan.variant)) < width)[:, None]
    sparse = replace(
        plan, dosage_weight=plan.dosage_weight * keep, missing_weight=plan.missing_weight * keep, second_weight=None
    )
    narrow = replace(study, plan=sparse)
    sent = encrypt_scores(narrow, key, tmp_path / "e")
    cohort = open_cohort(sent.cohort)
    assert {t.block for t in terms(cohort, stored_weights(sparse))} == {0} and len(cohort.blocks) > 1
    for path in sent.cohort.glob("?-000001-*"):
        path.unlink()
    _, sums = decrypt_scores(score_encrypted(sent.cohort, sent.model, tmp_path / "r"), key, sent.owner)
    assert np.array_equal(sums.values, plain_scores(study.reader, sparse).values)


def test_parameters_are_proven_and_a_store_that_is_too_coarse_is_refused(study, tmp_path):
    weights = stored_weights(study.plan)
    p = score_parameters(study.plan, 14)
    assert noise_bound(p, weights.norm) <= 0.5
    coarse = store_parameters(p.ring, 1, 18, dosage_max=2, samples=14)
    key = generate(coarse)
    sent = encrypt_scores(study, key, tmp_path / "e")
    with pytest.raises(PlanError, match="fewer bits per weight"):
        score_encrypted(sent.cohort, sent.model, tmp_path / "r")
    with pytest.raises(PlanError, match="fewer bits per weight"):
        choose(samples=1, rows=1, columns=1, norm=2.0**90, sum_bound=2**95, dosage_max=2)


def test_measured_noise_is_within_the_proof(study, run):
    """The noise of honest scores has the standard deviation of the formula: a fifteenth of the bound, not above."""
    _, key, _, results = run
    columns = len(study.plan.constant)
    _, distance = owner.insecure_decrypt_unverified(np.load(next(results.glob("scores-*.npy"))), key, columns)
    spread = np.sqrt(np.mean(distance[:, 0] ** 2))
    expected = noise_bound(key.public.parameters, stored_weights(study.plan, slice(0, 1)).norm) / 15
    assert 0.3 * expected < spread < 2 * expected


@pytest.mark.parametrize(("strands", "encryptor"), [(1, "own"), (3, "own"), (2, "seal")])
def test_the_store_of_an_association_serves_scores(strands, encryptor, additive, tmp_path):
    """A store planned for 12 design columns of 20 bits, encrypted whole, then scored with a part of its variants."""
    lines = Path(additive.score).read_text().splitlines()
    score = tmp_path / "part.tsv"
    score.write_text("\n".join(lines[:1] + lines[3::2]) + "\n")
    study = open_scores(Inputs(additive.bfile), ScoreInputs((str(score),), weight_bits=20))
    planned = plan_association(Workload(additive.samples, additive.variants, 12, 20), whole=True).parameters
    key = generate(replace(planned, pack=64, strands=strands))
    assert key.public.parameters.block_variants % additive.variants  # the last block has fewer strands
    paths = steps.encrypt_cohort(study.reader, key, tmp_path / "e", encryptor=encryptor)
    model = add_model(study, key, paths.owner, tmp_path / "model")
    _, sums = decrypt_scores(score_encrypted(paths.cohort, model, tmp_path / "r"), key, paths.owner)
    assert len(study.plan.variant) < additive.variants
    assert np.array_equal(sums.values, plain_scores(study.reader, study.plan).values)


def test_a_store_that_grew_serves_scores_of_a_model_that_is_added_again(additive, tmp_path):
    """200 variants, then 200: scores of before are refused by name, the model of before by the server."""
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,), weight_bits=20))
    first, second = np.arange(200), np.arange(200, additive.variants)
    planned = plan_association(Workload(additive.samples, additive.variants, 12, 20), whole=True).parameters
    key = generate(replace(planned, pack=64, strands=3))
    paths = steps.encrypt_cohort(study.reader.select(variants=first), key, tmp_path / "e")
    early = open_scores(
        study.genotypes, replace(study.inputs, min_overlap=0.1), opened=study.reader.select(variants=first)
    )
    old_model = add_model(early, key, paths.owner, tmp_path / "model")
    old = score_encrypted(paths.cohort, old_model, tmp_path / "old")
    assert np.array_equal(
        decrypt_scores(old, key, paths.owner)[1].values, plain_scores(early.reader, early.plan).values
    )
    steps.append_cohort(study.reader.select(variants=second), key, tmp_path / "e")
    with pytest.raises(ArtefactError, match=r"was computed from this cohort as it was until .*: add the model again"):
        decrypt_scores(old, key, paths.owner)
    with pytest.raises(ArtefactError, match="the model has weights for"):
        score_encrypted(paths.cohort, old_model, tmp_path / "r")
    model = add_model(study, key, paths.owner, tmp_path / "model")
    _, sums = decrypt_scores(score_encrypted(paths.cohort, model, tmp_path / "r"), key, paths.owner)
    assert np.array_equal(sums.values, plain_scores(study.reader, study.plan).values)


def test_a_store_without_second_copies_refuses_dominant_weights(study):
    with pytest.raises(PlanError, match="second copies"):
        cohort_weights(study.plan, len(study.reader.variants))


def moved(study, what: str):
    """The same study with the people in another order, or one genotype changed."""
    reader = study.reader.select(samples=np.arange(len(study.reader.samples))[::-1])
    if what == "a genotype":

        class Other(type(study.reader)):
            def read(self, start, stop):
                block = super().read(start, stop)
                block.dosage[0, 0] = 1 if block.dosage[0, 0] == 0 else 0
                return block

        reader = object.__new__(Other)
        reader.__dict__.update(study.reader.__dict__)
    return replace(study, reader=reader)


@pytest.mark.parametrize("what", ["people", "a genotype"])
def test_a_model_is_added_for_the_genotypes_that_were_encrypted(additive, tmp_path, monkeypatch, what):
    """Checks of others would accuse an honest server, and retire the key."""
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,), weight_bits=20))
    planned = plan_association(Workload(additive.samples, additive.variants, 12, 20), whole=True).parameters
    key = generate(replace(planned, pack=64))
    paths = steps.encrypt_cohort(study.reader, key, tmp_path / "e")
    with pytest.raises(ArtefactError, match="not the genotypes that were encrypted"):
        add_model(moved(study, what), key, paths.owner, tmp_path / "model")
    with monkeypatch.context() as off:
        off.setattr(CohortInfo, "same_people_and_variants", lambda *_: True)
        off.setattr(OwnerState, "identity", lambda *_: read_info(OwnerState(paths.owner, key)).identities[_[2]])
        model = add_model(moved(study, what), key, paths.owner, tmp_path / "model")
    with pytest.raises(VerificationError):
        decrypt_scores(score_encrypted(paths.cohort, model, tmp_path / "r"), key, paths.owner)


def test_checks_of_an_earlier_encryption_accuse_nobody(study, run, tmp_path):
    """As two processes leave them that encrypt into one folder: the checks of the first beside the cohort of the second."""
    _, key, sent, _ = run
    later = encrypt_scores(study, key, tmp_path / "later")
    for name in (owner.CHECKS,):
        (later.owner / f"{name}.box").write_bytes((sent.owner / f"{name}.box").read_bytes())
    with pytest.raises(ArtefactError, match="another encryption of the cohort"):
        decrypt_scores(score_encrypted(later.cohort, later.model, tmp_path / "r"), key, later.owner)
    assert not list(later.owner.glob("retired*"))


def test_more_digits_than_were_planned_are_checked_again(small, tmp_path):
    """A score that was small enough for two digits is opened with two, and not with six."""
    study = open_scores(Inputs(small.bfile), ScoreInputs((small.score,), digits=2, min_variants=1, weight_bits=20))
    key = generate_score_key(study.plan, len(study.reader.samples))
    sent = encrypt_scores(study, key, tmp_path / "e")
    results = score_encrypted(sent.cohort, sent.model, tmp_path / "r")
    floor = min(study.plan.score_variants(s) for s in range(len(study.plan.names)))
    needed = next(d for d in range(1, 1000) if minimum_variants(1, d) > floor)
    with pytest.raises(PolicyError, match=f"scores with {needed} digits would reveal"):
        decrypt_scores(results, key, sent.owner, digits=needed)
    _, sums = decrypt_scores(results, key, sent.owner, digits=2)
    assert np.array_equal(sums.values, plain_scores(study.reader, study.plan).values)
