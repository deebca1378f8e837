"""ct × ct: scores are right; neither the key holder nor the evaluator learns the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from ckks_tools import stored_halves

from securegen.engines.ckks.cohort import open_cohort
from securegen.engines.ckks.owner.encrypt_cohort import encrypt_cohort
from securegen.engines.ckks.owner.encryption import OwnEncryptor
from securegen.engines.ckks.owner.secret_key import generate
from securegen.engines.ckks.owner.state import OwnerState
from securegen.engines.ckks.scores import evaluator, key_holder
from securegen.engines.ckks.scores.evaluator import choose_product, joint_nonce, product_noise, read_encrypted_model
from securegen.engines.ckks.scores.private import model_size, score_weights
from securegen.engines.ckks.scores.weights import ScoreReader
from securegen.errors import ArtefactError
from securegen.kernels.crt import round_residues
from securegen.kernels.ntt import inverse
from securegen.rlwe.residues import ring_tables
from securegen.scores.study import ScoreInputs, open_scores
from securegen.scores.sums import plain_scores
from securegen.study.inputs import Inputs

pytestmark = pytest.mark.usefixtures("forked_roles")

OWN, OTHER = b"m" * 32, b"e" * 32


@dataclass(frozen=True)
class Product:
    """One person's genotypes and a model, both encrypted."""

    key: object
    encryption_key: object
    cohort: object
    model: object
    weights: object
    score: int

    def reply(self):
        (_, sums), *_ = list(evaluator.products(self.cohort, self.model))
        p = self.key.public.parameters
        return evaluator.blind_product(
            sums, 0, self.model.read("constant"), self.encryption_key, self.model.blinding, p
        )


@pytest.fixture(scope="module")
def product(additive, tmp_path_factory, known_seeds):
    folder = tmp_path_factory.mktemp("product")
    study = open_scores(Inputs(additive.bfile), ScoreInputs((additive.score,)))
    one = open_scores(study.genotypes, study.inputs, opened=study.reader.select(np.array([1])))
    weights = score_weights(one.plan)
    p, weight_scale, blinding = choose_product(
        model_size(one.plan, weights, one.inputs), samples=1, rows=len(weights.dosage), columns=1, dosage_max=2
    )
    key = generate(p)
    reader = ScoreReader(one.reader.select(variants=one.plan.variant), np.empty(0, np.int64))
    with known_seeds():
        encrypt_cohort(reader, key, folder / "cohort", OwnerState(folder / "owner", key), encryptor=OwnEncryptor(key))
    cohort, encryption_key = open_cohort(folder / "cohort"), key.encryption_key(joint_nonce(OWN, OTHER))
    evaluator.write_encrypted_model(
        weights, encryption_key, p, folder / "model", weight_scale=weight_scale, blinding=blinding, own_nonce=OWN
    )
    model = read_encrypted_model(folder / "model", cohort, OTHER)
    return Product(key, encryption_key, cohort, model, weights, int(plain_scores(one.reader, one.plan).score[0, 0]))


def test_the_score_comes_out(product):
    c0, c1, c2 = product.reply()
    values, _ = key_holder.open_reply(c0, np.stack([c1, c2], axis=1), product.key, product.model.blinding.scale)
    assert values.tolist() == [[product.score]]


def test_a_model_for_a_nonce_without_the_evaluators_part_is_refused(product):
    with pytest.raises(ArtefactError, match="had no part in"):
        read_encrypted_model(product.model.folder, product.cohort, b"x" * 32)


def weights_from_c2(product) -> float:
    """c2 / a_g is the second half of the encrypted model; with it c1 gives the first, and the key holder decrypts both.

    One block: c1 = g0·w1 + g1·w0, c2 = g1·w1, and the key holder knows g0, g1 and s.
    """
    p = product.key.public.parameters
    ring, q = p.ring, np.array(p.ring.primes, np.uint64)[:, None]
    g0, g1 = (half.reshape(len(ring.primes), -1).astype(np.uint64) for half in stored_halves(product.cohort, 0, "g"))
    _, c1, c2 = product.reply()
    inverse_g1 = np.array(
        [[pow(int(v), -1, m) for v in row] for row, m in zip(g1, ring.primes, strict=True)], np.uint64
    )
    w1 = c2[0].astype(np.uint64) * inverse_g1 % q
    w0 = (c1[0].astype(np.uint64) + q - g0 * w1 % q) % q * inverse_g1 % q
    message = np.ascontiguousarray(((w0 + w1 * product.key.residues) % q)[None])
    inverse(message, ring_tables(ring))
    weight_scale = product.model.blinding.scale - p.genotype_scale
    values, _ = round_residues(message[0], ring.primes, weight_scale)
    w = product.weights.dosage[:, 0]
    return float((values[::-1][: len(w)] == w)[w != 0].mean())


def test_without_the_encryptions_of_zero_the_key_holder_gets_the_model(product, monkeypatch, bare):
    assert weights_from_c2(product) < 0.01
    constant = np.zeros((1, 2, *product.encryption_key.b.shape), np.uint64)
    monkeypatch.setattr(evaluator, "add_zeros", lambda key, both: None)
    monkeypatch.setattr(evaluator, "hide", bare)
    monkeypatch.setattr(type(product.model), "read", _without_constant(type(product.model).read, constant))
    assert weights_from_c2(product) == 1


def _without_constant(read, constant):
    return lambda self, name: constant if name == "constant" else read(self, name)


def test_flooding_hides_the_product_noise(product):
    p = product.key.public.parameters
    noise = product_noise(
        p.ring, genotype_scale=p.genotype_scale, weight_scale=product.model.blinding.scale - p.genotype_scale,
        norm=product.weights.norm, weight_sum=product.weights.sum_bound, dosage_max=2, ciphertexts=2,
    )  # fmt: skip
    assert product.model.blinding.flooding >= 2.0**39 * noise.deviation
    assert noise.certain < product.model.blinding.flooding
    bare = replace(product, model=replace(product.model, blinding=replace(product.model.blinding, flooding=0, blur=0)))
    distances = []
    for x in (bare, product):
        c0, c1, c2 = x.reply()
        _, distance = key_holder.open_reply(c0, np.stack([c1, c2], axis=1), x.key, x.model.blinding.scale)
        distances.append(float(distance[0, 0]))
    unit = 2.0**product.model.blinding.scale
    assert distances[0] * unit < 15 * noise.deviation and distances[0] < 2.0**-36 < distances[1]


def test_blocks_of_zero_weights_are_encrypted_like_the_others(product):
    none = replace(product.weights, missing=np.zeros_like(product.weights.missing))
    p = product.key.public.parameters
    made = dict(evaluator.encrypt_model(none, product.encryption_key, p, weight_scale=30, scale=60))
    assert set(made) == {"g-000000", "m-000000", "constant"} == set(product.model.files)
    assert made["m-000000"].any()


def test_run_local_tables_equal_those_of_the_private_model(securegen, additive):
    common = ("--engine", "ckks", "--bfile", additive.bfile, "--score", additive.score)
    for flag, out in (("--private-model", "a"), ("--encrypted-model", "b")):
        done = securegen("run-local", "prs", flag, *common, "--out", out)
        assert done.exit_code == 0, done.exception
    assert Path("a.sscore").read_bytes() == Path("b.sscore").read_bytes()
    record = json.loads(Path("b.run.json").read_text())
    assert {"cohort", "encmodel", "replies"} <= set(record["bytes"])
    assert securegen("report", "b").exit_code == 0
    assert [p["name"] for p in record["receipt"]["parties"]] == ["genotype owner", "model owner", "evaluator"]
